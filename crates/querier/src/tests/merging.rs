//! Every row once, wherever it is.

use std::sync::Arc;

use model::{Direction, LabelSet, Shard, TenantId, TimeRange};
use proto::role::Coverage;

use super::bed::{Bed, FakeIngester, NOW_NS, START_NS, labels, range_query, rows, tenant};
use crate::Answer;
use crate::query::RangeQuery;

#[tokio::test]
async fn rows_of_ingesters_and_storage_are_in_order_and_each_once() {
    let mut bed = Bed::new();
    bed.store(&tenant(), 1, "app=web", &rows(0..10)).await;
    bed.store(&tenant(), 2, "app=web", &rows(5..15)).await;
    let replica = || Arc::new(FakeIngester::with(&tenant(), "app=web", rows(12..20)));
    bed.ingesters = vec![replica(), replica()];
    let lines: Vec<String> = (0..20).map(|second| format!("line {second}")).collect();
    let query = r#"{app="web"}"#;
    assert_eq!(
        bed.lines(query, 100, Direction::Forward).await.unwrap(),
        lines
    );
    let backward = bed.lines(query, 3, Direction::Backward).await.unwrap();
    assert_eq!(backward, ["line 19", "line 18", "line 17"]);
    let count = bed
        .number(r#"sum(count_over_time({app="web"}[1h]))"#)
        .await
        .unwrap();
    // The first row is at the open end of the window.
    assert_eq!(count, 19.0);
}

#[tokio::test]
async fn what_an_ingester_still_holds_is_left_out_of_storage() {
    let mut bed = Bed::new();
    bed.store(&tenant(), 7, "app=web", &rows(1..5)).await;
    bed.store(&tenant(), 8, "app=web", &rows(5..9)).await;
    let ingester = FakeIngester::with(&tenant(), "app=web", rows(5..9));
    *ingester.coverage.lock() = Coverage {
        holding: vec![8],
        ..Coverage::default()
    };
    bed.ingesters = vec![Arc::new(ingester)];
    let answer = bed
        .querier()
        .range_query(&[tenant()], range_query(r#"{app="web"}"#))
        .await;
    let answer = answer.unwrap();
    assert_eq!(answer.value.entries(), 8);
    assert_eq!(answer.report.querier.store.total_chunks_ref, 1);
    assert_eq!(
        bed.number(r#"count_over_time({app="web"}[1h])"#)
            .await
            .unwrap(),
        8.0
    );
}

#[tokio::test]
async fn metadata_comes_from_both() {
    let mut bed = Bed::new();
    bed.store(&tenant(), 1, "app=web,env=prod", &rows(0..10))
        .await;
    bed.ingesters = vec![Arc::new(FakeIngester::with(
        &tenant(),
        "app=db",
        rows(10..14),
    ))];
    let (querier, of) = (bed.querier(), [tenant()]);
    let range = TimeRange::new(START_NS, NOW_NS);
    let names = querier.label_names(&of, &[], range).await.unwrap().value;
    assert_eq!(names, ["app", "env"]);
    let values = querier
        .label_values(&of, "app", &[], range)
        .await
        .unwrap()
        .value;
    assert_eq!(values, ["db", "web"]);
    let series = querier
        .series(&of, &[], range, Shard::ALL)
        .await
        .unwrap()
        .value;
    assert_eq!(series, [labels("app=db"), labels("app=web,env=prod")]);
    let sum = querier.index_stats(&of, &[], range).await.unwrap().value;
    assert_eq!((sum.streams, sum.rows), (2, 14));
    let before = TimeRange::new(START_NS - 10, START_NS);
    assert!(
        querier
            .series(&of, &[], before, Shard::ALL)
            .await
            .unwrap()
            .value
            .is_empty()
    );
}

#[tokio::test]
async fn several_tenants_answer_together_and_say_whose_a_line_is() {
    let mut bed = Bed::new();
    let other = TenantId::new("team-b").unwrap();
    bed.store(&tenant(), 1, "app=web", &rows(1..5)).await;
    bed.ingesters = vec![Arc::new(FakeIngester::with(&other, "app=web", rows(3..9)))];
    let (querier, both) = (bed.querier(), [tenant(), other.clone()]);
    let answer = querier
        .range_query(&both, range_query(r#"{app="web"}"#))
        .await
        .unwrap();
    let Answer::Streams(lines) = answer.value else {
        panic!("not lines")
    };
    assert_eq!(lines.len(), 10);
    assert!(
        lines
            .windows(2)
            .all(|pair| pair[0].timestamp_ns >= pair[1].timestamp_ns)
    );
    let text = r#"sum by (__tenant_id__) (count_over_time({app="web"}[1h]))"#;
    let query = crate::InstantQuery {
        text: text.to_owned(),
        at_ns: NOW_NS,
        shard: Shard::ALL,
    };
    let answer = querier.instant_query(&both, query).await.unwrap();
    let Answer::Vector(series) = answer.value else {
        panic!("not a vector")
    };
    let found: Vec<(LabelSet, f64)> = series
        .into_iter()
        .map(|series| (series.labels, series.points[0].1))
        .collect();
    assert_eq!(
        found,
        [
            (labels("__tenant_id__=team-a"), 4.0),
            (labels("__tenant_id__=team-b"), 6.0)
        ]
    );
    // Absent is what no tenant has, whoever has it otherwise.
    let nobody = TenantId::new("team-c").unwrap();
    for (tenants, text, expected) in [
        (
            &both,
            r#"absent_over_time({app="x"}[1h])"#,
            vec![labels("app=x")],
        ),
        (
            &[tenant(), nobody],
            r#"absent_over_time({app="web"}[1h])"#,
            vec![],
        ),
    ] {
        let query = crate::InstantQuery {
            text: text.to_owned(),
            at_ns: NOW_NS,
            shard: Shard::ALL,
        };
        let answer = querier.instant_query(tenants, query).await.unwrap();
        let Answer::Vector(series) = answer.value else {
            panic!("not a vector")
        };
        let found: Vec<LabelSet> = series.into_iter().map(|series| series.labels).collect();
        assert_eq!(found, expected, "{text}");
    }
    let range = TimeRange::new(START_NS, NOW_NS);
    let values = querier
        .label_values(&both, "__tenant_id__", &[], range)
        .await
        .unwrap()
        .value;
    assert_eq!(values, ["team-a", "team-b"]);
    // Nothing of the other tenant without its name.
    let alone = querier
        .range_query(&[tenant()], range_query(r#"{app="web"}"#))
        .await
        .unwrap();
    assert_eq!(alone.value.entries(), 4);
}

#[tokio::test]
async fn shards_have_each_stream_once() {
    let mut bed = Bed::new();
    for number in 0..8_u64 {
        let stored = format!("app=stored,n={number}");
        bed.store(&tenant(), u128::from(number) + 1, &stored, &rows(1..4))
            .await;
    }
    let recent = |number: u64| {
        let labels = format!("app=recent,n={number}");
        Arc::new(FakeIngester::with(&tenant(), &labels, rows(1..4)))
    };
    bed.ingesters = (0..8).map(recent).collect();
    let (querier, of) = (bed.querier(), [tenant()]);
    let range = TimeRange::new(START_NS, NOW_NS);
    let (mut lines, mut streams, mut count) = (0, Vec::new(), 0.0);
    for shard in (0..3).map(|number| Shard::nth(number, 3).unwrap()) {
        let query = RangeQuery {
            shard,
            ..range_query(r#"{app=~".+"}"#)
        };
        let Answer::Streams(found) = querier.range_query(&of, query).await.unwrap().value else {
            panic!("not lines")
        };
        lines += found.len();
        let found = querier.series(&of, &[], range, shard).await.unwrap().value;
        assert!(found.iter().all(|labels| shard.has(labels.fingerprint())));
        assert!(found.len() < 16, "all streams are in one shard");
        streams.extend(found);
        let query = crate::InstantQuery {
            text: r#"sum(count_over_time({app=~".+"}[1h]))"#.to_owned(),
            at_ns: NOW_NS,
            shard,
        };
        let Answer::Vector(found) = querier.instant_query(&of, query).await.unwrap().value else {
            panic!("no vector")
        };
        let points = found.iter().flat_map(|series| &series.points);
        count += points.map(|(_, value)| value).sum::<f64>();
    }
    streams.sort();
    streams.dedup();
    assert_eq!((lines, streams.len(), count), (48, 16, 48.0));
}
