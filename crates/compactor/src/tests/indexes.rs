//! Label indexes that cannot be read.

use model::units::DurationNs;
use storage::key;

use super::bed::{Bed, HOUR, MINUTE, tenant};

/// Three objects, of whose first the label index is damaged.
async fn bed() -> Bed {
    let bed = Bed::new();
    for hour in [0, 1, 23] {
        let rows = bed.rows(hour * 3600..hour * 3600 + 10, "line");
        bed.flush(&[("app=web", &rows), ("app=db", &rows)]).await;
        // So that ids are in this order.
        bed.sleep(1_000_000);
    }
    bed
}

async fn damage(bed: &Bed, id: u128) {
    let key = key::index_key(&tenant(), bed.day, id);
    let catalog = bed.catalog();
    let mut bytes = catalog.store().get(&key).await.unwrap().to_vec();
    bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
    catalog.store().put(&key, bytes.into()).await.unwrap();
}

async fn indexes(bed: &Bed) -> Vec<u128> {
    let state = bed.catalog().latest(&tenant(), bed.day).await.unwrap();
    state.indexes.keys().copied().collect()
}

#[tokio::test]
async fn a_damaged_index_is_made_again_from_its_objects() {
    let bed = bed().await;
    let before = bed.stored().await;
    damage(&bed, indexes(&bed).await[0]).await;
    bed.sleep(10 * MINUTE);
    bed.compact().await;
    assert_eq!(bed.objects().await.len(), 1);
    assert_eq!(indexes(&bed).await.len(), 1);
    assert_eq!(bed.stored().await, before);
}

#[tokio::test]
async fn a_day_at_rest_gets_its_damaged_index_back() {
    let bed = bed().await;
    let before = bed.stored().await;
    bed.sleep(10 * MINUTE);
    bed.compact().await;
    damage(&bed, indexes(&bed).await[0]).await;
    bed.compact().await;
    assert_eq!(bed.stored().await, before);
}

#[tokio::test]
async fn objects_expire_whatever_their_indexes_are() {
    let mut bed = bed().await;
    for id in indexes(&bed).await {
        damage(&bed, id).await;
    }
    // Of the last object not even the streams can be read.
    let last = *bed.objects().await.last().unwrap();
    let data = key::data_key(&tenant(), bed.day, last);
    bed.catalog().store().put(&data, "?".into()).await.unwrap();
    let age_ns = bed.now_ns() - bed.start_ns();
    bed.limits.retention_period = DurationNs(age_ns - 12 * HOUR);
    bed.compact().await;
    assert_eq!(bed.objects().await.into_iter().collect::<Vec<_>>(), [last]);
    bed.sleep(24 * HOUR);
    bed.compact().await;
    assert!(bed.objects().await.is_empty() && indexes(&bed).await.is_empty());
}

#[tokio::test]
async fn deletes_are_done_in_spite_of_a_damaged_index() {
    let bed = bed().await;
    damage(&bed, indexes(&bed).await[0]).await;
    let request = storage::DeleteRequest {
        id: 1,
        query: r#"{app="web"}"#.to_owned(),
        start_ns: bed.start_ns(),
        end_ns: bed.now_ns(),
        created_ns: bed.now_ns(),
        processed_ns: None,
    };
    let catalog = bed.catalog();
    catalog.add_delete(&tenant(), &request).await.unwrap();
    bed.sleep(2 * HOUR);
    bed.compact().await;
    assert_eq!(bed.lines("app=web").await, [] as [String; 0]);
    assert_eq!(bed.lines("app=db").await.len(), 30);
    let requests = bed.catalog().latest_deletes(&tenant()).await.unwrap();
    assert!(requests.requests[0].processed_ns.is_some());
}

#[tokio::test]
async fn one_of_several_index_files_of_an_object_is_made_again() {
    let bed = Bed::new();
    let rows = bed.rows(0..2, "line");
    let names = |stream| (0..1_000).map(move |name| format!("n{stream}_{name}=v"));
    let streams: Vec<String> = (0..70)
        .map(|stream| names(stream).collect::<Vec<_>>().join(","))
        .collect();
    let streams: Vec<_> = streams.iter().map(|text| (text.as_str(), &rows)).collect();
    bed.flush(&streams).await;
    let before = bed.stored().await;
    let files = indexes(&bed).await;
    assert!(files.len() > 1);
    damage(&bed, files[0]).await;
    bed.compact().await;
    assert_eq!(bed.stored().await, before);
}
