//! Flushes of which a part fails.

use std::sync::Arc;

use model::{Code, Entries, LabelSet, StreamBatch, TenantId, TimeRange};
use proto::role::Ingest;
use storage::key;

use super::bed::{Bed, NOW_NS, Row, row};

fn rows(range: std::ops::Range<i64>) -> Vec<Row> {
    range
        .map(|i| row("a", NOW_NS + i, format!("line {i}")))
        .collect()
}

fn tenants() -> [TenantId; 2] {
    [TenantId::single(), TenantId::new("other").unwrap()]
}

/// Writes what a version to come might write in place of a tenant's manifest.
fn write_unknown_manifest(bed: &Bed, tenant: &TenantId) -> std::path::PathBuf {
    let file = bed.stored_file(&key::entry_key(tenant, TimeRange::day_of(NOW_NS), 1));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, b"LGMF\x09\0\0\0\0\0\0\0\0\0\0\0").unwrap();
    file
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_cannot_be_flushed_stops_no_other() {
    let bed = Bed::new();
    let [tenant, other] = tenants();
    let unknown = write_unknown_manifest(&bed, &other);
    let life = bed.start().await;
    for tenant in [&tenant, &other] {
        life.push(tenant, &rows(0..6)).await.unwrap();
    }
    let error = life.ingester.flush().await.unwrap_err();
    assert!(error.message.contains("version 9"), "{}", error.message);
    assert!(life.recent(&tenant).await.1.is_empty());
    let error = life.push(&other, &rows(6..9)).await.unwrap_err();
    assert!(error.message.contains("version 9"), "{}", error.message);
    assert!(
        life.ingester
            .trouble()
            .unwrap()
            .contains("1 cannot succeed")
    );
    life.push(&tenant, &rows(6..9)).await.unwrap();
    assert!(life.ingester.flush().await.is_err());
    assert!(life.recent(&tenant).await.1.is_empty());
    life.kill().await;
    let life = bed.start().await;
    assert_eq!(life.read(&tenant).await, rows(0..9));
    assert_eq!(life.recent(&other).await.1, rows(0..6));
    std::fs::remove_file(unknown).unwrap();
    life.ingester.flush().await.unwrap();
    assert_eq!(life.ingester.trouble(), None);
    assert_eq!(life.read(&other).await, rows(0..6));
    life.push(&other, &rows(6..9)).await.unwrap();
    life.ingester.flush().await.unwrap();
    life.kill().await;
    assert!(!bed.has_segments());
}

#[tokio::test(start_paused = true)]
async fn a_day_whose_flush_fails_is_tried_again_by_itself() {
    let bed = Bed::new();
    let [tenant, other] = tenants();
    let life = bed.start().await;
    let in_the_way = bed.stored_file("data/other");
    std::fs::create_dir_all(in_the_way.parent().unwrap()).unwrap();
    std::fs::write(&in_the_way, "").unwrap();
    for tenant in [&tenant, &other] {
        life.push(tenant, &rows(0..6)).await.unwrap();
    }
    let error = life.ingester.flush().await.unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
    let text = "not everything is flushed yet, it is tried again: ";
    assert!(error.message.starts_with(text), "{}", error.message);
    assert!(error.message.contains("data/other"), "{}", error.message);
    assert!(life.recent(&tenant).await.1.is_empty());
    life.push(&other, &rows(6..9)).await.unwrap();
    assert_eq!(life.recent(&other).await.1, rows(0..9));
    let trouble = life.ingester.trouble().unwrap();
    assert!(trouble.contains("1 of a tenant's day"), "{trouble}");
    std::fs::remove_file(in_the_way).unwrap();
    life.until(|life| life.ingester.trouble().is_none()).await;
    assert_eq!(life.recent(&other).await.1, rows(6..9));
    assert_eq!(life.read(&other).await, rows(0..9));
}

#[tokio::test]
async fn a_flush_may_have_more_label_names_than_an_index_file() {
    let bed = Bed::new();
    let life = bed.start().await;
    let tenant = TenantId::single();
    let stream = |stream| {
        let own = (0..1_000).map(|name| (format!("n{stream}_{name}"), "v"));
        let labels = own.chain([("job".to_owned(), "test"), ("app".to_owned(), "a")]);
        let mut entries = Entries::default();
        let level = LabelSet::from_pairs([("level", "info")]);
        entries.push(NOW_NS + stream, b"line", &level);
        Arc::new(StreamBatch {
            labels: LabelSet::from_pairs(labels),
            entries,
        })
    };
    let streams: Vec<_> = (0..70).map(stream).collect();
    life.ingester.push(&tenant, streams.into()).await.unwrap();
    life.ingester.flush().await.unwrap();
    assert_eq!(life.read(&tenant).await.len(), 70);
    assert!(life.recent(&tenant).await.1.is_empty());
}
