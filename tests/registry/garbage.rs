//! Garbage collection while pushes and pulls go on.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{
    CONFIG, INDEX, Kind, LAYER, MANIFEST, Registry, RegistryClient, bytes, descriptor, file_of,
    image, sha256,
};
use tests::wait_for;

/// What is free goes in the next round; between two of them a push has a chance to finish.
pub(crate) const NO_GRACE: [(&str, &str); 4] = [
    ("SKALD_REGISTRY_GC_INTERVAL", "1s"),
    ("SKALD_REGISTRY_GC_BLOB_GRACE", "0s"),
    ("SKALD_REGISTRY_GC_UNTAGGED_GRACE", "0s"),
    ("SKALD_REGISTRY_GC_DATA_GRACE", "0s"),
];

/// Images that each of the pushers gets through; `run.sh` has them work for minutes.
fn images() -> usize {
    let given = std::env::var("REGISTRY_IMAGES");
    given.ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

/// How many push at once.
const PUSHERS: usize = 4;
/// How often they do, at most, until something is collected.
const ROUNDS_MAX: usize = 200;

async fn push_if_missing(client: &RegistryClient, repo: &str, blob: &[u8]) -> anyhow::Result<()> {
    let path = format!("/v2/{repo}/blobs/{}", sha256(blob));
    if client.status(Method::HEAD, &path).await? == 404 {
        client.push_blob(repo, blob).await?;
    }
    Ok(())
}

/// Pushes an image of shared layers, pushing again what was collected in between as clients do;
/// looks at it; deletes it.
async fn push_look_delete(
    registry: &Registry,
    pusher: usize,
    looked: &AtomicUsize,
) -> anyhow::Result<()> {
    let client = registry.client();
    let config = json!({"pusher": pusher}).to_string();
    for round in 0..images() {
        let layers: Vec<Vec<u8>> = (0..3)
            .map(|n| bytes(((round + n) % 5) as u64, 3000))
            .collect();
        let repo = format!("shared/app{}", pusher % 2);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": descriptor(CONFIG, config.as_bytes()),
            "layers": layers.iter().map(|layer| descriptor(LAYER, layer)).collect::<Vec<_>>(),
            "annotations": {"round": round.to_string()},
        });
        let manifest = manifest.to_string().into_bytes();
        let tag = format!("p{pusher}");
        loop {
            let blobs = layers.iter().map(Vec::as_slice).chain([config.as_bytes()]);
            let pushes = blobs.map(|blob| push_if_missing(client, &repo, blob));
            try_join_all(pushes).await?;
            let put = client
                .put_manifest(&repo, &tag, MANIFEST, &manifest)
                .await?;
            match put.status().as_u16() {
                201 => break,
                // A blob was collected before the manifest could hold it.
                400 => {}
                status => anyhow::bail!("{status}"),
            }
        }
        // From now on all of it has to be there, whatever others delete.
        let found = client.get(&format!("/v2/{repo}/manifests/{tag}")).await?;
        anyhow::ensure!(found.as_ref() == Some(&manifest), "{repo}:{tag} is gone");
        for blob in layers.iter().map(Vec::as_slice).chain([config.as_bytes()]) {
            let path = format!("/v2/{repo}/blobs/{}", sha256(blob));
            let found = client.get(&path).await?;
            anyhow::ensure!(found.as_deref() == Some(blob), "{repo}:{tag} lacks {path}");
        }
        looked.fetch_add(1, Ordering::Relaxed);
        let by_digest = format!("/v2/{repo}/manifests/{}", sha256(&manifest));
        let deleted = client.status(Method::DELETE, &by_digest).await?;
        anyhow::ensure!(deleted == 202, "{deleted}");
    }
    Ok(())
}

/// How many blobs garbage collection has removed.
async fn removed_blobs(registry: &mut Registry) -> anyhow::Result<u64> {
    let metrics = registry.metrics().await?;
    let removed = metrics
        .lines()
        .find_map(|line| line.strip_prefix(r#"registry_gc_removed_total{kind="blob"} "#));
    Ok(removed.unwrap_or("0").parse()?)
}

#[tokio::test]
async fn no_image_ever_lacks_a_blob_while_others_delete_the_same_layers() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let mut registry = Registry::start(kind, &NO_GRACE).await?;
        let looked = AtomicUsize::new(0);
        let mut rounds = 0;
        // Until garbage was collected while they worked.
        while removed_blobs(&mut registry).await? <= 5 {
            anyhow::ensure!(
                rounds < ROUNDS_MAX,
                "nothing was collected in {rounds} rounds"
            );
            let pushers = (0..PUSHERS).map(|pusher| push_look_delete(&registry, pusher, &looked));
            for outcome in join_all(pushers).await {
                outcome?;
            }
            rounds += 1;
        }
        assert_eq!(looked.load(Ordering::Relaxed), rounds * PUSHERS * images());
    }
    Ok(())
}

#[tokio::test]
async fn what_nothing_refers_to_goes_and_what_something_does_stays() -> anyhow::Result<()> {
    let env = [NO_GRACE[0], NO_GRACE[2], NO_GRACE[3]];
    let registry = Registry::start(Kind::Files, &env).await?;
    let client = registry.client();
    let kept = client.push_image("app", "kept", &bytes(100, 500)).await?;
    let moved = client.push_image("app", "moved", &bytes(101, 500)).await?;
    client.put_manifest("app", "moved", MANIFEST, &kept).await?;
    let gone = format!("/v2/app/manifests/{}", sha256(&moved));
    wait_for(
        "the untagged manifest to go",
        Duration::from_secs(20),
        || async {
            let status = client.status(Method::GET, &gone).await.ok()?;
            (status == 404).then_some(())
        },
    )
    .await?;
    assert_eq!(client.get("/v2/app/manifests/kept").await?, Some(kept));
    let layer = format!("/v2/app/blobs/{}", sha256(&bytes(100, 500)));
    assert_eq!(client.get(&layer).await?, Some(bytes(100, 500)));
    Ok(())
}

/// Clients ask for a manifest by its digest to know whether they have to push it.
#[tokio::test]
async fn a_manifest_stays_for_its_grace_after_somebody_was_told_that_it_is_there()
-> anyhow::Result<()> {
    let env = [NO_GRACE[0], ("SKALD_REGISTRY_GC_UNTAGGED_GRACE", "6s")];
    let registry = Registry::start(Kind::Files, &env).await?;
    let client = registry.client();
    let mut paths = Vec::new();
    for tag in ["asked", "other"] {
        let image = client.push_image("app", tag, tag.as_bytes()).await?;
        let by_tag = format!("/v2/app/manifests/{tag}");
        assert_eq!(client.status(Method::DELETE, &by_tag).await?, 202);
        paths.push(format!("/v2/app/manifests/{}", sha256(&image)));
    }
    let (asked, other) = (&paths[0], &paths[1]);
    wait_for("the other to go", Duration::from_secs(30), || async {
        client.status(Method::HEAD, asked).await.ok()?;
        let status = client.status(Method::GET, other).await.ok()?;
        (status == 404).then_some(())
    })
    .await?;
    assert_eq!(client.status(Method::HEAD, asked).await?, 200);
    Ok(())
}

/// The index did not come, as its push was broken off.
#[tokio::test]
async fn what_never_had_a_tag_goes_too() -> anyhow::Result<()> {
    let mut env = vec![NO_GRACE[0], NO_GRACE[2], NO_GRACE[3]];
    env.push(("SKALD_REGISTRY_GC_NEVER_TAGGED_GRACE", "5s"));
    let registry = Registry::start(Kind::Files, &env).await?;
    let client = registry.client();
    let push = async |client: &RegistryClient, name: &str| {
        let config = json!({"name": name}).to_string();
        client.push_blob("app", config.as_bytes()).await?;
        let image = image(config.as_bytes(), &[]).to_string().into_bytes();
        let digest = sha256(&image);
        let put = client
            .put_manifest("app", &digest, MANIFEST, &image)
            .await?;
        anyhow::ensure!(put.status() == 201);
        anyhow::Ok((image, format!("/v2/app/manifests/{digest}")))
    };
    let (part, part_path) = push(client, "part").await?;
    let (_, pulled) = push(client, "pulled").await?;
    let (_, lost) = push(client, "lost").await?;
    let parts = [descriptor(MANIFEST, &part)];
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": parts}).to_string();
    let put = client.put_manifest("app", "all", INDEX, index.as_bytes());
    assert_eq!(put.await?.status(), 201);
    wait_for("the lost one to go", Duration::from_secs(30), async || {
        client.get(&pulled).await.ok()?;
        let tried = client.request(Method::HEAD, &lost).send().await.ok()?;
        (tried.status() == 404).then_some(())
    })
    .await?;
    for path in [&pulled, &part_path] {
        assert_eq!(client.status(Method::GET, path).await?, 200);
    }
    // Where nothing is said it stays for ever, unless all of them are to go.
    env.pop();
    let registry = Registry::start(Kind::Files, &env).await?;
    let client = registry.client();
    let (_, path) = push(client, "kept").await?;
    let (part, _) = push(client, "part").await?;
    let parts = [descriptor(MANIFEST, &part)];
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": parts}).to_string();
    client
        .put_manifest("app", "all", INDEX, index.as_bytes())
        .await?;
    let collect = async |asked: Value| {
        let (status, done) = client.manage(Method::POST, "/system/gc", asked).await?;
        anyhow::ensure!(status == 200, "{done}");
        anyhow::Ok(done["manifests"].clone())
    };
    for dry_run in [true, false] {
        assert_eq!(collect(json!({"dry_run": dry_run})).await?, 0);
    }
    let all = |dry_run: bool| json!({"dry_run": dry_run, "delete_untagged": true});
    assert_eq!(collect(all(true)).await?, 1);
    assert_eq!(client.status(Method::GET, &path).await?, 200);
    assert_eq!(collect(all(false)).await?, 1);
    assert_eq!(client.status(Method::GET, &path).await?, 404);
    Ok(())
}

/// Of a push that was broken off nothing is in the way of who removes the project. What had a tag can be
/// brought back for a time.
#[tokio::test]
async fn a_repository_goes_with_the_last_thing_of_it() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &NO_GRACE).await?;
    let client = registry.client();
    let empty = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).to_string();
    let by_digest = sha256(empty.as_bytes());
    for reference in ["v1", by_digest.as_str()] {
        let repo = if reference == "v1" {
            "team/tagged"
        } else {
            "team/untagged"
        };
        let put = client.put_manifest(repo, reference, INDEX, empty.as_bytes());
        assert_eq!(put.await?.status(), 201);
    }
    let deleted = client.status(Method::DELETE, "/v2/team/tagged/manifests/v1");
    assert_eq!(deleted.await?, 202);
    let begun = client.begin("team/broken-off").await?;
    client.push_blob("team/broken-off", b"blob").await?;
    let all = json!({"dry_run": false, "delete_untagged": true});
    client.manage(Method::POST, "/system/gc", all).await?;
    let only_tagged = async || {
        wait_for("the others to go", Duration::from_secs(30), || async {
            let catalog = client.json("/v2/_catalog").await.ok()?;
            (catalog["repositories"] == json!(["team/tagged"])).then_some(())
        })
        .await
    };
    only_tagged().await?;
    // Who goes on has a new one.
    let more = sha256(b"more");
    let put = client.finish(&begun, &more, b"more".to_vec());
    assert_eq!(put.await?.status(), 201);
    only_tagged().await?;
    // Nothing of this one waits to be looked at.
    let put = client.put_manifest("team/deleted", &by_digest, INDEX, empty.as_bytes());
    assert_eq!(put.await?.status(), 201);
    let path = format!("/v2/team/deleted/manifests/{by_digest}");
    assert_eq!(client.status(Method::DELETE, &path).await?, 202);
    let purge = client.manage(Method::POST, "/projects/team/purge", Value::Null);
    assert_eq!(purge.await?.0, 200);
    for (path, status) in [
        ("/projects/team", 409),
        ("/projects/team/repositories/tagged", 200),
        ("/projects/team", 200),
    ] {
        let deleted = client.manage(Method::DELETE, path, Value::Null).await?;
        assert_eq!(deleted.0, status, "{path}: {}", deleted.1);
    }
    Ok(())
}

#[tokio::test]
async fn a_dry_run_says_what_would_go_and_nothing_goes() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let blob = bytes(102, 700);
    let digest = client.push_blob("app", &blob).await?;
    let run = async |dry_run: bool| {
        let run = client.request(Method::POST, "/api/v2.0/system/gc");
        let run = run.json(&json!({"dry_run": dry_run})).send().await?;
        run.json::<serde_json::Value>().await
    };
    let would = run(true).await?;
    assert_eq!(
        (&would["blobs"], &would["bytes"]),
        (&json!(1), &json!(700)),
        "{would}"
    );
    let path = format!("/v2/app/blobs/{digest}");
    assert_eq!(client.get(&path).await?, Some(blob));
    // Its grace is not over.
    assert_eq!(run(false).await?["blobs"], json!(0));
    assert_eq!(client.status(Method::GET, &path).await?, 200);
    Ok(())
}

/// Who sets it wants time to look, before more is gone.
#[tokio::test]
async fn nothing_is_removed_while_it_is_read_only() -> anyhow::Result<()> {
    // A round as the registry starts for the second time, and those that are asked for.
    let enabled = "SKALD_REGISTRY_GC_ENABLED";
    let mut env = [&NO_GRACE[..], &[(enabled, "false")]].concat();
    env[0].1 = "1h";
    let mut registry = Registry::start(Kind::Files, &env).await?;
    let client = registry.client().clone();
    let image = client.push_image("team/app", "v1", &bytes(1, 1000)).await?;
    let tag = "/v2/team/app/manifests/v1";
    assert_eq!(client.status(Method::DELETE, tag).await?, 202);
    let set = async |is: Value| {
        let set = json!({"read_only": is});
        let set = client.manage(Method::PUT, "/configurations", set).await?;
        anyhow::ensure!(set.0 == 200, "{}", set.1);
        anyhow::Ok(())
    };
    set(json!(true)).await?;
    registry.kill()?;
    registry.set_env(enabled, "true");
    registry.start_again().await?;
    let api = registry.process()?.api();
    let looked = || async {
        let (_, metrics) = api.get("/metrics", &[]).await.ok()?;
        let mut lines = metrics.lines();
        let has = |line: &str| line.starts_with("registry_gc_candidates") && !line.ends_with(" 0");
        lines.any(has).then_some(())
    };
    wait_for("a round", Duration::from_secs(20), looked).await?;
    let path = format!("/v2/team/app/manifests/{}", sha256(&image));
    assert_eq!(client.status(Method::HEAD, &path).await?, 200);
    let collect =
        |dry_run: bool| client.manage(Method::POST, "/system/gc", json!({"dry_run": dry_run}));
    assert_eq!(collect(false).await?.0, 403);
    let (status, would) = collect(true).await?;
    assert_eq!((status, &would["manifests"]), (200, &json!(1)));
    set(Value::Null).await?;
    assert_eq!(collect(false).await?.0, 200);
    assert_eq!(client.status(Method::HEAD, &path).await?, 404);
    Ok(())
}

/// An upload of which something is in the store; gives its address and where that is.
async fn upload_in_files(registry: &Registry, seed: u64) -> anyhow::Result<(String, PathBuf)> {
    let client = registry.client();
    let location = client.begin("app").await?;
    let chunk = bytes(seed, 20_000);
    let patch = client.request(Method::PATCH, &location).body(chunk.clone());
    anyhow::ensure!(patch.send().await?.status() == 202);
    let store = registry.directory().join("data/registry/store");
    Ok((location, file_of(&store, &chunk)?))
}

#[tokio::test]
async fn what_cannot_be_removed_is_in_nobodys_way() -> anyhow::Result<()> {
    // More than are removed at once.
    const STUCK: u64 = 101;
    let mut registry = Registry::start(Kind::Files, &NO_GRACE).await?;
    for seed in 0..STUCK {
        let (location, path) = upload_in_files(&registry, seed).await?;
        // A directory is not removed as a file is.
        std::fs::remove_file(&path)?;
        std::fs::create_dir(&path)?;
        let client = registry.client();
        assert_eq!(client.status(Method::DELETE, &location).await?, 204);
    }
    let (location, path) = upload_in_files(&registry, STUCK).await?;
    assert_eq!(
        registry.client().status(Method::DELETE, &location).await?,
        204
    );
    wait_for("the other to go", Duration::from_secs(20), async || {
        (!path.exists()).then_some(())
    })
    .await?;
    let failed = format!("registry_gc_removals_failed_total {STUCK}\n");
    let api = registry.process()?.api();
    wait_for("all to be counted", Duration::from_secs(20), async || {
        let (_, metrics) = api.get("/metrics", &[]).await.ok()?;
        metrics.contains(&failed).then_some(())
    })
    .await
}
