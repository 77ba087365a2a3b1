//! An ingester, its log and its store in a directory, and a reader that does what a querier does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use std::time::{Duration, Instant};

use bytes::Bytes;
use chunk::{ObjectMeta, Piece, Projection};
use futures::StreamExt;
use model::units::{ByteSize, DurationNs};
use model::{
    CodedError, Direction, Entries, LabelSet, Limits, Shard, StreamBatch, TenantId, TimeRange,
};
use proto::role::{Coverage, Ingest, Push, Received, Refusal, Select, SelectLogs, SelectSamples};
use storage::testing::{Faults, faulty_directory};
use storage::{Catalog, Clock, StorageConfig};
use tempfile::TempDir;

use crate::testing::FullDisk;
use crate::wal::segment;
use crate::{Config, Deps, Ingester, Metrics, WalConfig};

pub(crate) const DAY_NS: i64 = TimeRange::DAY_NS;
/// Noon of some day.
pub(crate) const NOW_NS: i64 = 20_000 * DAY_NS + DAY_NS / 2;
pub(crate) const ALL: TimeRange = TimeRange {
    start_ns: NOW_NS - 40 * DAY_NS,
    end_ns: NOW_NS + 40 * DAY_NS,
};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) app: String,
    pub(crate) time_ns: i64,
    pub(crate) line: String,
}

pub(crate) fn row(app: &str, time_ns: i64, line: impl Into<String>) -> Row {
    Row {
        app: app.to_owned(),
        time_ns,
        line: line.into(),
    }
}

/// Rows of one stream.
pub(crate) fn batch(rows: &[Row]) -> Arc<StreamBatch> {
    let mut entries = Entries::default();
    let level = LabelSet::from_pairs([("level", "info")]);
    for row in rows {
        entries.push(row.time_ns, row.line.as_bytes(), &level);
    }
    let labels = LabelSet::from_pairs([("app", rows[0].app.as_str()), ("job", "test")]);
    Arc::new(StreamBatch { labels, entries })
}

/// Rows of any streams.
pub(crate) fn streams(rows: &[Row]) -> Vec<Arc<StreamBatch>> {
    let mut streams: BTreeMap<&str, Vec<Row>> = BTreeMap::new();
    for row in rows {
        streams.entry(&row.app).or_default().push(row.clone());
    }
    streams.values().map(|rows| batch(rows)).collect()
}

/// A body that has the lines of some rows and nothing else.
pub(crate) fn received(streams: &[Arc<StreamBatch>]) -> Received {
    let mut raw = Vec::new();
    let mut line_starts = Vec::new();
    for batch in streams {
        let mut starts = Vec::new();
        for row in &batch.entries {
            starts.push(raw.len() as u32);
            raw.extend_from_slice(row.line);
        }
        line_starts.push(starts);
    }
    let snappy = snap::raw::Encoder::new().compress_vec(&raw);
    Received {
        snappy: snappy.unwrap().into(),
        raw_len: raw.len(),
        line_starts,
    }
}

/// What survives a crash.
pub(crate) struct Bed {
    dir: TempDir,
    pub(crate) faults: Faults,
    pub(crate) disk: FullDisk,
    pub(crate) config: Config,
    pub(crate) limits: Limits,
    now_ns: Arc<AtomicI64>,
}

impl Bed {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("store")).unwrap();
        let config = Config {
            wal: WalConfig {
                segment_bytes: ByteSize::kib(4),
                retry: DurationNs::from_millis(5),
                ..WalConfig::default()
            },
            block_bytes: ByteSize::kib(1),
            flush_idle: DurationNs(0),
            ..Config::default()
        };
        Self {
            dir,
            faults: Faults::default(),
            disk: FullDisk::default(),
            config,
            limits: Limits::default(),
            now_ns: Arc::new(AtomicI64::new(NOW_NS)),
        }
    }

    /// Time passes for the ingester; its timers are those of the runtime.
    pub(crate) fn pass(&self, time: DurationNs) {
        self.now_ns.fetch_add(time.0, Ordering::SeqCst);
    }

    /// A process starts.
    pub(crate) async fn start(&self) -> Life {
        let life = self.start_replay();
        life.ingester.replayed().await;
        life
    }

    /// A process starts; its replay may be under way.
    pub(crate) fn start_replay(&self) -> Life {
        let store = faulty_directory(&self.dir.path().join("store"), self.faults.clone()).unwrap();
        let now_ns = Arc::clone(&self.now_ns);
        let clock = Clock::new(move || now_ns.load(Ordering::SeqCst));
        let catalog = Catalog::new(store, &StorageConfig::default(), clock);
        let limits = Arc::new(self.limits.clone());
        let deps = Deps {
            limits: Arc::new(move |_| Arc::clone(&limits)),
            disk: Arc::new(self.disk.clone()),
            metrics: Metrics::unregistered(),
            ..Deps::new("ingester-1", self.dir.path().to_owned(), catalog.clone())
        };
        let ingester = Ingester::start(self.config.clone(), deps).unwrap();
        Life { ingester, catalog }
    }

    /// The file of a key of the store.
    pub(crate) fn stored_file(&self, key: &str) -> std::path::PathBuf {
        self.dir.path().join("store").join(key)
    }

    pub(crate) fn has_segments(&self) -> bool {
        !segment::list(&self.dir.path().join("wal"))
            .unwrap()
            .is_empty()
    }

    /// A process dies while it makes a segment.
    pub(crate) fn begin_segment(&self) {
        let directory = self.dir.path().join("wal");
        let newest = segment::list(&directory).unwrap().pop().unwrap_or(0);
        std::fs::write(segment::path(&directory, newest + 1), []).unwrap();
    }

    /// A process dies while it writes: a part of a record follows what is durable.
    pub(crate) fn tear_segment(&self, bytes: usize) {
        let path = self.last_segment();
        let mut torn = std::fs::read(&path).unwrap();
        let record = torn[segment::HEADER_LEN..].to_vec();
        torn.extend_from_slice(&record[..bytes.min(record.len())]);
        std::fs::write(path, torn).unwrap();
    }

    /// All segments.
    pub(crate) fn segments(&self) -> Vec<Vec<u8>> {
        let directory = self.dir.path().join("wal");
        let numbers = segment::list(&directory).unwrap();
        let read = |number| std::fs::read(segment::path(&directory, number)).unwrap();
        numbers.into_iter().map(read).collect()
    }

    /// The files of all segments, in order.
    pub(crate) fn segment_files(&self) -> Vec<std::path::PathBuf> {
        let directory = self.dir.path().join("wal");
        let numbers = segment::list(&directory).unwrap().into_iter();
        numbers
            .map(|number| segment::path(&directory, number))
            .collect()
    }

    /// The file of the newest segment.
    pub(crate) fn last_segment(&self) -> std::path::PathBuf {
        let directory = self.dir.path().join("wal");
        let number = segment::list(&directory).unwrap().pop().unwrap();
        segment::path(&directory, number)
    }
}

/// A process.
pub(crate) struct Life {
    pub(crate) ingester: Ingester,
    pub(crate) catalog: Catalog,
}

impl Life {
    /// Lets timers run until something is so.
    pub(crate) async fn until(&self, what: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !what(self) {
            assert!(Instant::now() < deadline, "it is not so in time");
            tokio::time::advance(Duration::from_millis(100)).await;
            #[allow(
                clippy::disallowed_methods,
                reason = "files are written in real time, and must be before requests are out of time"
            )]
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) async fn kill(self) {
        self.ingester.kill().await;
    }

    /// Makes blocks of all rows.
    pub(crate) async fn encode_all(&self) {
        let inner = self.ingester.inner();
        for tenant in inner.tenants.all() {
            inner.encode_tenant(&tenant, u64::MAX).await.unwrap();
        }
    }

    /// Pushes rows of any streams, in order, as one request that was received as snappy.
    pub(crate) async fn push(
        &self,
        tenant: &TenantId,
        rows: &[Row],
    ) -> Result<Vec<Refusal>, CodedError> {
        let streams = streams(rows);
        let received = Some(Arc::new(received(&streams)));
        self.ingester.push(tenant, Push { streams, received }).await
    }

    /// What the ingester has in memory, and what its answer covers.
    pub(crate) async fn recent(&self, tenant: &TenantId) -> (Coverage, Vec<Row>) {
        let request = SelectLogs {
            tenant: tenant.clone(),
            query: r#"{job="test"}"#.to_owned(),
            range: ALL,
            limit: 0,
            direction: Direction::Forward,
            deletions: Vec::new(),
            shard: Shard::ALL,
        };
        let mut selected = self.ingester.select_logs(request).await.unwrap();
        let mut rows = Vec::new();
        while let Some(batch) = selected.batches.next().await {
            for stream in batch.unwrap() {
                for found in stream.rows {
                    assert_eq!(found.labels.metadata.get("level"), Some("info"));
                    let line = String::from_utf8(found.line.to_vec()).unwrap();
                    let app = found.labels.stream.get("app").unwrap();
                    rows.push(row(app, found.timestamp_ns, line));
                }
            }
        }
        (selected.coverage, rows)
    }

    /// What is in the store, as of a moment that misses nothing which the ingester left out.
    pub(crate) async fn stored(&self, tenant: &TenantId, coverage: &Coverage) -> Vec<Row> {
        let snapshot = self
            .catalog
            .snapshot(tenant, ALL, &coverage.committed)
            .await
            .unwrap();
        let mut rows = Vec::new();
        for partition in snapshot.partitions() {
            for object in partition
                .objects()
                .filter(|file| !coverage.holding.contains(&file.id))
            {
                let key = partition.data_key(object.id);
                let bytes = self.catalog.store().get(&key).await.unwrap();
                object_rows(&bytes, partition.day(), &mut rows);
            }
        }
        rows
    }

    /// Everything, each row as often as it is found.
    pub(crate) async fn read(&self, tenant: &TenantId) -> Vec<Row> {
        let (coverage, mut rows) = self.recent(tenant).await;
        rows.extend(self.stored(tenant, &coverage).await);
        rows.sort();
        rows
    }

    /// How many rows the ingester counts in memory.
    pub(crate) async fn count(&self, tenant: &TenantId) -> f64 {
        let request = SelectSamples {
            tenant: tenant.clone(),
            query: r#"sum(count_over_time({job="test"}[1h]))"#.to_owned(),
            range: ALL,
            deletions: Vec::new(),
            shard: Shard::ALL,
            add_up: None,
        };
        let mut selected = self.ingester.select_samples(request).await.unwrap();
        let mut sum = 0.0;
        while let Some(batch) = selected.batches.next().await {
            sum += batch
                .unwrap()
                .iter()
                .flat_map(|series| &series.values)
                .sum::<f64>();
        }
        sum
    }
}

fn object_rows(bytes: &Bytes, day: i64, rows: &mut Vec<Row>) {
    let meta = ObjectMeta::parse_object(bytes).unwrap();
    for ordinal in 0..meta.block_count() {
        let piece = Piece {
            offset: 0,
            bytes: bytes.clone(),
        };
        let block = meta.open(ordinal, vec![piece]).unwrap();
        for (run, labels) in meta.streams_of(ordinal).unwrap().iter().enumerate() {
            let decoded = block
                .rows(run, Projection::ALL, None)
                .unwrap()
                .to_entries()
                .unwrap();
            for found in &decoded {
                assert_eq!(TimeRange::day_of(found.timestamp_ns), day);
                let line = String::from_utf8(found.line.to_vec()).unwrap();
                rows.push(row(labels.get("app").unwrap(), found.timestamp_ns, line));
            }
        }
    }
}
