//! One more ingester takes its share of the streams and leaves the others alone.

use std::collections::BTreeMap;

use tests::api::Api;
use tests::cluster::{Backend, Cluster};
use tests::lines;

/// Streams that are pushed.
const STREAMS: usize = 300;
/// Ingesters at first.
const INGESTERS: usize = 3;

/// Pushes to each stream once.
async fn push(api: &Api, at_ns: i64) -> anyhow::Result<()> {
    for stream in 0..STREAMS {
        let labels = lines::labels("growth", stream);
        let line = lines::line(stream, 0, at_ns);
        let (status, body) = api.push(&labels, &[line]).await?;
        assert_eq!(status, 204, "{body}");
    }
    Ok(())
}

/// Lines that each ingester took, by its own account.
async fn taken(cluster: &Cluster) -> anyhow::Result<Vec<u64>> {
    let mut taken = Vec::new();
    for ingester in cluster.ingesters() {
        let (_, metrics) = ingester.get("/metrics", &[]).await?;
        let rows: BTreeMap<&str, u64> = metrics
            .lines()
            .filter_map(|line| line.rsplit_once(' '))
            .filter(|(name, _)| name.starts_with("skald_ingester_rows_total"))
            .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
            .collect();
        taken.push(rows.values().sum());
    }
    Ok(taken)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_ingester_takes_its_share_from_the_others() -> anyhow::Result<()> {
    // Each stream on one ingester only, so that a stream that moves can be counted.
    let mut cluster = Cluster::start_with(
        INGESTERS,
        Backend::Directory,
        &[("SKALD_CLUSTER_REPLICATION_FACTOR", "1")],
    )
    .await?;
    let base_ns = lines::now_ns();
    push(&cluster.distributor(), base_ns).await?;
    let before = taken(&cluster).await?;
    assert_eq!(before.iter().sum::<u64>(), STREAMS as u64, "{before:?}");

    cluster.add_ingester().await?;
    cluster.settled(INGESTERS + 1 + 2).await?;
    push(&cluster.distributor(), base_ns + 1_000_000).await?;
    let after = taken(&cluster).await?;
    assert_eq!(after.iter().sum::<u64>(), 2 * STREAMS as u64, "{after:?}");

    // A stream that stays brings its ingester as many lines as the first time.
    let moved = after.last().copied().unwrap_or_default();
    for (at, (before, after)) in before.iter().zip(&after).enumerate() {
        assert!(*after <= 2 * before, "ingester {at} got streams of others");
    }
    let share = STREAMS as u64 / (INGESTERS as u64 + 1);
    // Virtual nodes even shares out, but not perfectly.
    assert!(
        moved > 0 && moved <= share * 3 / 2,
        "{moved} streams moved, of {STREAMS}"
    );
    // Every line of every stream is found, wherever it lies.
    let found = cluster
        .querier()
        .all_lines(r#"{app="growth"}"#, base_ns, base_ns + 2_000_000)
        .await?;
    assert_eq!(found.len(), 2 * STREAMS);
    Ok(())
}
