//! Samples of rows that are in no other place come added up.

use futures::StreamExt;
use logql::metric::{RangeAccumulator, Series, Steps, leaf_contexts};
use logql::syntax::ast::Expr;
use model::units::{ByteSize, DurationNs};
use model::{Budget, Shard, TenantId};
use proto::role::{AddUp, SampleRows, Select, SelectSamples};

use super::bed::{Bed, Life, NOW_NS, Row, row};

/// Rows of two streams, some of them late, a millisecond apart.
const ROWS: i64 = 600;
const STEP_NS: i64 = 1_000_000;

fn rows() -> Vec<Row> {
    let row = |i: i64| {
        let late_ns = if i % 50 == 49 { 20 * STEP_NS } else { 0 };
        let app = ["a", "b"][(i % 2) as usize];
        let line = format!(
            r#"{{"status":{},"took":"{i}ms"}}"#,
            [200, 404, 500][i as usize % 3]
        );
        row(app, NOW_NS + i * STEP_NS - late_ns, line)
    };
    (0..ROWS).map(row).collect()
}

/// Where rows may be late.
fn bed() -> Bed {
    let mut bed = Bed::new();
    bed.limits.out_of_order_window = DurationNs::from_secs(60);
    bed
}

fn add_up(after_ns: i64, steps: Steps) -> AddUp {
    AddUp {
        after_ns,
        start_ns: steps.start_ns,
        end_ns: steps.end_ns,
        step_ns: steps.step_ns,
    }
}

/// What an ingester answers, and the series that it makes.
async fn ask(
    life: &Life,
    query: &str,
    steps: Steps,
    add_up: Option<AddUp>,
) -> (Vec<SampleRows>, Vec<Series>) {
    let Ok(Expr::Metric(expr)) = logql::syntax::parse(query) else {
        panic!("no metric query: {query}");
    };
    let [leaf] = leaf_contexts(&expr).try_into().unwrap();
    let request = SelectSamples {
        tenant: TenantId::single(),
        query: query.to_owned(),
        range: steps.sample_range(leaf.aggregation),
        deletions: Vec::new(),
        shard: Shard::ALL,
        add_up,
    };
    let selected = life.ingester.select_samples(request).await.unwrap();
    let batches: Vec<_> = selected.batches.collect().await;
    let answer: Vec<SampleRows> = batches.into_iter().flat_map(Result::unwrap).collect();
    let memory = Budget::new("test", u64::MAX).reservation();
    let mut sum = RangeAccumulator::new(leaf.aggregation, steps, memory);
    for rows in &answer {
        let id = sum.series(&rows.labels).unwrap();
        sum.take_from(rows.stream_fingerprint, true);
        sum.add_all(id, &rows.timestamps_ns, &rows.values).unwrap();
    }
    let (series, _) = sum.finish(&|| false).unwrap();
    (answer, series)
}

/// Rows in heads, in blocks, and in both.
#[tokio::test]
async fn they_make_the_same_series_as_those_that_come_one_by_one() {
    let all = rows();
    for cut_after in [0, 300, all.len()] {
        let mut bed = bed();
        bed.config.block_bytes = ByteSize::mib(1);
        let life = bed.start().await;
        for (number, rows) in all.chunks(100).enumerate() {
            if number * 100 == cut_after {
                life.encode_all().await;
            }
            life.push(&TenantId::single(), rows).await.unwrap();
        }
        if cut_after == all.len() {
            life.encode_all().await;
        }
        for query in [
            r#"sum(count_over_time({job="test"}[100ms]))"#,
            r#"rate({job="test"}[37ms])"#,
            r#"sum by (app, level) (bytes_rate({job="test"}[100ms] offset 7ms))"#,
            r#"sum(count_over_time({job="test"} |= "404" [100ms]))"#,
            r#"sum by (status) (count_over_time({job="test"} | json | status >= 404 [1s]))"#,
            r#"sum by (app) (sum_over_time({job="test"} | json | unwrap duration(took) [100ms]))"#,
            r#"first_over_time({job="test"} | json | unwrap status [100ms]) by (app)"#,
            r#"absent_over_time({app="a"}[5ms])"#,
        ] {
            let steps = Steps {
                start_ns: NOW_NS - 10 * STEP_NS,
                end_ns: NOW_NS + 700 * STEP_NS,
                step_ns: 50 * STEP_NS,
            };
            for steps in [steps, Steps::instant(NOW_NS + 90 * STEP_NS)] {
                let (answer, expected) = ask(&life, query, steps, None).await;
                assert!(answer.iter().all(|rows| rows.without_hashes.is_none()));
                for after_ns in [i64::MIN, NOW_NS + 47 * STEP_NS] {
                    let add_up = add_up(after_ns, steps);
                    let (answer, found) = ask(&life, query, steps, Some(add_up)).await;
                    assert_eq!(found, expected, "{query} {cut_after} {after_ns} {steps:?}");
                    for rows in answer {
                        let is_hashed = rows.without_hashes.is_none();
                        assert_eq!(rows.row_hashes.is_empty(), !is_hashed);
                        let is_late = |time_ns: &i64| *time_ns > after_ns;
                        assert!(!is_hashed || !rows.timestamps_ns.iter().any(is_late));
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn there_is_one_for_each_stretch_of_time_that_counts_for_the_same_points() {
    let bed = bed();
    let life = bed.start().await;
    life.push(&TenantId::single(), &rows()).await.unwrap();
    let steps = Steps {
        start_ns: NOW_NS + 100 * STEP_NS,
        end_ns: NOW_NS + 600 * STEP_NS,
        step_ns: 100 * STEP_NS,
    };
    let query = r#"sum(count_over_time({job="test"}[100ms]))"#;
    let add_up = add_up(i64::MIN, steps);
    let (answer, _) = ask(&life, query, steps, Some(add_up)).await;
    let streams: Vec<usize> = answer.iter().map(|rows| rows.values.len()).collect();
    assert_eq!(streams, [6, 6]);
}

#[tokio::test]
async fn rows_before_the_newest_that_is_stored_come_with_hashes() {
    let bed = bed();
    let life = bed.start().await;
    let tenant = TenantId::single();
    let push = async |times: &[i64]| {
        let rows: Vec<_> = times.iter().map(|i| row("a", NOW_NS + i, "x")).collect();
        assert_eq!(life.push(&tenant, &rows).await.unwrap(), []);
    };
    push(&[10, 20, 30]).await;
    life.ingester.flush().await.unwrap();
    push(&[31, 40, 15, 30]).await;
    let steps = Steps::instant(NOW_NS + 100);
    let query = r#"sum(count_over_time({job="test"}[1h]))"#;
    let add_up = add_up(i64::MIN, steps);
    let (answer, _) = ask(&life, query, steps, Some(add_up)).await;
    let [with, without] = answer.try_into().unwrap();
    assert_eq!(with.timestamps_ns, [NOW_NS + 15, NOW_NS + 30]);
    assert_eq!((with.row_hashes.len(), with.without_hashes), (2, None));
    let span = without.without_hashes.unwrap();
    assert!(span.covers(NOW_NS + 31, NOW_NS + 40) && !span.contains(NOW_NS + 30));
    assert_eq!((without.values, without.row_hashes), (vec![2.0], vec![]));
}
