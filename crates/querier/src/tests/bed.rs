//! A querier with a store in a directory and ingesters in memory.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use chunk::{EncodeOptions, LinesPolicy, ObjectWriter, Run, encode_block};
use futures::StreamExt;
use logql::metric::leaf_contexts;
use logql::pipeline::{Extractor, Pipeline};
use logql::syntax::ast::Expr;
use model::{
    Code, CodedError, Direction, Entries, LabelSet, Limits, Matcher, Reservation, Shard, TenantId,
    TimeRange,
};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use proto::role::{
    AddUp, Coverage, Deletion, LogRow, LogRows, PartStats, PatternRows, SampleRows, Select,
    SelectLogs, SelectPatterns, SelectSamples, SelectSeries, Selected, SeriesStats, StreamPatterns,
    TailRequest, Tailing,
};
use scan::{
    Deletes, LinesLeft, LogScan, PatternScan, Prefilter, Pushdown, SampleScan, SampleShape,
    SampleSink, ScanStats, Source,
};
use server::Overrides;
use storage::{Catalog, Clock, ManifestEntry, StorageConfig, Store};

use crate::query::RangeQuery;
use crate::{Answer, Config, Metrics, Querier, Readers};

/// The day of all rows.
pub(super) const DAY: i64 = 20_000;
/// Its beginning.
pub(super) const START_NS: i64 = DAY * TimeRange::DAY_NS;
/// An hour after that, which is now.
pub(super) const NOW_NS: i64 = START_NS + 3_600_000_000_000;
/// A second.
pub(super) const SECOND: i64 = 1_000_000_000;

/// The tenant of most tests.
pub(super) fn tenant() -> TenantId {
    TenantId::new("team-a").unwrap()
}

/// Labels from text such as `app=web,env=prod`.
pub(super) fn labels(text: &str) -> LabelSet {
    LabelSet::from_pairs(text.split(',').map(|pair| pair.split_once('=').unwrap()))
}

/// Rows a second apart, from the second `from`, each with its second as line.
pub(super) fn rows(seconds: std::ops::Range<i64>) -> Entries {
    let mut entries = Entries::default();
    for second in seconds {
        let line = format!("line {second}");
        assert!(entries.push(
            START_NS + second * SECOND,
            line.as_bytes(),
            &LabelSet::default()
        ));
    }
    entries
}

/// Everything that one test needs.
pub(super) struct Bed {
    pub(super) catalog: Catalog,
    pub(super) ingesters: Vec<Arc<FakeIngester>>,
    pub(super) limits: Limits,
    pub(super) config: Config,
    pub(super) failures_max: Option<usize>,
    /// Ingesters that have each row.
    pub(super) copies: u64,
    /// How lines are laid out that are put into storage.
    pub(super) lines: LinesPolicy,
    /// How much later than [`NOW_NS`] it is.
    pub(super) later_ns: Arc<AtomicI64>,
    dir: tempfile::TempDir,
}

/// A catalog of a directory that has read nothing yet.
fn catalog(dir: &Path, later_ns: &Arc<AtomicI64>, metrics: storage::Metrics) -> Catalog {
    let config = StorageConfig::default();
    let store = Store::open(&config, dir, metrics).unwrap();
    let passed_ns = Arc::clone(later_ns);
    let clock = Clock::new(move || NOW_NS + passed_ns.load(Ordering::SeqCst));
    Catalog::new(store, &config, clock)
}

impl Bed {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let later_ns = Arc::new(AtomicI64::new(0));
        Self {
            catalog: catalog(dir.path(), &later_ns, storage::Metrics::unregistered()),
            later_ns,
            ingesters: vec![Arc::default()],
            limits: Limits::default(),
            config: Config::default(),
            failures_max: Some(0),
            copies: 1,
            lines: LinesPolicy::default(),
            dir,
        }
    }

    /// Damages a file of the store, and forgets what was read so far.
    pub(super) fn damage(&mut self, key: &str, damage: impl FnOnce(&mut Vec<u8>)) {
        self.change(key, damage);
        self.forget();
    }

    /// Changes a file of the store under those who read it.
    pub(super) fn change(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.dir.path().join("store").join(key);
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
    }

    /// Takes a file out of the store, and forgets what was read so far.
    pub(super) fn remove(&mut self, key: &str) {
        std::fs::remove_file(self.dir.path().join("store").join(key)).unwrap();
        self.forget();
    }

    fn forget(&mut self) {
        let metrics = storage::Metrics::unregistered();
        self.catalog = catalog(self.dir.path(), &self.later_ns, metrics);
    }

    /// Puts the rows of a stream into storage as an object of their own.
    pub(super) async fn store(&self, owner: &TenantId, id: u128, stream: &str, entries: &Entries) {
        let labels = labels(stream);
        let mut writer = ObjectWriter::new(id);
        let run = Run::new(&labels, entries);
        writer.add_block(encode_block(&[run], &self.options()).unwrap());
        let object = writer.finish().unwrap();
        let entry = ManifestEntry::new("ingester-0", START_NS);
        self.catalog
            .publish(owner, DAY, &object, entry)
            .await
            .unwrap();
    }

    /// Puts streams of equal rows into storage as one block of one object.
    pub(super) async fn store_together(
        &self,
        owner: &TenantId,
        id: u128,
        streams: &[String],
        entries: &Entries,
    ) {
        let streams: Vec<LabelSet> = streams.iter().map(|stream| labels(stream)).collect();
        let runs: Vec<Run<'_>> = streams
            .iter()
            .map(|labels| Run::new(labels, entries))
            .collect();
        let mut writer = ObjectWriter::new(id);
        writer.add_block(encode_block(&runs, &self.options()).unwrap());
        let object = writer.finish().unwrap();
        let entry = ManifestEntry::new("ingester-0", START_NS);
        self.catalog
            .publish(owner, DAY, &object, entry)
            .await
            .unwrap();
    }

    fn options(&self) -> EncodeOptions {
        EncodeOptions {
            lines: self.lines,
            ..EncodeOptions::default()
        }
    }

    /// A querier of another process, and its catalog.
    pub(super) fn elsewhere(&self) -> (Catalog, Arc<Querier>) {
        let metrics = storage::Metrics::unregistered();
        let catalog = catalog(self.dir.path(), &self.later_ns, metrics);
        (catalog.clone(), self.querier_of(catalog))
    }

    /// A querier of another process that has read nothing yet, and what counts its requests.
    pub(super) fn counted_elsewhere(&self) -> (Registry, Arc<Querier>) {
        let mut registry = Registry::default();
        let metrics = storage::Metrics::register(&mut registry);
        let catalog = catalog(self.dir.path(), &self.later_ns, metrics);
        (registry, self.querier_of(catalog))
    }

    pub(super) fn querier(&self) -> Arc<Querier> {
        self.querier_of(self.catalog.clone())
    }

    fn querier_of(&self, catalog: Catalog) -> Arc<Querier> {
        let ingesters: Vec<(String, Arc<dyn Select>)> = self
            .ingesters
            .iter()
            .enumerate()
            .map(|(number, ingester)| {
                (
                    format!("ingester-{number}"),
                    Arc::clone(ingester) as Arc<dyn Select>,
                )
            })
            .collect();
        let (failures_max, copies) = (self.failures_max, self.copies);
        let readers = move || Readers {
            ingesters: ingesters.clone(),
            failures_max,
            copies,
        };
        Querier::new(
            self.config.clone(),
            catalog,
            Arc::new(readers),
            Overrides::new(self.limits.clone()),
            Metrics::register(&mut Default::default()),
        )
    }

    /// Lines of the whole day in a direction.
    pub(super) async fn lines(
        &self,
        text: &str,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<String>, CodedError> {
        let mut query = range_query(text);
        (query.limit, query.direction) = (limit, direction);
        let answer = self.querier().range_query(&[tenant()], query).await?;
        let Answer::Streams(rows) = answer.value else {
            panic!("not lines: {:?}", answer.value);
        };
        let text = |row: &LogRow| String::from_utf8(row.line.to_vec()).unwrap();
        Ok(rows.iter().map(text).collect())
    }

    /// The number that an instant query gives at the end of the hour.
    pub(super) async fn number(&self, text: &str) -> Result<f64, CodedError> {
        let query = crate::InstantQuery {
            text: text.to_owned(),
            at_ns: NOW_NS,
            shard: Shard::ALL,
        };
        let answer = self.querier().instant_query(&[tenant()], query).await?;
        let Answer::Vector(series) = answer.value else {
            panic!("not a vector: {:?}", answer.value);
        };
        Ok(series
            .iter()
            .flat_map(|series| &series.points)
            .map(|(_, value)| *value)
            .sum())
    }
}

/// A range query over the first hour of the day.
pub(crate) fn range_query(text: &str) -> RangeQuery {
    RangeQuery {
        text: text.to_owned(),
        range: TimeRange::new(START_NS, NOW_NS),
        step_ns: 60 * SECOND,
        interval_ns: 0,
        limit: 1000,
        direction: Direction::Backward,
        shard: Shard::ALL,
    }
}

/// What an ingester has and how it answers.
#[derive(Default)]
pub(super) struct FakeIngester {
    pub(super) streams: Mutex<Vec<(TenantId, LabelSet, Arc<Entries>)>>,
    pub(super) coverage: Mutex<Coverage>,
    /// Which samples could come added up, each time that it was asked for some.
    pub(super) add_ups: Mutex<Vec<Option<AddUp>>>,
    /// Never answers.
    pub(super) is_stuck: bool,
    /// Begins its answers and does not end them.
    pub(super) halts: bool,
    /// Refuses everything.
    pub(super) fails: bool,
}

impl FakeIngester {
    pub(super) fn with(owner: &TenantId, stream: &str, entries: Entries) -> Self {
        let ingester = Self::default();
        ingester.add(owner, stream, entries);
        ingester
    }

    pub(super) fn add(&self, owner: &TenantId, stream: &str, entries: Entries) {
        let stream = (owner.clone(), labels(stream), Arc::new(entries));
        self.streams.lock().push(stream);
    }

    async fn answers(&self) -> Result<(), CodedError> {
        if self.is_stuck {
            std::future::pending::<()>().await;
        }
        if self.fails {
            return Err(CodedError::new(Code::Unavailable, "on purpose"));
        }
        Ok(())
    }

    fn matching(
        &self,
        owner: &TenantId,
        matchers: &[Matcher],
        shard: Shard,
    ) -> Vec<(LabelSet, Source)> {
        let streams = self.streams.lock();
        let is_match = |labels: &LabelSet| {
            shard.has(labels.fingerprint())
                && matchers.iter().all(|matcher| matcher.matches(labels))
        };
        let found = streams
            .iter()
            .filter(|(of, labels, _)| of == owner && is_match(labels));
        found
            .map(|(_, labels, rows)| (labels.clone(), Source::Rows(Arc::clone(rows))))
            .collect()
    }

    fn selected<T: Send + 'static>(&self, rows: Vec<T>) -> Selected<T> {
        let batches = futures::stream::iter([Ok(rows)]);
        Selected {
            coverage: self.coverage.lock().clone(),
            batches: match self.halts {
                true => batches.chain(futures::stream::pending()).boxed(),
                false => batches.boxed(),
            },
        }
    }
}

fn deletes(deletions: &[Deletion]) -> Deletes {
    let parts = deletions
        .iter()
        .map(|deletion| (deletion.query.as_str(), deletion.range, deletion.created_ns));
    Deletes::new(parts).unwrap()
}

fn scanning(work: impl FnOnce(&mut scan::Context<'_>)) {
    let mut memory: Reservation = model::Budget::new("test", u64::MAX).reservation();
    work(&mut scan::Context {
        is_cancelled: &|| false,
        memory: &mut memory,
        stats: &mut ScanStats::default(),
    });
}

#[async_trait]
impl Select for FakeIngester {
    async fn select_logs(&self, request: SelectLogs) -> Result<Selected<LogRows>, CodedError> {
        self.answers().await?;
        let log = logql::syntax::parse_log(&request.query).unwrap();
        let pipeline = Pipeline::new(&log, NOW_NS).unwrap();
        let mut answer = Vec::new();
        for (labels, source) in self.matching(&request.tenant, &log.matchers, request.shard) {
            let prefilter = Prefilter::default();
            let scan = LogScan {
                range: request.range,
                direction: request.direction,
                limit: request.limit as usize,
                prefilter: &prefilter,
                hashes: true,
                pushdown: Pushdown::On,
            };
            let mut rows = Vec::new();
            let deletes = deletes(&request.deletions).for_stream_in(&labels, request.range);
            let mut stages = deletes.before(pipeline.for_stream(&labels));
            scanning(|context| {
                scan::scan_logs(&[source], &scan, &mut stages, context, &mut |row| {
                    rows.push(LogRow {
                        timestamp_ns: row.timestamp_ns,
                        line: Bytes::copy_from_slice(row.line),
                        labels: Arc::clone(row.labels),
                        row_hash: row.row_hash.unwrap(),
                    });
                    ControlFlow::Continue(())
                })
                .unwrap();
            });
            answer.push(LogRows {
                stream_fingerprint: labels.fingerprint(),
                rows,
            });
        }
        Ok(self.selected(answer))
    }

    async fn select_samples(
        &self,
        request: SelectSamples,
    ) -> Result<Selected<SampleRows>, CodedError> {
        self.answers().await?;
        self.add_ups.lock().push(request.add_up);
        let Ok(Expr::Metric(expr)) = logql::syntax::parse(&request.query) else {
            panic!("no metric query: {}", request.query);
        };
        let [leaf] = leaf_contexts(&expr).try_into().unwrap();
        let aggregation = leaf.aggregation;
        let extractor = Extractor::new(aggregation, leaf.reduce_to.as_ref(), NOW_NS).unwrap();
        let mut answer = Vec::new();
        for (labels, source) in
            self.matching(&request.tenant, &aggregation.log.matchers, request.shard)
        {
            let alone_ns = match request.add_up {
                Some(add_up) => add_up.after_ns.saturating_add(1),
                None => i64::MAX,
            };
            let elsewhere = TimeRange::new(i64::MIN, alone_ns).intersect(&request.range);
            let alone = TimeRange::new(alone_ns, i64::MAX).intersect(&request.range);
            let (min_ns, max_ns) = source.bounds().unwrap();
            let alone = alone.intersect(&TimeRange::new(min_ns, max_ns + 1));
            let sources = [source];
            for (range, hashes) in [(elsewhere, true), (alone, false)] {
                let prefilter = Prefilter::default();
                let deletes = deletes(&request.deletions).for_stream_in(&labels, range);
                let scan = SampleScan {
                    range,
                    shape: deletes.shape(SampleShape::of(aggregation)),
                    prefilter: &prefilter,
                    reader: None,
                    known_by: None,
                    hashes,
                };
                let mut stages = deletes.before(extractor.for_stream(&labels));
                let mut sink = Samples {
                    fingerprint: labels.fingerprint(),
                    without_hashes: (!hashes).then_some(range),
                    rows: Vec::new(),
                };
                scanning(|context| {
                    scan::scan_samples(&sources, &scan, &mut stages, context, &mut sink).unwrap();
                });
                answer.append(&mut sink.rows);
            }
        }
        Ok(self.selected(answer))
    }

    async fn select_patterns(
        &self,
        request: SelectPatterns,
    ) -> Result<Selected<StreamPatterns>, CodedError> {
        self.answers().await?;
        let matchers = logql::syntax::parse_open_selector(&request.selector).unwrap();
        let mut answer = Vec::new();
        let lines = LinesLeft::new(request.lines_max);
        for (labels, source) in self.matching(&request.tenant, &matchers, request.shard) {
            let scan = PatternScan {
                range: request.range,
                step_ns: request.step_ns,
                hashes: request.hashes,
                lines: &lines,
            };
            let mut deletes = deletes(&request.deletions).for_stream_in(&labels, request.range);
            let mut stream = StreamPatterns {
                stream_fingerprint: labels.fingerprint(),
                ..StreamPatterns::default()
            };
            let left_out = lines.left_out();
            let mut sink = |rows: scan::PatternRows<'_>| {
                stream.patterns.push(PatternRows {
                    pattern: Bytes::copy_from_slice(rows.pattern),
                    level: rows.level.to_owned(),
                    timestamps_ns: vec![rows.timestamp_ns],
                    rows: vec![rows.rows],
                    row_hashes: rows.row_hash.into_iter().collect(),
                });
                ControlFlow::Continue(())
            };
            scanning(|context| {
                scan::scan_patterns(&[source], &scan, &mut deletes, context, &mut sink).unwrap();
            });
            stream.left_out = lines.left_out() - left_out;
            answer.push(stream);
        }
        Ok(self.selected(answer))
    }

    async fn select_series(
        &self,
        request: SelectSeries,
    ) -> Result<(Coverage, Vec<SeriesStats>), CodedError> {
        self.answers().await?;
        let selectors: Vec<Vec<Matcher>> = match request.selectors.as_slice() {
            [] => vec![Vec::new()],
            texts => {
                let parse = |text: &String| logql::syntax::parse_open_selector(text).unwrap();
                texts.iter().map(parse).collect()
            }
        };
        let range = request.parts.range;
        let mut answer = Vec::new();
        for matchers in selectors {
            for (labels, source) in self.matching(&request.tenant, &matchers, request.shard) {
                let Source::Rows(entries) = source else {
                    continue;
                };
                let mut deletes = deletes(&request.deletions).for_stream_in(&labels, range);
                let inside = entries.iter().filter(|row| {
                    range.contains(row.timestamp_ns)
                        && !deletes.has(row.timestamp_ns, row.line, row.metadata)
                });
                let mut parts: BTreeMap<u32, PartStats> = BTreeMap::new();
                for row in inside {
                    let number = request.parts.number_of(row.timestamp_ns);
                    let part = parts.entry(number).or_default();
                    (part.number, part.chunks) = (number, 1);
                    part.rows += 1;
                    part.bytes += row.line.len() as u64;
                }
                if !parts.is_empty() {
                    let parts = parts.into_values().collect();
                    answer.push(SeriesStats { labels, parts });
                }
            }
        }
        Ok((self.coverage.lock().clone(), answer))
    }

    async fn tail(&self, _: TailRequest) -> Result<Tailing, CodedError> {
        self.answers().await?;
        Ok(futures::stream::pending().boxed())
    }
}

/// Samples as they come, each a series.
struct Samples {
    fingerprint: u64,
    without_hashes: Option<TimeRange>,
    rows: Vec<SampleRows>,
}

impl SampleSink for Samples {
    fn sample(
        &mut self,
        labels: &LabelSet,
        timestamp_ns: i64,
        value: f64,
        row_hash: Option<u64>,
    ) -> ControlFlow<()> {
        self.rows.push(SampleRows {
            stream_fingerprint: self.fingerprint,
            labels: labels.clone(),
            timestamps_ns: vec![timestamp_ns],
            values: vec![value],
            row_hashes: row_hash.into_iter().collect(),
            without_hashes: self.without_hashes,
        });
        ControlFlow::Continue(())
    }
}
