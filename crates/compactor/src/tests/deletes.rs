//! Rows that were asked to be deleted leave the data.

use storage::DeleteRequest;

use super::bed::{Bed, HOUR, MINUTE, tenant};

async fn ask(bed: &Bed, id: u128, query: &str, seconds: std::ops::Range<i64>) {
    let at = |second: i64| bed.start_ns() + second * 1_000_000_000;
    let request = DeleteRequest {
        id,
        query: query.to_owned(),
        start_ns: at(seconds.start),
        end_ns: at(seconds.end),
        created_ns: bed.now_ns(),
        processed_ns: None,
    };
    let catalog = bed.catalog();
    catalog.add_delete(&tenant(), &request).await.unwrap();
}

async fn processed(bed: &Bed) -> Vec<bool> {
    let requests = bed.catalog().latest_deletes(&tenant()).await.unwrap();
    let is_processed = |request: &DeleteRequest| request.processed_ns.is_some();
    requests.requests.iter().map(is_processed).collect()
}

/// One object of two streams.
async fn bed() -> Bed {
    let bed = Bed::new();
    let (web, db) = (bed.rows(0..6, "line"), bed.rows(0..3, "line"));
    bed.flush(&[("app=web", &web), ("app=db", &db)]).await;
    bed
}

#[tokio::test]
async fn rows_leave_once_the_request_cannot_be_cancelled_any_more() {
    let bed = bed().await;
    ask(&bed, 1, r#"{app="web"} |~ "[24]$""#, 1..3).await;
    let objects = bed.objects().await;
    bed.sleep(14 * MINUTE);
    bed.compact().await;
    assert_eq!(bed.objects().await, objects);
    bed.sleep(MINUTE);
    let compactor = bed.compact().await;
    assert_eq!(
        bed.lines("app=web").await,
        ["line 0", "line 1", "line 3", "line 4", "line 5"]
    );
    assert_eq!(bed.lines("app=db").await.len(), 3);
    assert_ne!(bed.objects().await, objects);
    // Ingesters may still have rows that match.
    assert_eq!(processed(&bed).await, [false]);
    let written = bed.objects().await;
    bed.sleep(HOUR);
    compactor.run_once().await;
    assert_eq!(processed(&bed).await, [true]);
    assert_eq!(bed.objects().await, written, "nothing is rewritten again");

    // It is listed for a month.
    bed.sleep(29 * 24 * HOUR);
    bed.compact().await;
    assert_eq!(processed(&bed).await, [true]);
    bed.sleep(2 * 24 * HOUR);
    bed.compact().await;
    assert_eq!(processed(&bed).await, [] as [bool; 0]);
}

#[tokio::test]
async fn whole_streams_and_whole_partitions_can_go() {
    let bed = bed().await;
    ask(&bed, 1, r#"{app="web"}"#, 0..100).await;
    bed.sleep(15 * MINUTE);
    bed.compact().await;
    assert_eq!(bed.lines("app=web").await, [] as [String; 0]);
    assert_eq!(bed.lines("app=db").await.len(), 3);
    ask(&bed, 2, r#"{app=~".*"}"#, 0..100).await;
    bed.sleep(15 * MINUTE);
    bed.compact().await;
    assert!(bed.stored().await.is_empty() && bed.objects().await.is_empty());
    bed.sleep(3 * HOUR);
    bed.compact().await;
    assert!(bed.files("data").await.is_empty() && bed.files("index").await.is_empty());
}

#[tokio::test]
async fn what_is_cancelled_or_only_hidden_stays() {
    let mut bed = bed().await;
    let objects = bed.objects().await;
    ask(&bed, 1, r#"{app="web"}"#, 0..100).await;
    bed.catalog().remove_delete(&tenant(), 1).await.unwrap();
    ask(&bed, 2, r#"{app="web"}"#, 50..100).await;
    ask(&bed, 3, r#"{app="web"} |= "nothing like it""#, 0..100).await;
    bed.sleep(2 * HOUR);
    bed.compact().await;
    assert_eq!(bed.objects().await, objects);
    assert_eq!(processed(&bed).await, [true, true]);

    bed.limits.deletion_mode = model::DeletionMode::FilterOnly;
    ask(&bed, 4, r#"{app="web"}"#, 0..100).await;
    bed.sleep(2 * HOUR);
    bed.compact().await;
    assert_eq!(bed.objects().await, objects);
    assert_eq!(processed(&bed).await, [true, true, false]);
}

#[tokio::test]
async fn rows_that_come_late_are_deleted_as_well() {
    let bed = bed().await;
    ask(&bed, 1, r#"{app="web"}"#, 0..1000).await;
    bed.sleep(20 * MINUTE);
    bed.compact().await;
    let late = bed.rows(500..503, "late");
    bed.flush(&[("app=web", &late)]).await;
    bed.compact().await;
    assert_eq!(bed.lines("app=web").await.len(), 3, "too young");
    bed.sleep(HOUR);
    bed.compact().await;
    assert_eq!(bed.lines("app=web").await, [] as [String; 0]);
    assert_eq!(processed(&bed).await, [true]);
}

/// Turns round what an object has of its lines; returns it as it was.
async fn damage(bed: &Bed, id: u128) -> bytes::Bytes {
    let good = bed.bytes(id).await;
    let mut bytes = good.to_vec();
    let meta = chunk::ObjectMeta::parse_object(&good).unwrap();
    for block in 0..meta.block_count() {
        let body = meta.block(block).unwrap().body_range();
        let body = &mut bytes[body.start as usize..body.end as usize];
        body.iter_mut().for_each(|byte| *byte ^= 0xff);
    }
    put(bed, id, bytes.into()).await;
    good
}

async fn put(bed: &Bed, id: u128, bytes: bytes::Bytes) {
    let key = storage::key::data_key(&tenant(), bed.day, id);
    bed.catalog().store().put(&key, bytes).await.unwrap();
}

#[tokio::test]
async fn a_request_is_not_done_while_an_object_with_its_lines_cannot_be_read() {
    let bed = bed().await;
    let id = *bed.objects().await.first().unwrap();
    let good = damage(&bed, id).await;
    ask(&bed, 1, r#"{app="web"} |= "line 4""#, 0..100).await;
    bed.sleep(2 * HOUR);
    let compactor = bed.compact().await;
    for _ in 0..3 {
        compactor.run_once().await;
        bed.sleep(MINUTE);
    }
    assert_eq!(processed(&bed).await, [false]);
    put(&bed, id, good).await;
    assert_eq!(bed.lines("app=web").await.len(), 6);

    // What could not be read is tried again, without a restart.
    bed.sleep(24 * HOUR);
    compactor.run_once().await;
    assert_eq!(bed.lines("app=web").await.len(), 5);
    assert_eq!(processed(&bed).await, [true]);
}

#[tokio::test]
async fn a_request_is_not_done_while_an_object_with_its_lines_is_too_young() {
    let bed = bed().await;
    ask(&bed, 1, r#"{app="web"}"#, 0..1000).await;
    bed.sleep(2 * HOUR);
    let late = bed.rows(500..503, "late");
    bed.flush(&[("app=web", &late)]).await;
    bed.compact().await;
    assert_eq!(processed(&bed).await, [false]);
    bed.sleep(10 * MINUTE);
    bed.compact().await;
    assert_eq!(bed.lines("app=web").await, [] as [String; 0]);
    assert_eq!(processed(&bed).await, [true]);
}

#[tokio::test]
async fn what_an_ingester_stores_after_the_request_was_done_is_deleted_as_well() {
    let bed = bed().await;
    ask(&bed, 1, r#"{app="web"}"#, 0..1000).await;
    bed.sleep(2 * HOUR);
    bed.compact().await;
    assert_eq!(processed(&bed).await, [true]);
    // It was down, and has read its log again.
    bed.sleep(12 * HOUR);
    let late = bed.rows(500..503, "late");
    bed.flush(&[("app=web", &late), ("app=db", &late)]).await;
    bed.sleep(10 * MINUTE);
    bed.compact().await;
    assert_eq!(bed.lines("app=web").await, [] as [String; 0]);
    assert_eq!(bed.lines("app=db").await.len(), 6);
    bed.sleep(24 * HOUR);
    bed.flush(&[("app=web", &late)]).await;
    bed.sleep(10 * MINUTE);
    bed.compact().await;
    assert_eq!(bed.lines("app=web").await.len(), 3, "not for ever");
}

#[tokio::test]
async fn a_damaged_request_stops_neither_the_others_nor_retention() {
    let mut bed = bed().await;
    ask(&bed, 1, r#"{app="web"}"#, 0..100).await;
    ask(&bed, 2, r#"{app="db"}"#, 0..1).await;
    let key = storage::key::delete_key(&tenant(), 1);
    bed.catalog().store().put(&key, "?".into()).await.unwrap();
    ask(&bed, 3, r#"{app="web"} | of_a_version_to_come"#, 0..100).await;
    bed.sleep(2 * HOUR);
    let compactor = bed.compact().await;
    assert_eq!(compactor.metrics.deletes_damaged.get(), 2);
    assert_eq!(bed.lines("app=web").await.len(), 6);
    assert_eq!(bed.lines("app=db").await, ["line 2"]);
    bed.limits.retention_period = model::units::DurationNs(1);
    bed.compact().await;
    assert!(bed.objects().await.is_empty());
}
