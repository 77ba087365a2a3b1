//! Every way to push a blob.

use reqwest::Method;
use tests::registry::{Kind, Registry, RegistryClient, bytes, code, header, sha256, sha512, text};

async fn assert_pulled(
    client: &RegistryClient,
    repo: &str,
    digest: &str,
    expected: &[u8],
) -> anyhow::Result<()> {
    let path = format!("/v2/{repo}/blobs/{digest}");
    let pulled = client.get(&path).await?;
    assert!(pulled.as_deref() == Some(expected), "{path}");
    Ok(())
}

#[tokio::test]
async fn at_once_with_one_request_or_two() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let registry = Registry::start(kind, &[]).await?;
        let client = registry.client();
        for (seed, len) in [(1, 0), (2, 1), (3, 300_000)] {
            let blob = bytes(seed, len);
            for digest in [sha256(&blob), sha512(&blob)] {
                let path = format!("/v2/one/post/blobs/uploads/?digest={digest}");
                let post = client.request(Method::POST, &path).body(blob.clone());
                let post = post.send().await?;
                assert_eq!(post.status(), 201, "{}", text(post).await);
                assert_eq!(header(&post, "docker-content-digest")?, digest);
                let pulled = client.get(&header(&post, "location")?).await?;
                assert_eq!(pulled.as_deref(), Some(blob.as_slice()));

                // The session was begun without a word about the algorithm.
                let location = client.begin("one/put").await?;
                let put = client.finish(&location, &digest, blob.clone()).await?;
                assert_eq!(put.status(), 201, "{}", text(put).await);
                assert_pulled(client, "one/put", &digest, &blob).await?;
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn as_a_stream_and_in_chunks() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let registry = Registry::start(kind, &[]).await?;
        let client = registry.client();
        let blob = bytes(4, 9_000_000);
        for (algorithm, digest) in [("sha256", sha256(&blob)), ("sha512", sha512(&blob))] {
            // A stream: one PATCH without a range, as docker sends it.
            let location = client.begin("app").await?;
            let patch = client.request(Method::PATCH, &location).body(blob.clone());
            let patch = patch.send().await?;
            assert_eq!(patch.status(), 202, "{}", text(patch).await);
            assert_eq!(header(&patch, "range")?, "0-8999999");
            let location = header(&patch, "location")?;
            let put = client.finish(&location, &digest, Vec::new()).await?;
            assert_eq!(put.status(), 201, "{}", text(put).await);
            assert_pulled(client, "app", &digest, &blob).await?;

            // Chunks, of which the last comes with the digest.
            let path = format!("/v2/chunked/blobs/uploads/?digest-algorithm={algorithm}");
            let begun = client.request(Method::POST, &path).send().await?;
            let mut location = header(&begun, "location")?;
            let cuts = [0, 1, 5_000_001, 8_500_000];
            for pair in cuts.windows(2) {
                let (from, to) = (pair[0], pair[1]);
                let patch = client.request(Method::PATCH, &location);
                let patch = patch.header("content-range", format!("{from}-{}", to - 1));
                let patch = patch.body(blob[from..to].to_vec()).send().await?;
                assert_eq!(patch.status(), 202, "{}", text(patch).await);
                assert_eq!(header(&patch, "range")?, format!("0-{}", to - 1));
                location = header(&patch, "location")?;
            }
            let put = client.request(Method::PUT, &location);
            let put = put.query(&[("digest", &digest)]);
            let put = put.header("content-range", "8500000-8999999");
            let put = put.body(blob[8_500_000..].to_vec()).send().await?;
            assert_eq!(put.status(), 201, "{}", text(put).await);
            assert_pulled(client, "chunked", &digest, &blob).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn chunks_out_of_order_are_refused_and_the_state_says_where_to_go_on() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let registry = Registry::start(kind, &[]).await?;
        let client = registry.client();
        let blob = bytes(5, 3000);
        let location = client.begin("app").await?;
        let send = async |method: Method, location: &str, range: &str, body: &[u8]| {
            let request = client.request(method, location);
            let request = request.query(&[("digest", sha256(&blob))]);
            let request = request.header("content-range", range);
            request.body(body.to_vec()).send().await
        };
        let first = send(Method::PATCH, &location, "0-999", &blob[..1000]).await?;
        assert_eq!(first.status(), 202);
        for (method, range, body) in [
            (Method::PATCH, "2000-2999", &blob[2000..]),
            (Method::PATCH, "0-999", &blob[..1000]),
            (Method::PUT, "2000-2999", &blob[2000..]),
        ] {
            let refused = send(method, &location, range, body).await?;
            assert_eq!(refused.status(), 416, "{range}");
            assert_eq!(header(&refused, "range")?, "0-999");
            assert_eq!(code(refused).await?, "BLOB_UPLOAD_INVALID");
        }
        // Lengths that contradict each other.
        let lies = send(Method::PATCH, &location, "1000-1999", &blob[1000..1500]).await?;
        assert_eq!(lies.status(), 400);
        assert_eq!(code(lies).await?, "SIZE_INVALID");
        let state = client.request(Method::GET, &location).send().await?;
        assert_eq!(
            (state.status().as_u16(), header(&state, "range")?),
            (204, "0-999".into())
        );
        assert!(state.headers().contains_key("docker-upload-uuid"));
        let location = header(&state, "location")?;
        let last = send(Method::PUT, &location, "1000-2999", &blob[1000..]).await?;
        assert_eq!(last.status(), 201, "{}", text(last).await);
    }
    Ok(())
}

#[tokio::test]
async fn a_mount_copies_nothing_and_a_missing_one_becomes_an_upload() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let registry = Registry::start(kind, &[]).await?;
        let client = registry.client();
        for (seed, hash) in [(6, sha256 as fn(&[u8]) -> String), (7, sha512)] {
            let blob = bytes(seed, 5000);
            let digest = hash(&blob);
            let mount = async |to: &str, from: &str| {
                let path = format!("/v2/{to}/blobs/uploads/?mount={digest}{from}");
                client.request(Method::POST, &path).send().await
            };
            let missing = mount("b/to", "&from=a/from").await?;
            assert_eq!(missing.status(), 202);
            assert!(!header(&missing, "location")?.is_empty());
            let location = client.begin("a/from").await?;
            let put = client.finish(&location, &digest, blob.clone()).await?;
            assert_eq!(put.status(), 201);
            let named = mount("b/to", "&from=a/from").await?;
            assert_eq!(named.status(), 201);
            assert_eq!(header(&named, "docker-content-digest")?, digest);
            assert_pulled(client, "b/to", &digest, &blob).await?;
            assert_eq!(mount("c/to", "").await?.status(), 201);
            assert_pulled(client, "c/to", &digest, &blob).await?;
            assert_eq!(mount("d/to", "&from=e/none").await?.status(), 202);
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_upload_can_be_cancelled() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let registry = Registry::start(kind, &[]).await?;
        let client = registry.client();
        let location = client.begin("app").await?;
        let patch = client
            .request(Method::PATCH, &location)
            .body(bytes(8, 9_000_000));
        assert_eq!(patch.send().await?.status(), 202);
        assert_eq!(client.status(Method::DELETE, &location).await?, 204);
        for method in [Method::GET, Method::DELETE, Method::PATCH] {
            let gone = client.request(method, &location).send().await?;
            assert_eq!(gone.status(), 404);
            assert_eq!(code(gone).await?, "BLOB_UPLOAD_UNKNOWN");
        }
        let put = client.finish(&location, &sha256(b""), Vec::new()).await?;
        assert_eq!(put.status(), 404);
        assert_eq!(code(put).await?, "BLOB_UPLOAD_UNKNOWN");
        // An upload belongs to its repository.
        let location = client.begin("app").await?.replace("/app/", "/other/");
        assert_eq!(client.status(Method::GET, &location).await?, 404);
    }
    Ok(())
}

#[tokio::test]
async fn wrong_digests_are_refused_and_nothing_is_left() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let registry = Registry::start(kind, &[]).await?;
        let client = registry.client();
        let (blob, other) = (bytes(9, 1000), bytes(10, 1000));
        for digest in [sha256(&other), sha512(&other)] {
            let path = format!("/v2/app/blobs/uploads/?digest={digest}");
            let post = client.request(Method::POST, &path).body(blob.clone());
            let post = post.send().await?;
            assert_eq!(post.status(), 400);
            assert_eq!(code(post).await?, "DIGEST_INVALID");
            let location = client.begin("app").await?;
            let patch = client.request(Method::PATCH, &location).body(blob.clone());
            assert_eq!(patch.send().await?.status(), 202);
            let put = client.finish(&location, &digest, Vec::new()).await?;
            assert_eq!(put.status(), 400);
            assert_eq!(code(put).await?, "DIGEST_INVALID");
            let path = format!("/v2/app/blobs/{digest}");
            assert_eq!(client.status(Method::HEAD, &path).await?, 404);
        }
        for digest in ["", "sha256:abc", "sha999:00", "nothing"] {
            let location = client.begin("app").await?;
            let put = client.finish(&location, digest, blob.clone()).await?;
            assert_eq!((put.status().as_u16(), digest), (400, digest));
            assert_eq!(code(put).await?, "DIGEST_INVALID");
        }
        let path = "/v2/app/blobs/uploads/?digest-algorithm=md5";
        assert_eq!(client.status(Method::POST, path).await?, 400);
    }
    Ok(())
}
