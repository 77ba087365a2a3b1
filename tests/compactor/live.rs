//! Compaction while lines are pushed and queries run.

use std::time::{Duration, Instant};

use anyhow::ensure;
use tests::lines::{SECOND_NS, now_ns};
use tests::load::Load;

use crate::Site;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn queries_miss_nothing_and_see_nothing_twice_meanwhile() -> anyhow::Result<()> {
    // Several times a second everything is flushed, merged, and what was merged deleted.
    let site = Site::start(&[
        ("SKALD_INGESTER_FLUSH_INTERVAL", "100ms"),
        ("SKALD_COMPACTOR_INTERVAL", "50ms"),
        ("SKALD_COMPACTOR_MIN_AGE", "1s"),
        ("SKALD_COMPACTOR_REMOVED_DELAY", "10s"),
    ])
    .await?;
    let (api, base_ns) = (site.api(), now_ns() - 600 * SECOND_NS);
    let load = Load::start(&api, "live", 3, base_ns);
    load.more(100).await?;
    let started = Instant::now();
    let mut rounds = 0;
    while started.elapsed() < Duration::from_secs(12) {
        let before = load.acknowledged();
        let end_ns = now_ns();
        let counted = api
            .instant(r#"sum(count_over_time({app="live"}[1h]))"#, end_ns)
            .await?;
        let found = api
            .all_lines(r#"{app="live", writer="1"}"#, base_ns, end_ns)
            .await?;
        ensure!(
            counted >= before as f64,
            "{counted} counted, {before} acknowledged before"
        );
        // A writer's lines are a microsecond apart: a gap or a copy shows in the times.
        for (line, number) in found.iter().zip(0..) {
            ensure!(
                line.timestamp_ns == base_ns + number * 1_000,
                "{line:?}, not {number}"
            );
        }
        rounds += 1;
    }
    let written = load.stop().await?;
    written.check(&api).await?;
    let merged = api.get("/metrics", &[]).await?.1;
    let read = merged
        .lines()
        .find_map(|line| line.strip_prefix("skald_compactor_objects_read_total "))
        .and_then(|count| count.parse::<f64>().ok());
    assert!(
        read > Some(10.0),
        "{read:?} objects merged in {rounds} rounds"
    );
    let site = site.restarted().await?;
    written.check(&site.api()).await
}
