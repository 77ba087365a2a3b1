//! Full disks, full memory, many streams.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use model::units::{ByteSize, DurationNs};
use model::{Code, TenantId};
use tower::ServiceExt;

use super::bed::{Bed, NOW_NS, Row, row};

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
    // A flush still works, and makes room in the log.
    life.ingester.flush().await.unwrap();
    bed.disk.set_full(false);
    while life.push(&tenant, &rows[20..]).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(life.push(&tenant, &rows[20..]).await.unwrap(), []);
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
