//! An object store that takes requests and does not answer them, or not in time.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{Kind, LOCAL, Registry, RegistryClient, bytes, file_of, sha256};
use tests::wait_for;

use crate::auth::member;
use crate::tunnel::{Said, Then, Tunnel};

const ENDPOINT: &str = "SKALD_REGISTRY_STORAGE_S3_ENDPOINT";
/// Manifests are in the store too.
const MANIFESTS_THERE: (&str, &str) = ("SKALD_REGISTRY_DATABASE_MANIFEST_BYTES_MAX", "0B");
const PATIENCE: Duration = Duration::from_secs(60);
/// What is free goes in the next round.
const NO_GRACE: [(&str, &str); 3] = [
    ("SKALD_REGISTRY_GC_BLOB_GRACE", "0s"),
    ("SKALD_REGISTRY_GC_UNTAGGED_GRACE", "0s"),
    ("SKALD_REGISTRY_GC_DATA_GRACE", "0s"),
];

/// A registry, what stands before its store, and an image that was pushed before what is free went at
/// once: its layer and its manifest.
async fn start(env: &[(&str, &str)]) -> anyhow::Result<(Registry, Tunnel, [Vec<u8>; 2])> {
    let mut registry = Registry::start(Kind::S3, &[MANIFESTS_THERE]).await?;
    let layer = bytes(1, 300_000);
    let client = registry.client();
    let manifest = client.push_image("team/app", "v1", &layer).await?;
    for (name, value) in NO_GRACE.iter().chain(env) {
        registry.set_env(name, value);
    }
    let tunnel = Tunnel::before(&mut registry, ENDPOINT).await?;
    Ok((registry, tunnel, [layer, manifest]))
}

fn blob(bytes: &[u8]) -> String {
    format!("/v2/team/app/blobs/{}", sha256(bytes))
}

/// Removes a tag and what it points to.
async fn delete(client: &RegistryClient, manifest: &[u8]) -> anyhow::Result<u16> {
    let path = format!("/v2/team/app/manifests/{}", sha256(manifest));
    client.status(Method::DELETE, &path).await
}

/// Asks for something and does not wait for the answer, but until the store was asked for it.
async fn ask_and_go(
    client: &RegistryClient,
    path: &str,
    body: Value,
    tunnel: &Tunnel,
) -> anyhow::Result<()> {
    tokio::select! {
        answer = client.manage(Method::POST, path, body) => anyhow::bail!("{answer:?}"),
        lost = tunnel.wait_for_lost(1) => lost,
    }
}

#[tokio::test]
async fn requests_end_and_garbage_goes_once_it_answers() -> anyhow::Result<()> {
    let env = [
        ("SKALD_REGISTRY_STORAGE_REQUESTS_TIMEOUT", "1s"),
        ("SKALD_REGISTRY_GC_INTERVAL", "100ms"),
    ];
    let (registry, tunnel, [layer, manifest]) = start(&env).await?;
    let (client, other) = (registry.client(), bytes(2, 300_000));
    let path = blob(&layer);

    // In the middle of what it sends.
    tunnel.lose(Said::There, &layer[200_000..200_016], Then::Silent);
    assert!(client.get(&path).await.is_err());
    tunnel.mend();
    assert!(client.get(&path).await?.as_ref() == Some(&layer));

    tunnel.lose(Said::Here, b"", Then::Silent);
    assert_eq!(client.status(Method::GET, &path).await?, 503);
    assert_eq!(client.status(Method::HEAD, &path).await?, 503);
    let push = format!("/v2/team/app/blobs/uploads/?digest={}", sha256(&other));
    let push = client.request(Method::POST, &push).body(other.clone());
    assert_eq!(push.send().await?.status(), 503);
    tunnel.mend();
    assert_eq!(client.push_blob("team/app", &other).await?, sha256(&other));

    tunnel.lose(Said::Here, b"", Then::Silent);
    assert_eq!(delete(client, &manifest).await?, 202);
    tunnel.wait_for_lost(1).await?;
    tunnel.mend();
    let store = registry.directory().join("s3");
    wait_for("the layer to go", PATIENCE, async || {
        file_of(&store, &layer).is_err().then_some(())
    })
    .await
}

/// What was noted until then is there after it.
#[tokio::test]
async fn a_stop_does_not_wait_for_a_sweep() -> anyhow::Result<()> {
    let env = [
        ("SKALD_REGISTRY_STORAGE_REQUESTS_TIMEOUT", "10m"),
        ("SKALD_REGISTRY_GC_INTERVAL", "100ms"),
        ("SKALD_REGISTRY_GC_SWEEP_INTERVAL", "0s"),
    ];
    let (mut registry, tunnel, _) = start(&env).await?;
    let client = registry.client().clone();
    tunnel.lose(Said::Here, b"list-type=2", Then::Late);
    tunnel.wait_for_lost(1).await?;
    for _ in 0..3 {
        client.get("/v2/team/app/manifests/v1").await?;
    }
    registry.stop().await?;
    let output = std::fs::read_to_string(registry.directory().join("registry.out"))?;
    assert!(!output.contains("did not stop in time"), "{output}");
    let log = registry.directory().join("data/log/registry-access.log");
    let log = std::fs::read_to_string(log)?;
    let pulls = log
        .lines()
        .filter(|line| line.contains("\"manifest\"") && line.contains("GET"));
    assert_eq!(pulls.count(), 3, "{log}");
    tunnel.mend();
    registry.start_again().await?;
    let path = "/projects/team/repositories/app";
    let (_, repository) = client.manage(Method::GET, path, Value::Null).await?;
    assert_eq!(repository["pull_count"], 3, "{repository}");
    Ok(())
}

#[tokio::test]
async fn garbage_is_collected_also_if_who_asked_goes_away() -> anyhow::Result<()> {
    let env = [("SKALD_REGISTRY_GC_INTERVAL", "1h")];
    let (registry, tunnel, [layer, manifest]) = start(&env).await?;
    let client = registry.client();
    assert_eq!(delete(client, &manifest).await?, 202);
    tunnel.lose(Said::Here, b"", Then::Late);
    ask_and_go(client, "/system/gc", json!({"dry_run": false}), &tunnel).await?;
    tunnel.mend();
    wait_for("the run to end", PATIENCE, async || {
        let runs = client.manage(Method::GET, "/system/gc", Value::Null);
        (runs.await.ok()?.1[0]["job_status"] == "Success").then_some(())
    })
    .await?;
    assert!(file_of(&registry.directory().join("s3"), &layer).is_err());
    Ok(())
}

#[tokio::test]
async fn a_tag_comes_back_also_if_who_asked_goes_away() -> anyhow::Result<()> {
    let env = [
        ("SKALD_REGISTRY_GC_INTERVAL", "1h"),
        ("SKALD_REGISTRY_GC_BLOB_GRACE", "1h"),
        ("SKALD_REGISTRY_GC_UNTAGGED_GRACE", "1h"),
    ];
    let (registry, tunnel, [_, manifest]) = start(&env).await?;
    let client = registry.client();
    assert_eq!(delete(client, &manifest).await?, 202);
    tunnel.lose(Said::Here, b"", Then::Late);
    let undelete = "/projects/team/repositories/app/tags/v1/undelete";
    ask_and_go(client, undelete, json!({}), &tunnel).await?;
    tunnel.mend();
    wait_for("the tag to come back", PATIENCE, async || {
        let found = client.get("/v2/team/app/manifests/v1").await.ok()?;
        (found? == manifest).then_some(())
    })
    .await
}

/// How long that takes would tell whether somebody has it.
#[tokio::test]
async fn nothing_is_asked_of_the_store_for_who_may_not_have_a_blob() -> anyhow::Result<()> {
    let mut registry = Registry::start(Kind::S3, &[LOCAL]).await?;
    let tunnel = Tunnel::before(&mut registry, ENDPOINT).await?;
    let file = registry.directory().join("data/registry/admin-password");
    let admin = registry.client();
    let admin = admin.login("admin", std::fs::read_to_string(file)?.trim());
    let dev = member(&registry, &admin, "dev", "developer").await?;
    let secret = json!({"project_name": "secret"});
    assert_eq!(
        admin.manage(Method::POST, "/projects", secret).await?.0,
        201
    );
    let layer = bytes(1, 100_000);
    let digest = admin.push_blob("secret/app", &layer).await?;
    for (client, from, asked) in [
        (&dev, "&from=secret/app", false),
        (&dev, "", false),
        (&admin, "&from=secret/app", true),
    ] {
        tunnel.lose(Said::Here, key(&registry, &layer)?.as_bytes(), Then::Cut);
        let mount = format!("/v2/team/app/blobs/uploads/?mount={digest}{from}");
        let status = client.status(Method::POST, &mount).await?;
        assert_eq!(status == 202, !asked, "{status} {from}");
        assert_eq!(tunnel.lost() > 0, asked, "{from}");
    }
    Ok(())
}

/// What the bytes of a blob are called in the store.
fn key(registry: &Registry, bytes: &[u8]) -> anyhow::Result<String> {
    let file = file_of(&registry.directory().join("s3"), bytes)?;
    let name = file.file_name().unwrap_or_default();
    Ok(name.to_string_lossy().into_owned())
}
