//! What is older than it is to be kept leaves the disk.

use tests::lines::{SECOND_NS, now_ns};

use crate::{PATIENCE, Site, app, lines};

/// Streams called `short` are kept for two hours, others for a day.
const LIMITS: &str = r#"
limits:
  retention_period: 24h
  reject_old_samples_max_age: 30d
  retention_stream:
    - selector: '{app="short"}'
      priority: 1
      period: 2h
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_and_streams_go_and_the_rest_stays() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("skald.yaml");
    std::fs::write(&config, LIMITS)?;
    let config = config.display().to_string();
    // Nothing is merged: which rows share an object is up to this test.
    let site = Site::start_with(
        &[&format!("--config={config}")],
        &[
            ("SKALD_COMPACTOR_REMOVED_DELAY", "1s"),
            ("SKALD_COMPACTOR_MERGE_OBJECTS", "1000"),
            ("SKALD_COMPACTOR_DAY_SETTLE", "30d"),
        ],
    )
    .await?;
    let hour_ns = 3600 * SECOND_NS;
    // Yesterday and the day before are over, so that all rows of a stream of those days are as old.
    let old_ns = now_ns() - 72 * hour_ns;
    let recent_ns = now_ns() - hour_ns;
    site.store(&app("long"), &lines(&["UNWANTED-old"], old_ns))
        .await?;
    site.store(
        &app("short"),
        &lines(&["UNWANTED-short"], recent_ns - 3 * hour_ns),
    )
    .await?;
    site.store(&app("short"), &lines(&["wanted-short"], recent_ns))
        .await?;
    site.store(
        &app("long"),
        &lines(&["wanted-long"], recent_ns - 3 * hour_ns),
    )
    .await?;
    site.has_files("data", 2).await?;
    tests::wait_for("clean files", PATIENCE, || {
        let clean = matches!(site.has_on_disk("UNWANTED"), Ok(false));
        async move { clean.then_some(()) }
    })
    .await?;
    let site = site.restarted().await?;
    let found = site
        .api()
        .all_lines(r#"{app=~".+"}"#, old_ns - hour_ns, now_ns())
        .await?;
    let texts: Vec<&str> = found.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["wanted-long", "wanted-short"]);
    Ok(())
}
