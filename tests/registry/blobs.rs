//! Blobs that are there: whole, in parts, deleted.

use reqwest::Method;
use tests::registry::{Kind, Registry, bytes, code, header, sha256};

#[tokio::test]
async fn heads_and_conditions() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let registry = Registry::start(kind, &[]).await?;
        let client = registry.client();
        let blob = bytes(1, 2048);
        let digest = client.push_blob("app", &blob).await?;
        let path = format!("/v2/app/blobs/{digest}");
        let head = client.request(Method::HEAD, &path).send().await?;
        assert_eq!(head.status(), 200);
        for (name, value) in [
            ("content-length", "2048"),
            ("docker-content-digest", digest.as_str()),
            ("accept-ranges", "bytes"),
            ("content-type", "application/octet-stream"),
            ("docker-distribution-api-version", "registry/2.0"),
        ] {
            assert_eq!(header(&head, name)?, value);
        }
        let etag = header(&head, "etag")?;
        let known = client.request(Method::GET, &path);
        let known = known.header("if-none-match", &etag).send().await?;
        assert_eq!(known.status(), 304);
        // The same bytes in another repository are not there.
        let other = format!("/v2/other/blobs/{digest}");
        assert_eq!(client.status(Method::HEAD, &other).await?, 404);
        let missing = client.request(Method::GET, &other).send().await?;
        assert_eq!(code(missing).await?, "BLOB_UNKNOWN");
        let malformed = client.request(Method::GET, "/v2/app/blobs/sha256:x");
        assert_eq!(malformed.send().await?.status(), 400);
    }
    Ok(())
}

#[tokio::test]
async fn ranges() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let registry = Registry::start(kind, &[]).await?;
        let client = registry.client();
        let blob = bytes(2, 2048);
        let digest = client.push_blob("app", &blob).await?;
        let path = format!("/v2/app/blobs/{digest}");
        for (range, from, to) in [
            ("bytes=500-1499", 500, 1500),
            ("bytes=500-", 500, 2048),
            ("bytes=-500", 1548, 2048),
            ("bytes=2000-5000", 2000, 2048),
            // All of it is a part too.
            ("bytes=0-", 0, 2048),
            ("bytes=0-2047", 0, 2048),
            ("bytes=-5000", 0, 2048),
        ] {
            let part = client.request(Method::GET, &path).header("range", range);
            let part = part.send().await?;
            assert_eq!(part.status(), 206, "{range}");
            let expected = format!("bytes {from}-{}/2048", to - 1);
            assert_eq!(header(&part, "content-range")?, expected);
            assert_eq!(header(&part, "content-length")?, (to - from).to_string());
            assert_eq!(part.bytes().await?, blob[from..to], "{range}");
        }
        for range in ["bytes=500-0", "bytes=5000-10000", "bytes=2048-"] {
            let none = client.request(Method::GET, &path).header("range", range);
            let none = none.send().await?;
            assert_eq!(none.status(), 416, "{range}");
            assert_eq!(header(&none, "content-range")?, "bytes */2048");
            assert_eq!(code(none).await?, "RANGE_INVALID");
        }
        // The connection is as good as before.
        assert_eq!(client.get(&path).await?, Some(blob));
    }
    Ok(())
}

#[tokio::test]
async fn a_blob_that_a_manifest_needs_cannot_be_deleted() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let registry = Registry::start(kind, &[]).await?;
        let client = registry.client();
        let layer = bytes(3, 100);
        let manifest = client.push_image("app", "v1", &layer).await?;
        let path = format!("/v2/app/blobs/{}", sha256(&layer));
        let refused = client.request(Method::DELETE, &path).send().await?;
        assert_eq!(refused.status(), 405);
        assert_eq!(code(refused).await?, "DENIED");
        let manifest = format!("/v2/app/manifests/{}", sha256(&manifest));
        assert_eq!(client.status(Method::DELETE, &manifest).await?, 202);
        assert_eq!(client.status(Method::DELETE, &path).await?, 202);
        assert_eq!(client.status(Method::GET, &path).await?, 404);
        assert_eq!(client.status(Method::DELETE, &path).await?, 404);
        // It can be pushed again.
        client.push_image("app", "v1", &layer).await?;
        assert_eq!(client.get(&path).await?, Some(layer));
    }
    Ok(())
}

#[tokio::test]
async fn large_blobs_come_from_the_object_store_where_that_is_wanted() -> anyhow::Result<()> {
    let env = [
        ("SKALD_REGISTRY_REDIRECT_ENABLED", "true"),
        ("SKALD_REGISTRY_REDIRECT_BLOB_SIZE_MIN", "1000"),
        // Those in the database have no address.
        ("SKALD_REGISTRY_DATABASE_BLOB_BYTES_MAX", "0"),
    ];
    for kind in Kind::ALL {
        let registry = Registry::start(kind, &env).await?;
        let client = registry.client();
        let (large, small) = (bytes(1, 1000), bytes(2, 999));
        for blob in [&large, &small] {
            let digest = client.push_blob("app", blob).await?;
            let path = format!("/v2/app/blobs/{digest}");
            let pull = client.request(Method::GET, &path);
            let pull = pull.header("range", "bytes=10-").send().await?;
            // The client has followed.
            let here = pull.url().as_str().starts_with(client.base());
            assert_eq!(here, kind == Kind::Files || blob.len() < 1000);
            assert_eq!(pull.status(), 206);
            assert_eq!(pull.bytes().await?, blob[10..]);
            assert_eq!(client.status(Method::HEAD, &path).await?, 200);
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_not_what_the_client_wants_is_not_sent() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let blob = bytes(1, 500);
    let manifest = client.push_image("app", "v1", &blob).await?;
    for (path, digest) in [
        (format!("/v2/app/blobs/{}", sha256(&blob)), sha256(&blob)),
        ("/v2/app/manifests/v1".to_owned(), sha256(&manifest)),
    ] {
        let other = sha256(b"other");
        for (wanted, status) in [(&digest, 200), (&"*".to_owned(), 200), (&other, 412)] {
            let wanted = format!("\"{wanted}\"");
            let get = client
                .request(Method::GET, &path)
                .header("if-match", wanted);
            assert_eq!(get.send().await?.status(), status, "{path}");
        }
    }
    Ok(())
}
