//! What is no request of the specification.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tests::registry::{Kind, Registry, bytes, code, header, sha256};
use tests::wait_for;

#[tokio::test]
async fn paths_and_methods() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let ping = client.request(Method::GET, "/v2/").send().await?;
    assert_eq!(ping.status(), 200);
    assert_eq!(
        header(&ping, "docker-distribution-api-version")?,
        "registry/2.0"
    );
    let long = format!("/v2/{}/tags/list", "a/".repeat(600));
    for (method, path, status, expected) in [
        (Method::GET, "/v2/UPPER/tags/list", 400, "NAME_INVALID"),
        (Method::GET, "/v2/a//b/tags/list", 400, "NAME_INVALID"),
        (Method::GET, "/v2/a/%00/tags/list", 400, "NAME_INVALID"),
        (Method::GET, &long, 400, "NAME_INVALID"),
        (Method::GET, "/v2/a/manifests/-tag", 400, "MANIFEST_INVALID"),
        (Method::GET, "/v2/a/nothing", 404, "NAME_UNKNOWN"),
        (Method::POST, "/v2/", 405, "UNSUPPORTED"),
        (Method::DELETE, "/v2/a/tags/list", 405, "UNSUPPORTED"),
        (Method::PUT, "/v2/_catalog", 405, "UNSUPPORTED"),
        (
            Method::GET,
            "/v2/a/blobs/uploads/none",
            404,
            "BLOB_UPLOAD_UNKNOWN",
        ),
    ] {
        let refused = client.request(method, path).send().await?;
        assert_eq!(refused.status(), status, "{path}");
        assert_eq!(code(refused).await?, expected, "{path}");
    }
    Ok(())
}

/// PostgreSQL keeps no text with a NUL in it, SQLite does: neither fails.
#[tokio::test]
async fn text_that_no_database_takes_is_the_fault_of_who_sends_it() -> anyhow::Result<()> {
    let (registry, admin) = crate::auth::start().await?;
    let client = registry.client();
    client.status(Method::GET, "/v2/").await?;
    let public = json!({"project_name": "pub", "public": true});
    assert_eq!(
        admin.manage(Method::POST, "/projects", public).await?.0,
        201
    );
    let image = admin.push_image("pub/app", "v1", &bytes(1, 10)).await?;
    let referrers = format!("/v2/pub/app/referrers/{}?artifactType=%00", sha256(&image));
    for path in [
        "/api/v2.0/search?q=%00",
        "/api/v2.0/projects?q=name%3D%00",
        "/v2/pub/app/tags/list?last=%00",
        &referrers,
    ] {
        let status = client.status(Method::GET, path).await?;
        assert!(matches!(status, 200 | 400), "{path}: {status}");
    }
    let zero = client.login("a\0b", "a\0b");
    let status = zero.status(Method::GET, "/v2/").await?;
    assert!(matches!(status, 400 | 401), "{status}");
    let account = json!({"username": "zero", "password": "a long enough one", "comment": "a\0"});
    let (status, _) = admin.manage(Method::POST, "/users", account).await?;
    assert!(matches!(status, 201 | 400), "{status}");

    let long = "a".repeat(50_001);
    for path in [
        format!("/api/v2.0/search?q={long}"),
        format!("/api/v2.0/projects?name={long}"),
        format!("/api/v2.0/projects?q=name%3D~{long}"),
        format!("/api/v2.0/projects?sort={}", "name,".repeat(2001)),
    ] {
        let status = client.status(Method::GET, &path).await?;
        assert_eq!(status, 400, "{}", &path[..40]);
    }
    Ok(())
}

#[tokio::test]
async fn a_request_keeps_the_id_that_a_trusted_proxy_gave() -> anyhow::Result<()> {
    let trusted = ("SKALD_REGISTRY_TRUSTED_PROXIES", "127.0.0.1");
    for (env, is_kept) in [(&[trusted][..], true), (&[], false)] {
        let registry = Registry::start(Kind::Files, env).await?;
        let ping = registry.client().request(Method::GET, "/v2/none/tags/list");
        let answer = ping.header("x-request-id", "mine-1").send().await?;
        let rid = header(&answer, "x-request-id")?;
        assert_eq!(rid == "mine-1", is_kept, "{rid}");
        code(answer).await?;
        let log = registry.directory().join("data/log/registry-access.log");
        let said = wait_for("the line of log", Duration::from_secs(20), async || {
            let text = std::fs::read_to_string(&log).ok()?;
            let line = text.lines().find(|line| line.contains(&rid))?;
            Some(line.contains(r#""client_rid":"mine-1""#))
        });
        assert_eq!(said.await?, !is_kept);
    }
    Ok(())
}

#[tokio::test]
async fn blobs_and_uploads_have_bounds() -> anyhow::Result<()> {
    let env = [
        ("SKALD_REGISTRY_UPLOAD_BLOB_SIZE_MAX", "1000"),
        ("SKALD_REGISTRY_UPLOAD_SESSIONS_MAX", "2"),
    ];
    let registry = Registry::start(Kind::Files, &env).await?;
    let client = registry.client();
    let location = client.begin("app").await?;
    let patch = client.request(Method::PATCH, &location).body(vec![0; 1001]);
    let patch = patch.send().await?;
    assert_eq!(patch.status(), 413);
    assert_eq!(code(patch).await?, "SIZE_INVALID");
    client.begin("app").await?;
    let third = client
        .request(Method::POST, "/v2/app/blobs/uploads/")
        .send()
        .await?;
    assert_eq!(third.status(), 429);
    assert!(third.headers().contains_key("retry-after"));
    assert_eq!(code(third).await?, "TOOMANYREQUESTS");
    client.begin("other").await?;
    Ok(())
}
