//! Label indexes are read within the memory of a query, and not when nobody waits.

use std::sync::atomic::Ordering;

use model::units::ByteSize;
use model::{Code, MatchOp, Matcher, Shard};
use scan::Deletes;

use super::bed::{Bed, range_query, rows, tenant};
use crate::recent::Covered;

const STREAMS: usize = 3000;

/// An index so large that it is read on a thread for computing.
async fn bed() -> Bed {
    let bed = Bed::new();
    let stream = |number: usize| format!("app=web,pod=web-{:x}", number * 0x9e37_79b9);
    let streams: Vec<String> = (0..STREAMS).map(stream).collect();
    bed.store_together(&tenant(), 1, &streams, &rows(0..1))
        .await;
    bed
}

#[tokio::test]
async fn what_is_read_takes_memory_until_it_is_dropped() {
    let mut bed = bed().await;
    let range = range_query("{}").range;
    let series = |bed: &Bed| {
        let querier = bed.querier();
        async move {
            let answer = querier.series(&[tenant()], &[], range, Shard::ALL).await;
            assert!(answer.is_ok() || querier.memory().used_bytes() == 0);
            answer
        }
    };
    assert_eq!(series(&bed).await.unwrap().value.len(), STREAMS);
    let names = |querier: std::sync::Arc<crate::Querier>| async move {
        querier.label_names(&[tenant()], &[], range).await
    };
    assert_eq!(names(bed.querier()).await.unwrap().value, ["app", "pod"]);
    // The names alone would fit.
    bed.limits.max_query_memory = ByteSize(10_000);
    let error = names(bed.querier()).await.unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
    for part in ["max_query_memory", "team-a"] {
        assert!(error.message.contains(part), "{part}: {error}");
    }
    assert!(series(&bed).await.is_err());
}

#[tokio::test]
async fn runs_take_memory_and_nothing_is_read_for_nobody() {
    let bed = bed().await;
    let querier = bed.querier();
    let context = querier.context(&[tenant()]).unwrap();
    let matchers = [Matcher::new("pod", MatchOp::Regex, "web-.*").unwrap()];
    let range = range_query("{}").range;
    let (covered, deletes) = (Covered::default(), Deletes::default());
    let units = context.units(&matchers, range, &covered, &deletes).await;
    assert_eq!(units.unwrap().len(), STREAMS);
    assert!(querier.memory().used_bytes() > (STREAMS * 64) as u64);
    context.cancelled.store(true, Ordering::Relaxed);
    let units = context.units(&matchers, range, &covered, &deletes).await;
    assert_eq!(units.unwrap_err().code, Code::Cancelled);
    drop(context);
    assert_eq!(querier.memory().used_bytes(), 0);
}
