//! Many small objects become few large ones.

use model::units::ByteSize;

use super::bed::{Bed, HOUR, MINUTE, once, tenant};

/// A bed of ten flushes of two streams; the last five are copies of the first, as a replica writes
/// them.
async fn replicated() -> Bed {
    let bed = Bed::new();
    for flush in 0..10 {
        let from = flush % 5 * 100;
        let web = bed.rows(from..from + 100, "web");
        let db = bed.rows(from + 7..from + 9, "db");
        bed.flush(&[("app=web", &web), ("app=db", &db)]).await;
    }
    bed
}

#[tokio::test]
async fn small_objects_become_one_without_the_copies_of_replicas() {
    let bed = replicated().await;
    let before = bed.stored().await;
    bed.compact().await;
    assert_eq!(
        bed.objects().await.len(),
        10,
        "young objects are left alone"
    );
    bed.sleep(10 * MINUTE);
    let compactor = bed.compact().await;
    assert_eq!(bed.objects().await.len(), 1);
    let after = bed.stored().await;
    assert_eq!(after.values().map(Vec::len).sum::<usize>(), 5 * 102);
    assert_eq!(after, once(before));
    assert_eq!(compactor.metrics.objects_read.get(), 10);
    assert_eq!(compactor.metrics.objects_written.get(), 1);

    // Who holds a snapshot still reads what was replaced; later it is deleted.
    assert_eq!(bed.files("data").await.len(), 11);
    bed.sleep(3 * HOUR);
    bed.compact().await;
    assert_eq!(bed.files("data").await.len(), 1);
    assert_eq!(bed.files("index").await.len(), 1);
    assert_eq!(bed.files("claims").await, [] as [String; 0]);
    assert_eq!(bed.stored().await, after);
}

#[tokio::test]
async fn large_blocks_are_copied_byte_for_byte() {
    let bed = Bed::new();
    // Larger than a quarter of a block; what overlaps has to be merged.
    let first = bed.rows(0..1000, "a line that makes it long enough");
    let second = bed.rows(1000..2000, "a line that makes it long enough");
    let late = bed.rows(1990..2010, "late");
    let mut bodies = Vec::new();
    for rows in [&first, &second, &late] {
        let id = bed.flush(&[("app=web", rows)]).await;
        let bytes = bed.bytes(id).await;
        let meta = chunk::ObjectMeta::parse_object(&bytes).unwrap();
        let body = meta.block(0).unwrap().body_range();
        bodies.push(bytes.slice(body.start as usize..body.end as usize));
    }
    let before = bed.stored().await;
    bed.sleep(10 * MINUTE);
    let compactor = bed.compact().await;
    let objects = bed.objects().await;
    assert_eq!(objects.len(), 1);
    let bytes = bed.bytes(*objects.first().unwrap()).await;
    let has = |body: &[u8]| bytes.windows(body.len()).any(|window| window == body);
    assert!(has(&bodies[0]));
    assert!(!has(&bodies[1]) && !has(&bodies[2]));
    assert_eq!(compactor.metrics.blocks_copied.get(), 1);
    assert_eq!(bed.stored().await, before);
}

#[tokio::test]
async fn what_ingesters_laid_out_plainly_is_tried_as_templates_while_its_day_goes_on() {
    let mut bed = Bed::new();
    // A day that is not over, whenever this runs.
    bed.day += 3;
    bed.config.merge_objects = 2;
    for first in [0, 1000] {
        let rows = bed.rows(first..first + 1000, "a line that makes it long enough");
        bed.flush(&[("app=web", &rows)]).await;
    }
    let before = bed.stored().await;
    bed.sleep(10 * MINUTE);
    let compactor = bed.compact().await;
    assert_eq!(compactor.metrics.blocks_copied.get(), 0);
    let objects = bed.objects().await;
    assert_eq!(objects.len(), 1);
    let bytes = bed.bytes(*objects.first().unwrap()).await;
    let meta = chunk::ObjectMeta::parse_object(&bytes).unwrap();
    let layout = meta.block(0).unwrap().layout();
    assert_eq!(layout, chunk::Layout::Text);
    assert_eq!(bed.stored().await, before);
}

#[tokio::test]
async fn objects_end_at_their_size_and_jobs_at_theirs() {
    let mut bed = Bed::new();
    bed.config.target_object_size = ByteSize(2 << 10);
    bed.config.block_size = ByteSize(16 << 10);
    for flush in 0..6 {
        let text = format!(
            "{:x}",
            0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(flush as u64 + 1)
        );
        let rows = bed.rows(flush * 3000..(flush + 1) * 3000, &text);
        let stream = format!("app=web-{}", flush % 2);
        bed.flush(&[(&stream, &rows)]).await;
    }
    let before = bed.stored().await;
    bed.sleep(10 * MINUTE);
    bed.compact().await;
    assert!(bed.objects().await.len() > 2);
    assert_eq!(bed.stored().await, before);
    let written = bed.objects().await;
    bed.sleep(10 * MINUTE);
    bed.compact().await;
    let state = bed.catalog().latest(&tenant(), bed.day).await.unwrap();
    assert!(state.indexes.len() <= 2);
    let again = bed.objects().await;
    assert!(
        again.intersection(&written).count() >= written.len() - 2,
        "it settles"
    );
}

#[tokio::test]
async fn a_damaged_object_is_left_alone_and_the_others_are_merged() {
    let bed = replicated().await;
    let id = *bed.objects().await.first().unwrap();
    let mut bytes = bed.bytes(id).await.to_vec();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 0xff;
    let key = storage::key::data_key(&tenant(), bed.day, id);
    bed.catalog().store().put(&key, bytes.into()).await.unwrap();
    bed.sleep(10 * MINUTE);
    let compactor = bed.compact().await;
    assert_eq!(bed.objects().await.len(), 10, "nothing is replaced");
    assert_eq!(bed.files("claims").await, [] as [String; 0]);
    compactor.run_once().await;
    assert_eq!(bed.objects().await.len(), 2);
    assert!(bed.objects().await.contains(&id));
    assert_eq!(compactor.metrics.objects_read.get(), 9);
}

#[tokio::test]
async fn files_that_nothing_refers_to_go_after_a_grace_time() {
    let bed = replicated().await;
    let id = storage::key::new_id(bed.now_ns());
    let keys = [
        storage::key::data_key(&tenant(), bed.day, id),
        storage::key::index_key(&tenant(), bed.day - 50, id),
    ];
    for key in &keys {
        let store = bed.catalog();
        store.store().put(key, "half".into()).await.unwrap();
    }
    bed.sleep(23 * HOUR);
    bed.compact().await;
    for key in &keys {
        assert!(bed.catalog().store().size(key).await.unwrap().is_some());
    }
    let rows = bed.stored().await;
    bed.sleep(2 * HOUR);
    bed.compact().await;
    for key in &keys {
        assert_eq!(bed.catalog().store().size(key).await.unwrap(), None);
    }
    assert_eq!(bed.stored().await, rows);
}

#[tokio::test]
async fn few_label_indexes_are_left_to_be_fetched() {
    let mut bed = Bed::new();
    // While the day goes on.
    bed.day += 3;
    bed.config.merge_objects = 100;
    for flush in 0..18 {
        let rows = bed.rows(flush * 10..flush * 10 + 10, "web");
        bed.flush(&[("app=web", &rows)]).await;
    }
    let before = bed.stored().await;
    bed.compact().await;
    let state = bed.catalog().latest(&tenant(), bed.day).await.unwrap();
    assert_eq!((state.objects.len(), state.indexes.len()), (18, 1));
    assert_eq!(bed.stored().await, before);
}

#[tokio::test]
async fn blocks_that_streams_share_stay_open_for_those_that_come_next() {
    let mut bed = Bed::new();
    let rows = bed.rows(0..500, "a line that makes it long enough");
    // Twelve blocks, all of which the first stream wants; then each wants its own.
    let own: Vec<String> = (0..12).map(|n| format!("app=web-{n:02}")).collect();
    let blocks: Vec<[(&str, &model::Entries); 2]> = own
        .iter()
        .map(|own| [("app=a", &rows), (own.as_str(), &rows)])
        .collect();
    for blocks in blocks.chunks(2) {
        let blocks: Vec<&[(&str, &model::Entries)]> =
            blocks.iter().map(<[_; 2]>::as_slice).collect();
        bed.flush_blocks(&blocks).await;
    }
    let before = bed.stored().await;
    bed.sleep(10 * MINUTE);
    // Room for half of them: those that are wanted soon are read once, the others twice.
    bed.config.memory = ByteSize(2 * 6 * 80_000);
    let compactor = bed.compact().await;
    let fetched = compactor.metrics.blocks_fetched.get();
    assert!((12..=20).contains(&fetched), "{fetched}");
    assert_eq!(bed.stored().await, once(before));
}
