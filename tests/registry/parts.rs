//! Uploads in parts, which an object store keeps open until they are finished or aborted.

use std::time::{Duration, Instant};

use reqwest::Method;
use tests::registry::{Kind, Registry, RegistryClient, bytes, files_with, sha256};
use tests::wait_for;

/// How long an upload that nobody continues is kept.
const EXPIRY: Duration = Duration::from_secs(3);

const SWEEPS: [(&str, &str); 4] = [
    ("SKALD_REGISTRY_GC_INTERVAL", "50ms"),
    ("SKALD_REGISTRY_GC_SWEEP_INTERVAL", "0s"),
    ("SKALD_REGISTRY_UPLOAD_EXPIRY", "3s"),
    ("SKALD_REGISTRY_GC_SWEEP_ORPHANS_PERCENT_MAX", "100"),
];

/// More than one part.
const LARGE: usize = 9 << 20;

async fn send(client: &RegistryClient, location: &str, chunk: Vec<u8>) -> anyhow::Result<u16> {
    let patch = client.request(Method::PATCH, location).body(chunk);
    Ok(patch.send().await?.status().as_u16())
}

/// A process is killed when the store has begun an upload in parts and nobody knows yet what it is
/// called.
#[tokio::test]
async fn an_upload_in_parts_that_nobody_knows_of_is_aborted() -> anyhow::Result<()> {
    let others = "data/fake/2026-01-01/01JD9Z0000000000000000000A.lgob";
    let mut registry = Registry::start(Kind::S3, &SWEEPS).await?;
    let client = registry.client().clone();
    registry.s3()?.begin_upload(others).await;
    registry.s3()?.keep_uploads_silent(true);
    let location = client.begin("app").await?;
    let sending = {
        let (client, location) = (client.clone(), location.clone());
        tokio::spawn(async move { send(&client, &location, bytes(1, LARGE)).await })
    };
    wait_for("the upload", Duration::from_secs(20), async || {
        (registry.s3().ok()?.open_uploads().await.len() == 2).then_some(())
    })
    .await?;
    registry.kill()?;
    assert!(sending.await?.is_err());
    registry.s3()?.keep_uploads_silent(false);
    registry.start_again().await?;

    // One that is continued stays, however long ago it began.
    let (begun, mut sent) = (Instant::now(), bytes(2, LARGE));
    let location = client.begin("app").await?;
    assert_eq!(send(&client, &location, sent.clone()).await?, 202);
    while begun.elapsed() < EXPIRY * 2 || registry.s3()?.open_uploads().await.len() > 2 {
        assert!(begun.elapsed() < EXPIRY * 10, "the upload is still open");
        assert_eq!(send(&client, &location, vec![7]).await?, 202);
        sent.push(7);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let put = client.finish(&location, &sha256(&sent), Vec::new()).await?;
    assert_eq!(put.status(), 201);
    assert_eq!(registry.s3()?.open_uploads().await, [others]);
    let logs = registry.directory().join("data/log");
    assert!(!files_with(&logs, r#""uploads":1"#)?.is_empty());
    Ok(())
}
