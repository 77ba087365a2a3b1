//! How often a query asks the store.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use storage::ManifestEntry;

use super::bed::{Bed, DAY, START_NS, range_query, rows, tenant};
use crate::{Querier, Shards};

/// Of each partition the list of its manifest, the newest checkpoint, what follows it, and the label
/// index.
const OF_PARTITION_MAX: u64 = 4;
/// The list of the tenant's days, and that of its requests to delete lines.
const OF_TENANT_MAX: u64 = 2;
/// What describes a data object, and a part of it.
const OF_OBJECT_MAX: u64 = 2;

/// Requests to the store so far.
fn requests(registry: &Registry) -> u64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let of_requests = text
        .lines()
        .filter(|line| line.starts_with("skald_storage_requests_total{"));
    let counts = of_requests.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
    counts.sum()
}

async fn shards(querier: &Arc<Querier>) -> Shards {
    let range = range_query("{}").range;
    let answer = querier.shards(&[tenant()], &[], range, 1).await;
    answer.unwrap().value
}

#[tokio::test]
async fn a_first_query_asks_four_times_for_a_partition_and_a_second_one_never() {
    let bed = Bed::new();
    bed.store(&tenant(), 1, "app=web", &rows(0..100)).await;
    // However long the manifest is, and whether it ends with a checkpoint.
    for commits in 0..7 {
        if commits > 0 {
            let entry = ManifestEntry::new("compactor", START_NS + commits);
            bed.catalog.commit(&tenant(), DAY, entry).await.unwrap();
        }
        let (registry, querier) = bed.counted_elsewhere();
        assert_eq!(shards(&querier).await.len(), 1);
        let first = requests(&registry);
        assert!(first > 0, "{commits}");
        assert!(
            first <= OF_TENANT_MAX + OF_PARTITION_MAX,
            "{commits}: {first}"
        );
        assert_eq!(shards(&querier).await.len(), 1);
        assert_eq!(requests(&registry), first, "{commits}");
        // The lines themselves.
        for _ in 0..2 {
            let query = range_query(r#"{app="web"}"#);
            let answer = querier.range_query(&[tenant()], query).await.unwrap();
            assert_eq!(answer.value.entries(), 100);
            let more = requests(&registry) - first;
            assert!(more <= OF_OBJECT_MAX, "{commits}: {more}");
        }
    }
}
