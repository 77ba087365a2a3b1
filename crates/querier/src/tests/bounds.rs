//! What a query may not do: run for ever, hold too much, go on when nobody waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use logql::metric::{Steps, leaf_contexts};
use logql::syntax::ast::Expr;
use model::units::{ByteSize, DurationNs};
use model::{Code, Direction, Entries, LabelSet};

use crate::{logs, samples};

use super::bed::{Bed, FakeIngester, SECOND, START_NS, range_query, rows, tenant};

const QUERY: &str = r#"{app="web"}"#;

#[tokio::test]
async fn a_query_that_holds_too_much_is_refused_and_gives_its_memory_back() {
    let mut bed = Bed::new();
    bed.store(&tenant(), 1, "app=web", &rows(0..1000)).await;
    bed.limits.max_query_memory = ByteSize(30_000);
    let querier = bed.querier();
    let error = querier
        .range_query(&[tenant()], range_query(QUERY))
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
    for part in ["max_query_memory", "30000", "team-a", "narrow"] {
        assert!(error.message.contains(part), "{part}: {error}");
    }
    assert_eq!(querier.memory().used_bytes(), 0);
}

#[tokio::test]
async fn all_queries_share_the_memory_of_the_process() {
    let mut bed = Bed::new();
    bed.store(&tenant(), 1, "app=web", &rows(0..1000)).await;
    bed.config.memory = ByteSize(30_000);
    let querier = bed.querier();
    let tenants = [tenant()];
    let ask = || querier.range_query(&tenants, range_query(QUERY));
    let alone = ask().await.unwrap_err();
    assert_eq!(alone.code, Code::InvalidArgument);
    for part in ["querier.memory", "narrow"] {
        assert!(alone.message.contains(part), "{part}: {alone}");
    }
    let mut of_another = querier.memory().reservation();
    of_another.grow(29_900).unwrap();
    let beside = ask().await.unwrap_err();
    assert_eq!(beside.code, Code::ResourceExhausted);
    for part in ["querier.memory", "other queries hold 29900B of it"] {
        assert!(beside.message.contains(part), "{part}: {beside}");
    }
}

#[tokio::test]
async fn blocks_that_are_open_take_memory_of_the_query() {
    for text in [QUERY, r#"{app="web"} |= "line""#] {
        let bed = many_blocks().await;
        let querier = bed.querier();
        // Where blocks are open, and wait to be looked at.
        let cores = all_cores(&querier).await;
        let asking = Arc::clone(&querier);
        let running = tokio::spawn(async move {
            let answer = asking.range_query(&[tenant()], range_query(text)).await;
            answer.map(|answer| answer.value.entries())
        });
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while querier.memory().used_bytes() == 0 {
            assert!(tokio::time::Instant::now() < deadline, "{text}");
            assert!(!running.is_finished(), "{text}");
            tokio::task::yield_now().await;
        }
        drop(cores);
        assert_eq!(running.await.unwrap().unwrap(), 200, "{text}");
        assert_eq!(querier.memory().used_bytes(), 0, "{text}");
    }
}

/// Lines of two kilobytes, a second apart.
fn long_rows(seconds: std::ops::Range<i64>) -> Entries {
    let mut entries = Entries::default();
    for second in seconds {
        let line = format!("line {second} {}", "x".repeat(2000));
        let at_ns = START_NS + second * SECOND;
        assert!(entries.push(at_ns, line.as_bytes(), &LabelSet::default()));
    }
    entries
}

#[tokio::test]
async fn a_chain_of_blocks_is_read_part_by_part() {
    let mut bed = Bed::new();
    for block in 0..30_i64 {
        let seconds = block * 10..block * 10 + 15;
        bed.store(&tenant(), block as u128 + 1, "app=web", &long_rows(seconds))
            .await;
    }
    bed.config.scan_threads = 1;
    for memory in [ByteSize::mib(100), ByteSize(400_000)] {
        bed.config.memory = memory;
        for text in [QUERY.to_owned(), format!(r#"{QUERY} |= "line""#)] {
            let count = format!("sum(count_over_time({text} | line_format `x` [1h]))");
            assert_eq!(bed.number(&count).await.unwrap(), 304.0, "{text} {memory}");
            let found = bed.lines(&text, 3, Direction::Backward).await.unwrap();
            let heads: Vec<&str> = found.iter().map(|line| &line[..8]).collect();
            assert_eq!(heads, ["line 304", "line 303", "line 302"], "{memory}");
        }
    }
}

#[tokio::test]
async fn an_answer_holds_its_memory_until_it_is_dropped() {
    let bed = Bed::new();
    bed.store(&tenant(), 1, "app=web", &rows(0..10)).await;
    let querier = bed.querier();
    let answer = querier
        .range_query(&[tenant()], range_query(QUERY))
        .await
        .unwrap();
    assert!(querier.memory().used_bytes() > 0);
    drop(answer);
    assert_eq!(querier.memory().used_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_query_ends_at_its_timeout_and_names_it() {
    let mut bed = Bed::new();
    bed.ingesters = vec![Arc::new(FakeIngester {
        is_stuck: true,
        ..FakeIngester::default()
    })];
    bed.limits.query_timeout = DurationNs::from_secs(2);
    let error = bed.lines(QUERY, 10, Direction::Forward).await.unwrap_err();
    assert_eq!(error.code, Code::DeadlineExceeded);
    assert!(
        error.message.contains(
            "query_timeout (2s) of tenant team-a, and ingester ingester-0 had not answered yet;"
        ),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_ingester_that_stops_in_the_middle_of_its_answer_is_named() {
    for text in [QUERY, r#"sum(count_over_time({app="web"}[1h]))"#] {
        let mut bed = Bed::new();
        let well = Arc::new(FakeIngester::with(&tenant(), "app=web", rows(0..3)));
        let halting = FakeIngester {
            halts: true,
            ..FakeIngester::with(&tenant(), "app=web", rows(0..3))
        };
        halting.coverage.lock().ingester = "ingester-1".to_owned();
        bed.ingesters = vec![well, Arc::new(halting)];
        let error = bed.lines(text, 10, Direction::Forward).await.unwrap_err();
        assert_eq!(error.code, Code::DeadlineExceeded, "{text}");
        for part in [
            "query_timeout (1m0s) of tenant team-a",
            "ingester ingester-1 had not answered yet",
        ] {
            assert!(error.message.contains(part), "{text}: {part}: {error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_query_whose_turn_does_not_come_says_so() {
    let mut bed = Bed::new();
    bed.config.max_concurrent = 1;
    bed.limits.query_timeout = DurationNs::from_secs(2);
    let querier = bed.querier();
    let running = querier.admission().acquire(&tenant()).await.unwrap();
    let tenants = [tenant()];
    let ask = || querier.range_query(&tenants, range_query(QUERY));
    let error = ask().await.unwrap_err();
    assert_eq!(error.code, Code::ResourceExhausted);
    for part in [
        "query_timeout (2s) of tenant team-a",
        "querier.max_concurrent (1)",
    ] {
        assert!(error.message.contains(part), "{part}: {error}");
    }
    drop(running);
    assert!(ask().await.is_ok());
}

/// Holds all cores.
async fn all_cores(querier: &crate::Querier) -> Vec<admission::Permit> {
    let mut cores = Vec::new();
    for _ in 0..querier.scan_threads() {
        cores.push(querier.scans.acquire(&tenant()).await.unwrap());
    }
    cores
}

#[tokio::test]
async fn a_query_that_nobody_waits_for_gives_its_turn_to_the_next() {
    let mut bed = Bed::new();
    bed.config.max_concurrent = 1;
    let stuck = Arc::new(FakeIngester {
        is_stuck: true,
        ..FakeIngester::default()
    });
    bed.ingesters = vec![stuck];
    let querier = bed.querier();
    let ask = || {
        let querier = Arc::clone(&querier);
        tokio::spawn(async move { querier.range_query(&[tenant()], range_query(QUERY)).await })
    };
    let (first, second) = (ask(), ask());
    while querier.admission().waiting() == 0 {
        tokio::task::yield_now().await;
    }
    first.abort();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while querier.admission().waiting() > 0 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the second query still waits"
        );
        tokio::task::yield_now().await;
    }
    second.abort();
}

#[tokio::test(start_paused = true)]
async fn a_late_ingester_is_left_out_where_others_have_its_rows_and_waited_for_where_not() {
    let mut bed = Bed::new();
    let stuck = Arc::new(FakeIngester {
        is_stuck: true,
        ..FakeIngester::default()
    });
    let healthy = Arc::new(FakeIngester::with(&tenant(), "app=web", rows(0..3)));
    bed.ingesters = vec![stuck, healthy];
    bed.limits.query_timeout = DurationNs::from_secs(60);
    bed.failures_max = Some(1);
    let asked = tokio::time::Instant::now();
    let lines = bed.lines(QUERY, 10, Direction::Forward).await.unwrap();
    assert_eq!(lines.len(), 3);
    assert_eq!(asked.elapsed(), bed.config.ingester_timeout.as_std());
    bed.failures_max = Some(0);
    let error = bed.lines(QUERY, 10, Direction::Forward).await.unwrap_err();
    assert_eq!(error.code, Code::DeadlineExceeded);
    for part in [
        "query_timeout (1m0s)",
        "ingester ingester-0 had not answered yet",
    ] {
        assert!(error.message.contains(part), "{part}: {error}");
    }
}

#[tokio::test]
async fn as_many_ingesters_may_fail_as_leave_every_row_a_holder() {
    let mut bed = Bed::new();
    let failing = Arc::new(FakeIngester {
        fails: true,
        ..FakeIngester::default()
    });
    let healthy = Arc::new(FakeIngester::with(&tenant(), "app=web", rows(0..3)));
    bed.ingesters = vec![failing, healthy];
    let error = bed.lines(QUERY, 10, Direction::Forward).await.unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
    bed.failures_max = Some(1);
    assert_eq!(
        bed.lines(QUERY, 10, Direction::Forward)
            .await
            .unwrap()
            .len(),
        3
    );
    bed.failures_max = None;
    let error = bed.lines(QUERY, 10, Direction::Forward).await.unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
}

#[tokio::test]
async fn too_many_streams_or_bytes_are_refused_before_blocks_are_read() {
    let mut bed = Bed::new();
    bed.store(&tenant(), 1, "app=web,pod=a", &rows(0..10)).await;
    bed.store(&tenant(), 2, "app=web,pod=b", &rows(0..10)).await;
    bed.limits.cardinality_limit = 1;
    let error = bed.lines(QUERY, 10, Direction::Forward).await.unwrap_err();
    assert!(
        error
            .message
            .contains("cardinality_limit (1) of tenant team-a"),
        "{error}"
    );
    bed.limits.cardinality_limit = 0;
    bed.limits.max_query_bytes_read = ByteSize(1);
    let error = bed.lines(QUERY, 10, Direction::Forward).await.unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
    assert!(
        error
            .message
            .starts_with("the query would read too many bytes (query: 120B, limit: 1B)"),
        "{error}"
    );
}

#[tokio::test]
async fn streams_of_ingesters_count_as_those_of_storage_and_once() {
    let mut bed = Bed::new();
    bed.store(&tenant(), 1, "app=web,pod=a", &rows(1..11)).await;
    for pod in ["a", "b"] {
        let stream = format!("app=web,pod={pod}");
        bed.ingesters[0].add(&tenant(), &stream, rows(20..25));
    }
    let count = "sum(count_over_time({app=\"web\"}[1h]))";
    bed.limits.cardinality_limit = 2;
    assert_eq!(bed.number(count).await.unwrap(), 20.0);
    let lines = bed.lines(QUERY, 50, Direction::Forward).await.unwrap();
    assert_eq!(lines.len(), 20);
    bed.store(&tenant(), 2, "app=web,pod=c", &rows(1..11)).await;
    for limit in [1, 2] {
        bed.limits.cardinality_limit = limit;
        let error = bed.number(count).await.unwrap_err();
        let said = format!("cardinality_limit ({limit}) of tenant team-a");
        assert!(error.message.contains(&said), "{error}");
        let error = bed.lines(QUERY, 50, Direction::Forward).await.unwrap_err();
        assert!(error.message.contains(&said), "{error}");
        assert!(error.exceeded.is_some());
    }
}

/// Blocks that a query reads if it is not cancelled.
const BLOCKS: i64 = 20;

/// Blocks one after the other in time.
async fn many_blocks() -> Bed {
    many_blocks_of(0).await
}

/// The same with lines that are so much longer.
async fn many_blocks_of(more_bytes: usize) -> Bed {
    let bed = Bed::new();
    for block in 0..BLOCKS {
        let mut longer = Entries::default();
        for row in rows(block * 10..block * 10 + 10).iter() {
            let line = [row.line, &vec![b' '; more_bytes]].concat();
            assert!(longer.push(row.timestamp_ns, &line, row.metadata));
        }
        bed.store(&tenant(), block as u128 + 1, "app=web", &longer)
            .await;
    }
    bed
}

#[tokio::test]
async fn no_more_parts_of_a_query_run_than_its_tenant_may_have() {
    for max in [0, 1, 3] {
        let mut bed = many_blocks().await;
        bed.config.scan_threads = 2;
        bed.limits.max_query_parallelism = max;
        let querier = bed.querier();
        let at_once = match max {
            0 => 8,
            max => max,
        };
        // Searches wait for cores, each part of the query for one.
        let cores = all_cores(&querier).await;
        let text = r#"{app="web"} |= "line""#;
        let asking = Arc::clone(&querier);
        let running = tokio::spawn(async move {
            let answer = asking.range_query(&[tenant()], range_query(text)).await;
            answer.map(|answer| answer.value)
        });
        while querier.scans.waiting() < at_once {
            assert!(!running.is_finished(), "{max}");
            tokio::task::yield_now().await;
        }
        for _ in 0..1000 {
            tokio::task::yield_now().await;
            assert_eq!(querier.scans.waiting(), at_once, "{max}");
        }
        drop(cores);
        assert_eq!(running.await.unwrap().unwrap().entries(), 200, "{max}");
    }
}

#[tokio::test]
async fn a_query_that_nobody_waits_for_reads_and_scans_no_more_blocks() {
    for text in [
        QUERY,
        r#"sum(count_over_time({app="web"} |= "line" | logfmt [24h]))"#,
    ] {
        // Of small blocks a worker takes many at once.
        let bed = many_blocks_of(50_000).await;
        let querier = bed.querier();
        // Scans wait for cores, so the query stops where blocks are open and not scanned.
        let threads = querier.scan_threads();
        let cores = all_cores(&querier).await;
        let context = querier.context(&[tenant()]).unwrap();
        let (stats, cancelled) = (Arc::clone(&context.stats), Arc::clone(&context.cancelled));
        let question = range_query(text);
        let running = tokio::spawn(async move {
            match crate::query::parse(&question.text).unwrap() {
                Expr::Log(log) => {
                    let wanted = logs::Wanted {
                        range: question.range,
                        limit: question.limit,
                        direction: question.direction,
                    };
                    logs::select(&context, &log, wanted).await.map(|_| ())
                }
                Expr::Metric(metric) => {
                    let steps = Steps::instant(question.range.end_ns);
                    let leaf = leaf_contexts(&metric).remove(0);
                    let sum = samples::aggregate(&context, &leaf, steps);
                    sum.await.map(|_| ())
                }
            }
        });
        while stats.blocks_read.load(Ordering::Relaxed) == 0 {
            assert!(!running.is_finished(), "{text}");
            tokio::task::yield_now().await;
        }
        cancelled.store(true, Ordering::Relaxed);
        drop(cores);
        let error = running.await.unwrap().unwrap_err();
        assert_eq!(error.code, Code::Cancelled, "{text}");
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // Workers take several blocks at a time, together no more than half of what is left.
        let most = (BLOCKS as u64 / 2).max(threads as u64);
        assert!(get(&stats.blocks_read) <= most, "{text}");
        assert_eq!(get(&stats.lines_passed), 0, "{text}");
    }
}

#[tokio::test]
async fn dropping_a_query_tells_its_parts_and_gives_everything_back() {
    let bed = many_blocks().await;
    let querier = bed.querier();
    let cores = all_cores(&querier).await;
    let asking = Arc::clone(&querier);
    let running = tokio::spawn(async move {
        let answer = asking.range_query(&[tenant()], range_query(QUERY)).await;
        answer.map(|_| ())
    });
    // Ours, that of the task, and at least one of a part of the query.
    while Arc::strong_count(&querier) < 3 {
        tokio::task::yield_now().await;
    }
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    drop(cores);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while querier.scans.running() > 0 || Arc::strong_count(&querier) > 1 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "a part of the query still runs"
        );
        tokio::task::yield_now().await;
    }
    assert_eq!(querier.memory().used_bytes(), 0);
}
