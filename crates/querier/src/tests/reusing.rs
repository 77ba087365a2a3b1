//! What stored rows amount to is reckoned once.

use std::sync::Arc;

use super::bed::{Bed, SECOND, START_NS, range_query, rows, tenant};
use crate::{Answer, Querier};

/// The points of the one series of an answer, how many lines were looked at, and how many results
/// were known.
async fn asked(querier: &Arc<Querier>, text: &str, from: i64) -> (Vec<(i64, f64)>, u64, u64) {
    let mut query = range_query(text);
    query.range.start_ns += from * SECOND;
    let answer = querier.range_query(&[tenant()], query).await.unwrap();
    let Answer::Matrix(series) = answer.value else {
        panic!("not series");
    };
    let points = series.into_iter().flat_map(|series| series.points);
    let (summary, cache) = (&answer.report.summary, &answer.report.cache);
    (
        points.collect(),
        summary.total_lines_processed,
        cache.result.entries_found,
    )
}

const COUNT: &str = r#"sum(count_over_time({app="web"} | regexp "(?P<n>[0-9]+)" | n > 2 [2m]))"#;

#[tokio::test]
async fn a_query_that_comes_again_looks_at_new_rows_only() {
    let bed = Bed::new();
    bed.store(&tenant(), 1, "app=web", &rows(100..400)).await;
    let querier = bed.querier();
    let (first, lines, known) = asked(&querier, COUNT, 0).await;
    assert_eq!((lines, known), (300, 0));
    assert_eq!(first.iter().map(|(_, count)| count).sum::<f64>(), 600.0);
    let again = asked(&querier, COUNT, 0).await;
    assert_eq!(again, (first.clone(), 0, 1));
    // Refreshed: the windows are others, on the same grid.
    let (later, lines, known) = asked(&querier, COUNT, 60).await;
    assert_eq!((lines, known), (0, 1));
    assert_eq!(later, first);
    // The first of the rows is in no window any more.
    let (cut, lines, known) = asked(&querier, COUNT, 240).await;
    assert_eq!((lines, known), (279, 0));
    assert!(first.ends_with(&cut) && cut.len() < first.len());

    bed.store(&tenant(), 2, "app=web", &rows(400..500)).await;
    let (more, lines, known) = asked(&querier, COUNT, 0).await;
    assert_eq!((lines, known), (100, 1));
    assert_eq!(more.iter().map(|(_, count)| count).sum::<f64>(), 800.0);
    let other = COUNT.replace("n > 2", "n > 150");
    assert_eq!(asked(&querier, &other, 0).await.1, 400);
}

#[tokio::test]
async fn rows_that_are_asked_to_be_deleted_are_left_out_at_once() {
    let bed = Bed::new();
    bed.store(&tenant(), 1, "app=web", &rows(100..160)).await;
    let querier = bed.querier();
    let sum = |points: &[(i64, f64)]| points.iter().map(|(_, count)| count).sum::<f64>();
    assert_eq!(sum(&asked(&querier, COUNT, 0).await.0), 120.0);
    let (owner, end_ns) = (tenant(), START_NS + 500 * SECOND);
    let deleted = querier.delete_lines(&owner, r#"{app="web"} |= "line 11""#, START_NS, end_ns);
    deleted.await.unwrap();
    let (left, _, known) = asked(&querier, COUNT, 0).await;
    assert_eq!((sum(&left), known), (100.0, 0));
}

#[tokio::test]
async fn what_depends_on_the_time_or_has_no_room_is_reckoned_each_time() {
    let mut bed = Bed::new();
    bed.store(&tenant(), 1, "app=web", &rows(100..160)).await;
    let querier = bed.querier();
    let clock =
        r#"sum(count_over_time({app="web"} | label_format at="{{ now }}" | at != "" [2m]))"#;
    for _ in 0..2 {
        assert_eq!(asked(&querier, clock, 0).await.2, 0);
    }
    bed.config.result_cache.0 = 0;
    let querier = bed.querier();
    for _ in 0..2 {
        let (_, lines, known) = asked(&querier, COUNT, 0).await;
        assert_eq!((lines, known), (60, 0));
    }
}
