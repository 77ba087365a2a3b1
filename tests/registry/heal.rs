//! Bytes that the disk or the object store lost or changed are there again once they were pushed, or
//! pulled through a cache, again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{
    INDEX, Kind, Registry, RegistryClient, bytes, code, file_of, files_below, sha256, text,
};
use tests::wait_for;

/// What happens to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Gone,
    Short,
    Flipped,
}

impl Damage {
    const ALL: [Self; 3] = [Self::Gone, Self::Short, Self::Flipped];

    /// Breaks the file that has these bytes.
    async fn hit(self, registry: &Registry, content: &[u8]) -> anyhow::Result<()> {
        let path = file_of(&store(registry), content)?;
        match self {
            Self::Gone => std::fs::remove_file(path)?,
            Self::Short => std::fs::write(path, &content[..content.len() / 2])?,
            Self::Flipped => {
                let mut other = content.to_vec();
                other[77] ^= 1;
                std::fs::write(path, other)?;
                // Only who reads them can see it.
                ensure!(!findings(registry.client()).await?.is_empty());
            }
        }
        Ok(())
    }
}

/// Where a registry's bytes are.
fn store(registry: &Registry) -> PathBuf {
    let s3 = registry.directory().join("s3");
    match s3.is_dir() {
        true => s3,
        false => registry.directory().join("data/registry/store"),
    }
}

/// What a comparison of database and store finds that reads all bytes.
async fn findings(client: &RegistryClient) -> anyhow::Result<Vec<Value>> {
    let asked = client.request(Method::POST, "/api/v2.0/system/fsck");
    let answer = asked.json(&json!({"read_bytes": true})).send().await?;
    let lines = answer.text().await?;
    let lines = lines.lines().map(serde_json::from_str::<Value>);
    let mut lines = lines.collect::<Result<Vec<_>, _>>()?;
    let last = lines.pop().unwrap_or_default();
    ensure!(last["found"] == "done", "{last}");
    Ok(lines)
}

/// Pushes a blob as clients do: only if it is not there. Says whether it was sent.
async fn push(client: &RegistryClient, repo: &str, blob: &[u8]) -> anyhow::Result<bool> {
    let path = format!("/v2/{repo}/blobs/{}", sha256(blob));
    if client.status(Method::HEAD, &path).await? == 200 {
        return Ok(false);
    }
    client.push_blob(repo, blob).await?;
    Ok(true)
}

/// Garbage stays while it is looked at.
const NO_GC: [(&str, &str); 1] = [("SKALD_REGISTRY_GC_ENABLED", "false")];

#[tokio::test]
async fn a_blob_is_whole_again_when_it_is_pushed_again() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let registry = Registry::start(kind, &NO_GC).await?;
        let client = registry.client();
        for (seed, damage) in (1..).zip(Damage::ALL) {
            let layer = bytes(seed, 300_000);
            let tag = format!("v{seed}");
            client.push_image("team/app", &tag, &layer).await?;
            assert!(!push(client, "team/app", &layer).await?, "it is there");
            damage.hit(&registry, &layer).await?;
            let digest = sha256(&layer);
            let path = format!("/v2/team/app/blobs/{digest}");
            if !matches!(damage, Damage::Flipped) {
                let pulled = client.request(Method::GET, &path).send().await?;
                assert_eq!(pulled.status(), 503, "{kind:?} {damage:?}");
                assert_eq!(code(pulled).await?, "UNAVAILABLE");
            }
            // Neither who asks nor who mounts it is told that it need not be sent.
            assert_eq!(client.status(Method::HEAD, &path).await?, 404);
            let mount = format!("/v2/team/other/blobs/uploads/?mount={digest}&from=team/app");
            let mounted = client.status(Method::POST, &mount).await?;
            assert_eq!(mounted, 202, "{kind:?} {damage:?}");
            assert!(push(client, "team/app", &layer).await?);
            assert!(!push(client, "team/app", &layer).await?, "it is there");
            assert_eq!(client.get(&path).await?, Some(layer.clone()));
            assert_eq!(client.status(Method::POST, &mount).await?, 201);
            let other = format!("/v2/team/other/blobs/{digest}");
            assert_eq!(client.get(&other).await?, Some(layer));
            let left = findings(client).await?;
            assert_eq!(left, Vec::<Value>::new(), "{kind:?} {damage:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn many_who_push_it_again_at_once_make_it_whole_once() -> anyhow::Result<()> {
    let env = [
        ("SKALD_REGISTRY_GC_INTERVAL", "100ms"),
        ("SKALD_REGISTRY_GC_DATA_GRACE", "0s"),
    ];
    let registry = Registry::start(Kind::Files, &env).await?;
    let client = registry.client();
    let layer = bytes(1, 300_000);
    client.push_image("team/app", "v1", &layer).await?;
    let count = files_below(&store(&registry));
    Damage::Gone.hit(&registry, &layer).await?;
    // They do not ask what is there.
    try_join_all((0..10).map(|_| client.push_blob("team/app", &layer))).await?;
    let path = format!("/v2/team/app/blobs/{}", sha256(&layer));
    assert_eq!(client.get(&path).await?, Some(layer));
    let left = || async { (files_below(&store(&registry)) == count).then_some(()) };
    wait_for("one to be left", Duration::from_secs(20), left).await?;
    assert_eq!(findings(client).await?, Vec::<Value>::new());
    Ok(())
}

/// What was found damaged and is whole again, as from a backup, is not asked for any more.
#[tokio::test]
async fn bytes_that_were_brought_back_are_there_again() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &NO_GC).await?;
    let client = registry.client();
    let layer = bytes(1, 100_000);
    client.push_image("team/app", "v1", &layer).await?;
    let path = file_of(&store(&registry), &layer)?;
    Damage::Flipped.hit(&registry, &layer).await?;
    let blob = format!("/v2/team/app/blobs/{}", sha256(&layer));
    assert_eq!(client.status(Method::HEAD, &blob).await?, 404);
    std::fs::write(path, &layer)?;
    assert_eq!(findings(client).await?, Vec::<Value>::new());
    assert_eq!(client.status(Method::HEAD, &blob).await?, 200);
    Ok(())
}

/// An index that is too large for the database.
fn large() -> Vec<u8> {
    let filler = json!({"filler": "x".repeat(600_000)});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [],
        "annotations": filler});
    index.to_string().into_bytes()
}

#[tokio::test]
async fn a_large_manifest_is_whole_again_when_it_is_pushed_again() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let registry = Registry::start(kind, &NO_GC).await?;
        let client = registry.client();
        let index = large();
        let path = "/v2/team/app/manifests/v1";
        for damage in Damage::ALL {
            for _ in 0..2 {
                let put = client.put_manifest("team/app", "v1", INDEX, &index).await?;
                assert_eq!(put.status(), 201, "{}", text(put).await);
                assert_eq!(client.status(Method::HEAD, path).await?, 200);
                assert_eq!(client.get(path).await?, Some(index.clone()));
            }
            assert_eq!(findings(client).await?, Vec::<Value>::new());
            damage.hit(&registry, &index).await?;
            let head = client.status(Method::HEAD, path).await?;
            assert_eq!(head, 404, "{kind:?} {damage:?}");
        }
    }
    Ok(())
}

/// A registry, and one of which the project `hub` is a cache of it.
async fn pair(kind: Kind) -> anyhow::Result<(Registry, Registry)> {
    let upstream = Registry::start(Kind::Files, &[]).await?;
    let cache = Registry::start(kind, &NO_GC).await?;
    let known = json!({"name": "up", "url": upstream.client().base()});
    let (_, made) = cache
        .client()
        .manage(Method::POST, "/registries", known)
        .await?;
    let project = json!({"project_name": "hub", "registry_id": made["id"]});
    let made = cache.client().manage(Method::POST, "/projects", project);
    ensure!(made.await?.0 == 201);
    Ok((upstream, cache))
}

async fn is_stored(directory: &Path, content: &[u8]) -> anyhow::Result<()> {
    let stored = || async { file_of(directory, content).ok() };
    wait_for("it to be kept", Duration::from_secs(20), stored).await?;
    Ok(())
}

#[tokio::test]
async fn a_cache_fetches_again_what_it_has_lost() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let (upstream, cache) = pair(kind).await?;
        let (layer, index) = (bytes(1, 300_000), large());
        let pushed = upstream.client();
        pushed.push_image("lib/app", "v1", &layer).await?;
        let put = pushed.put_manifest("lib/app", "index", INDEX, &index);
        assert_eq!(put.await?.status(), 201);
        let pull = || async {
            let client = cache.client();
            let image = client.get("/v2/hub/lib/app/manifests/v1").await?;
            ensure!(image.is_some());
            let pulled = client.get("/v2/hub/lib/app/manifests/index").await?;
            ensure!(pulled.as_ref() == Some(&index));
            let blob = format!("/v2/hub/lib/app/blobs/{}", sha256(&layer));
            ensure!(client.status(Method::HEAD, &blob).await? == 200);
            ensure!(client.get(&blob).await?.as_ref() == Some(&layer));
            for content in [&layer, &index] {
                is_stored(&store(&cache), content).await?;
            }
            ensure!(findings(client).await?.is_empty());
            Ok(())
        };
        pull().await?;
        for damage in Damage::ALL {
            damage.hit(&cache, &layer).await?;
            damage.hit(&cache, &index).await?;
            let pulled = pull().await;
            pulled.with_context(|| format!("{kind:?} {damage:?}"))?;
        }
    }
    Ok(())
}
