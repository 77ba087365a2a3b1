//! Lines that are far from each other.

use std::sync::Arc;

use model::units::{ByteSize, DurationNs};
use model::{Direction, TenantId};

use super::bed::{Bed, FakeIngester, SECOND, START_NS, range_query, rows, tenant};
use crate::Answer;
use crate::query::RangeQuery;

/// Seconds of the lines of an answer.
async fn seconds(bed: &Bed, tenants: &[TenantId], query: &RangeQuery) -> Vec<i64> {
    let answer = bed.querier().range_query(tenants, query.clone()).await;
    let Answer::Streams(rows) = answer.unwrap().value else {
        panic!("not lines")
    };
    let second = |row: &proto::role::LogRow| (row.timestamp_ns - START_NS) / SECOND;
    rows.iter().map(second).collect()
}

/// Of all lines those that the interval leaves.
fn expected(all: &[i64], query: &RangeQuery, part: i64) -> Vec<i64> {
    let mut kept: Vec<i64> = Vec::new();
    let part_of = |second: i64| (START_NS / SECOND + second).div_euclid(part);
    for second in all {
        let is_far = |last: &i64| {
            (second - last).abs() * SECOND >= query.interval_ns
                || part_of(*second) != part_of(*last)
        };
        if kept.last().is_none_or(is_far) {
            kept.push(*second);
        }
    }
    kept.truncate(query.limit);
    kept
}

#[tokio::test]
async fn a_query_with_an_interval_holds_few_lines_and_passes_over_none() {
    let mut bed = Bed::new();
    let other = TenantId::new("team-b").unwrap();
    let (stored, recent) = (1..2000, 1500..3600);
    bed.store(&tenant(), 1, "app=web", &rows(stored)).await;
    let ingester = FakeIngester::with(&tenant(), "app=web", rows(recent));
    ingester.add(&other, "app=web", rows(700..900));
    bed.ingesters = vec![Arc::new(ingester)];
    bed.limits.max_query_memory = ByteSize(600_000);
    bed.limits.split_queries_by_interval = DurationNs(1000 * SECOND);
    let both = [tenant(), other];
    for direction in [Direction::Forward, Direction::Backward] {
        for (interval, limit) in [(1, 100), (7, 300), (60, 10), (60, 500), (1200, 500)] {
            let query = RangeQuery {
                interval_ns: interval * SECOND,
                limit,
                direction,
                ..range_query(r#"{app="web"}"#)
            };
            for tenants in [&both[..1], &both[..]] {
                let mut all: Vec<i64> = (1..3600).collect();
                if tenants.len() > 1 {
                    all.extend(700..900);
                    all.sort_unstable();
                }
                if direction == Direction::Backward {
                    all.reverse();
                }
                let found = seconds(&bed, tenants, &query).await;
                let expected = expected(&all, &query, 1000);
                assert_eq!(found, expected, "{interval} {limit} {direction:?}");
            }
        }
    }
}
