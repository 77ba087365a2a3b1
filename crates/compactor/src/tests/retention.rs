//! What is older than it is to be kept goes.

use model::TimeRange;
use model::units::{ByteSize, DurationNs};

use super::bed::{Bed, HOUR, labels, period, tenant};

const DAY: i64 = TimeRange::DAY_NS;

/// Two objects, of the first and the last hour of the day, with two streams each.
async fn bed() -> Bed {
    let bed = Bed::new();
    for hour in [0, 23] {
        let rows = bed.rows(hour * 3600..hour * 3600 + 10, "line");
        bed.flush(&[("app=web", &rows), ("app=audit", &rows)]).await;
    }
    bed
}

/// Sleeps until the rows of the last hour are so old.
fn until_old(bed: &Bed, ns: i64) {
    bed.sleep(bed.start_ns() + 24 * HOUR + ns - bed.now_ns());
}

#[tokio::test]
async fn objects_go_when_their_last_row_is_too_old() {
    let mut bed = bed().await;
    bed.limits.retention_period = DurationNs(3 * DAY);
    bed.config.day_settle = DurationNs(30 * DAY);
    until_old(&bed, 2 * DAY);
    bed.compact().await;
    assert_eq!(bed.objects().await.len(), 2);
    until_old(&bed, 3 * DAY - 12 * HOUR);
    let compactor = bed.compact().await;
    assert_eq!(bed.objects().await.len(), 1);
    assert_eq!(bed.lines("app=web").await.len(), 10);
    assert_eq!(compactor.metrics.objects_expired.get(), 1);
    assert_eq!(compactor.metrics.objects_written.get(), 0);
    until_old(&bed, 3 * DAY);
    bed.compact().await;
    assert!(bed.stored().await.is_empty());
    bed.sleep(3 * HOUR);
    bed.compact().await;
    assert!(bed.files("data").await.is_empty() && bed.files("index").await.is_empty());
}

#[tokio::test]
async fn streams_have_their_own_periods() {
    let mut bed = bed().await;
    bed.limits.retention_period = DurationNs(3 * DAY);
    bed.limits.retention_stream = vec![
        period(r#"{app="audit"}"#, 1, 30 * DAY),
        period(r#"{app=~".+"}"#, 0, 3 * DAY),
    ];
    until_old(&bed, 2 * DAY);
    bed.compact().await;
    assert_eq!(bed.lines("app=web").await.len(), 20);
    until_old(&bed, 3 * DAY);
    bed.compact().await;
    assert_eq!(bed.lines("app=web").await, [] as [String; 0]);
    assert_eq!(bed.lines("app=audit").await.len(), 20);
    until_old(&bed, 30 * DAY);
    bed.compact().await;
    assert!(bed.stored().await.is_empty());
}

#[tokio::test]
async fn what_is_more_than_may_be_kept_goes_oldest_first() {
    let mut bed = bed().await;
    let of = |file: &storage::ObjectFile| file.size_bytes;
    let state = bed.catalog().latest(&tenant(), bed.day).await.unwrap();
    let bytes: u64 = state.objects.values().map(of).sum();
    bed.limits.retention_max_bytes = ByteSize(bytes);
    bed.compact().await;
    assert_eq!(bed.objects().await.len(), 2);
    bed.limits.retention_max_bytes = ByteSize(bytes - 1);
    bed.compact().await;
    assert_eq!(bed.objects().await.len(), 1);
    let first = bed.stored().await[&labels("app=web")][0].0;
    assert_eq!(first, bed.start_ns() + 23 * HOUR, "the later one is left");
}

#[tokio::test]
async fn a_rule_that_cannot_be_read_keeps_everything() {
    let mut bed = bed().await;
    bed.limits.retention_period = DurationNs(3 * DAY);
    bed.limits.retention_stream = vec![period("{", 1, DAY)];
    until_old(&bed, 30 * DAY);
    bed.compact().await;
    assert_eq!(bed.lines("app=web").await.len(), 20);
}
