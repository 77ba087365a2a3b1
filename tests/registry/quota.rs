//! What counts against a project's quota besides blobs that are finished.

use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use reqwest::{Body, Method};
use serde_json::{Value, json};
use tests::registry::{INDEX, Kind, Registry, RegistryClient, bytes, code, header, sha256, text};
use tests::wait_for;

use crate::broken::cut;

/// A registry with a project that may have so many bytes. What is under way is seen in metrics soon.
async fn small(hard: i64) -> anyhow::Result<Registry> {
    let env = [("SKALD_REGISTRY_GC_INTERVAL", "100ms")];
    let registry = Registry::start(Kind::Files, &env).await?;
    let project = json!({"project_name": "small", "storage_limit": hard});
    let made = registry.client().manage(Method::POST, "/projects", project);
    assert_eq!(made.await?.0, 201);
    Ok(registry)
}

async fn used(client: &RegistryClient) -> anyhow::Result<i64> {
    let path = "/quotas/small";
    let (_, quota) = client.manage(Method::GET, path, Value::Null).await?;
    Ok(quota["used"]["storage"].as_i64().unwrap_or(-1))
}

/// An index that has so many bytes, and not those of another seed.
fn index(seed: u64, len: usize) -> Vec<u8> {
    let index = |filler: &str| {
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [],
            "annotations": {"seed": format!("{seed:05}"), "filler": filler}})
        .to_string()
    };
    let rest = len.saturating_sub(index("").len());
    index(&"x".repeat(rest)).into_bytes()
}

#[tokio::test]
async fn manifests_count_and_are_given_back_once() -> anyhow::Result<()> {
    let registry = small(20_000).await?;
    let client = registry.client();
    let layer = bytes(1, 10_000);
    let manifest = client.push_image("small/app", "v1", &layer).await?;
    let config = r#"{"architecture":"amd64","os":"linux"}"#;
    let of_image = (layer.len() + config.len() + manifest.len()) as i64;
    assert_eq!(used(client).await?, of_image);
    // The same again costs nothing, in another repository it is kept once more.
    client.push_image("small/app", "v2", &layer).await?;
    assert_eq!(used(client).await?, of_image);
    client.push_image("small/other", "v1", &layer).await?;
    let of_both = of_image + manifest.len() as i64;
    assert_eq!(used(client).await?, of_both);

    let large = index(1, 1_000_000);
    let put = client.put_manifest("small/app", "large", INDEX, &large);
    let refused = put.await?;
    assert_eq!(refused.status(), 403);
    assert_eq!(code(refused).await?, "DENIED");
    assert_eq!(used(client).await?, of_both);
    let exact = index(2, usize::try_from(20_000 - of_both)?);
    let put = client.put_manifest("small/app", "exact", INDEX, &exact);
    assert_eq!(put.await?.status(), 201);
    assert_eq!(used(client).await?, 20_000);
    let path = format!("/v2/small/app/manifests/{}", sha256(&exact));
    assert_eq!(client.status(Method::DELETE, &path).await?, 202);
    assert_eq!(client.status(Method::DELETE, &path).await?, 404);
    // It can be brought back, and counts until then; pushed again it counts once.
    assert_eq!(used(client).await?, 20_000);
    let put = client.put_manifest("small/app", "exact", INDEX, &exact);
    assert_eq!(put.await?.status(), 201);
    assert_eq!(used(client).await?, 20_000);
    let tag = "/v2/small/app/manifests/exact";
    assert_eq!(client.status(Method::DELETE, tag).await?, 202);
    // Also one without tags may be a part of what is brought back.
    assert_eq!(client.status(Method::DELETE, &path).await?, 202);
    assert_eq!(used(client).await?, 20_000);
    let put = client.put_manifest("small/app", "exact", INDEX, &exact);
    assert_eq!(put.await?.status(), 201);
    assert_eq!(client.status(Method::DELETE, &path).await?, 202);
    for repository in ["app", "other"] {
        let path = format!("/projects/small/repositories/{repository}");
        let deleted = client.manage(Method::DELETE, &path, Value::Null);
        assert_eq!(deleted.await?.0, 200);
    }
    assert_eq!(used(client).await?, 0);
    Ok(())
}

#[tokio::test]
async fn manifests_are_counted_exactly_when_many_are_pushed_at_once() -> anyhow::Result<()> {
    let registry = small(10_500).await?;
    let client = registry.client();
    let pushes = (0..30).map(|seed| async move {
        let manifest = index(seed, 1000);
        let repo = format!("small/app{seed}");
        let put = client.put_manifest(&repo, "v1", INDEX, &manifest);
        anyhow::Ok(put.await?.status().as_u16())
    });
    let statuses = join_all(pushes).await.into_iter();
    let statuses = statuses.collect::<Result<Vec<_>, _>>()?;
    let count = |status| statuses.iter().filter(|given| **given == status).count();
    assert_eq!((count(201), count(403)), (10, 20), "{statuses:?}");
    assert_eq!(used(client).await?, 10_000);
    Ok(())
}

async fn patch(client: &RegistryClient, upload: &str, body: Body) -> anyhow::Result<u16> {
    let patch = client.request(Method::PATCH, upload).body(body);
    Ok(patch.send().await?.status().as_u16())
}

#[tokio::test]
async fn uploads_count_while_they_are_under_way() -> anyhow::Result<()> {
    let registry = small(1000).await?;
    let client = registry.client();
    // A length that does not fit is refused at once, and no length where the bytes do not fit.
    let large = bytes(1, 1_000_000);
    let pieces = large
        .chunks(10_000)
        .map(|piece| Ok::<_, std::io::Error>(piece.to_vec()));
    let pieces: Vec<_> = pieces.collect();
    let streamed = Body::wrap_stream(futures::stream::iter(pieces));
    for body in [Body::from(large.clone()), streamed] {
        let upload = client.begin("small/app").await?;
        let patched = client.request(Method::PATCH, &upload).body(body);
        // It may be refused while it is still being sent.
        if let Ok(refused) = patched.send().await {
            assert_eq!(refused.status(), 403);
            assert_eq!(code(refused).await?, "DENIED");
        }
        assert_eq!(client.status(Method::GET, &upload).await?, 404, "given up");
    }
    // What two have brought together has to fit.
    let (one, two) = (bytes(2, 600), bytes(3, 600));
    let first = client.begin("small/app").await?;
    let second = client.begin("small/app").await?;
    assert_eq!(patch(client, &first, one.clone().into()).await?, 202);
    assert_eq!(patch(client, &second, two.clone().into()).await?, 403);
    assert_eq!(used(client).await?, 0, "it is not kept yet");
    let second = client.begin("small/app").await?;
    let done = client.finish(&second, &sha256(&two), two.clone()).await?;
    assert_eq!(done.status(), 403, "{}", text(done).await);
    let done = client.finish(&first, &sha256(&one), Vec::new()).await?;
    assert_eq!(done.status(), 201, "{}", text(done).await);
    assert_eq!(used(client).await?, 600);
    // What the project has already takes no room.
    let path = format!("/v2/small/app/blobs/uploads/?digest={}", sha256(&one));
    let again = client.request(Method::POST, &path).body(one).send().await?;
    assert_eq!(again.status(), 201);
    // An upload that is given up leaves its room to others.
    let upload = client.begin("small/app").await?;
    assert_eq!(patch(client, &upload, bytes(4, 400).into()).await?, 202);
    let other = client.begin("small/app").await?;
    assert_eq!(client.status(Method::DELETE, &upload).await?, 204);
    assert_eq!(patch(client, &other, bytes(5, 400).into()).await?, 202);
    Ok(())
}

#[tokio::test]
async fn who_is_refused_for_the_quota_is_told_the_numbers() -> anyhow::Result<()> {
    let registry = small(100).await?;
    let client = registry.client();
    let blob = bytes(1, 200);
    let path = format!("/v2/small/app/blobs/uploads/?digest={}", sha256(&blob));
    let refused = client
        .request(Method::POST, &path)
        .body(blob)
        .send()
        .await?;
    assert_eq!(refused.status(), 403);
    assert!(!header(&refused, "x-request-id")?.is_empty());
    let body: Value = refused.json().await?;
    let detail = &body["errors"][0]["detail"];
    let numbers = ["quota", "used", "uploading", "needed"].map(|name| detail[name].clone());
    assert_eq!(numbers, [json!(100), json!(0), json!(0), json!(200)]);
    Ok(())
}

#[tokio::test]
async fn what_the_project_has_is_taken_although_it_is_full() -> anyhow::Result<()> {
    let registry = small(600).await?;
    let client = registry.client();
    let there = bytes(1, 600);
    let digest = client.push_blob("small/one", &there).await?;
    assert_eq!(used(client).await?, 600);
    // The last request of an upload says what it brings.
    let begun = client.begin("small/two").await?;
    let done = client.finish(&begun, &digest, there.clone()).await?;
    assert_eq!(done.status(), 201, "{}", text(done).await);
    // So does the first, if it is the only one.
    let path = format!("/v2/small/three/blobs/uploads/?digest={digest}");
    let pushed = client.request(Method::POST, &path).body(there.clone());
    assert_eq!(pushed.send().await?.status(), 201);
    // More than it has is not taken, though there is no quota to meet.
    let mut more = there.clone();
    more.resize(3_000_000, 0);
    let refused = client
        .request(Method::POST, &path)
        .body(more)
        .send()
        .await?;
    assert_eq!(refused.status(), 400);
    let told = text(refused).await;
    assert!(
        told.contains("DIGEST_INVALID") && told.contains("600 bytes"),
        "{told}"
    );
    // And one that would rather not send it, also if it looks in the wrong place.
    for (repo, from) in [
        ("four", ""),
        ("five", "&from=small/nope"),
        ("six", "&from=other/app"),
    ] {
        let path = format!("/v2/small/{repo}/blobs/uploads/?mount={digest}{from}");
        assert_eq!(client.status(Method::POST, &path).await?, 201, "{from}");
        let path = format!("/v2/small/{repo}/blobs/{digest}");
        assert_eq!(client.get(&path).await?.as_ref(), Some(&there));
    }
    // A chunk does not say what it is a part of, and counts until that is said.
    let begun = client.begin("small/seven").await?;
    assert_eq!(patch(client, &begun, there.into()).await?, 403);
    assert_eq!(used(client).await?, 600);
    Ok(())
}

/// Many who each bring what fits alone are refused before they have brought what does not fit
/// together.
#[tokio::test]
async fn room_is_kept_for_what_a_request_says_that_it_brings() -> anyhow::Result<()> {
    let mut registry = small(1000).await?;
    let client = &registry.client().clone();
    let (one, two) = (bytes(1, 600), bytes(2, 600));
    let path = |blob: &[u8]| format!("/v2/small/app/blobs/uploads/?digest={}", sha256(blob));
    let (go_on, waiting) = tokio::sync::oneshot::channel::<()>();
    let (begin, end) = (one[..300].to_vec(), one[300..].to_vec());
    let pieces = futures::stream::once(async move { Ok::<_, std::io::Error>(begin) });
    let last = futures::stream::once(async move {
        let _ = waiting.await;
        Ok(end)
    });
    let first = client.request(Method::POST, &path(&one));
    let first = first.header("content-length", 600);
    let first = first.body(Body::wrap_stream(pieces.chain(last)));
    let first = tokio::spawn(first.send());
    // Before it has begun, another could take its room.
    let mut is_begun = false;
    while !is_begun {
        let metrics = registry.metrics().await?;
        is_begun = metrics.contains("registry_upload_sessions 1");
        anyhow::ensure!(!first.is_finished(), "it waits");
    }
    // One that brings nothing of what it says is refused.
    let head = format!("POST {} HTTP/1.1\r\ncontent-length: 600\r\n", path(&two));
    let refused = || async {
        let (status, _) = cut(client, &head, b"").await.ok()?;
        (status == 403).then_some(())
    };
    wait_for("room to be reserved", Duration::from_secs(20), refused).await?;
    // What fits beside it, and the same blob once more, are taken.
    for blob in [&bytes(3, 400), &one] {
        let post = client.request(Method::POST, &path(blob)).body(blob.clone());
        let post = post.send().await?;
        assert_eq!(post.status(), 201, "{}", text(post).await);
    }
    let _ = go_on.send(());
    let first = first.await??;
    assert_eq!(first.status(), 201, "{}", text(first).await);
    assert_eq!(used(client).await?, 1000);
    Ok(())
}

#[tokio::test]
async fn who_has_no_role_is_not_told_how_full_a_project_is() -> anyhow::Result<()> {
    let (registry, admin) = crate::auth::start().await?;
    let dev = crate::auth::member(&registry, &admin, "dev", "limitedGuest").await?;
    let eve = json!({"username": "eve", "password": "a long enough password"});
    let (status, _) = admin.manage(Method::POST, "/users", eve).await?;
    assert_eq!(status, 201);
    let public = json!({"metadata": {"public": "true"}});
    let (status, _) = admin.manage(Method::PUT, "/projects/team", public).await?;
    assert_eq!(status, 200);
    let eve = registry.client().login("eve", "a long enough password");
    let path = "/projects/team/summary";
    for (client, is_told) in [(&admin, true), (&dev, true), (&eve, false)] {
        let (status, summary) = client.manage(Method::GET, path, json!(null)).await?;
        assert_eq!((status, &summary["repo_count"]), (200, &json!(0)));
        assert_eq!(summary["quota"].is_object(), is_told, "{summary}");
    }
    Ok(())
}
