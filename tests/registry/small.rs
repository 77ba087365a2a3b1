//! Small blobs, whose bytes are in the database.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{
    Kind, Registry, RegistryClient, bytes, file_of, files_below, header, sha256, sha512, text,
};
use tests::wait_for;

/// Blobs up to so many bytes are small.
const SMALL: (&str, &str) = ("SKALD_REGISTRY_DATABASE_BLOB_BYTES_MAX", "1000");
/// Garbage goes a few seconds later.
const SHORT_GRACE: [(&str, &str); 4] = [
    SMALL,
    ("SKALD_REGISTRY_GC_INTERVAL", "50ms"),
    ("SKALD_REGISTRY_GC_BLOB_GRACE", "5s"),
    ("SKALD_REGISTRY_GC_DATA_GRACE", "0s"),
];

/// What a store has, besides what the server itself needs.
fn stored(registry: &Registry) -> usize {
    let s3 = registry.directory().join("s3/logs");
    match s3.is_dir() {
        true => files_below(&s3.join("data")) + files_below(&s3.join("tail")),
        false => files_below(&registry.directory().join("data/registry/store/data")),
    }
}

/// Sends a chunk; gives where the next one goes.
async fn patch(client: &RegistryClient, location: &str, chunk: &[u8]) -> anyhow::Result<String> {
    let patch = client.request(Method::PATCH, location);
    let patch = patch.body(chunk.to_vec()).send().await?;
    assert_eq!(patch.status(), 202, "{}", text(patch).await);
    header(&patch, "location")
}

#[tokio::test]
async fn they_are_in_no_store_however_they_come() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let mut registry = Registry::start(kind, &[SMALL]).await?;
        let client = registry.client().clone();
        let mut pushed = Vec::new();
        for (seed, len) in [(1, 0), (2, 1), (3, 999), (4, 1000)] {
            let blob = bytes(seed, len);
            for digest in [sha256(&blob), sha512(&blob)] {
                let path = format!("/v2/app/blobs/uploads/?digest={digest}");
                let post = client.request(Method::POST, &path).body(blob.clone());
                let post = post.send().await?;
                assert_eq!(post.status(), 201, "{}", text(post).await);
                pushed.push((digest, blob.clone()));
            }
        }
        // In chunks, between which the process dies.
        let blob = bytes(5, 900);
        let location = client.begin("app").await?;
        let location = patch(&client, &location, &blob[..300]).await?;
        registry.kill()?;
        registry.start_again().await?;
        let location = patch(&client, &location, &blob[300..800]).await?;
        // A digest of another algorithm than was hashed so far.
        let (digest, last) = (sha512(&blob), blob[800..].to_vec());
        let put = client.finish(&location, &digest, last).await?;
        assert_eq!(put.status(), 201, "{}", text(put).await);
        pushed.push((sha512(&blob), blob));
        assert_eq!(stored(&registry), 0, "{kind:?}");
        for (digest, blob) in &pushed {
            let path = format!("/v2/app/blobs/{digest}");
            let head = client.request(Method::HEAD, &path).send().await?;
            assert_eq!(header(&head, "content-length")?, blob.len().to_string());
            assert_eq!(client.get(&path).await?.as_ref(), Some(blob));
            if blob.len() > 500 {
                let part = client.request(Method::GET, &path);
                let part = part.header("range", "bytes=100-499").send().await?;
                assert_eq!(part.status(), 206);
                assert_eq!(part.bytes().await?, blob[100..500]);
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_grows_goes_to_the_store() -> anyhow::Result<()> {
    let env = [SMALL, ("SKALD_REGISTRY_GC_INTERVAL", "50ms")];
    for kind in Kind::ALL {
        let mut registry = Registry::start(kind, &env).await?;
        let client = registry.client().clone();
        let blob = bytes(1, 200_000);
        let location = client.begin("app").await?;
        let location = patch(&client, &location, &blob[..1000]).await?;
        assert_eq!(stored(&registry), 0, "{kind:?}");
        registry.kill()?;
        registry.start_again().await?;
        let location = patch(&client, &location, &blob[1000..1001]).await?;
        let location = patch(&client, &location, &blob[1001..100_000]).await?;
        let (digest, last) = (sha256(&blob), blob[100_000..].to_vec());
        let put = client.finish(&location, &digest, last).await?;
        assert_eq!(put.status(), 201, "{}", text(put).await);
        let path = format!("/v2/app/blobs/{}", sha256(&blob));
        assert!(client.get(&path).await? == Some(blob.clone()), "{kind:?}");
        // One that is given up leaves nothing.
        let before = stored(&registry);
        let location = client.begin("app").await?;
        let location = patch(&client, &location, &blob[..10]).await?;
        let location = patch(&client, &location, &blob[10..100_000]).await?;
        assert_eq!(client.status(Method::DELETE, &location).await?, 204);
        let gone = || async { (stored(&registry) == before).then_some(()) };
        wait_for("what came to go", Duration::from_secs(20), gone).await?;
    }
    Ok(())
}

/// What the comparison of database and store says, after its bytes were read.
async fn findings(client: &RegistryClient) -> anyhow::Result<Vec<Value>> {
    let asked = client.request(Method::POST, "/api/v2.0/system/fsck");
    let answer = asked.json(&json!({"read_bytes": true})).send().await?;
    let lines = answer.text().await?;
    let lines = lines.lines().map(serde_json::from_str::<Value>);
    Ok(lines.collect::<Result<_, _>>()?)
}

#[tokio::test]
async fn they_are_garbage_and_are_looked_at_as_others_are() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &SHORT_GRACE).await?;
    let client = registry.client();
    let (layer, small) = (bytes(1, 5000), bytes(2, 500));
    client.push_image("app", "v1", &small).await?;
    client.push_image("app", "v2", &layer).await?;
    file_of(&registry.directory().join("data/registry/store"), &layer)?;
    assert_eq!(stored(&registry), 1, "the layer; not its configuration");
    let found = findings(client).await?;
    assert_eq!(
        (found.len(), &found[0]["blobs"]),
        (1, &json!(3)),
        "{found:?}"
    );
    // The same from somebody else is no other one, and a mount needs none.
    client.push_image("other", "v1", &small).await?;
    let mount = format!("/v2/third/blobs/uploads/?mount={}&from=app", sha256(&small));
    assert_eq!(client.status(Method::POST, &mount).await?, 201);
    for repo in ["app", "other"] {
        for tag in ["v1", "v2"] {
            let path = format!("/v2/{repo}/manifests/{tag}");
            let manifest = client.request(Method::HEAD, &path).send().await?;
            if manifest.status() == 200 {
                let digest = header(&manifest, "docker-content-digest")?;
                let path = format!("/v2/{repo}/manifests/{digest}");
                assert_eq!(client.status(Method::DELETE, &path).await?, 202);
            }
        }
    }
    let gone = || async {
        let found = findings(client).await.ok()?;
        (found.len() == 1 && found[0]["blobs"] == 0).then_some(())
    };
    wait_for("all blobs to go", Duration::from_secs(60), gone).await?;
    assert_eq!(stored(&registry), 0);
    Ok(())
}
