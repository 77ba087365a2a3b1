//! Garbage collection while pushes and pulls go on.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{
    CONFIG, INDEX, Kind, LAYER, MANIFEST, Registry, RegistryClient, bytes, descriptor, file_of,
    header, image, sha256, text,
};
use tests::wait_for;

/// What is free goes in the next round; between two of them a push has a chance to finish.
const NO_GRACE: [(&str, &str); 4] = [
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
    // For ever, unless it is said that all of them are to go.
    env[3].1 = "0s";
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
    assert_eq!(collect(json!({"dry_run": false})).await?, 0);
    let all = |dry_run: bool| json!({"dry_run": dry_run, "delete_untagged": true});
    assert_eq!(collect(all(true)).await?, 1);
    assert_eq!(client.status(Method::GET, &path).await?, 200);
    assert_eq!(collect(all(false)).await?, 1);
    assert_eq!(client.status(Method::GET, &path).await?, 404);
    Ok(())
}

/// Its tag has moved on, and what is rescheduled asks for the digest.
#[tokio::test]
async fn what_a_cluster_runs_stays() -> anyhow::Result<()> {
    let env = [NO_GRACE[0], NO_GRACE[2], NO_GRACE[3]];
    let registry = Registry::start(Kind::Files, &env).await?;
    let client = registry.client();
    let image = client.push_image("app", "latest", &bytes(104, 500)).await?;
    let running = json!({"images": [format!("registry.example/app@{}", sha256(&image))]});
    let said = client.manage(Method::PUT, "/running/prod", running);
    assert_eq!(said.await?.0, 200);
    let next = client.push_image("app", "latest", &bytes(105, 500)).await?;
    client.push_image("app", "latest", &bytes(106, 500)).await?;
    let path = |image: &[u8]| format!("/v2/app/manifests/{}", sha256(image));
    wait_for("the next to go", Duration::from_secs(20), || async {
        let status = client.status(Method::GET, &path(&next)).await.ok()?;
        (status == 404).then_some(())
    })
    .await?;
    assert_eq!(client.get(&path(&image)).await?.as_ref(), Some(&image));
    let layer = format!("/v2/app/blobs/{}", sha256(&bytes(104, 500)));
    assert_eq!(client.get(&layer).await?, Some(bytes(104, 500)));
    Ok(())
}

#[tokio::test]
async fn an_index_of_what_was_lost_is_refused_and_of_what_never_was_there_is_warned_of()
-> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let image = client.push_image("app", "v1", &bytes(103, 500)).await?;
    let index = |child: &[u8]| {
        let children = [descriptor(MANIFEST, child)];
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}).to_string()
    };
    let push = async |child: &[u8]| {
        let body = index(child);
        client
            .put_manifest("app", "all", INDEX, body.as_bytes())
            .await
    };
    let path = format!("/v2/app/manifests/{}", sha256(&image));
    assert_eq!(client.status(Method::HEAD, &path).await?, 200);
    assert_eq!(client.status(Method::DELETE, &path).await?, 202);
    let refused = push(&image).await?;
    assert_eq!(refused.status(), 400);
    let said = text(refused).await;
    assert!(said.contains("MANIFEST_BLOB_UNKNOWN"), "{said}");
    assert!(said.contains(&sha256(&image)), "{said}");
    // Its client pushes it again, and then the index.
    client.put_manifest("app", "v1", MANIFEST, &image).await?;
    let pushed = push(&image).await?;
    assert_eq!(pushed.status(), 201);
    assert_eq!(pushed.headers().get("warning"), None);

    let pushed = push(b"never pushed").await?;
    assert_eq!(pushed.status(), 201);
    let warning = header(&pushed, "warning")?;
    assert!(warning.contains("app lacks 1 manifests"), "{warning}");
    Ok(())
}

/// A blob that nothing needs, pushed when all else was there, so that its grace is over last.
async fn wait_until_one_goes(client: &RegistryClient, repo: &str) -> anyhow::Result<()> {
    let path = format!(
        "/v2/{repo}/blobs/{}",
        client.push_blob(repo, b"free").await?
    );
    wait_for("a blob to go", Duration::from_secs(30), || async {
        (client.get(&path).await.ok()?.is_none()).then_some(())
    })
    .await
}

/// What goes as soon as nothing needs it, but not between its push and that of the manifest.
const SHORT_GRACE: [(&str, &str); 4] = [
    NO_GRACE[0],
    ("SKALD_REGISTRY_GC_BLOB_GRACE", "3s"),
    NO_GRACE[2],
    NO_GRACE[3],
];

/// BuildKit's cache is an index of blobs.
#[tokio::test]
async fn blobs_that_an_index_names_stay_with_it() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &SHORT_GRACE).await?;
    let client = registry.client();
    let (layer, late) = (bytes(110, 500), bytes(111, 500));
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [
            descriptor(LAYER, &layer),
            descriptor("application/vnd.buildkit.cacheconfig.v0", &late),
        ],
    });
    let index = index.to_string().into_bytes();
    client.push_blob("team/cache", &layer).await?;
    let put = client
        .put_manifest("team/cache", "v1", INDEX, &index)
        .await?;
    assert_eq!(put.status(), 201);
    let warning = header(&put, "warning")?;
    assert!(warning.contains("team/cache lacks 1 "), "{warning}");
    client.push_blob("team/cache", &late).await?;
    let put = client
        .put_manifest("team/cache", "v1", INDEX, &index)
        .await?;
    assert_eq!(
        (put.status().as_u16(), put.headers().get("warning")),
        (201, None)
    );
    wait_until_one_goes(client, "team/cache").await?;
    let project = client.manage(Method::POST, "/projects", json!({"project_name": "other"}));
    assert_eq!(project.await?.0, 201);
    let copy = "/projects/other/repositories/cache/artifacts?from=team/cache:v1";
    assert_eq!(client.manage(Method::POST, copy, Value::Null).await?.0, 201);
    wait_until_one_goes(client, "other/cache").await?;
    for blob in [&layer, &late] {
        for repo in ["team/cache", "other/cache"] {
            let path = format!("/v2/{repo}/blobs/{}", sha256(blob));
            assert_eq!(client.get(&path).await?.as_ref(), Some(blob), "{repo}");
        }
    }
    let path = format!("/v2/team/cache/blobs/{}", sha256(&layer));
    assert_eq!(client.status(Method::DELETE, &path).await?, 405);
    let by_digest = format!("/v2/team/cache/manifests/{}", sha256(&index));
    assert_eq!(client.status(Method::DELETE, &by_digest).await?, 202);
    wait_for("its blobs to go", Duration::from_secs(30), || async {
        (client.get(&path).await.ok()?.is_none()).then_some(())
    })
    .await
}

/// Who has no way to where they are pushes them on purpose.
#[tokio::test]
async fn foreign_layers_that_were_pushed_stay() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &SHORT_GRACE).await?;
    let client = registry.client();
    let (before, after, never) = (bytes(112, 500), bytes(113, 500), bytes(114, 500));
    let config = b"{}";
    let mut windows = image(config, &[]);
    windows["layers"] = json!([
        descriptor(
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            &before
        ),
        descriptor(
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            &after
        ),
        descriptor(
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            &never
        ),
    ]);
    let windows = windows.to_string().into_bytes();
    client.push_blob("team/win", config).await?;
    client.push_blob("team/win", &before).await?;
    let put = client
        .put_manifest("team/win", "v1", MANIFEST, &windows)
        .await?;
    assert_eq!(
        (put.status().as_u16(), put.headers().get("warning")),
        (201, None)
    );
    client.push_blob("team/win", &after).await?;
    wait_until_one_goes(client, "team/win").await?;
    let project = client.manage(Method::POST, "/projects", json!({"project_name": "other"}));
    assert_eq!(project.await?.0, 201);
    let copy = "/projects/other/repositories/win/artifacts?from=team/win:v1";
    assert_eq!(client.manage(Method::POST, copy, Value::Null).await?.0, 201);
    wait_until_one_goes(client, "other/win").await?;
    for blob in [&before, &after] {
        for repo in ["team/win", "other/win"] {
            let path = format!("/v2/{repo}/blobs/{}", sha256(blob));
            assert_eq!(client.get(&path).await?.as_ref(), Some(blob), "{repo}");
        }
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
    let mut env = NO_GRACE;
    // A round as the registry starts, and those that are asked for.
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

/// A tag that is moved does not take away what pods run that name it by its digest.
#[tokio::test]
async fn what_runs_stays_also_without_a_tag() -> anyhow::Result<()> {
    let env = [
        ("SKALD_REGISTRY_GC_INTERVAL", "50ms"),
        ("SKALD_REGISTRY_GC_UNTAGGED_GRACE", "0s"),
    ];
    let registry = Registry::start(Kind::Files, &env).await?;
    let client = registry.client();
    let mut pushed = Vec::new();
    for (repo, seed) in [("team/runs", 1), ("team/index", 2), ("team/rests", 3)] {
        let image = client.push_image(repo, "v1", &bytes(seed, 20_000)).await?;
        pushed.push((repo, sha256(&image), image));
    }
    // An index, of which a node says what it runs of it.
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [descriptor(MANIFEST, &pushed[1].2)],
    });
    let index = index.to_string().into_bytes();
    let put = client
        .put_manifest("team/index", "v1", INDEX, &index)
        .await?;
    assert_eq!(put.status(), 201);
    let named = |(repo, digest, _): &(&str, String, Vec<u8>)| format!("{repo}@{digest}");
    let images: Vec<String> = pushed[..2].iter().map(named).collect();
    let said = client.manage(Method::PUT, "/running/prod", json!({"images": images}));
    assert_eq!(said.await?.0, 200);
    for (repo, ..) in &pushed {
        client.push_image(repo, "v1", &bytes(9, 20_000)).await?;
    }
    let there = async |repo: &str, digest: &str| {
        let path = format!("/v2/{repo}/manifests/{digest}");
        client.status(Method::HEAD, &path).await
    };
    let (repo, digest, _) = &pushed[2];
    wait_for(
        "what does not run to go",
        Duration::from_secs(20),
        async || (there(repo, digest).await.ok()? == 404).then_some(()),
    )
    .await?;
    for (repo, digest, _) in &pushed[..2] {
        assert_eq!(there(repo, digest).await?, 200, "{repo}");
    }
    assert_eq!(there("team/index", &sha256(&index)).await?, 200);
    Ok(())
}

/// The tag of a signature of a manifest, as cosign names it.
fn signature(manifest: &[u8]) -> String {
    format!("{}.sig", sha256(manifest).replace(':', "-"))
}

/// What tags are about goes with it, whoever has it removed.
#[tokio::test]
async fn signatures_go_with_what_they_sign() -> anyhow::Result<()> {
    // Blobs stay until their manifests come.
    let env = [
        ("SKALD_REGISTRY_GC_INTERVAL", "1s"),
        ("SKALD_REGISTRY_GC_UNTAGGED_GRACE", "0s"),
    ];
    let registry = Registry::start(Kind::Files, &env).await?;
    let client = registry.client();
    let part = client.push_image("team/app", "part", &bytes(1, 10)).await?;
    let other = client
        .push_image("team/app", "other", &bytes(2, 10))
        .await?;
    let index = json!({"schemaVersion": 2, "mediaType": INDEX,
        "manifests": [descriptor(MANIFEST, &part)]});
    let index = index.to_string().into_bytes();
    let put = client.put_manifest("team/app", "v1", INDEX, &index).await?;
    assert_eq!(put.status(), 201);
    for (seed, signed) in (3..).zip([&part, &other, &index]) {
        let tag = signature(signed);
        client
            .push_image("team/app", &tag, &bytes(seed, 10))
            .await?;
    }
    let held = json!({"kind": "immutable", "tags": signature(&other)});
    let made = client.manage(Method::POST, "/projects/team/rules", held);
    assert_eq!(made.await?.0, 201);
    let path = |reference: &str| format!("/v2/team/app/manifests/{reference}");
    let untagged = client.status(Method::DELETE, &path("part")).await?;
    assert_eq!(untagged, 202);

    for removed in [&index, &other] {
        let removed = client
            .status(Method::DELETE, &path(&sha256(removed)))
            .await?;
        assert_eq!(removed, 202);
    }
    assert_eq!(client.get(&path(&signature(&index))).await?, None);
    // What the index named goes a little later, and its signature with it.
    wait_for("the signature to go", Duration::from_secs(20), async || {
        let gone = client.get(&path(&signature(&part))).await.ok()?;
        gone.is_none().then_some(())
    })
    .await?;
    assert_eq!(client.get(&path(&sha256(&part))).await?, None);
    assert!(client.get(&path(&signature(&other))).await?.is_some());
    Ok(())
}
