//! What was read from an object store is on the local disk, also after a restart.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use tests::api::Api;
use tests::lines::{labels, lines, now_ns};
use tests::process::Launch;
use tests::s3::S3;
use tests::wait_for;

/// The value of a counter or gauge; 0 if it was not counted yet.
async fn metric(api: &Api, name: &str) -> anyhow::Result<f64> {
    let (status, text) = api.get("/metrics", &[]).await?;
    ensure!(status == 200, "/metrics answered {status}");
    let mut values = text.lines().filter_map(|line| line.strip_prefix(name));
    values.next().map_or(Ok(0.0), |value| {
        value.trim().parse().context("not a number")
    })
}

fn bytes_below(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    files
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_does_not_ask_the_store_again() -> anyhow::Result<()> {
    const READ: &str = r#"skald_storage_bytes_total{operation="get"}"#;
    const HELD: &str = r#"skald_storage_cache_bytes{cache="disk"}"#;
    let directory = tempfile::tempdir()?;
    let s3 = S3::start(&directory.path().join("s3")).await?;
    let mut launch = Launch::serve(directory.path(), &[])?;
    for (name, value) in s3.env() {
        launch = launch.with_env(name, &value);
    }
    let server = launch.start().await?;
    let start_ns = now_ns() - 60_000_000_000;
    // Lines that hardly compress, so that they are most of what is read.
    let mut stored = lines(1, 0, 20_000, start_ns);
    for line in &mut stored {
        line.text = format!("request {:032x}", rand::random::<u128>());
    }
    let (status, body) = server.api().push(&labels("web", 1), &stored).await?;
    ensure!(status == 204, "{status} {body}");
    server.api().flush().await?;

    // From the store alone.
    let server = server.stop().await?.start().await?;
    let api = server.api();
    let query = r#"{app="web"} |= "99""#;
    let first = api.all_lines(query, start_ns, now_ns()).await?;
    ensure!(!first.is_empty());
    let first_bytes = metric(&api, READ).await?;
    wait_for("pages on the disk", Duration::from_secs(30), || async {
        let held = metric(&api, HELD).await.ok()?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let later = metric(&api, HELD).await.ok()?;
        (held > 0.0 && later == held).then_some(())
    })
    .await?;
    assert!(bytes_below(&directory.path().join("data/cache")) > 0);

    let server = server.stop().await?.start().await?;
    let api = server.api();
    assert_eq!(api.all_lines(query, start_ns, now_ns()).await?, first);
    // Manifests, and what the server wrote about itself meanwhile.
    let bytes = metric(&api, READ).await?;
    assert!(bytes * 4.0 < first_bytes, "{bytes} of {first_bytes}");

    // A cache that is lost is no loss.
    let server = server.stop().await?;
    std::fs::write(directory.path().join("data/cache/pages"), b"lost")?;
    let server = server.start().await?;
    assert_eq!(
        server.api().all_lines(query, start_ns, now_ns()).await?,
        first
    );
    Ok(())
}
