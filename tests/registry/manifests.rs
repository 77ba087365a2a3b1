//! Manifests of every shape.

use std::time::Duration;

use futures::{FutureExt, StreamExt, TryStreamExt, future, stream};
use reqwest::{Body, Method};
use serde_json::{Value, json};
use tests::registry::{
    CONFIG, INDEX, Kind, LAYER, LOCAL, MANIFEST, Registry, RegistryClient, bytes, code, descriptor,
    header, image, sha256, sha512, text,
};
use tests::wait_for;

use crate::auth;

/// Images with blobs that are not there are refused.
const COMPLETE: (&str, &str) = ("SKALD_REGISTRY_LIMITS_ALLOW_MISSING_BLOBS", "false");

#[tokio::test]
async fn what_was_pushed_comes_back_byte_for_byte() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let registry = Registry::start(kind, &[]).await?;
        let client = registry.client();
        let (config, layer) = (bytes(1, 50), bytes(2, 70));
        client.push_blob("app", &config).await?;
        client.push_blob("app", &layer).await?;
        client.push_blob("app", b"").await?;
        let mut with_data = image(&config, &[&layer]);
        with_data["layers"][0]["data"] = json!("ignored");
        let mut unknown = image(&config, &[&layer]);
        unknown["org.example.field"] = json!({"a": [1, 2.50, "ü"]});
        let mut foreign = image(&config, &[]);
        foreign["layers"] = json!([descriptor(
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            b"somewhere else",
        )]);
        let mut artifact = image(&config, &[]);
        artifact["artifactType"] = json!("application/x.thing");
        let mut large = image(&config, &[&layer]);
        large["annotations"] = json!({"filler": "x".repeat((4 << 20) - 2000)});
        for (number, manifest) in [
            image(&config, &[&layer]),
            image(&config, &[]),
            image(&config, &[b""]),
            with_data,
            unknown,
            foreign,
            artifact,
            large,
        ]
        .iter()
        .enumerate()
        {
            // Spaces and order are the client's.
            let body = format!("  {manifest}\n\n").into_bytes();
            let tag = format!("v{number}");
            let put = client.put_manifest("app", &tag, MANIFEST, &body).await?;
            assert_eq!(put.status(), 201, "{number}: {}", text(put).await);
            assert_eq!(header(&put, "docker-content-digest")?, sha256(&body));
            let by_location = client.get(&header(&put, "location")?).await?;
            assert_eq!(by_location.as_ref(), Some(&body));
            let path = format!("/v2/app/manifests/{tag}");
            // A client that names no media type gets what there is.
            let got = client
                .request(Method::GET, &path)
                .header("accept", "text/html");
            let got = got.send().await?;
            assert_eq!(header(&got, "content-type")?, MANIFEST);
            assert_eq!(got.bytes().await?, body);
            let head = client.request(Method::HEAD, &path).send().await?;
            assert_eq!(header(&head, "content-length")?, body.len().to_string());
            assert_eq!(header(&head, "docker-content-digest")?, sha256(&body));
        }
    }
    Ok(())
}

#[tokio::test]
async fn indices_may_be_nested_empty_and_ahead_of_their_images() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let registry = Registry::start(kind, &[]).await?;
        let client = registry.client();
        let one = client.push_image("app", "one", &bytes(3, 10)).await?;
        let index = |children: &[Value]| {
            json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}).to_string()
        };
        let empty = index(&[]);
        let inner = index(&[
            descriptor(MANIFEST, &one),
            descriptor(MANIFEST, b"not pushed"),
        ]);
        let outer = index(&[descriptor(INDEX, inner.as_bytes())]);
        for (tag, body) in [("empty", &empty), ("inner", &inner), ("outer", &outer)] {
            let put = client
                .put_manifest("app", tag, INDEX, body.as_bytes())
                .await?;
            assert_eq!(put.status(), 201, "{tag}: {}", text(put).await);
            let got = client.get(&format!("/v2/app/manifests/{tag}")).await?;
            assert_eq!(got.as_deref(), Some(body.as_bytes()));
        }
    }
    Ok(())
}

#[tokio::test]
async fn sha512_is_as_good_as_sha256() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let registry = Registry::start(kind, &[]).await?;
        let client = registry.client();
        let (config, layer) = (bytes(4, 50), bytes(5, 70));
        for blob in [&config, &layer] {
            let location = client.begin("app").await?;
            let put = client
                .finish(&location, &sha512(blob), blob.clone())
                .await?;
            assert_eq!(put.status(), 201);
        }
        let by_512 = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": sha512(bytes), "size": bytes.len()});
        let manifest = json!({
            "schemaVersion": 2,
            "config": by_512(CONFIG, &config),
            "layers": [by_512(LAYER, &layer)],
        });
        let body = manifest.to_string().into_bytes();
        let digest = sha512(&body);
        let tags: Vec<String> = (0..12).map(|n| format!("t{n}")).collect();
        let query: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
        let reference = format!("{digest}?{}", query.join("&"));
        let put = client
            .put_manifest("app", &reference, MANIFEST, &body)
            .await?;
        assert_eq!(put.status(), 201, "{}", text(put).await);
        assert_eq!(header(&put, "docker-content-digest")?, digest);
        let set: Vec<_> = put.headers().get_all("oci-tag").iter().collect();
        assert_eq!(set, tags.iter().collect::<Vec<_>>());
        for reference in ["t0", "t11", &digest] {
            let path = format!("/v2/app/manifests/{reference}");
            let got = client.request(Method::GET, &path).send().await?;
            assert_eq!(header(&got, "docker-content-digest")?, digest);
            assert_eq!(got.bytes().await?, body);
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_a_manifest_is_said() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let registry = Registry::start(kind, &[COMPLETE]).await?;
        let client = registry.client();
        let config = bytes(6, 50);
        client.push_blob("app", &config).await?;
        let good = image(&config, &[]);
        let mut bad_digest = good.clone();
        bad_digest["layers"] = json!([{"mediaType": LAYER, "digest": "sha256:xyz", "size": 3}]);
        let mut bad_subject = good.clone();
        bad_subject["subject"] = json!({"mediaType": MANIFEST, "digest": "sha256:", "size": 3});
        let mut bad_size = good.clone();
        bad_size["config"]["size"] = json!(51);
        let missing = image(&config, &[b"never pushed"]);
        for (name, media_type, body, expected) in [
            (
                "bad digest",
                MANIFEST,
                bad_digest.to_string(),
                "DIGEST_INVALID",
            ),
            (
                "bad subject",
                MANIFEST,
                bad_subject.to_string(),
                "DIGEST_INVALID",
            ),
            (
                "bad size",
                MANIFEST,
                bad_size.to_string(),
                "MANIFEST_INVALID",
            ),
            (
                "missing",
                MANIFEST,
                missing.to_string(),
                "MANIFEST_BLOB_UNKNOWN",
            ),
            ("no json", MANIFEST, "{".to_owned(), "MANIFEST_INVALID"),
            ("other type", INDEX, good.to_string(), "MANIFEST_INVALID"),
            (
                "no type",
                "text/html",
                json!({"schemaVersion": 2}).to_string(),
                "MANIFEST_INVALID",
            ),
        ] {
            let put = client
                .put_manifest("app", "v1", media_type, body.as_bytes())
                .await?;
            assert_eq!(put.status(), 400, "{name}");
            assert_eq!(code(put).await?, expected, "{name}");
        }
        let body = good.to_string().into_bytes();
        let reference = sha256(b"another");
        let put = client
            .put_manifest("app", &reference, MANIFEST, &body)
            .await?;
        assert_eq!(put.status(), 400);
        assert_eq!(code(put).await?, "DIGEST_INVALID");
        let put = client
            .put_manifest("app", "big", MANIFEST, &vec![b' '; 9 << 20])
            .await?;
        assert_eq!(put.status(), 413);
        assert_eq!(code(put).await?, "SIZE_INVALID");
        // Nothing of it is there.
        assert_eq!(
            client.status(Method::GET, "/v2/app/manifests/v1").await?,
            404
        );
        let missing = client
            .request(Method::GET, "/v2/app/manifests/v1")
            .send()
            .await?;
        assert_eq!(code(missing).await?, "MANIFEST_UNKNOWN");
    }
    Ok(())
}

#[tokio::test]
async fn a_tag_is_moved_only_if_it_is_where_the_client_thinks() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let one = client.push_image("app", "v1", &bytes(7, 10)).await?;
    let two = client.push_image("app", "v2", &bytes(8, 10)).await?;
    let put = async |name: &str, value: String| {
        let put = client.request(Method::PUT, "/v2/app/manifests/v1");
        let put = put.header("content-type", MANIFEST).header(name, value);
        put.body(two.clone()).send().await
    };
    let wrong = put("if-match", format!("\"{}\"", sha256(&two))).await?;
    assert_eq!(wrong.status(), 412);
    assert_eq!(put("if-none-match", "*".to_owned()).await?.status(), 412);
    assert_eq!(client.get("/v2/app/manifests/v1").await?, Some(one.clone()));
    let right = put("if-match", format!("\"{}\"", sha256(&one))).await?;
    assert_eq!(right.status(), 201);
    assert_eq!(client.get("/v2/app/manifests/v1").await?, Some(two));
    Ok(())
}

#[tokio::test]
async fn what_is_removed_is_what_the_client_thinks() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let one = client.push_image("app", "v1", &bytes(7, 10)).await?;
    let two = client.push_image("app", "v2", &bytes(8, 10)).await?;
    let (one, two) = (sha256(&one), sha256(&two));
    let delete = async |reference: &str, digest: &str| {
        let path = format!("/v2/app/manifests/{reference}");
        let delete = client.request(Method::DELETE, &path);
        let answer = delete
            .header("if-match", format!("\"{digest}\""))
            .send()
            .await?;
        anyhow::Ok(answer.status().as_u16())
    };
    assert_eq!(delete("v1", &two).await?, 412);
    assert_eq!(delete(&one, &two).await?, 412);
    for reference in ["v1", &one] {
        let path = format!("/v2/app/manifests/{reference}");
        assert_eq!(client.status(Method::GET, &path).await?, 200);
        assert_eq!(delete(reference, &one).await?, 202);
        assert_eq!(client.status(Method::GET, &path).await?, 404);
    }
    Ok(())
}

#[tokio::test]
async fn deleting_a_tag_keeps_the_manifest_and_deleting_it_takes_the_tags() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let registry = Registry::start(kind, &[]).await?;
        let client = registry.client();
        let manifest = client.push_image("app", "a", &bytes(9, 10)).await?;
        for tag in ["b", "c"] {
            client.put_manifest("app", tag, MANIFEST, &manifest).await?;
        }
        let by_digest = format!("/v2/app/manifests/{}", sha256(&manifest));
        assert_eq!(
            client.status(Method::DELETE, "/v2/app/manifests/a").await?,
            202
        );
        assert_eq!(
            client.status(Method::GET, "/v2/app/manifests/a").await?,
            404
        );
        assert_eq!(
            client.status(Method::DELETE, "/v2/app/manifests/a").await?,
            404
        );
        assert_eq!(client.get(&by_digest).await?, Some(manifest));
        assert_eq!(client.status(Method::DELETE, &by_digest).await?, 202);
        for path in [
            by_digest.as_str(),
            "/v2/app/manifests/b",
            "/v2/app/manifests/c",
        ] {
            assert_eq!(client.status(Method::GET, path).await?, 404, "{path}");
        }
        assert_eq!(client.json("/v2/app/tags/list").await?["tags"], json!([]));
    }
    Ok(())
}

#[tokio::test]
async fn an_image_that_is_pushed_before_its_blobs_keeps_them() -> anyhow::Result<()> {
    let env = [
        ("SKALD_REGISTRY_GC_INTERVAL", "20ms"),
        ("SKALD_REGISTRY_GC_BLOB_GRACE", "0s"),
    ];
    let registry = Registry::start(Kind::Files, &env).await?;
    let client = registry.client();
    let layer = bytes(1, 10);
    let manifest = image(b"{}", &[&layer]).to_string().into_bytes();
    let put = client
        .put_manifest("team/app", "v1", MANIFEST, &manifest)
        .await?;
    assert_eq!(put.status(), 201);
    assert!(header(&put, "warning")?.contains("team/app lacks 2 blobs"));
    let mut wrong = image(b"{}", &[&layer]);
    wrong["layers"][0]["size"] = 11.into();
    let wrong = wrong.to_string().into_bytes();
    let put = client.put_manifest("team/app", "v2", MANIFEST, &wrong);
    assert_eq!(put.await?.status(), 201);
    let digest = client.push_blob("team/app", &layer).await?;
    let path = format!("/v2/team/app/blobs/{digest}");
    // It is looked at, and stays: the image needs it.
    wait_for("the review", Duration::from_secs(20), || async {
        let waits = client
            .manage(Method::GET, "/system/gc/backlog", Value::Null)
            .await
            .ok()?;
        (waits.1["candidates"] == 0).then_some(())
    })
    .await?;
    assert_eq!(client.get(&path).await?, Some(layer));
    assert_eq!(client.status(Method::DELETE, &path).await?, 405);
    // One that says another size of it does not hold it.
    let first = format!("/v2/team/app/manifests/{}", sha256(&manifest));
    assert_eq!(client.status(Method::DELETE, &first).await?, 202);
    wait_for("the layer to go", Duration::from_secs(20), || async {
        client
            .get(&path)
            .await
            .is_ok_and(|found| found.is_none())
            .then_some(())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn an_image_does_not_lack_what_was_there_a_while_ago() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let layer = bytes(1, 10);
    client.push_blob("app", b"{}").await?;
    let digest = client.push_blob("app", &layer).await?;
    let path = format!("/v2/app/blobs/{digest}");
    assert_eq!(client.status(Method::DELETE, &path).await?, 202);
    // Its client may have been told that the layer is there.
    let manifest = image(b"{}", &[&layer]).to_string().into_bytes();
    let put = client.put_manifest("app", "v1", MANIFEST, &manifest);
    let refused = put.await?;
    assert_eq!(refused.status(), 400);
    assert_eq!(code(refused).await?, "MANIFEST_BLOB_UNKNOWN");
    client.push_blob("app", &layer).await?;
    let put = client.put_manifest("app", "v1", MANIFEST, &manifest);
    let put = put.await?;
    assert_eq!(put.status(), 201);
    assert!(!put.headers().contains_key("warning"));

    // Nor if the whole repository went.
    let (team, path) = ("team/app", "/projects/team/repositories/app");
    client.push_blob(team, b"{}").await?;
    client.push_blob(team, &layer).await?;
    let deleted = client.manage(Method::DELETE, path, Value::Null).await?;
    assert_eq!(deleted.0, 200, "{}", deleted.1);
    let refused = client.put_manifest(team, "v1", MANIFEST, &manifest).await?;
    assert_eq!(refused.status(), 400);
    assert_eq!(code(refused).await?, "MANIFEST_BLOB_UNKNOWN");
    Ok(())
}

/// Pushes blobs, a few at once.
async fn push_all<'a>(
    client: &RegistryClient,
    blobs: impl Iterator<Item = &'a [u8]>,
) -> anyhow::Result<()> {
    let pushes = blobs.map(|blob| client.push_blob("app", blob));
    let pushed = stream::iter(pushes).buffer_unordered(8);
    pushed.try_for_each(|_| future::ready(Ok(()))).await
}

/// More blobs than one statement of the database takes: some are there, some come later.
#[tokio::test]
async fn an_image_of_many_blobs_is_tied_to_all_of_them() -> anyhow::Result<()> {
    let env = [
        ("SKALD_REGISTRY_GC_INTERVAL", "20ms"),
        ("SKALD_REGISTRY_GC_UNTAGGED_GRACE", "0s"),
        ("SKALD_REGISTRY_GC_BLOB_GRACE", "0s"),
        ("SKALD_REGISTRY_GC_DATA_GRACE", "0s"),
    ];
    let registry = Registry::start(Kind::Files, &env).await?;
    let client = registry.client();
    let layers: Vec<Vec<u8>> = (0..600).map(|seed| bytes(seed, 16)).collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let (first, later) = layers.split_at(300);
    let manifest = image(b"{}", &layers).to_string().into_bytes();
    let small = image(b"{}", first).to_string().into_bytes();
    let put =
        async |tag, manifest: &[u8]| client.put_manifest("app", tag, MANIFEST, manifest).await;

    let lacks = put("some", &small).await?;
    assert!(header(&lacks, "warning")?.contains("app lacks 301 blobs"));
    let all = first.iter().copied().chain([&b"{}"[..]]);
    push_all(client, all).await?;
    let lacks = put("all", &manifest).await?;
    assert!(header(&lacks, "warning")?.contains("app lacks 300 blobs"));
    push_all(client, later.iter().copied()).await?;
    for (tag, manifest) in [("some", &small), ("all", &manifest)] {
        assert!(put(tag, manifest).await?.headers().get("warning").is_none());
    }

    // What only the large one needs goes with it.
    let all = format!("/v2/app/manifests/{}", sha256(&manifest));
    assert_eq!(client.status(Method::DELETE, &all).await?, 202);
    for blob in later {
        let path = format!("/v2/app/blobs/{}", sha256(blob));
        wait_for("the blob to go", Duration::from_secs(120), || async {
            (client.status(Method::HEAD, &path).await.ok()? == 404).then_some(())
        })
        .await?;
    }
    for blob in first {
        let path = format!("/v2/app/blobs/{}", sha256(blob));
        assert_eq!(client.status(Method::DELETE, &path).await?, 405);
    }
    Ok(())
}

/// Clients may take their time, and others need not wait until they have done so.
#[tokio::test]
async fn who_sends_slowly_leaves_room_to_others() -> anyhow::Result<()> {
    let room = ("SKALD_REGISTRY_LIMITS_BODY_BYTES_MAX", "1MB");
    let trusting = ("SKALD_REGISTRY_TRUSTED_PROXIES", "127.0.0.0/8");
    let open = Registry::start(Kind::Files, &[room, trusting]).await?;
    let closed = Registry::start(Kind::Files, &[room, trusting, LOCAL]).await?;
    let password = closed.directory().join("data/registry/admin-password");
    let password = std::fs::read_to_string(password)?.trim().to_owned();
    let admin = closed.client().login("admin", &password);
    let slow = auth::member(&closed, &admin, "slow", "developer").await?;
    let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [],
        "annotations": {"filler": "x".repeat(100_000)}});
    let list = list.to_string().into_bytes();
    for (slow, other) in [(open.client(), open.client()), (&slow, &admin)] {
        let put = |client: &RegistryClient, address: &str, body: Body| {
            let put = client.request(Method::PUT, "/v2/team/app/manifests/v1");
            let put = put.header("x-forwarded-for", address);
            put.header("content-type", INDEX).body(body).send().boxed()
        };
        let sent = (0..20).map(|_| {
            let begun = stream::iter([anyhow::Ok(vec![b' '; 100_000])]);
            let body = Body::wrap_stream(begun.chain(stream::pending()));
            put(slow, "192.0.2.1", body)
        });
        let (refused, _, _held) = future::select_all(sent).await;
        assert_eq!(refused?.status(), 429);
        let pushed = put(other, "192.0.2.2", list.clone().into()).await?;
        assert_eq!(pushed.status(), 201, "{}", text(pushed).await);
    }
    Ok(())
}
