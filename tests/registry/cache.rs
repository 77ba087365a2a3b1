//! Projects that are caches of other registries.

mod about;
mod faults;
mod lists;

use std::time::Duration;

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tests::registry::{
    INDEX, Kind, LOCAL, MANIFEST, Registry, RegistryClient, bytes, code, descriptor, files_below,
    files_with, header, sha256, text, tls_file,
};
use tests::wait_for;

use crate::auth;
use crate::between::{Between, status};

const TAG: &str = "/v2/hub/lib/app/manifests/v1";

/// A cache that asks about a tag at each pull, and heeds a broken upstream for a moment only.
const EAGER: [(&str, &str); 4] = [
    ("SKALD_REGISTRY_PROXY_UNKNOWN_LIFETIME", "0s"),
    ("SKALD_REGISTRY_PROXY_TAG_LIFETIME", "0s"),
    ("SKALD_REGISTRY_PROXY_PAUSE", "10ms"),
    ("SKALD_REGISTRY_PROXY_ANSWER_TIMEOUT", "2s"),
];

/// Makes a project a cache of a registry.
async fn connect(cache: &RegistryClient, project: &str, registry: Value) -> anyhow::Result<i64> {
    let (status, made) = cache.manage(Method::POST, "/registries", registry).await?;
    ensure!(status == 201, "{status} {made}");
    let id = made["id"].as_i64().context("no number")?;
    let project = json!({"project_name": project, "registry_id": id});
    let (status, made) = cache.manage(Method::POST, "/projects", project).await?;
    ensure!(status == 201, "{status} {made}");
    Ok(id)
}

/// A cache, in the project `hub`, of a registry without accounts, and what stands between them.
async fn pair(env: &[(&str, &str)]) -> anyhow::Result<(Registry, Between, Registry)> {
    let upstream = Registry::start(Kind::Files, &[]).await?;
    let between = Between::start(upstream.client().base()).await?;
    let env: Vec<_> = EAGER.iter().chain(env).copied().collect();
    let cache = Registry::start(Kind::Files, &env).await?;
    let url = format!("http://{}", between.addr);
    connect(cache.client(), "hub", json!({"name": "up", "url": url})).await?;
    Ok((upstream, between, cache))
}

/// What is said of a registry where somebody may log in.
fn known(base: &str, username: &str, password: &str) -> Value {
    let login = json!({"access_key": username, "access_secret": password});
    json!({"name": "up", "url": base, "credential": login})
}

async fn pull(client: &RegistryClient, path: &str) -> anyhow::Result<Response> {
    Ok(client.request(Method::GET, path).send().await?)
}

fn blob(digest: &str) -> String {
    format!("/v2/hub/lib/app/blobs/{digest}")
}

async fn used(client: &RegistryClient) -> anyhow::Result<i64> {
    let (_, quota) = client
        .manage(Method::GET, "/quotas/hub", Value::Null)
        .await?;
    quota["used"]["storage"].as_i64().context("no quota")
}

/// How often a registry was asked for blobs.
async fn blob_pulls(registry: &mut Registry) -> anyhow::Result<u64> {
    let metrics = registry.metrics().await?;
    let start = "registry_http_requests_total{handler=\"blob\",method=\"get\",code=\"200\"} ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(start));
    Ok(line.map_or(Ok(0), str::parse)?)
}

#[tokio::test]
async fn what_was_pulled_once_is_here_and_passwords_are_not_shown() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let (mut upstream, admin) = auth::start().await?;
        let reader = auth::member(&upstream, &admin, "reader", "guest").await?;
        let layer = bytes(1, 3_000_000);
        let manifest = admin.push_image("team/app", "v1", &layer).await?;
        let mut cache = Registry::start(kind, &EAGER).await?;
        let client = cache.client().clone();
        let password = "a long enough password";
        let known = known(upstream.client().base(), "reader", password);
        let id = connect(&client, "hub", known).await?;
        drop(reader);

        let path = "/v2/hub/team/app/manifests/v1";
        assert_eq!(client.status(Method::HEAD, path).await?, 200);
        let first = pull(&client, path).await?;
        assert_eq!(header(&first, "docker-content-digest")?, sha256(&manifest));
        assert!(first.headers().get("warning").is_none());
        assert_eq!(first.bytes().await?, manifest);
        let blob = format!("/v2/hub/team/app/blobs/{}", sha256(&layer));
        let head = client.request(Method::HEAD, &blob).send().await?;
        assert_eq!(header(&head, "content-length")?, "3000000");
        assert_eq!(client.get(&blob).await?.as_ref(), Some(&layer));
        let config = serde_json::from_slice::<Value>(&manifest)?["config"]["digest"].clone();
        let config = format!(
            "/v2/hub/team/app/blobs/{}",
            config.as_str().unwrap_or_default()
        );
        assert!(client.get(&config).await?.is_some());
        let none = pull(&client, "/v2/hub/team/app/manifests/none").await?;
        assert_eq!(
            (none.status(), code(none).await?.as_str()),
            (404.try_into()?, "MANIFEST_UNKNOWN")
        );

        // Once the other registry is gone, everything is here, and what may have changed says so.
        upstream.kill()?;
        wait_for("the blob to be kept", Duration::from_secs(20), || async {
            let stale = pull(&client, &blob).await.ok()?;
            stale.status().is_success().then_some(())
        })
        .await?;
        assert_eq!(client.get(&blob).await?.as_ref(), Some(&layer));
        let metrics = cache.metrics().await?;
        for counted in [
            "hits_total{type=\"blob\"}",
            "misses_total{type=\"manifest\"}",
        ] {
            assert!(
                metrics.contains(&format!("registry_proxy_{counted}")),
                "{counted}"
            );
        }
        let stale = pull(&client, path).await?;
        assert_eq!(stale.status(), 200);
        let warning = header(&stale, "warning")?;
        assert!(
            warning.starts_with("299 - \"up does not answer"),
            "{warning}"
        );
        assert_eq!(stale.bytes().await?, manifest);
        let digest = format!("/v2/hub/team/app/manifests/{}", sha256(&manifest));
        let by_digest = pull(&client, &digest).await?;
        assert!(by_digest.headers().get("warning").is_none());
        let cold = pull(&client, "/v2/hub/team/app/manifests/v2").await?;
        assert_eq!(
            (cold.status(), code(cold).await?.as_str()),
            (502.try_into()?, "UNAVAILABLE")
        );

        let push = client.request(Method::POST, "/v2/hub/team/app/blobs/uploads/");
        let push = text(push.send().await?).await;
        assert!(
            push.starts_with("405") && push.contains("is a cache of"),
            "{push}"
        );
        let shown = format!("/registries/{id}");
        let (_, shown) = client.manage(Method::GET, &shown, Value::Null).await?;
        assert_eq!(shown["credential"]["access_secret"], "*****");
        cache.stop().await?;
        // Neither a log nor the database has it.
        assert!(
            cache
                .directory()
                .join("data/log/registry-audit.log")
                .exists()
        );
        let clear = files_with(&cache.directory().join("data"), password)?;
        assert!(clear.is_empty(), "{clear:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_tag_follows_the_other_registry() -> anyhow::Result<()> {
    let env = [
        ("SKALD_REGISTRY_GC_INTERVAL", "20ms"),
        ("SKALD_REGISTRY_GC_UNTAGGED_GRACE", "0s"),
        ("SKALD_REGISTRY_GC_BLOB_GRACE", "0s"),
        ("SKALD_REGISTRY_GC_DATA_GRACE", "0s"),
    ];
    let (upstream, _between, cache) = pair(&env).await?;
    let client = cache.client();
    let mut left = 0;
    for seed in [1, 2] {
        let layer = bytes(seed, 100_000);
        let manifest = upstream
            .client()
            .push_image("lib/app", "v1", &layer)
            .await?;
        left = 100_000 + i64::try_from(manifest.len())?;
        assert_eq!(client.get(TAG).await?, Some(manifest));
        assert_eq!(client.get(&blob(&sha256(&layer))).await?, Some(layer));
    }
    // What nothing needs any more goes, from the quota too; what an image needs stays.
    let data = cache.directory().join("data/registry/store/data");
    wait_for("the first layer to go", Duration::from_secs(20), || async {
        let used = used(client).await.ok()?;
        (used == left && files_below(&data) == 1).then_some(())
    })
    .await?;
    // A tag that is gone there is gone here.
    let gone = upstream
        .client()
        .status(Method::DELETE, "/v2/lib/app/manifests/v1");
    assert_eq!(gone.await?, 202);
    assert_eq!(client.get(TAG).await?, None);
    Ok(())
}

/// Who pins digests needs no tag.
#[tokio::test]
async fn what_is_pulled_by_its_digest_stays_and_what_is_not_goes() -> anyhow::Result<()> {
    let env = [
        ("SKALD_REGISTRY_GC_INTERVAL", "100ms"),
        ("SKALD_REGISTRY_GC_UNTAGGED_GRACE", "6s"),
        ("SKALD_REGISTRY_GC_BLOB_GRACE", "0s"),
    ];
    let (upstream, between, cache) = pair(&env).await?;
    let (there, client) = (upstream.client(), cache.client());
    let mut paths = Vec::new();
    for tag in ["pulled", "other"] {
        let image = there.push_image("lib/app", tag, tag.as_bytes()).await?;
        let path = format!("/v2/hub/lib/app/manifests/{}", sha256(&image));
        assert_eq!(client.get(&path).await?, Some(image));
        assert!(client.get(&blob(&sha256(tag.as_bytes()))).await?.is_some());
        paths.push(path);
    }
    between.set(status("500 Internal Server Error", ""));
    let artifacts = "/projects/hub/repositories/lib%2Fapp/artifacts";
    wait_for("the other to go", Duration::from_secs(30), || async {
        client.get(&paths[0]).await.ok()?;
        let (_, left) = client
            .manage(Method::GET, artifacts, Value::Null)
            .await
            .ok()?;
        (left.as_array()?.len() == 1).then_some(())
    })
    .await?;
    assert!(client.get(&paths[0]).await?.is_some());
    assert!(client.get(&blob(&sha256(b"pulled"))).await?.is_some());
    Ok(())
}

#[tokio::test]
async fn an_index_and_what_it_names_come_by_their_digests() -> anyhow::Result<()> {
    let (upstream, _between, cache) = pair(&[]).await?;
    let layer = bytes(1, 1000);
    let manifest = upstream
        .client()
        .push_image("lib/app", "amd64", &layer)
        .await?;
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        descriptor(MANIFEST, &manifest),
        descriptor(MANIFEST, b"of another platform that nobody has"),
    ]});
    let index = index.to_string().into_bytes();
    let put = upstream
        .client()
        .put_manifest("lib/app", "v1", INDEX, &index);
    assert_eq!(put.await?.status(), 201);
    let client = cache.client();
    assert_eq!(client.get(TAG).await?, Some(index));
    let child = format!("/v2/hub/lib/app/manifests/{}", sha256(&manifest));
    assert_eq!(client.get(&child).await?, Some(manifest));
    let missing = sha256(b"of another platform that nobody has");
    let missing = format!("/v2/hub/lib/app/manifests/{missing}");
    assert_eq!(client.get(&missing).await?, None);
    // A layer that another repository of the project has comes from there.
    let there = upstream
        .client()
        .push_image("lib/second", "v1", &layer)
        .await?;
    let before = used(client).await?;
    client.get(&blob(&sha256(&layer))).await?;
    wait_for("the layer to be kept", Duration::from_secs(20), || async {
        (used(client).await.ok()? == before + 1000).then_some(())
    })
    .await?;
    assert_eq!(
        client.get("/v2/hub/lib/second/manifests/v1").await?,
        Some(there)
    );
    drop(upstream);
    let second = format!("/v2/hub/lib/second/blobs/{}", sha256(&layer));
    assert_eq!(client.get(&second).await?, Some(layer));
    Ok(())
}

#[tokio::test]
async fn blobs_on_their_way_have_a_bound() -> anyhow::Result<()> {
    let (upstream, _between, cache) =
        pair(&[("SKALD_REGISTRY_PROXY_SPOOL_BYTES_MAX", "1MB")]).await?;
    let there = upstream.client();
    for (size, status) in [(3_000_000, 503), (300_000, 200)] {
        let layer = bytes(1, size);
        there.push_image("lib/app", "v1", &layer).await?;
        let answer = pull(cache.client(), &blob(&sha256(&layer))).await?;
        assert_eq!(answer.status(), status);
        if status != 200 {
            let why = text(answer).await;
            assert!(why.contains("registry.proxy.spool_bytes_max"), "{why}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_tag_that_a_rule_holds_does_not_follow() -> anyhow::Result<()> {
    let (upstream, _between, cache) = pair(&[]).await?;
    let (there, client) = (upstream.client(), cache.client());
    let first = there.push_image("lib/app", "v1", &bytes(1, 10)).await?;
    assert_eq!(client.get(TAG).await?.as_ref(), Some(&first));
    let rule = json!({"kind": "immutable", "tags": "v*"});
    let made = client.manage(Method::POST, "/projects/hub/rules", rule);
    assert_eq!(made.await?.0, 201);
    there.push_image("lib/app", "v1", &bytes(2, 10)).await?;
    let held = pull(client, TAG).await?;
    let warning = header(&held, "warning")?;
    assert!(warning.contains("is immutable by rule"), "{warning}");
    assert_eq!(held.bytes().await?, first);
    Ok(())
}

#[tokio::test]
async fn first_pulls_at_once_fetch_once() -> anyhow::Result<()> {
    let (mut upstream, _between, cache) = pair(&[]).await?;
    let layer = bytes(1, 8_000_000);
    let manifest = upstream
        .client()
        .push_image("lib/app", "v1", &layer)
        .await?;
    let (client, path) = (cache.client(), blob(&sha256(&layer)));
    let manifests = try_join_all((0..8).map(|_| client.get(TAG))).await?;
    assert!(
        manifests
            .iter()
            .all(|came| came.as_ref() == Some(&manifest))
    );
    let whole = try_join_all((0..8).map(|_| client.get(&path)));
    let part = async {
        let part = client
            .request(Method::GET, &path)
            .header("range", "bytes=5000000-5999999");
        let part = part.send().await?;
        ensure!(part.status() == 206, "{}", part.status());
        Ok(part.bytes().await?)
    };
    let (whole, part) = tokio::join!(whole, part);
    assert!(whole?.iter().all(|came| came.as_ref() == Some(&layer)));
    assert!(part? == layer[5_000_000..6_000_000]);
    assert_eq!(blob_pulls(&mut upstream).await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_blob_that_the_quota_has_no_room_for_is_given_and_not_kept() -> anyhow::Result<()> {
    let (mut upstream, _between, cache) = pair(&[]).await?;
    let layer = bytes(1, 5000);
    upstream
        .client()
        .push_image("lib/app", "v1", &layer)
        .await?;
    let (client, path) = (cache.client(), blob(&sha256(&layer)));
    let set = json!({"hard": {"storage": 1000}});
    assert_eq!(client.manage(Method::PUT, "/quotas/hub", set).await?.0, 200);
    for times in 1..=2 {
        assert_eq!(client.get(&path).await?.as_ref(), Some(&layer));
        wait_for("the fetch to end", Duration::from_secs(20), || async {
            let log = cache.directory().join("data/log/registry-job.log");
            let log = std::fs::read_to_string(log).unwrap_or_default();
            (log.matches("\"state\":\"failed\"").count() == times).then_some(())
        })
        .await?;
    }
    assert_eq!(
        (used(client).await?, blob_pulls(&mut upstream).await?),
        (0, 2)
    );
    Ok(())
}

#[tokio::test]
async fn clients_may_think_that_they_ask_the_other_registry() -> anyhow::Result<()> {
    let upstream = Registry::start(Kind::Files, &[]).await?;
    let manifest = upstream
        .client()
        .push_image("library/alpine", "3", &bytes(1, 10))
        .await?;
    let cache = Registry::start(Kind::Files, &EAGER).await?;
    let client = cache.client();
    let url = upstream.client().base();
    let hub = json!({"name": "hub", "url": url, "namespace": "docker.io"});
    let id = connect(client, "hub", hub).await?;
    let mirrored = pull(client, "/v2/library/alpine/manifests/3?ns=docker.io").await?;
    assert_eq!(header(&mirrored, "oci-namespace")?, "docker.io");
    assert_eq!(mirrored.bytes().await?, manifest);
    // Official images are called so too.
    assert_eq!(
        client.get("/v2/hub/alpine/manifests/3").await?,
        Some(manifest)
    );
    let other = pull(client, "/v2/library/alpine/manifests/3?ns=quay.io").await?;
    assert_eq!(other.status(), 404);

    let again = json!({"name": "hub", "url": url});
    assert_eq!(
        client.manage(Method::POST, "/registries", again).await?.0,
        409
    );
    let wrong = json!({"name": "x", "url": "ftp://x"});
    assert_eq!(
        client.manage(Method::POST, "/registries", wrong).await?.0,
        400
    );
    let path = format!("/registries/{id}");
    assert_eq!(
        client.manage(Method::DELETE, &path, Value::Null).await?.0,
        409
    );
    // An ordinary project again: it keeps what it has, and is pushed to.
    let ordinary = json!({"registry_id": 0});
    assert_eq!(
        client
            .manage(Method::PUT, "/projects/hub", ordinary)
            .await?
            .0,
        200
    );
    assert_eq!(
        client.manage(Method::DELETE, &path, Value::Null).await?.0,
        200
    );
    drop(upstream);
    let kept = pull(client, "/v2/hub/alpine/manifests/3").await?;
    assert!(kept.headers().get("warning").is_none());
    client.push_image("hub/own", "v1", &bytes(2, 10)).await?;
    // What it has is not hidden by mistake.
    let other = json!({"name": "other", "url": "http://127.0.0.1:1"});
    let other = connect(client, "elsewhere", other).await?;
    for (replaces, status) in [(false, 409), (true, 200), (false, 200)] {
        let cache = json!({"registry_id": other, "replace_images": replaces});
        let (given, why) = client.manage(Method::PUT, "/projects/hub", cache).await?;
        assert_eq!(given, status, "{why}");
    }
    Ok(())
}

#[tokio::test]
async fn the_other_registry_speaks_tls_and_is_known_by_the_roots_of_the_system()
-> anyhow::Result<()> {
    let upstream = Registry::start_tls(Kind::Files, &[LOCAL]).await?;
    let password = upstream.directory().join("data/registry/admin-password");
    let password = std::fs::read_to_string(password)?.trim().to_owned();
    let admin = upstream.client().login("admin", &password);
    let manifest = admin.push_image("lib/app", "v1", &bytes(1, 10)).await?;
    let known = known(upstream.client().base(), "admin", &password);
    let roots = tls_file("ca.pem");
    for (roots, status) in [(roots.as_str(), 200), ("", 502)] {
        let mut env = EAGER.to_vec();
        if !roots.is_empty() {
            env.push(("SSL_CERT_FILE", roots));
        }
        let cache = Registry::start(Kind::Files, &env).await?;
        connect(cache.client(), "hub", known.clone()).await?;
        let pulled = pull(cache.client(), TAG).await?;
        assert_eq!(pulled.status(), status, "{}", text(pulled).await);
    }
    drop(manifest);
    Ok(())
}
