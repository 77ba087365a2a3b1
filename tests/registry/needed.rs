//! What garbage collection leaves alone as something needs it: parts of indexes, foreign layers, what runs,
//! and signatures for as long as what they sign.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{
    INDEX, Kind, LAYER, MANIFEST, Registry, RegistryClient, bytes, descriptor, header, image,
    sha256, text,
};
use tests::wait_for;

use crate::garbage::NO_GRACE;

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
