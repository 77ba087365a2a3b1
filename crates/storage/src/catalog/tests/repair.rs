//! Manifests of which a file is damaged.

use super::*;
use crate::key::{data_key, index_key};

/// An object with a row.
fn object(id: u128) -> chunk::FinishedObject {
    let labels = model::LabelSet::from_pairs([("app", format!("a{id}"))]);
    let mut entries = model::Entries::default();
    let ts_ns = DAY * TimeRange::DAY_NS + id as i64;
    entries.push(ts_ns, b"line", &model::LabelSet::default());
    let run = chunk::Run::new(&labels, &entries);
    let block = chunk::encode_block(&[run], &chunk::EncodeOptions::default());
    let mut writer = chunk::ObjectWriter::new(id);
    writer.add_block(block.unwrap());
    writer.finish().unwrap()
}

async fn publish(process: &Process, ids: impl IntoIterator<Item = u128>) {
    for id in ids {
        let entry = ManifestEntry::new("ingester", 1);
        let published = process
            .catalog
            .publish(&tenant(), DAY, &object(id), entry)
            .await;
        published.unwrap();
    }
}

/// Merges two objects into one; the index is of that and of the objects `kept`.
async fn compact(process: &Process, from: [u128; 2], to: u128, kept: &[u128]) {
    let catalog = &process.catalog;
    let state = catalog.latest(&tenant(), DAY).await.unwrap();
    let mut builder = index::IndexBuilder::new();
    for id in kept.iter().chain([&to]) {
        add_to_index(&mut builder, data_key(&tenant(), DAY, *id), &object(*id));
    }
    let mut entry = ManifestEntry::new("compactor", 2);
    let file = catalog.put_object(&tenant(), DAY, &object(to)).await;
    entry.add_objects.push(file.unwrap());
    let index = catalog.put_index(&tenant(), DAY, to << 20, builder).await;
    entry.add_indexes = index.unwrap();
    entry.remove_objects = from.to_vec();
    entry.remove_indexes = state.indexes.keys().copied().collect();
    catalog.commit(&tenant(), DAY, entry).await.unwrap();
}

async fn write_checkpoint(process: &Process, state: &PartitionState) {
    let tenant = tenant();
    let log = process.catalog.log(&tenant, DAY);
    log.write_checkpoint(state).await.unwrap();
}

async fn damage(process: &Process, key: &str) {
    let store = process.catalog.store();
    let mut bytes = store.get(key).await.unwrap().to_vec();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    store.put(key, bytes.into()).await.unwrap();
}

/// The live objects, as a process that has just started sees them. All that the manifest names is
/// there, and each row is in the indexes.
async fn sound_ids(shared: &Arc<InMemory>) -> BTreeSet<u128> {
    let process = Process::start(shared);
    let catalog = &process.catalog;
    let log = catalog.log(&tenant(), DAY).salvage().await.unwrap().state;
    let snapshot = catalog.snapshot(&tenant(), whole_day(), &[]).await.unwrap();
    let partition = &snapshot.partitions()[0];
    assert_eq!(log.seq, partition.seq());
    let mut rows: HashMap<u128, u64> = HashMap::new();
    for index in catalog.indexes(partition).await.unwrap() {
        for object in index.objects() {
            *rows.entry(object.id).or_default() += object.rows;
        }
    }
    for file in partition.objects() {
        let key = data_key(&tenant(), DAY, file.id);
        assert!(catalog.store().get(&key).await.is_ok());
        assert!(rows[&file.id] >= file.rows, "{}", file.id);
    }
    partition.objects().map(|file| file.id).collect()
}

#[tokio::test]
async fn what_a_damaged_entry_added_is_found_again() {
    for damaged in 1..=4 {
        let shared = Arc::new(InMemory::new());
        publish(&Process::start(&shared), 1..=4).await;
        let late = Process::start(&shared);
        let key = entry_key(&tenant(), DAY, damaged);
        damage(&late, &key).await;
        let read = late.catalog.snapshot(&tenant(), whole_day(), &[]).await;
        assert!(matches!(read, Err(StorageError::Corrupt { .. })));
        publish(&late, [5]).await;
        assert_eq!(sound_ids(&shared).await, ids(1..6));
        let copy = late.catalog.store().get(&format!("{key}.damaged")).await;
        assert!(copy.is_ok());
        let metrics = late.catalog.store().metrics();
        assert_eq!(metrics.manifests_repaired.get(), 1);
    }
}

#[tokio::test]
async fn any_flipped_byte_is_repaired() {
    let len = {
        let process = Process::start(&Arc::new(InMemory::new()));
        publish(&process, 1..=2).await;
        let key = entry_key(&tenant(), DAY, 2);
        process.catalog.store().get(&key).await.unwrap().len()
    };
    // Bytes 4 and 5 are the version: what a version to come wrote is not repaired.
    for at in (0..len).filter(|at| ![4, 5].contains(at)).step_by(5) {
        let shared = Arc::new(InMemory::new());
        let process = Process::start(&shared);
        publish(&process, 1..=2).await;
        let key = entry_key(&tenant(), DAY, 2);
        let store = process.catalog.store();
        let mut bytes = store.get(&key).await.unwrap().to_vec();
        bytes[at] ^= 0x10;
        store.put(&key, bytes.into()).await.unwrap();
        let late = Process::start(&shared);
        late.catalog.latest(&tenant(), DAY).await.unwrap();
        assert_eq!(sound_ids(&shared).await, ids(1..3), "byte {at}");
    }
}

#[tokio::test]
async fn a_version_to_come_is_left_alone() {
    let shared = Arc::new(InMemory::new());
    let process = Process::start(&shared);
    publish(&process, 1..=2).await;
    let key = entry_key(&tenant(), DAY, 2);
    let store = process.catalog.store();
    let mut bytes = store.get(&key).await.unwrap().to_vec();
    bytes[4] = 9;
    store.put(&key, bytes.into()).await.unwrap();
    let late = Process::start(&shared);
    let error = late.catalog.latest(&tenant(), DAY).await.unwrap_err();
    assert!(error.to_string().contains("version 9"), "{error}");
    assert!(error.is_lasting());
}

#[tokio::test]
async fn a_damaged_compaction_costs_nothing_but_room() {
    for is_swept in [false, true] {
        let shared = Arc::new(InMemory::new());
        let process = Process::start(&shared);
        publish(&process, 1..=3).await;
        compact(&process, [1, 2], 9, &[3]).await;
        if is_swept {
            let store = process.catalog.store();
            let mut sweep = ManifestEntry::new("compactor", 3);
            for id in 1..=3 {
                if id < 3 {
                    let key = data_key(&tenant(), DAY, id);
                    store.delete(&key).await.unwrap();
                    sweep.swept_objects.push(id);
                }
                let key = index_key(&tenant(), DAY, id);
                store.delete(&key).await.unwrap();
                sweep.swept_indexes.push(id);
            }
            process.catalog.commit(&tenant(), DAY, sweep).await.unwrap();
        }
        damage(&process, &entry_key(&tenant(), DAY, 4)).await;
        let late = Process::start(&shared);
        late.catalog.latest(&tenant(), DAY).await.unwrap();
        let expected = match is_swept {
            true => BTreeSet::from([3, 9]),
            false => BTreeSet::from([1, 2, 3, 9]),
        };
        assert_eq!(sound_ids(&shared).await, expected);
        // Who has the entry in memory and who has not come to the same in the end.
        publish(&process, [11]).await;
        publish(&late, [12]).await;
        let found = sound_ids(&shared).await;
        assert!(
            found.is_superset(&BTreeSet::from([3, 9, 11, 12])),
            "{found:?}"
        );
    }
}

#[tokio::test]
async fn a_flush_that_was_not_committed_yet_is_committed_by_the_repair() {
    let shared = Arc::new(InMemory::new());
    let process = Process::start(&shared);
    publish(&process, 1..=2).await;
    let put = process.catalog.put_object(&tenant(), DAY, &object(7)).await;
    put.unwrap();
    damage(&process, &entry_key(&tenant(), DAY, 1)).await;
    let late = Process::start(&shared);
    let seq = late.catalog.latest(&tenant(), DAY).await.unwrap().seq;
    assert_eq!(sound_ids(&shared).await, BTreeSet::from([1, 2, 7]));
    let entry = ManifestEntry::new("ingester", 1);
    let (owner, object) = (tenant(), object(7));
    let again = late.catalog.publish(&owner, DAY, &object, entry);
    assert_eq!(again.await.unwrap(), seq, "it is there already");
}

#[tokio::test]
async fn a_damaged_checkpoint_is_made_again() {
    let shared = Arc::new(InMemory::new());
    let process = Process::start(&shared);
    publish(&process, 1..=3).await;
    let state = process.catalog.latest(&tenant(), DAY).await.unwrap();
    write_checkpoint(&process, &state).await;
    publish(&process, [4]).await;
    for pruned in 1..=3 {
        let key = entry_key(&tenant(), DAY, pruned);
        process.catalog.store().delete(&key).await.unwrap();
    }
    damage(&process, &checkpoint_key(&tenant(), DAY, 3)).await;
    let late = Process::start(&shared);
    late.catalog.latest(&tenant(), DAY).await.unwrap();
    assert_eq!(sound_ids(&shared).await, ids(1..5));
    publish(&process, [5]).await;
    assert_eq!(sound_ids(&shared).await, ids(1..6));
}

#[tokio::test]
async fn an_entry_that_a_checkpoint_has_needs_no_repair() {
    let shared = Arc::new(InMemory::new());
    let process = Process::start(&shared);
    publish(&process, 1..=3).await;
    let state = process.catalog.latest(&tenant(), DAY).await.unwrap();
    write_checkpoint(&process, &state).await;
    damage(&process, &entry_key(&tenant(), DAY, 2)).await;
    assert_eq!(sound_ids(&shared).await, ids(1..4));
}

#[tokio::test]
async fn of_two_who_repair_one_waits() {
    let shared = Arc::new(InMemory::new());
    publish(&Process::start(&shared), 1..=3).await;
    let (a, b) = (Process::start(&shared), Process::start(&shared));
    damage(&a, &entry_key(&tenant(), DAY, 2)).await;
    let owner = tenant();
    let repairs = [&a, &b].map(|process| process.catalog.latest(&owner, DAY));
    let [first, second] = <[_; 2]>::try_from(futures::future::join_all(repairs).await).unwrap();
    assert!(first.is_ok() || second.is_ok());
    for process in [&a, &b] {
        process.catalog.latest(&owner, DAY).await.unwrap();
    }
    assert_eq!(sound_ids(&shared).await, ids(1..4));
}
