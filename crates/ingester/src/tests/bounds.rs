//! Full disks, full memory, many streams.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures::StreamExt;
use model::units::{ByteSize, DurationNs};
use model::{Code, Direction, Parts, Shard, TenantId};
use proto::role::{RefusalReason, Select, SelectLogs, SelectSeries};
use tower::ServiceExt;

use super::bed::{ALL, Bed, Life, NOW_NS, Row, row};
use crate::metrics::FlushReason;

fn long_rows(from: i64, count: i64) -> Vec<Row> {
    let line = |i: i64| format!("{i:0100}");
    (from..from + count)
        .map(|i| row(&format!("s{}", i % 50), NOW_NS + i, line(i)))
        .collect()
}

#[tokio::test]
async fn a_full_disk_refuses_pushes_and_loses_nothing() {
    let bed = Bed::new();
    let life = bed.start().await;
    let tenant = TenantId::single();
    let rows = long_rows(0, 30);
    life.push(&tenant, &rows[..10]).await.unwrap();
    bed.disk.set_full(true);
    let error = life.push(&tenant, &rows[10..20]).await.unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
    assert!(life.push(&tenant, &rows[20..]).await.is_err());
    let trouble = life.ingester.trouble().unwrap();
    assert!(trouble.contains("log cannot be written"), "{trouble}");
    // A flush still works, and makes room in the log.
    life.ingester.flush().await.unwrap();
    bed.disk.set_full(false);
    while life.push(&tenant, &rows[20..]).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(life.push(&tenant, &rows[20..]).await.unwrap(), []);
    assert_eq!(life.ingester.trouble(), None);
    life.kill().await;
    let life = bed.start().await;
    let mut expected = rows;
    expected.sort();
    assert_eq!(life.read(&tenant).await, expected);
}

#[tokio::test]
async fn heads_are_cut_when_memory_is_short_and_the_log_is_replayed_within_bounds() {
    let mut bed = Bed::new();
    bed.config.head_memory_max = ByteSize::kib(16);
    bed.config.memory_max = ByteSize::kib(64);
    bed.config.flush_bytes = ByteSize::kib(16);
    bed.config.block_bytes = ByteSize::kib(8);
    let life = bed.start().await;
    let tenant = TenantId::single();
    let rows = long_rows(0, 2000);
    for rows in rows.chunks(40) {
        life.push(&tenant, rows).await.unwrap();
        assert!(life.ingester.inner().metrics.head_bytes.get() < 30 << 10);
    }
    assert_eq!(life.read(&tenant).await.len(), 2000);
    life.kill().await;
    // A replay with less memory than the log needs has to flush on the way.
    bed.config.memory_max = ByteSize::kib(16);
    bed.config.flush_bytes = ByteSize::kib(4);
    let life = bed.start().await;
    let mut expected = rows;
    expected.sort();
    assert_eq!(life.read(&tenant).await, expected);
    life.kill().await;
    let life = bed.start().await;
    assert_eq!(life.read(&tenant).await, expected);
}

#[tokio::test]
async fn rows_of_one_time_take_no_memory_that_does_not_count() {
    let mut bed = Bed::new();
    bed.config.head_memory_max = ByteSize::kib(64);
    bed.config.block_bytes = ByteSize::kib(16);
    let life = bed.start().await;
    let tenant = TenantId::single();
    let rows = |from: i64| -> Vec<Row> {
        let lines = (from..from + 500).map(|i| i.to_string());
        lines.map(|line| row("a", NOW_NS, line)).collect()
    };
    let metrics = &life.ingester.inner().metrics;
    for from in (0..20_000).step_by(500) {
        life.push(&tenant, &rows(from)).await.unwrap();
        let bytes = metrics.head_bytes.get() + metrics.newest_rows_bytes.get();
        assert!(bytes < 150 << 10, "{bytes}");
    }
    // Copies that nothing tells any more, and of rows that are in the store.
    life.push(&tenant, &rows(100)).await.unwrap();
    assert_eq!(life.recent(&tenant).await.1.len(), 20_000);
    life.ingester.flush().await.unwrap();
    life.push(&tenant, &rows(19_800)).await.unwrap();
    let mut all = life.read(&tenant).await;
    all.dedup();
    assert_eq!(all.len(), 20_300);
}

#[tokio::test(start_paused = true)]
async fn a_push_without_memory_waits_and_is_refused() {
    let mut bed = Bed::new();
    bed.config.head_memory_max = ByteSize::kib(1);
    bed.config.memory_max = ByteSize::kib(1);
    bed.config.push_wait = DurationNs::from_secs(1);
    bed.faults.die_after(0, false);
    let life = bed.start().await;
    let tenant = TenantId::single();
    life.push(&tenant, &long_rows(0, 100)).await.unwrap();
    let error = life.push(&tenant, &long_rows(100, 1)).await.unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
    bed.faults.revive();
    life.ingester.flush().await.unwrap();
    life.push(&tenant, &long_rows(100, 1)).await.unwrap();
    assert_eq!(life.read(&tenant).await.len(), 101);
}

#[tokio::test]
async fn a_push_larger_than_a_record_comes_back_whole() {
    let bed = Bed::new();
    let life = bed.start().await;
    let tenant = TenantId::single();
    let line = "x".repeat(1 << 20);
    let rows: Vec<_> = (0..11)
        .map(|i| row("a", NOW_NS + i, format!("{i:02}{line}")))
        .collect();
    life.push(&tenant, &rows).await.unwrap();
    life.kill().await;
    let life = bed.start().await;
    assert_eq!(life.read(&tenant).await, rows);
}

#[tokio::test]
async fn pushes_and_queries_work_while_the_log_is_replayed() {
    let bed = Bed::new();
    let life = bed.start().await;
    let tenant = TenantId::single();
    let rows = long_rows(0, 200);
    life.push(&tenant, &rows).await.unwrap();
    life.kill().await;
    let life = bed.start_replay();
    // The first again, which may not be replayed yet, and new ones.
    assert_eq!(life.push(&tenant, &rows[..50]).await.unwrap(), []);
    life.push(&tenant, &long_rows(200, 50)).await.unwrap();
    let _ = life.recent(&tenant).await;
    life.ingester.replayed().await;
    let mut expected = long_rows(0, 250);
    expected.sort();
    assert_eq!(life.read(&tenant).await, expected);
    life.ingester.flush().await.unwrap();
    assert_eq!(life.read(&tenant).await, expected);
}

#[tokio::test]
async fn idle_streams_are_forgotten_when_they_are_flushed() {
    let mut bed = Bed::new();
    bed.config.stream_idle = DurationNs(-1);
    let life = bed.start().await;
    let tenant = TenantId::single();
    life.push(&tenant, &long_rows(0, 50)).await.unwrap();
    let streams = &life.ingester.inner().metrics.streams;
    assert_eq!(streams.get(), 50);
    life.ingester.flush().await.unwrap();
    assert_eq!(streams.get(), 0);
    assert_eq!(life.push(&tenant, &long_rows(50, 1)).await.unwrap(), []);
    assert_eq!(life.read(&tenant).await.len(), 51);
}

#[tokio::test]
async fn new_streams_are_refused_when_all_take_too_much_memory() {
    let mut bed = Bed::new();
    bed.config.stream_idle = DurationNs(-1);
    bed.config.stream_memory_max = ByteSize::kib(16);
    let life = bed.start().await;
    let tenant = TenantId::single();
    let bytes = &life.ingester.inner().metrics.stream_bytes;
    let refused = life.push(&tenant, &long_rows(0, 50)).await.unwrap();
    assert!((10..40).contains(&refused.len()), "{}", refused.len());
    assert!(
        refused
            .iter()
            .all(|row| row.reason == RefusalReason::StreamMemory)
    );
    assert!(
        (16 << 10..20 << 10).contains(&bytes.get()),
        "{}",
        bytes.get()
    );
    let trouble = life.ingester.trouble().unwrap();
    assert!(trouble.contains("stream_memory_max"), "{trouble}");
    // What is pushed to those that are there is not refused, nor is what was accepted once.
    let again = life.push(&tenant, &long_rows(50, 50)).await.unwrap();
    assert_eq!(again.len(), refused.len());
    let rows = life.read(&tenant).await;
    life.kill().await;
    bed.config.stream_memory_max = ByteSize::kib(1);
    let life = bed.start().await;
    assert_eq!(life.read(&tenant).await, rows);
    life.ingester.flush().await.unwrap();
    assert_eq!(life.ingester.inner().metrics.stream_bytes.get(), 0);
    assert_eq!(life.push(&tenant, &long_rows(0, 1)).await.unwrap(), []);
}

#[tokio::test]
async fn the_flush_route_answers_when_all_is_stored() {
    let bed = Bed::new();
    let life = bed.start().await;
    let tenant = TenantId::single();
    life.push(&tenant, &long_rows(0, 5)).await.unwrap();
    let request = Request::post("/flush").body(Body::empty()).unwrap();
    let response = crate::routes(life.ingester.clone())
        .oneshot(request)
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(life.recent(&tenant).await.1, []);
    assert_eq!(life.read(&tenant).await.len(), 5);
}

#[tokio::test]
async fn a_query_may_touch_so_many_streams_whether_their_rows_pass_or_not() {
    let mut bed = Bed::new();
    bed.limits.cardinality_limit = 2;
    let life = bed.start().await;
    let tenant = TenantId::single();
    let rows: Vec<Row> = ["a", "b", "c"].map(|app| row(app, NOW_NS, "x")).into();
    life.push(&tenant, &rows).await.unwrap();
    let select = async |query: &str| {
        let request = SelectLogs {
            query: query.to_owned(),
            ..everything(&tenant)
        };
        let mut selected = life.ingester.select_logs(request).await.unwrap();
        selected.batches.next().await.transpose()
    };
    let error = select(r#"{job="test"} |= "nothing""#).await.unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
    assert!(
        error
            .message
            .contains("cardinality_limit (2) of tenant fake"),
        "{error}"
    );
    assert!(select(r#"{app=~"a|b"}"#).await.unwrap().is_some());
}

fn everything(tenant: &TenantId) -> SelectLogs {
    SelectLogs {
        tenant: tenant.clone(),
        query: r#"{job="test"}"#.to_owned(),
        range: ALL,
        limit: 0,
        direction: Direction::Forward,
        deletions: Vec::new(),
        shard: Shard::ALL,
    }
}

async fn streams(life: &Life, selector: &str) -> usize {
    let request = SelectSeries {
        tenant: TenantId::single(),
        selectors: vec![selector.to_owned()],
        parts: Parts::whole(ALL),
        deletions: Vec::new(),
        shard: Shard::ALL,
    };
    life.ingester.select_series(request).await.unwrap().1.len()
}

#[tokio::test]
async fn a_push_beyond_the_memory_of_pushes_is_refused_and_names_the_limit() {
    let mut bed = Bed::new();
    bed.config.push_memory_max = ByteSize::kib(2);
    let life = bed.start().await;
    let tenant = TenantId::single();
    let error = life.push(&tenant, &long_rows(0, 20)).await.unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
    assert!(error.message.contains("push_memory_max"), "{error}");
    for i in 0..20 {
        life.push(&tenant, &long_rows(i, 1)).await.unwrap();
    }
    assert_eq!(life.recent(&tenant).await.1.len(), 20);
}

#[tokio::test]
async fn who_does_not_read_an_answer_keeps_nobody_waiting() {
    let mut bed = Bed::new();
    bed.config.query_workers = 1;
    let life = bed.start().await;
    let tenant = TenantId::single();
    let line = "x".repeat(1 << 20);
    let rows: Vec<_> = (0..10)
        .map(|i| row("a", NOW_NS + i, line.as_str()))
        .collect();
    life.push(&tenant, &rows).await.unwrap();
    let unread = life
        .ingester
        .select_logs(everything(&tenant))
        .await
        .unwrap();
    assert_eq!(streams(&life, r#"{app="a"}"#).await, 1);
    let batches: Vec<_> = unread.batches.collect().await;
    let rows: usize = batches
        .iter()
        .flat_map(|batch| batch.as_ref().unwrap())
        .map(|stream| stream.rows.len())
        .sum();
    assert_eq!((batches.len(), rows), (10, 10));
}

#[tokio::test]
async fn one_query_too_many_is_refused() {
    let mut bed = Bed::new();
    bed.config.queries_max = 1;
    let life = bed.start().await;
    let tenant = TenantId::single();
    let line = "x".repeat(1 << 20);
    for i in 0..10 {
        let row = row("a", NOW_NS + i, line.as_str());
        life.push(&tenant, &[row]).await.unwrap();
    }
    let unread = life
        .ingester
        .select_logs(everything(&tenant))
        .await
        .unwrap();
    let error = life.ingester.select_logs(everything(&tenant)).await;
    assert_eq!(error.err().unwrap().code, Code::ResourceExhausted);
    drop(unread);
    // The first ends when it sees that nobody reads it.
    while life
        .ingester
        .select_logs(everything(&tenant))
        .await
        .is_err()
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_query_leaves_no_tenant_behind_and_idle_tenants_are_forgotten() {
    let mut bed = Bed::new();
    bed.config.stream_idle = DurationNs::from_secs(60);
    let life = bed.start().await;
    let (tenant, other) = (TenantId::single(), TenantId::new("other").unwrap());
    life.push(&tenant, &long_rows(0, 5)).await.unwrap();
    assert!(life.recent(&other).await.1.is_empty());
    let tenants = &life.ingester.inner().tenants;
    assert!(tenants.get(&other).is_none());
    life.ingester.flush().await.unwrap();
    bed.pass(DurationNs::from_secs(1800));
    life.ingester.flush().await.unwrap();
    assert!(
        !life.recent(&tenant).await.0.committed.is_empty(),
        "not every reader knows what was committed"
    );
    bed.pass(DurationNs::from_secs(1801));
    life.ingester.flush().await.unwrap();
    assert!(tenants.get(&tenant).is_none());
    life.push(&tenant, &long_rows(5, 5)).await.unwrap();
    assert_eq!(life.read(&tenant).await.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn flushes_come_by_size_by_age_and_when_nothing_comes() {
    let mut bed = Bed::new();
    bed.config.flush_bytes = ByteSize::kib(4);
    bed.config.flush_interval = DurationNs::from_secs(300);
    bed.config.flush_idle = DurationNs::from_secs(100);
    let life = bed.start().await;
    let tenant = TenantId::single();
    let count = |life: &Life, reason| life.ingester.inner().metrics.flushes(reason);
    life.push(&tenant, &long_rows(0, 1)).await.unwrap();
    bed.pass(DurationNs::from_secs(99));
    life.push(&tenant, &long_rows(1, 1)).await.unwrap();
    tokio::time::advance(Duration::from_secs(5)).await;
    bed.pass(DurationNs::from_secs(100));
    life.until(|life| count(life, FlushReason::Idle) == 1).await;
    life.until(|life| life.ingester.inner().memory.is_empty())
        .await;
    for i in 2..6 {
        life.push(&tenant, &long_rows(i, 1)).await.unwrap();
        bed.pass(DurationNs::from_secs(80));
    }
    life.until(|life| count(life, FlushReason::Age) == 1).await;
    life.until(|life| life.ingester.inner().memory.is_empty())
        .await;
    let rows: Vec<_> = (6..506)
        .map(|i| row("a", NOW_NS + i, format!("{i:0100}")))
        .collect();
    life.push(&tenant, &rows).await.unwrap();
    life.until(|life| count(life, FlushReason::Size) > 0).await;
    assert_eq!(life.read(&tenant).await.len(), 506);
    assert_eq!(
        count(&life, FlushReason::Idle) + count(&life, FlushReason::Age),
        2
    );
}

#[tokio::test]
async fn many_streams_are_pushed_found_flushed_and_replayed() {
    const STREAMS: i64 = 20_000;
    let mut bed = Bed::new();
    bed.limits.max_global_streams_per_user = 0;
    bed.config.block_bytes = ByteSize::mib(1);
    bed.config.wal.segment_bytes = ByteSize::mib(4);
    let life = bed.start().await;
    let tenant = TenantId::single();
    for from in (0..STREAMS).step_by(10_000) {
        let rows: Vec<_> = (from..from + 10_000)
            .map(|i| row(&format!("app-{i}"), NOW_NS + i, "started"))
            .collect();
        assert_eq!(life.push(&tenant, &rows).await.unwrap(), []);
    }
    assert_eq!(life.count(&tenant).await, STREAMS as f64);
    assert_eq!(streams(&life, r#"{app="app-7777"}"#).await, 1);
    life.kill().await;
    let life = bed.start().await;
    assert_eq!(life.count(&tenant).await, STREAMS as f64);
    life.ingester.flush().await.unwrap();
    assert_eq!(life.count(&tenant).await, 0.0);
    assert_eq!(life.read(&tenant).await.len(), STREAMS as usize);
}
