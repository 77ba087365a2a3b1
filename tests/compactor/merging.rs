//! Many small objects become few.

use tests::lines::{SECOND_NS, difference, lines, now_ns};

use crate::{Site, app};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushes_are_merged_and_every_query_says_the_same() -> anyhow::Result<()> {
    let site = Site::start(&[("SKALD_COMPACTOR_REMOVED_DELAY", "1s")]).await?;
    let base_ns = now_ns() - 60 * SECOND_NS;
    let mut all = Vec::new();
    for flush in 0..12 {
        let batch = lines(0, flush * 100, flush * 100 + 100, base_ns);
        site.store(&app("web"), &batch).await?;
        all.extend(batch);
    }
    // Fewer than are merged may be left, of flushes and of merged ones, each with its index.
    site.has_files("data", 4).await?;
    site.has_files("index", 4).await?;
    let site = site.restarted().await?;
    let (api, end_ns) = (site.api(), now_ns());
    let found = api.all_lines(r#"{app="web"}"#, base_ns, end_ns).await?;
    assert_eq!(difference(&all, &found), None);
    let counted = api
        .instant(r#"sum(count_over_time({app="web"}[5m]))"#, end_ns)
        .await?;
    assert_eq!(counted, 1200.0);
    let metrics = api.get("/metrics", &[]).await?.1;
    for name in [
        "skald_compactor_partitions",
        "skald_compactor_last_cycle_timestamp_seconds",
        "skald_compactor_objects_read_total",
    ] {
        assert!(metrics.contains(name), "{name}");
    }
    Ok(())
}
