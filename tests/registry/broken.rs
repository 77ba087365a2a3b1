//! Requests that break off, lie or play tricks, and a store that fails in the middle: which status
//! and code they get, and that nothing is lost and nothing is left behind.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use reqwest::Method;
use serde_json::Value;
use tests::registry::{
    Kind, MANIFEST, Registry, RegistryClient, bytes, code, files_below, header, image, sha256, text,
};
use tests::wait_for;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends a request as it is written; gives the status and the error's code.
async fn raw(client: &RegistryClient, head: &str, body: &[u8]) -> anyhow::Result<(u16, String)> {
    send(client, head, body, false).await
}

/// The same, and says then that nothing more will come.
pub(crate) async fn cut(
    client: &RegistryClient,
    head: &str,
    body: &[u8],
) -> anyhow::Result<(u16, String)> {
    send(client, head, body, true).await
}

async fn send(
    client: &RegistryClient,
    head: &str,
    body: &[u8],
    is_cut: bool,
) -> anyhow::Result<(u16, String)> {
    let addr = client.base().trim_start_matches("http://");
    let mut connection = TcpStream::connect(addr).await?;
    let head = format!("{head}host: {addr}\r\nconnection: close\r\n\r\n");
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(body).await?;
    if is_cut {
        connection.shutdown().await?;
    }
    let mut answer = Vec::new();
    // What is refused early may be answered with a reset after the answer.
    let _ = connection.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).context("no answer")?.parse()?;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let code = body["errors"][0]["code"].as_str().unwrap_or_default();
    Ok((status, code.to_owned()))
}

/// As they are sent by who does not tidy them up first.
#[tokio::test]
async fn paths_that_play_tricks() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    client.push_image("a", "v1", &bytes(1, 10)).await?;
    let data = "/v2/a/../../registry.db";
    for (path, status, expected) in [
        ("/v2/a/../a/manifests/v1", 400, "NAME_INVALID"),
        ("/v2/../manifests/v1", 400, "NAME_INVALID"),
        ("/v2/./a/manifests/v1", 400, "NAME_INVALID"),
        ("/v2/%2e%2e/%2e%2e/manifests/v1", 400, "NAME_INVALID"),
        ("/v2/a%5Cb/manifests/v1", 400, "NAME_INVALID"),
        ("/v2/a%0a/manifests/v1", 400, "NAME_INVALID"),
        ("/v2/-a/manifests/v1", 400, "NAME_INVALID"),
        ("/v2/a//manifests/v1", 400, "NAME_INVALID"),
        ("/v2/a/manifests/..", 400, "MANIFEST_INVALID"),
        ("/v2/a/manifests/%zz", 404, "NAME_UNKNOWN"),
        ("/v2/a/manifests/%ff", 404, "NAME_UNKNOWN"),
        ("/v2/a/blobs/sha256:../../x", 404, "NAME_UNKNOWN"),
        ("/v2/a/blobs/sha256:..%2f..%2fx", 404, "NAME_UNKNOWN"),
        ("/v2/a/blobs/uploads/..%2f..%2fx", 404, "NAME_UNKNOWN"),
        (data, 404, "NAME_UNKNOWN"),
        // The one that is meant, in other words.
        ("/v2/a/manifests/%76%31", 200, ""),
    ] {
        let answer = raw(client, &format!("GET {path} HTTP/1.1\r\n"), b"").await;
        let answer = answer.with_context(|| path.to_owned())?;
        assert_eq!(answer, (status, expected.to_owned()), "{path}");
    }
    Ok(())
}

/// What a body lacks is not made up for, and what had come of it goes: nobody was told where an
/// upload of one request could be continued.
#[tokio::test]
async fn bodies_that_end_too_early_leave_nothing() -> anyhow::Result<()> {
    let env = [
        ("SKALD_REGISTRY_GC_INTERVAL", "50ms"),
        ("SKALD_REGISTRY_GC_BLOB_GRACE", "0s"),
        ("SKALD_REGISTRY_GC_DATA_GRACE", "0s"),
    ];
    let registry = Registry::start(Kind::Files, &env).await?;
    let client = registry.client();
    let blob = bytes(2, 1000);
    let digest = sha256(&blob);
    let post =
        format!("POST /v2/app/blobs/uploads/?digest={digest} HTTP/1.1\r\ncontent-length: 1000\r\n");
    let post = cut(client, &post, &blob[..400]).await?;
    assert_eq!(post, (400, "BLOB_UPLOAD_INVALID".to_owned()));
    let path = format!("/v2/app/blobs/{digest}");
    assert_eq!(client.status(Method::HEAD, &path).await?, 404);
    let manifest = image(&blob, &[]).to_string();
    let put = format!(
        "PUT /v2/app/manifests/v1 HTTP/1.1\r\ncontent-type: {MANIFEST}\r\ncontent-length: {}\r\n",
        manifest.len()
    );
    let put = cut(client, &put, &manifest.as_bytes()[..100]).await?;
    assert_eq!(put, (400, "SIZE_INVALID".to_owned()));
    assert_eq!(
        client.status(Method::GET, "/v2/app/manifests/v1").await?,
        404
    );
    let data = registry.directory().join("data/registry/store/data");
    wait_for("what was left to go", Duration::from_secs(20), async || {
        (files_below(&data) == 0).then_some(())
    })
    .await
}

#[tokio::test]
async fn ranges_that_are_none_are_refused() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let blob = bytes(3, 1000);
    let location = client.begin("app").await?;
    for (range, expected) in [
        ("nothing", "BLOB_UPLOAD_INVALID"),
        ("9-0", "BLOB_UPLOAD_INVALID"),
        ("0-18446744073709551615", "BLOB_UPLOAD_INVALID"),
        ("0-1999", "SIZE_INVALID"),
        ("0-9", "SIZE_INVALID"),
    ] {
        let patch = client.request(Method::PATCH, &location);
        let patch = patch.header("content-range", range).body(blob.clone());
        let refused = patch.send().await?;
        assert_eq!(refused.status(), 400, "{range}");
        assert_eq!(code(refused).await?, expected, "{range}");
    }
    // A stream has no length that could be compared before.
    let chunked = format!(
        "PATCH {location} HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-range: 0-9\r\n"
    );
    let lies = raw(client, &chunked, b"3\r\nabc\r\n0\r\n\r\n").await?;
    assert_eq!(lies, (400, "SIZE_INVALID".to_owned()));
    // Nothing of all that counts.
    let state = client.request(Method::GET, &location).send().await?;
    let location = header(&state, "location")?;
    let digest = sha256(&blob);
    let put = client.finish(&location, &digest, blob).await?;
    assert_eq!(put.status(), 201, "{}", text(put).await);
    Ok(())
}

/// What a store has that was moved away, and a file in its place, so that nothing can be written.
fn break_store(store: &Path, away: &Path) -> std::io::Result<()> {
    std::fs::rename(store, away)?;
    std::fs::write(store, "no directory")
}

fn mend_store(store: &Path, away: &Path) -> std::io::Result<()> {
    std::fs::remove_file(store)?;
    std::fs::rename(away, store)
}

#[tokio::test]
async fn an_upload_goes_on_when_the_store_is_back() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        // No reason to wait long for a store that will not come back by itself.
        let env = [("SKALD_REGISTRY_STORAGE_REQUESTS_MAX_RETRIES", "1")];
        let registry = Registry::start(kind, &env).await?;
        let client = registry.client();
        let (store, away) = match kind {
            Kind::Files => ("data/registry/store", "away"),
            Kind::S3 => ("s3", "away"),
        };
        let store = registry.directory().join(store);
        let away = registry.directory().join(away);
        let blob = bytes(4, 12_000_000);
        let (first, rest) = blob.split_at(6_000_000);
        let location = client.begin("app").await?;
        let patch = client
            .request(Method::PATCH, &location)
            .body(first.to_vec());
        let location = header(&patch.send().await?, "location")?;

        break_store(&store, &away)?;
        let patch = client.request(Method::PATCH, &location).body(rest.to_vec());
        let failed = patch.send().await?;
        assert_eq!(failed.status(), 503, "{kind:?}");
        assert!(failed.headers().contains_key("retry-after"));
        assert_eq!(code(failed).await?, "UNAVAILABLE");
        mend_store(&store, &away)?;

        // What had come before is there, and perhaps some of what came then.
        let state = client.request(Method::GET, &location).send().await?;
        assert_eq!(state.status(), 204);
        let range = header(&state, "range")?;
        let last: usize = range.trim_start_matches("0-").parse()?;
        assert!(last + 1 >= first.len(), "{range}");
        let patch = client.request(Method::PATCH, &header(&state, "location")?);
        let patch = patch.body(blob[last + 1..].to_vec()).send().await?;
        assert_eq!(patch.status(), 202, "{kind:?} {}", text(patch).await);
        let location = header(&patch, "location")?;
        let digest = sha256(&blob);
        let put = client.finish(&location, &digest, Vec::new()).await?;
        assert_eq!(put.status(), 201, "{kind:?} {}", text(put).await);
        let pulled = client.get(&format!("/v2/app/blobs/{digest}")).await?;
        assert!(pulled == Some(blob), "{kind:?}");
    }
    Ok(())
}

/// What a client is told that goes on must let it come to an end.
#[tokio::test]
async fn an_upload_that_the_store_has_lost_is_over() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let registry = Registry::start(kind, &[]).await?;
        let client = registry.client();
        let place = match kind {
            Kind::Files => registry.directory().join("data/registry/store/data"),
            Kind::S3 => registry.directory().join("s3/logs/tail"),
        };
        let blob = bytes(3, 9 << 20);
        for method in [Method::PUT, Method::PATCH] {
            let location = client.begin("app").await?;
            let patch = client.request(Method::PATCH, &location).body(blob.clone());
            assert_eq!(patch.send().await?.status(), 202);
            std::fs::remove_dir_all(&place)?;
            std::fs::create_dir_all(&place)?;
            let digest = sha256(&blob);
            let end = match method {
                Method::PUT => format!("{location}?digest={digest}"),
                _ => location.clone(),
            };
            let end = client.request(method.clone(), &end).body("").send().await?;
            assert_eq!(end.status(), 404, "{kind:?} {method}");
            assert_eq!(code(end).await?, "BLOB_UPLOAD_UNKNOWN");
            let standing = client.request(Method::GET, &location).send().await?;
            assert_eq!(standing.status(), 404);
            assert_eq!(client.push_blob("app", &blob).await?, digest);
        }
    }
    Ok(())
}
