//! Commits and snapshots of several processes on one store.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use model::units::DurationNs;
use object_store::ObjectStore;
use object_store::memory::InMemory;

mod repair;

use super::*;
use crate::config::RequestConfig;
use crate::delete_request::DeleteRequest;
use crate::disk::DiskCache;
use crate::key::{checkpoint_key, entry_key};
use crate::manifest::{ManifestEntry, ObjectFile};
use crate::metrics::Metrics;
use crate::testing::{Faults, FaultyStore};

const DAY: i64 = 20_000;
const HOUR_NS: i64 = 3_600_000_000_000;
const CHECKPOINT_EVERY: u64 = 64;

/// A process: a catalog of its own on a shared store, whose requests fail as told.
struct Process {
    catalog: Catalog,
    faults: Faults,
    now_ns: Arc<AtomicI64>,
}

impl Process {
    fn start(shared: &Arc<InMemory>) -> Self {
        Self::start_with(shared, |store| store)
    }

    fn start_with(shared: &Arc<InMemory>, change: impl FnOnce(Store) -> Store) -> Self {
        let faults = Faults::default();
        let shared: Arc<dyn ObjectStore> = shared.clone();
        let inner = Arc::new(FaultyStore::new(shared, faults.clone()));
        let requests = RequestConfig {
            max_retries: 0,
            retry_backoff: DurationNs(1),
            ..RequestConfig::default()
        };
        let store = Store::with_object_store(inner, &requests, Metrics::unregistered());
        let store = change(store);
        let now_ns = Arc::new(AtomicI64::new(DAY * TimeRange::DAY_NS + HOUR_NS));
        let told = Arc::clone(&now_ns);
        let clock = Clock::new(move || told.load(Ordering::SeqCst));
        let mut config = StorageConfig::default();
        // Some tests want entries without a checkpoint.
        config.catalog.checkpoint_every = CHECKPOINT_EVERY;
        Self {
            catalog: Catalog::new(store, &config, clock),
            faults,
            now_ns,
        }
    }

    fn sleep(&self, ns: i64) {
        self.now_ns.fetch_add(ns, Ordering::SeqCst);
    }

    async fn add(&self, id: u128) -> Result<u64, StorageError> {
        self.catalog.commit(&tenant(), DAY, adding(id)).await
    }

    async fn ids(&self, at_least: u64) -> BTreeSet<u128> {
        let snapshot = self
            .catalog
            .snapshot(&tenant(), whole_day(), &[(DAY, at_least)])
            .await
            .unwrap();
        let partitions = snapshot.partitions().iter();
        partitions
            .flat_map(|partition| partition.objects().map(|object| object.id))
            .collect()
    }
}

fn tenant() -> TenantId {
    TenantId::single()
}

fn whole_day() -> TimeRange {
    crate::snapshot::day_range(DAY)
}

/// An entry that adds the object `id` and an index file for it.
fn adding(id: u128) -> ManifestEntry {
    let ts_ns = DAY * TimeRange::DAY_NS + 5;
    let mut entry = ManifestEntry::new("test", ts_ns);
    entry.add_objects.push(ObjectFile {
        id,
        min_ts_ns: ts_ns,
        max_ts_ns: ts_ns,
        ..ObjectFile::default()
    });
    entry.add_indexes.push(crate::IndexFile {
        id: id + (1 << 64),
        min_ts_ns: ts_ns,
        max_ts_ns: ts_ns,
        ..crate::IndexFile::default()
    });
    entry
}

fn ids(range: std::ops::Range<u128>) -> BTreeSet<u128> {
    range.collect()
}

#[tokio::test]
async fn racing_writers_claim_numbers_without_gaps() {
    let shared = Arc::new(InMemory::new());
    let (a, b) = (Process::start(&shared), Process::start(&shared));
    let commits = |process: &Process, from: u128| {
        let catalog = process.catalog.clone();
        async move {
            let mut seqs = Vec::new();
            for id in from..from + 50 {
                seqs.push(catalog.commit(&tenant(), DAY, adding(id)).await.unwrap());
            }
            seqs
        }
    };
    let (from_a, from_b) = futures::future::join(commits(&a, 0), commits(&b, 50)).await;
    let mut seqs = [from_a, from_b].concat();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=100).collect::<Vec<_>>());
    assert_eq!(a.ids(100).await, ids(0..100));
    assert_eq!(b.ids(100).await, ids(0..100));
}

#[tokio::test]
async fn own_commits_are_visible_at_once_others_by_number_or_poll() {
    let shared = Arc::new(InMemory::new());
    let (a, b) = (Process::start(&shared), Process::start(&shared));
    assert!(b.ids(0).await.is_empty());
    let seq = a.add(1).await.unwrap();
    assert_eq!(a.ids(0).await, ids(1..2));
    assert!(b.ids(0).await.is_empty(), "as of its last look");
    assert_eq!(b.ids(seq).await, ids(1..2));
    a.add(2).await.unwrap();
    b.sleep(DurationNs::from_secs(10).0);
    b.catalog.poll().await;
    let requests = b.faults.requests();
    assert_eq!(b.ids(0).await, ids(1..3));
    assert_eq!(
        b.faults.requests(),
        requests,
        "a warm snapshot asks nothing"
    );
}

#[tokio::test]
async fn a_reader_that_nobody_polls_looks_for_itself() {
    let shared = Arc::new(InMemory::new());
    let (a, b) = (Process::start(&shared), Process::start(&shared));
    assert!(b.ids(0).await.is_empty());
    a.add(1).await.unwrap();
    b.sleep(DurationNs::from_secs(40).0);
    assert_eq!(b.ids(0).await, ids(1..2));
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_made_again_without_effect() {
    let shared = Arc::new(InMemory::new());
    let process = Process::start(&shared);
    process.add(1).await.unwrap();
    for is_effective in [true, false] {
        let entry = adding(if is_effective { 2 } else { 3 });
        process
            .faults
            .die_after(u64::from(is_effective), is_effective);
        let failed = process.catalog.commit(&tenant(), DAY, entry.clone()).await;
        assert!(matches!(failed, Err(StorageError::Failed { .. })));
        process.faults.revive();
        process.catalog.commit(&tenant(), DAY, entry).await.unwrap();
    }
    let state = process.catalog.latest(&tenant(), DAY).await.unwrap();
    assert_eq!(state.seq, 3);
    assert_eq!(process.ids(0).await, ids(1..4));
    // After a restart the writer makes an entry anew; its file gives it away.
    let restarted = Process::start(&shared);
    assert_eq!(restarted.add(3).await.unwrap(), 3);
}

#[tokio::test]
async fn what_another_removed_cannot_be_removed_again() {
    let shared = Arc::new(InMemory::new());
    let (a, b) = (Process::start(&shared), Process::start(&shared));
    a.add(1).await.unwrap();
    assert_eq!(b.ids(1).await, ids(1..2));
    let replacing = |id| {
        let mut entry = adding(id);
        entry.remove_objects.push(1);
        entry
    };
    a.catalog
        .commit(&tenant(), DAY, replacing(2))
        .await
        .unwrap();
    let lost = b.catalog.commit(&tenant(), DAY, replacing(3)).await;
    assert!(matches!(lost, Err(StorageError::Conflict { .. })));
    assert_eq!(b.ids(0).await, ids(2..3));
}

#[tokio::test]
async fn a_file_with_rows_of_another_day_is_refused() {
    let process = Process::start(&Arc::new(InMemory::new()));
    let refused = process.catalog.commit(&tenant(), DAY + 1, adding(1)).await;
    assert!(matches!(refused, Err(StorageError::Invalid(_))));
}

#[tokio::test]
async fn checkpoints_shorten_replay_and_a_damaged_one_does_not_matter() {
    let shared = Arc::new(InMemory::new());
    let process = Process::start(&shared);
    for id in 0..200 {
        process.add(id).await.unwrap();
    }
    let cold = Process::start(&shared);
    assert_eq!(cold.ids(0).await, ids(0..200));
    // Days, listing, checkpoint 192, entries 193 to 200.
    assert_eq!(cold.faults.requests(), 11);
    let key = checkpoint_key(&tenant(), DAY, 192);
    let store = process.catalog.store();
    store.put(&key, Bytes::from_static(b"LGMF")).await.unwrap();
    assert_eq!(Process::start(&shared).ids(0).await, ids(0..200));
}

#[tokio::test]
async fn a_damaged_entry_names_its_key() {
    let shared = Arc::new(InMemory::new());
    let process = Process::start(&shared);
    process.add(1).await.unwrap();
    let key = entry_key(&tenant(), DAY, 1);
    let mut bytes = process.catalog.store().get(&key).await.unwrap().to_vec();
    bytes[40] ^= 1;
    process
        .catalog
        .store()
        .put(&key, bytes.into())
        .await
        .unwrap();
    let cold = Process::start(&shared);
    let read = cold.catalog.snapshot(&tenant(), whole_day(), &[]).await;
    let error = read.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{key} is damaged: checksum does not match")
    );
}

#[tokio::test]
async fn a_pruned_log_reads_the_same_and_goes_on() {
    let shared = Arc::new(InMemory::new());
    let (a, b) = (Process::start(&shared), Process::start(&shared));
    for id in 0..100 {
        a.add(id).await.unwrap();
    }
    assert_eq!(b.ids(100).await, ids(0..100));
    // Files of the in-memory store were written now, so "a day ago" lies in the future.
    let deleted = a.catalog.prune(&tenant(), DAY, i64::MAX).await.unwrap();
    assert_eq!(deleted, 99 + 1, "entries below 100 and checkpoint 64");
    let cold = Process::start(&shared);
    assert_eq!(cold.ids(0).await, ids(0..100));
    assert_eq!(cold.add(100).await.unwrap(), 101);
    assert_eq!(b.ids(101).await, ids(0..101));
}

#[tokio::test]
async fn a_writer_that_slept_while_creating_notices() {
    let shared = Arc::new(InMemory::new());
    let (a, sleeper) = (Process::start(&shared), Process::start(&shared));
    for id in 0..3 {
        a.add(id).await.unwrap();
    }
    assert_eq!(sleeper.ids(0).await, ids(0..3));
    for id in 3..20 {
        a.add(id).await.unwrap();
    }
    a.catalog.prune(&tenant(), DAY, i64::MAX).await.unwrap();
    let slot = sleeper.catalog.0.slots.slot(&tenant(), DAY);
    let tenant = tenant();
    let log = sleeper.catalog.log(&tenant, DAY);
    let dead = entry_key(&tenant, DAY, 4);
    let bytes = crate::manifest::encode_entry(&adding(20)).unwrap();
    sleeper.catalog.store().create(&dead, bytes).await.unwrap();
    sleeper.sleep(30 * HOUR_NS);
    assert!(!sleeper.catalog.is_committed(&slot, &log, 4).await.unwrap());
    let next = a.add(21).await.unwrap();
    assert!(log.is_alive(next).await.unwrap());
    assert!(!Process::start(&shared).ids(0).await.contains(&20));
}

#[tokio::test]
async fn partitions_out_of_use_leave_memory() {
    let shared = Arc::new(InMemory::new());
    let process = Process::start(&shared);
    process.add(1).await.unwrap();
    process.catalog.poll().await;
    assert_eq!(process.catalog.0.slots.trim(0, 10).len(), 1);
    process.sleep(2 * HOUR_NS);
    process.catalog.poll().await;
    assert_eq!(process.catalog.0.slots.trim(0, 10).len(), 0);
    assert_eq!(process.ids(0).await, ids(1..2));
    assert_eq!(process.catalog.tenants().await.unwrap(), [tenant()]);
    assert_eq!(process.catalog.days(&tenant()).await.unwrap(), [DAY]);
}

#[tokio::test]
async fn delete_requests_are_seen_by_all_until_they_are_cancelled() {
    let shared = Arc::new(InMemory::new());
    let (a, b) = (Process::start(&shared), Process::start(&shared));
    let request = |id| DeleteRequest {
        id,
        query: r#"{app="web"}"#.to_owned(),
        start_ns: 0,
        end_ns: 9,
        created_ns: 10,
        processed_ns: None,
    };
    a.faults.die_after(1, true);
    assert!(a.catalog.add_delete(&tenant(), &request(7)).await.is_err());
    a.faults.revive();
    for id in [7, 3] {
        a.catalog.add_delete(&tenant(), &request(id)).await.unwrap();
    }
    let seen = b.catalog.latest_deletes(&tenant()).await.unwrap();
    assert_eq!(seen.requests, [request(3), request(7)]);

    a.catalog.finish_delete(&tenant(), 7).await.unwrap();
    b.sleep(HOUR_NS);
    b.catalog.finish_delete(&tenant(), 7).await.unwrap();
    let finished_ns = Some(a.now_ns.load(Ordering::SeqCst));
    let seen = b.catalog.latest_deletes(&tenant()).await.unwrap();
    let seen = seen.requests;
    assert_eq!(seen[0].processed_ns, None);
    assert_eq!(seen[1].processed_ns, finished_ns, "the first note counts");

    for id in [3, 7, 8] {
        b.catalog.remove_delete(&tenant(), id).await.unwrap();
    }
    a.catalog.finish_delete(&tenant(), 3).await.unwrap();
    let other = TenantId::new("other").unwrap();
    for tenant in [tenant(), other] {
        let seen = a.catalog.latest_deletes(&tenant).await.unwrap();
        assert_eq!(seen, DeleteRequests::default());
    }
}

#[tokio::test]
async fn who_goes_on_asking_for_deletes_asks_nothing_of_the_store() {
    let shared = Arc::new(InMemory::new());
    let (a, b) = (Process::start(&shared), Process::start(&shared));
    let request = |id| DeleteRequest {
        id,
        query: r#"{app="web"}"#.to_owned(),
        start_ns: 0,
        end_ns: 9,
        created_ns: 10,
        processed_ns: None,
    };
    let known = async |process: &Process| {
        let known = process.catalog.known_deletes(&tenant()).await.unwrap();
        known.requests.clone()
    };
    assert!(known(&a).await.is_empty());
    let requests = a.faults.requests();
    assert!(known(&a).await.is_empty());
    assert_eq!(a.faults.requests(), requests);
    // What the process itself does it knows at once, what others do after the next look.
    a.catalog.add_delete(&tenant(), &request(7)).await.unwrap();
    assert_eq!(known(&a).await, [request(7)]);
    b.catalog.add_delete(&tenant(), &request(8)).await.unwrap();
    a.sleep(1_000_000_000);
    assert_eq!(known(&a).await, [request(7)]);
    a.catalog.poll_deletes().await;
    let requests = a.faults.requests();
    for _ in 0..3 {
        assert_eq!(known(&a).await, [request(7), request(8)]);
    }
    assert_eq!(a.faults.requests(), requests);
    a.catalog.remove_delete(&tenant(), 7).await.unwrap();
    assert_eq!(known(&a).await, [request(8)]);
    // Nobody looks: the next reader does. Who does not ask is not looked after.
    b.catalog.remove_delete(&tenant(), 8).await.unwrap();
    a.sleep(3_000_000_000);
    assert!(known(&a).await.is_empty());
    a.sleep(HOUR_NS);
    let requests = a.faults.requests();
    a.catalog.poll_deletes().await;
    assert_eq!(a.faults.requests(), requests);
}

#[tokio::test]
async fn a_damaged_delete_request_is_named_and_the_others_count() {
    let shared = Arc::new(InMemory::new());
    let process = Process::start(&shared);
    let key = crate::key::delete_key(&tenant(), 5);
    let store = process.catalog.store();
    store.put(&key, Bytes::from_static(b"{}")).await.unwrap();
    let request = DeleteRequest {
        id: 7,
        query: r#"{app="web"}"#.to_owned(),
        start_ns: 0,
        end_ns: 9,
        created_ns: 10,
        processed_ns: None,
    };
    let catalog = &process.catalog;
    catalog.add_delete(&tenant(), &request).await.unwrap();
    let finished = crate::key::finished_delete_key(&tenant(), 7);
    store
        .put(&finished, Bytes::from_static(b"?"))
        .await
        .unwrap();
    let seen = catalog.latest_deletes(&tenant()).await.unwrap();
    let requests = vec![request];
    let damaged = vec![5];
    assert_eq!(seen, DeleteRequests { requests, damaged });
}

#[tokio::test]
async fn one_holds_a_partition_until_it_is_released_or_the_time_is_over() {
    let shared = Arc::new(InMemory::new());
    let (a, b) = (Process::start(&shared), Process::start(&shared));
    let until_ns = a.now_ns.load(Ordering::SeqCst) + HOUR_NS;
    let claim = |process: &Process, holder: &'static str| {
        let catalog = process.catalog.clone();
        async move {
            catalog
                .claim(&tenant(), DAY, holder, until_ns)
                .await
                .unwrap()
        }
    };
    let held = claim(&a, "a").await.unwrap();
    assert_eq!(claim(&b, "b").await, None);
    let again = claim(&a, "a").await.unwrap();
    a.catalog.release(held).await.unwrap();
    assert_eq!(claim(&b, "b").await, None, "the second claim holds");
    a.catalog.release(again).await.unwrap();
    claim(&b, "b").await.unwrap();
    a.sleep(HOUR_NS);
    claim(&a, "a").await.unwrap();
    let directory = crate::key::claims_directory(&tenant(), DAY);
    let store = a.catalog.store();
    assert_eq!(store.list(&directory, None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn of_many_who_claim_at_once_one_succeeds() {
    let shared = Arc::new(InMemory::new());
    let processes: Vec<Process> = (0..8).map(|_| Process::start(&shared)).collect();
    let tenant = tenant();
    let names: Vec<String> = (0..8).map(|number| number.to_string()).collect();
    let claims = processes.iter().zip(&names).map(|(process, name)| {
        let catalog = &process.catalog;
        catalog.claim(&tenant, DAY, name, i64::MAX)
    });
    let claims = futures::future::join_all(claims).await;
    let held = claims.iter().filter(|claim| matches!(claim, Ok(Some(_))));
    assert_eq!(held.count(), 1, "{claims:?}");
}

#[tokio::test]
async fn parts_of_files_that_went_while_no_process_ran_leave_the_disk() {
    let shared = Arc::new(InMemory::new());
    Process::start(&shared).add(1).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let disk = DiskCache::open(dir.path(), 1 << 20, Metrics::unregistered()).unwrap();
    let data = |id| FileId {
        kind: FileKind::Data,
        id,
    };
    for id in [1, 7] {
        let mut pages = disk
            .pages(data(id), 10, std::slice::from_ref(&(0..10)))
            .await;
        disk.keep(&mut pages, vec![(0..10, Bytes::from_static(b"0123456789"))]);
    }
    while disk.files().len() < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let process = Process::start_with(&shared, |store| store.with_disk(disk.clone()));
    process.faults.die_after(0, false);
    assert!(process.catalog.forget_removed().await.is_err());
    assert_eq!(disk.files().len(), 2, "a store that fails names nothing");
    process.faults.revive();
    process.catalog.forget_removed().await.unwrap();
    assert_eq!(disk.files(), [data(1)].into());
}

/// An object of streams with a thousand label names each that no other has.
fn object_with_names(id: u128, streams: u64) -> chunk::FinishedObject {
    let mut writer = chunk::ObjectWriter::new(id);
    for stream in 0..streams {
        let names = (0..1_000).map(|name| (format!("n{stream}_{name}"), "v"));
        let labels = model::LabelSet::from_pairs(names);
        let mut entries = model::Entries::default();
        let ts_ns = DAY * TimeRange::DAY_NS + stream as i64;
        entries.push(ts_ns, b"line", &model::LabelSet::default());
        let run = chunk::Run::new(&labels, &entries);
        let options = chunk::EncodeOptions::default();
        writer.add_block(chunk::encode_block(&[run], &options).unwrap());
    }
    writer.finish().unwrap()
}

/// More label names than an index file may have are no reason to fail for ever.
#[tokio::test]
async fn an_object_may_have_several_index_files() {
    let shared = Arc::new(InMemory::new());
    let process = Process::start(&shared);
    let object = object_with_names(7 << 80, 70);
    let entry = ManifestEntry::new("test", 1);
    let owner = tenant();
    let publish = || {
        let catalog = &process.catalog;
        catalog.publish(&owner, DAY, &object, entry.clone())
    };
    assert_eq!(publish().await.unwrap(), 1);
    assert_eq!(
        publish().await.unwrap(),
        1,
        "made again, it changes nothing"
    );
    let snapshot = process.catalog.snapshot(&tenant(), whole_day(), &[]).await;
    let snapshot = snapshot.unwrap();
    let indexes = process.catalog.indexes(&snapshot.partitions()[0]).await;
    let indexes = indexes.unwrap();
    assert!(indexes.len() > 1);
    let streams = indexes.iter().map(|index| index.series_count());
    assert_eq!(streams.sum::<u32>(), 70);
}

#[tokio::test]
async fn who_starts_needs_three_requests_for_a_manifest_however_long() {
    let shared = Arc::new(InMemory::new());
    let process = Process::start(&shared);
    let defaults = StorageConfig::default();
    let (store, clock) = (
        process.catalog.store().clone(),
        process.catalog.clock().clone(),
    );
    let writer = Catalog::new(store, &defaults, clock);
    for id in 0..37 {
        writer.commit(&tenant(), DAY, adding(id)).await.unwrap();
    }
    let other = Process::start(&shared);
    let state = other.catalog.latest(&tenant(), DAY).await.unwrap();
    assert_eq!(state.objects.len(), 37);
    assert!(other.faults.requests() <= 3, "{}", other.faults.requests());
}

/// What questions decompress of an index is taken in, and the bound of the cache holds for it.
#[tokio::test]
async fn an_index_weighs_what_it_holds() {
    let shared = Arc::new(InMemory::new());
    let process = Process::start(&shared);
    let object = object_with_names(7 << 80, 20);
    let entry = ManifestEntry::new("test", 1);
    let catalog = &process.catalog;
    catalog
        .publish(&tenant(), DAY, &object, entry)
        .await
        .unwrap();
    let snapshot = catalog.snapshot(&tenant(), whole_day(), &[]).await;
    let snapshot = snapshot.unwrap();
    let indexes = catalog.indexes(&snapshot.partitions()[0]).await.unwrap();
    let before = indexes[0].heap_bytes() as u64;
    for series in 0..20 {
        indexes[0].labels(series).unwrap();
    }
    catalog.poll().await;
    let after = indexes[0].heap_bytes() as u64;
    assert!(after > before);
    assert_eq!(catalog.0.indexes.bytes(), after);
}
