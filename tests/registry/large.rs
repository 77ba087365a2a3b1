//! Large manifests, whose bytes are in the store and not in the database.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::{join_all, try_join_all};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tests::registry::{
    INDEX, Kind, Registry, RegistryClient, files_below, files_with, header, sha256, text,
};
use tests::wait_for;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::auth::{self, PASSWORD};

/// Garbage goes in the next round.
const NO_GRACE: [(&str, &str); 4] = [
    ("SKALD_REGISTRY_GC_INTERVAL", "100ms"),
    ("SKALD_REGISTRY_GC_BLOB_GRACE", "0s"),
    ("SKALD_REGISTRY_GC_UNTAGGED_GRACE", "0s"),
    ("SKALD_REGISTRY_GC_DATA_GRACE", "0s"),
];

/// An index of so many bytes, about, with a word that no other has.
fn index(word: &str, len: usize) -> Vec<u8> {
    let annotations = json!({"word": word, "filler": "x".repeat(len)});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [],
        "annotations": annotations});
    index.to_string().into_bytes()
}

async fn put(client: &RegistryClient, repo: &str, tag: &str, body: &[u8]) -> anyhow::Result<()> {
    let put = client.put_manifest(repo, tag, INDEX, body).await?;
    anyhow::ensure!(put.status() == 201, "{}", text(put).await);
    Ok(())
}

fn data(registry: &Registry) -> PathBuf {
    registry.directory().join("data/registry/store/data")
}

/// What a comparison of database and store finds that reads all bytes.
async fn findings(client: &RegistryClient) -> anyhow::Result<Vec<Value>> {
    let asked = client.request(Method::POST, "/api/v2.0/system/fsck");
    let answer = asked.json(&json!({"read_bytes": true})).send().await?;
    let lines = answer.text().await?;
    let lines = lines.lines().map(serde_json::from_str::<Value>);
    let mut lines = lines.collect::<Result<Vec<_>, _>>()?;
    let last = lines.pop().unwrap_or_default();
    anyhow::ensure!(last["found"] == "done", "{last}");
    Ok(lines)
}

#[tokio::test]
async fn those_that_are_on_their_way_have_a_bound_together() -> anyhow::Result<()> {
    let bound = ("SKALD_REGISTRY_LIMITS_BODY_BYTES_MAX", "6MB");
    let registry = Registry::start(Kind::Files, &[bound]).await?;
    let client = registry.client();
    let addr = client.base().trim_start_matches("http://");
    let head = format!(
        "PUT /v2/app/manifests/slow HTTP/1.1\r\nhost: x\r\ncontent-type: {INDEX}\r\n\
         content-length: 2500000\r\n\r\n"
    );
    let begin = async || -> anyhow::Result<TcpStream> {
        let mut slow = TcpStream::connect(addr).await?;
        slow.write_all(head.as_bytes()).await?;
        slow.write_all(&vec![b' '; 2_400_000]).await?;
        Ok(slow)
    };
    let large = index("large", 2_000_000);
    let mut slow = begin().await?;
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let put = client.put_manifest("app", "large", INDEX, &large).await;
        let is_refused =
            |put: Response| put.status() == 429 && put.headers().contains_key("retry-after");
        if put.is_ok_and(is_refused) {
            break;
        }
        assert!(Instant::now() < deadline, "nothing was refused");
        // It came before the slow one, which was refused or is not read yet.
        slow = begin().await.unwrap_or(slow);
    }
    put(client, "app", "small", &index("small", 1000)).await?;
    let project = json!({"project_name": "other"});
    assert_eq!(
        client.manage(Method::POST, "/projects", project).await?.0,
        201
    );
    drop(slow);
    wait_for("room", Duration::from_secs(30), async || {
        put(client, "app", "large", &large).await.ok()
    })
    .await
}

#[tokio::test]
async fn who_sends_much_leaves_room_to_others() -> anyhow::Result<()> {
    let bound = ("SKALD_REGISTRY_LIMITS_BODY_BYTES_MAX", "3MB");
    let (registry, admin) = auth::start_with(&[bound]).await?;
    let client = registry.client();
    let (account, project) = ("eve", json!({"project_name": "app"}));
    let user = json!({"username": account, "password": PASSWORD});
    assert_eq!(admin.manage(Method::POST, "/users", user).await?.0, 201);
    let eve = client.login(account, PASSWORD);
    let token = async |client: &RegistryClient| {
        let given = client.json("/service/token?service=registry").await?;
        anyhow::Ok(given["token"].as_str().unwrap_or_default().to_owned())
    };
    let nobodys = token(client).await?;
    let asked = client.request(Method::POST, "/api/v2.0/projects");
    let asked = asked.bearer_auth(nobodys).json(&project).send().await?;
    assert_eq!(asked.status(), 401);

    let addr = client.base().trim_start_matches("http://");
    let head = format!(
        "POST /api/v2.0/projects HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: 500000\r\n\r\n",
        token(&eve).await?
    );
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut one = TcpStream::connect(addr).await?;
        one.write_all(head.as_bytes()).await?;
        // What is refused is not read to its end.
        let _ = one.write_all(&[b' '; 499_998]).await;
        slow.push(one);
    }
    wait_for("a refusal", Duration::from_secs(30), async || {
        let large = json!({"filler": "x".repeat(499_000)});
        let asked = eve.manage(Method::POST, "/projects", large).await;
        asked.is_ok_and(|(status, _)| status == 429).then_some(())
    })
    .await?;
    let made = admin.manage(Method::POST, "/projects", project).await?;
    assert_eq!(made.0, 201, "{made:?}");
    put(&admin, "app/a", "small", &index("small", 500_000)).await
}

#[tokio::test]
async fn their_bytes_are_in_the_store_for_as_long_as_they_are_there() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &NO_GRACE).await?;
    let (client, data) = (registry.client(), data(&registry));
    let (small, large) = (index("small", 200_000), index("large", 3_000_000));
    put(client, "app", "small", &small).await?;
    assert_eq!(files_below(&data), 0);
    for tag in ["v1", "v2"] {
        put(client, "app", tag, &large).await?;
        assert_eq!(files_with(&data, "\"large\"")?.len(), 1);
    }
    let facts = files_with(&registry.directory().join("data"), "\"large\"")?;
    assert_eq!(facts.len(), 1, "{facts:?}");
    put(client, "other", "v1", &large).await?;
    assert_eq!(files_with(&data, "\"large\"")?.len(), 2);

    let by_digest = format!("/v2/app/manifests/{}", sha256(&large));
    let head = client.request(Method::HEAD, &by_digest).send().await?;
    assert_eq!(header(&head, "content-length")?, large.len().to_string());
    assert!(client.get(&by_digest).await? == Some(large.clone()));
    assert_eq!(findings(client).await?, Vec::<Value>::new());

    assert_eq!(client.status(Method::DELETE, &by_digest).await?, 202);
    let gone = || async { (files_below(&data) == 1).then_some(()) };
    wait_for("the bytes to go", Duration::from_secs(20), gone).await?;
    let other = format!("/v2/other/manifests/{}", sha256(&large));
    assert!(client.get(&other).await? == Some(large.clone()));
    // What garbage collection and the removal of a repository take goes the same way.
    put(client, "app", "v1", &large).await?;
    put(client, "app", "v1", &small).await?;
    let deleted = client.manage(
        Method::DELETE,
        "/projects/other/repositories/-",
        json!(null),
    );
    assert_eq!(deleted.await?.0, 200);
    let gone = || async { (files_below(&data) == 0).then_some(()) };
    wait_for("all bytes to go", Duration::from_secs(20), gone).await?;
    assert_eq!(client.get("/v2/app/manifests/v1").await?, Some(small));
    Ok(())
}

#[tokio::test]
async fn they_are_copied_between_projects_and_cost_what_they_have() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let registry = Registry::start(kind, &[]).await?;
        let client = registry.client();
        let large = index("large", 9_000_000 - 1_000_000);
        put(client, "dev/app", "v1", &large).await?;
        for (name, hard) in [("prod", -1), ("small", 1000)] {
            let project = json!({"project_name": name, "storage_limit": hard});
            let made = client.manage(Method::POST, "/projects", project);
            assert_eq!(made.await?.0, 201);
        }
        let copy = |to: &str| {
            let path = format!("/projects/{to}/repositories/app/artifacts?from=dev/app:v1");
            async move { client.manage(Method::POST, &path, json!(null)).await }
        };
        assert_eq!(copy("prod").await?.0, 201);
        assert_eq!(copy("small").await?.0, 403);
        let path = "/v2/prod/app/manifests/v1";
        assert!(client.get(path).await? == Some(large.clone()));
        for (project, used) in [("dev", large.len()), ("prod", large.len()), ("small", 0)] {
            let path = format!("/quotas/{project}");
            let (_, quota) = client.manage(Method::GET, &path, json!(null)).await?;
            assert_eq!(quota["used"]["storage"], used, "{project}");
        }
        assert_eq!(findings(client).await?, Vec::<Value>::new());
    }
    Ok(())
}

#[tokio::test]
async fn bytes_of_what_is_refused_go_and_lost_ones_are_found() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &NO_GRACE).await?;
    let (client, data) = (registry.client(), data(&registry));
    let project = json!({"project_name": "small", "storage_limit": 1000});
    let made = client.manage(Method::POST, "/projects", project);
    assert_eq!(made.await?.0, 201);
    let large = index("large", 1_000_000);
    let refused = client.put_manifest("small/app", "v1", INDEX, &large);
    assert_eq!(refused.await?.status(), 403);
    let gone = || async { (files_below(&data) == 0).then_some(()) };
    wait_for("the bytes to go", Duration::from_secs(20), gone).await?;

    for word in ["lost", "damaged"] {
        put(client, "app", word, &index(word, 1_000_000)).await?;
    }
    let file = |word: &str| anyhow::Ok(files_with(&data, &format!("\"{word}\""))?.remove(0));
    std::fs::remove_file(file("lost")?)?;
    let damaged = file("damaged")?;
    let mut other = std::fs::read(&damaged)?;
    other[77] ^= 1;
    std::fs::write(damaged, other)?;
    let found = findings(client).await?;
    let kinds: Vec<&Value> = found.iter().map(|found| &found["found"]).collect();
    assert_eq!(kinds, ["manifest_missing", "manifest_damaged"], "{found:?}");
    assert_eq!(found[0]["digest"], sha256(&index("lost", 1_000_000)));
    assert_eq!(found[0]["repository"], "app");
    assert_eq!(found[0]["stored"], Value::Null);
    // Who pulls is told to come again, and not something else.
    let pulled = client.request(Method::GET, "/v2/app/manifests/lost");
    assert_eq!(pulled.send().await?.status(), 503);
    Ok(())
}

#[tokio::test]
async fn a_kill_leaves_no_manifest_half_and_no_bytes_that_nothing_names() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        // Also young bytes that no row names count.
        let env = [("SKALD_REGISTRY_GC_SWEEP_INTERVAL", "0s")];
        let mut registry = Registry::start(kind, &env).await?;
        let mut acknowledged = Vec::new();
        for round in 0..3 {
            let pushed = AtomicUsize::new(0);
            let push = |pusher: usize| {
                let (client, pushed) = (registry.client(), &pushed);
                async move {
                    let mut done = Vec::new();
                    for number in 0.. {
                        let (repo, tag) = (format!("app{pusher}"), format!("r{round}n{number}"));
                        let body = index(&format!("{repo}{tag}"), 600_000);
                        if put(client, &repo, &tag, &body).await.is_err() {
                            break;
                        }
                        pushed.fetch_add(1, Ordering::Relaxed);
                        done.push((format!("/v2/{repo}/manifests/{tag}"), body));
                    }
                    done
                }
            };
            let pid = registry.pid()?.to_string();
            let (done, killed) = tokio::join!(join_all((0..8).map(push)), async {
                let enough = || async { (pushed.load(Ordering::Relaxed) >= 20).then_some(()) };
                wait_for("some pushes", Duration::from_secs(60), enough).await?;
                let mut kill = std::process::Command::new("kill");
                anyhow::Ok(kill.args(["-KILL", &pid]).status()?.success())
            });
            assert!(killed?);
            acknowledged.extend(done.into_iter().flatten());
            registry.kill()?;
            registry.start_again().await?;
        }
        let client = registry.client();
        let looked = acknowledged.iter().map(|(path, body)| async move {
            let found = client.get(path).await?;
            anyhow::ensure!(found.as_ref() == Some(body), "{path}");
            Ok(())
        });
        try_join_all(looked).await?;
        assert_eq!(findings(client).await?, Vec::<Value>::new());
    }
    Ok(())
}
