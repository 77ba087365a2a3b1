//! A store in memory with what ingesters flushed, and compactors of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chunk::{EncodeOptions, ObjectMeta, ObjectWriter, Piece, Projection, Run, encode_block};
use model::units::{ByteSize, DurationNs};
use model::{Entries, LabelSet, Limits, TenantId, TimeRange};
use server::Overrides;
use storage::testing::{Faults, Memory, faulty_memory};
use storage::{Catalog, Clock, ManifestEntry, StorageConfig, key};

use crate::{Compactor, Config, Metrics};

pub(super) const MINUTE: i64 = 60_000_000_000;
pub(super) const HOUR: i64 = 60 * MINUTE;

/// Time and line of rows.
pub(super) type Lines = Vec<(i64, String)>;

/// Rows of all streams.
pub(super) type Rows = BTreeMap<LabelSet, Lines>;

pub(super) fn tenant() -> TenantId {
    TenantId::new("team-a").unwrap()
}

/// Labels from text such as `app=web,env=prod`.
pub(super) fn labels(text: &str) -> LabelSet {
    LabelSet::from_pairs(text.split(',').map(|pair| pair.split_once('=').unwrap()))
}

/// Everything that one test needs.
pub(super) struct Bed {
    pub(super) config: Config,
    pub(super) limits: Limits,
    /// Of the store that compactors use.
    pub(super) faults: Faults,
    /// The day of all rows, which is over.
    pub(super) day: i64,
    now_ns: Arc<AtomicI64>,
    memory: Memory,
}

impl Bed {
    pub(super) fn new() -> Self {
        // Files have the time of the machine's clock, which the sweep compares with ours.
        let now_ns = Clock::system().now_ns();
        Self {
            config: Config {
                block_size: ByteSize(64 << 10),
                target_object_size: ByteSize::mib(1),
                ..Config::default()
            },
            limits: Limits::default(),
            faults: Faults::default(),
            day: TimeRange::day_of(now_ns) - 2,
            now_ns: Arc::new(AtomicI64::new(now_ns)),
            memory: Memory::default(),
        }
    }

    pub(super) fn start_ns(&self) -> i64 {
        self.day * TimeRange::DAY_NS
    }

    pub(super) fn now_ns(&self) -> i64 {
        self.now_ns.load(Ordering::SeqCst)
    }

    pub(super) fn sleep(&self, ns: i64) {
        self.now_ns.fetch_add(ns, Ordering::SeqCst);
    }

    fn catalog_of(&self, faults: Faults) -> Catalog {
        let store = faulty_memory(&self.memory, faults);
        let now_ns = Arc::clone(&self.now_ns);
        let clock = Clock::new(move || now_ns.load(Ordering::SeqCst));
        Catalog::new(store, &StorageConfig::default(), clock)
    }

    /// What a process that has just started sees, on a store without faults.
    pub(super) fn catalog(&self) -> Catalog {
        self.catalog_of(Faults::default())
    }

    /// A compactor that has just started.
    pub(super) fn compactor(&self, name: &str) -> Compactor {
        Compactor::new(
            self.config.clone(),
            self.catalog_of(self.faults.clone()),
            Overrides::new(self.limits.clone()),
            name.to_owned(),
            Metrics::unregistered(),
        )
    }

    /// One look at everything.
    pub(super) async fn compact(&self) -> Compactor {
        let compactor = self.compactor("compactor-0");
        compactor.run_once().await;
        compactor
    }

    /// Rows a second apart, from the second `from` of the day.
    pub(super) fn rows(&self, seconds: std::ops::Range<i64>, text: &str) -> Entries {
        let mut entries = Entries::default();
        for second in seconds {
            let line = format!("{text} {second}");
            let metadata = LabelSet::from_pairs([("n", (second % 3).to_string().as_str())]);
            let time_ns = self.start_ns() + second * 1_000_000_000;
            assert!(entries.push(time_ns, line.as_bytes(), &metadata));
        }
        entries
    }

    /// Flushes streams, each as a block, as an object.
    pub(super) async fn flush(&self, streams: &[(&str, &Entries)]) -> u128 {
        self.flush_blocks(&streams.chunks(1).collect::<Vec<_>>())
            .await
    }

    /// Flushes blocks of streams as an object.
    pub(super) async fn flush_blocks(&self, blocks: &[&[(&str, &Entries)]]) -> u128 {
        let catalog = self.catalog();
        let id = key::new_id(self.now_ns());
        let mut writer = ObjectWriter::new(id);
        for streams in blocks {
            let of = streams.iter().map(|(stream, rows)| (labels(stream), *rows));
            let of: Vec<(LabelSet, &Entries)> = of.collect();
            let runs = of.iter().map(|(labels, rows)| Run::new(labels, rows));
            let runs: Vec<Run<'_>> = runs.collect();
            writer.add_block(encode_block(&runs, &EncodeOptions::default()).unwrap());
        }
        let object = writer.finish().unwrap();
        let entry = ManifestEntry::new("ingester-0", self.now_ns());
        catalog
            .publish(&tenant(), self.day, &object, entry)
            .await
            .unwrap();
        id
    }

    /// All rows, found through the label indexes, in order of stream and time.
    pub(super) async fn stored(&self) -> Rows {
        let catalog = self.catalog();
        let range = TimeRange::new(self.start_ns(), self.start_ns() + TimeRange::DAY_NS);
        let snapshot = catalog.snapshot(&tenant(), range, &[]).await.unwrap();
        let mut rows = Rows::new();
        for partition in snapshot.partitions() {
            for index in catalog.indexes(partition).await.unwrap() {
                for series in 0..index.series_count() {
                    let labels = index.labels(series).unwrap();
                    for block in index.blocks(series).unwrap() {
                        let object = &index.objects()[block.object as usize];
                        let key = key::data_key(&tenant(), self.day, object.id);
                        let bytes = catalog.store().get(&key).await.unwrap();
                        let meta = ObjectMeta::parse_object(&bytes).unwrap();
                        let piece = Piece { offset: 0, bytes };
                        let open = meta.open(block.block as usize, vec![piece]).unwrap();
                        let run = block.run as usize;
                        assert_eq!(meta.streams_of(block.block as usize).unwrap()[run], labels);
                        let found = open.rows(run, Projection::ALL, None).unwrap();
                        let line = |row: model::EntryRef<'_>| {
                            let line = String::from_utf8_lossy(row.line);
                            (row.timestamp_ns, format!("{line} {}", row.metadata))
                        };
                        let found = found.to_entries().unwrap();
                        let of = rows.entry(labels.clone()).or_default();
                        of.extend(found.iter().map(line));
                    }
                }
            }
        }
        rows.values_mut().for_each(|lines| lines.sort());
        rows
    }

    /// Lines of a stream, without their metadata.
    pub(super) async fn lines(&self, stream: &str) -> Vec<String> {
        let rows = self.stored().await;
        let lines = rows.get(&labels(stream)).into_iter().flatten();
        let line = |(_, line): &(i64, String)| line.split(" {").next().unwrap().to_owned();
        lines.map(line).collect()
    }

    /// Live data objects.
    pub(super) async fn objects(&self) -> BTreeSet<u128> {
        let state = self.catalog().latest(&tenant(), self.day).await.unwrap();
        state.objects.keys().copied().collect()
    }

    /// Keys of all files under a directory of the store.
    pub(super) async fn files(&self, directory: &str) -> Vec<String> {
        let catalog = self.catalog();
        let listed = catalog.store().list(directory, None).await.unwrap();
        listed.into_iter().map(|file| file.key).collect()
    }

    /// The bytes of a live object.
    pub(super) async fn bytes(&self, id: u128) -> bytes::Bytes {
        let key = key::data_key(&tenant(), self.day, id);
        self.catalog().store().get(&key).await.unwrap()
    }
}

/// Rows without copies.
pub(super) fn once(mut rows: Rows) -> Rows {
    rows.values_mut().for_each(Vec::dedup);
    rows
}

pub(super) fn period(selector: &str, priority: i64, ns: i64) -> model::StreamRetention {
    model::StreamRetention {
        selector: selector.to_owned(),
        priority,
        period: DurationNs(ns),
    }
}
