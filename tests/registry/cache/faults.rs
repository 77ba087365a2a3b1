//! What is done about registries that are busy, fail, are silent or lie.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::json;
use tests::registry::{Kind, Registry, RegistryClient, bytes, code, file_of, header, sha256, text};
use tests::wait_for;

use super::{EAGER, TAG, blob, connect, known, pair, pull, used};
use crate::auth;
use crate::between::{Between, Mode, body, status};

/// A cache of a registry, with an image that was pulled once; gives its manifest too.
async fn cached() -> anyhow::Result<(Registry, Between, Registry, Vec<u8>)> {
    let (upstream, between, cache) = pair(&[]).await?;
    let there = upstream.client();
    let manifest = there.push_image("lib/app", "v1", &bytes(1, 10)).await?;
    assert_eq!(cache.client().get(TAG).await?.as_ref(), Some(&manifest));
    Ok((upstream, between, cache, manifest))
}

/// The first answer with this warning: for a moment it may be another, and it may be noticed late
/// that connections are gone.
async fn stale(client: &RegistryClient, reason: &str) -> anyhow::Result<Response> {
    wait_for(reason, Duration::from_secs(20), || async {
        let stale = pull(client, TAG).await.ok()?;
        let warning = header(&stale, "warning").ok()?;
        warning.contains(reason).then_some(stale)
    })
    .await
}

/// The first answer that begins well: it may be noticed late that connections are gone.
async fn began(client: &RegistryClient, path: &str) -> anyhow::Result<Response> {
    wait_for("an answer", Duration::from_secs(20), || async {
        let answer = pull(client, path).await.ok()?;
        answer.status().is_success().then_some(answer)
    })
    .await
}

#[tokio::test]
async fn a_registry_that_is_busy_is_left_alone() -> anyhow::Result<()> {
    let (_upstream, between, cache, manifest) = cached().await?;
    let client = cache.client();
    between.set(status("429 Too Many Requests", "retry-after: 300\r\n"));
    let given = stale(client, "up was asked too often: 429").await?;
    assert_eq!(given.bytes().await?, manifest);
    for _ in 0..3 {
        assert!(pull(client, TAG).await?.headers().contains_key("warning"));
    }
    assert_eq!(
        between.requests(),
        1,
        "it said that it wants to be left alone"
    );
    let cold = pull(client, "/v2/hub/lib/app/manifests/v2").await?;
    assert_eq!(cold.status(), 429);
    let after: u64 = header(&cold, "retry-after")?.parse()?;
    assert!((1..=300).contains(&after), "{after}");
    assert_eq!(code(cold).await?, "TOOMANYREQUESTS");
    Ok(())
}

/// Clients that were told a wrong name ask for it again and again.
#[tokio::test]
async fn what_is_not_there_is_not_asked_for_again_at_once() -> anyhow::Result<()> {
    let lifetime = ("SKALD_REGISTRY_PROXY_UNKNOWN_LIFETIME", "1h");
    let (_upstream, between, cache) = pair(&[lifetime]).await?;
    between.set(status("404 Not Found", ""));
    let digest = format!("/v2/hub/lib/app/manifests/{}", sha256(b"none"));
    for path in [TAG, digest.as_str()] {
        let before = between.requests();
        for _ in 0..3 {
            let none = pull(cache.client(), path).await?;
            assert_eq!(none.status(), 404);
            assert_eq!(code(none).await?, "MANIFEST_UNKNOWN");
        }
        assert_eq!(between.requests() - before, 1, "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn a_registry_that_fails_or_is_silent_is_done_without() -> anyhow::Result<()> {
    let (_upstream, between, cache, manifest) = cached().await?;
    let client = cache.client();
    for (mode, reason) in [
        (status("500 Internal Server Error", ""), "up fails: 500"),
        (status("503 Service Unavailable", ""), "up fails: 503"),
        (Mode::Silent, "up does not answer"),
        (Mode::Cut(0), "up does not answer"),
    ] {
        between.set(mode);
        assert_eq!(stale(client, reason).await?.bytes().await?, manifest);
        let cold = pull(client, "/v2/hub/lib/app/manifests/v2").await?;
        assert_eq!(cold.status(), 502, "{reason}");
        assert_eq!(code(cold).await?, "UNAVAILABLE");
    }
    between.set(Mode::Open);
    wait_for(
        "the other registry to be asked again",
        Duration::from_secs(20),
        || async {
            let fresh = pull(client, TAG).await.ok()?;
            fresh.headers().get("warning").is_none().then_some(())
        },
    )
    .await?;
    Ok(())
}

#[tokio::test]
async fn who_will_not_wait_is_given_what_is_here_and_it_is_asked_meanwhile() -> anyhow::Result<()> {
    let env = [("SKALD_REGISTRY_PROXY_TAG_STALE_WHILE_REVALIDATE", "1h")];
    let (upstream, between, cache) = pair(&env).await?;
    let push = async |seed| {
        let client = upstream.client();
        client.push_image("lib/app", "v1", &bytes(seed, 10)).await
    };
    let first = push(1).await?;
    assert_eq!(cache.client().get(TAG).await?.as_ref(), Some(&first));
    between.set(Mode::Silent);
    let pulled = pull(cache.client(), TAG).await?;
    assert!(!pulled.headers().contains_key("warning"));
    assert_eq!(pulled.bytes().await?, first);
    between.set(Mode::Open);
    let second = push(2).await?;
    wait_for("the tag to move", Duration::from_secs(30), || async {
        let pulled = cache.client().get(TAG).await.ok()?;
        (pulled.as_ref() == Some(&second)).then_some(())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_login_that_cannot_be_read_hides_nothing_that_is_here() -> anyhow::Result<()> {
    let (upstream, admin) = auth::start().await?;
    auth::member(&upstream, &admin, "reader", "guest").await?;
    let manifest = admin.push_image("team/app", "v1", &bytes(1, 10)).await?;
    let mut cache = Registry::start(Kind::Files, &EAGER).await?;
    let known = known(upstream.client().base(), "reader", "a long enough password");
    connect(cache.client(), "hub", known).await?;
    let path = "/v2/hub/team/app/manifests/v1";
    assert_eq!(cache.client().get(path).await?.as_ref(), Some(&manifest));
    cache.stop().await?;
    std::fs::remove_file(cache.directory().join("data/registry/seal-key"))?;
    cache.start_again().await?;
    let stale = pull(cache.client(), path).await?;
    assert_eq!(stale.status(), 200);
    assert!(header(&stale, "warning")?.contains("cannot be read"));
    assert_eq!(stale.bytes().await?, manifest);
    let other = pull(cache.client(), "/v2/hub/team/app/manifests/v2").await?;
    assert_eq!(other.status(), 502);
    Ok(())
}

#[tokio::test]
async fn what_lies_or_breaks_off_is_not_kept() -> anyhow::Result<()> {
    let (upstream, between, cache) = pair(&[]).await?;
    let layer = bytes(1, 3_000_000);
    let manifest = upstream
        .client()
        .push_image("lib/app", "v1", &layer)
        .await?;
    let (client, path) = (cache.client(), blob(&sha256(&layer)));
    between.set(body(
        "content-type: application/octet-stream\r\n",
        "something else",
    ));
    let lie = began(client, &path).await?;
    assert_eq!(header(&lie, "content-length")?, "14");
    assert!(lie.bytes().await.is_err(), "its last byte does not come");
    between.set(Mode::Cut(1_000_000));
    let cut = began(client, &path).await?;
    assert!(cut.bytes().await.is_err());
    let by_digest = format!("/v2/hub/lib/app/manifests/{}", sha256(&manifest));
    between.set(body("content-type: application/json\r\n", "{}"));
    wait_for("the lie", Duration::from_secs(20), || async {
        let lie = pull(client, &by_digest).await.ok()?;
        let is_refused = lie.status() == 502;
        (is_refused && text(lie).await.contains("up gave sha256:")).then_some(())
    })
    .await?;
    assert_eq!(used(client).await?, 0);
    between.set(Mode::Open);
    assert_eq!(began(client, &path).await?.bytes().await?, layer);
    assert_eq!(began(client, &by_digest).await?.bytes().await?, manifest);
    Ok(())
}

/// What another registry does not let a cache have is not told as if it were not there.
#[tokio::test]
async fn a_registry_that_does_not_let_us_in_is_said_to() -> anyhow::Result<()> {
    let (_upstream, between, cache, manifest) = cached().await?;
    let client = cache.client();
    for refusal in ["401 Unauthorized", "403 Forbidden"] {
        between.set(status(refusal, ""));
        let reason = format!("v1, or does not have it: {}", &refusal[..3]);
        let given = stale(client, &reason).await?;
        assert_eq!(given.bytes().await?, manifest);
        let cold = pull(client, "/v2/hub/lib/app/manifests/v2").await?;
        assert_eq!(cold.status(), 502);
        let why = text(cold).await;
        assert!(why.contains("up wants a login"), "{why}");
        assert!(why.contains("set-registry-login"), "{why}");
    }

    let (upstream, admin) = auth::start().await?;
    auth::member(&upstream, &admin, "reader", "guest").await?;
    admin.push_image("team/app", "v1", &bytes(1, 10)).await?;
    let cache = Registry::start(Kind::Files, &EAGER).await?;
    let wrong = known(upstream.client().base(), "reader", "not the password");
    connect(cache.client(), "hub", wrong).await?;
    let right = known(upstream.client().base(), "reader", "a long enough password");
    let right = json!({"name": "up2", "url": right["url"], "credential": right["credential"]});
    connect(cache.client(), "hub2", right).await?;
    for (path, expected, reason) in [
        (
            "/v2/hub/team/app/manifests/v1",
            502,
            "up does not take the login of reader",
        ),
        // Who may log in is told the same of what is not there and of what is not for him.
        (
            "/v2/hub2/other/app/manifests/v1",
            404,
            "or its login may not pull it",
        ),
    ] {
        let refused = pull(cache.client(), path).await?;
        assert_eq!(refused.status(), expected, "{path}");
        let why = text(refused).await;
        assert!(why.contains(reason), "{why}");
    }
    Ok(())
}

/// A copy of database and store is made in peace while the registry is read-only.
#[tokio::test]
async fn nothing_is_kept_while_the_registry_is_read_only() -> anyhow::Result<()> {
    let (upstream, _between, cache, first) = cached().await?;
    let (there, client) = (upstream.client(), cache.client());
    let set = async |read_only: bool| {
        let set = json!({"read_only": read_only});
        client.manage(Method::PUT, "/configurations", set).await
    };
    assert_eq!(set(true).await?.0, 200);
    let (before, layer) = (used(client).await?, bytes(2, 3_000_000));
    let second = there.push_image("lib/app", "v1", &layer).await?;
    let by_digest = format!("/v2/hub/lib/app/manifests/{}", sha256(&second));
    for _ in 0..2 {
        for path in [TAG, &by_digest] {
            assert_eq!(client.get(path).await?.as_ref(), Some(&second), "{path}");
            assert_eq!(client.status(Method::HEAD, path).await?, 200);
        }
        assert_eq!(
            client.get(&blob(&sha256(&layer))).await?.as_ref(),
            Some(&layer)
        );
    }
    // What was here is here.
    let old = format!("/v2/hub/lib/app/manifests/{}", sha256(&first));
    assert_eq!(client.get(&old).await?.as_ref(), Some(&first));
    assert_eq!(used(client).await?, before);
    let store = cache.directory().join("data/registry/store");
    assert!(file_of(&store, &layer).is_err());

    assert_eq!(set(false).await?.0, 200);
    assert_eq!(client.get(TAG).await?.as_ref(), Some(&second));
    assert_eq!(
        client.get(&blob(&sha256(&layer))).await?.as_ref(),
        Some(&layer)
    );
    wait_for("the layer to be kept", Duration::from_secs(20), || async {
        file_of(&store, &layer).is_ok().then_some(())
    })
    .await?;
    assert!(used(client).await? > before);
    Ok(())
}
