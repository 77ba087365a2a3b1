//! Range aggregations: samples of ingesters and storage, each row once, added up per series.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::StreamExt;
use logql::metric::{RangeAccumulator, Series, Steps};
use logql::pipeline::Extractor;
use logql::syntax::ast::{MetricExpr, RangeAggregation};
use model::{Code, CodedError, TimeRange};
use parking_lot::Mutex;
use proto::role::{SampleRows, SelectSamples};
use scan::{SampleHit, ScanError, Scope, Source};

use crate::query::Context;
use crate::recent::{self, Covered};
use crate::stats::QueryStats;
use crate::stored::{OpenBlocks, Unit};

/// Bytes that a remembered sample holds.
const SAMPLE_BYTES: u64 = 64;

/// Rows of a stream that ingesters gave: their first time, and which they are.
#[derive(Debug, Default)]
struct RecentRows {
    min_ts_ns: i64,
    rows: HashSet<(i64, u64)>,
}

/// The series of one range aggregation at all steps.
pub(crate) async fn aggregate(
    context: &Context,
    leaf: &RangeAggregation,
    steps: Steps,
) -> Result<Vec<Series>, CodedError> {
    let wrong =
        |error: &dyn std::fmt::Display| CodedError::new(Code::InvalidArgument, error.to_string());
    let extractor = Extractor::new(leaf).map_err(|error| wrong(&error))?;
    let new = || {
        RangeAccumulator::new(
            leaf,
            steps,
            context.limits.max_query_series,
            context.memory.reservation(),
        )
    };
    let range = steps.data_range(leaf);
    let mut recent_sum = new();
    let (covered, recent) = recent_samples(context, leaf, range, &mut recent_sum).await?;
    let units = context.units(&leaf.log.matchers, range, &covered).await?;
    let shared = Arc::new(Shared {
        context: context.clone(),
        extractor,
        range,
        recent,
        units: Mutex::new(units.into()),
        open: OpenBlocks::default(),
    });
    let workers = (0..context.querier.scan_threads()).map(|_| work(Arc::clone(&shared), new()));
    let mut sum = recent_sum;
    for part in futures::future::try_join_all(workers).await? {
        sum.merge(part).map_err(|error| wrong(&error))?;
    }
    sum.finish().map_err(|error| wrong(&error))
}

async fn recent_samples(
    context: &Context,
    leaf: &RangeAggregation,
    range: TimeRange,
    sum: &mut RangeAccumulator,
) -> Result<(Covered, HashMap<u64, RecentRows>), CodedError> {
    let request = SelectSamples {
        tenant: context.tenant.clone(),
        query: MetricExpr::Range(leaf.clone()).to_string(),
        range,
    };
    let querier = &context.querier;
    let answers = recent::ask(&querier.readers(), querier.ingester_timeout(), |ingester| {
        let request = request.clone();
        async move { ingester.select_samples(request).await }
    })
    .await?;
    let mut covered = Covered::default();
    let mut recent: HashMap<u64, RecentRows> = HashMap::new();
    let mut memory = context.memory.reservation();
    for answer in answers {
        covered.add(&answer.coverage);
        QueryStats::add(&context.stats.ingesters_reached, 1);
        let mut batches = answer.batches;
        while let Some(batch) = batches.next().await {
            QueryStats::add(&context.stats.ingester_batches, 1);
            for samples in batch? {
                let count = samples.timestamps_ns.len() as u64;
                QueryStats::add(&context.stats.ingester_lines, count);
                memory
                    .grow(count * SAMPLE_BYTES)
                    .map_err(|error| CodedError::new(Code::InvalidArgument, error.to_string()))?;
                add_recent(context, &samples, &mut recent, sum)?;
            }
        }
    }
    Ok((covered, recent))
}

fn add_recent(
    context: &Context,
    samples: &SampleRows,
    recent: &mut HashMap<u64, RecentRows>,
    sum: &mut RangeAccumulator,
) -> Result<(), CodedError> {
    let known = recent
        .entry(samples.stream_fingerprint)
        .or_insert_with(|| RecentRows {
            min_ts_ns: i64::MAX,
            rows: HashSet::new(),
        });
    let wrong =
        |error: &dyn std::fmt::Display| CodedError::new(Code::InvalidArgument, error.to_string());
    let series = sum.series(&samples.labels).map_err(|error| wrong(&error))?;
    let rows = samples
        .timestamps_ns
        .iter()
        .zip(&samples.values)
        .zip(&samples.row_hashes);
    for ((timestamp_ns, value), row_hash) in rows {
        known.min_ts_ns = known.min_ts_ns.min(*timestamp_ns);
        if known.rows.insert((*timestamp_ns, *row_hash)) {
            sum.add(series, *timestamp_ns, *value)
                .map_err(|error| wrong(&error))?;
        } else {
            QueryStats::add(&context.stats.duplicates, 1);
        }
    }
    Ok(())
}

/// What the workers of a query share.
struct Shared {
    context: Context,
    extractor: Extractor,
    range: TimeRange,
    recent: HashMap<u64, RecentRows>,
    units: Mutex<VecDeque<Unit>>,
    open: OpenBlocks,
}

impl Shared {
    /// Rows of the unit's stream that were counted already and may be in the unit too.
    fn recent_of(&self, unit: &Unit) -> Option<&RecentRows> {
        self.recent
            .get(&unit.labels.fingerprint())
            .filter(|recent| recent.min_ts_ns <= unit.max_ts_ns)
    }
}

async fn work(
    shared: Arc<Shared>,
    mut sum: RangeAccumulator,
) -> Result<RangeAccumulator, CodedError> {
    loop {
        let Some(unit) = shared.units.lock().pop_front() else {
            return Ok(sum);
        };
        let context = &shared.context;
        let hashes = shared.recent_of(&unit).is_some();
        let projection = scan::needs(&shared.extractor, hashes || unit.blocks.len() > 1);
        let blocks = shared
            .open
            .open(context, &unit, projection, shared.range)
            .await?;
        let sources: Vec<Source> = blocks
            .into_iter()
            .map(|(block, run)| Source::Block { block, run })
            .collect();
        let permit = context.querier.scan_permit().await?;
        let scanning = Arc::clone(&shared);
        let scanned = tokio::task::spawn_blocking(move || {
            let result = scan_unit(&scanning, &unit, &sources, &mut sum);
            drop(permit);
            result.map(|()| sum)
        });
        sum = scanned
            .await
            .map_err(|_| CodedError::new(Code::Internal, "a scan ended abnormally"))??;
    }
}

fn scan_unit(
    shared: &Shared,
    unit: &Unit,
    sources: &[Source],
    sum: &mut RangeAccumulator,
) -> Result<(), CodedError> {
    let context = &shared.context;
    let rows: u64 = unit.blocks.iter().map(|run| run.rows).sum();
    let bytes: u64 = unit.blocks.iter().map(|run| run.raw_bytes).sum();
    QueryStats::add(&context.stats.lines_processed, rows);
    QueryStats::add(&context.stats.bytes_processed, bytes);
    let mut memory = context.memory.reservation();
    memory
        .grow(bytes)
        .map_err(|error| CodedError::new(Code::InvalidArgument, error.to_string()))?;
    let cancelled = || context.cancelled.load(Ordering::Relaxed);
    let scope = Scope {
        range: shared.range,
        cancelled: &cancelled,
    };
    let recent = shared.recent_of(unit);
    let mut passed = 0;
    let mut sink = |hit: SampleHit<'_>| -> Result<(), ScanError> {
        if recent.is_some_and(|recent| recent.rows.contains(&(hit.timestamp_ns, hit.row_hash))) {
            QueryStats::add(&context.stats.duplicates, 1);
            return Ok(());
        }
        passed += 1;
        let series = sum
            .series(hit.labels)
            .map_err(|error| ScanError::Sample(error.to_string()))?;
        sum.add(series, hit.timestamp_ns, hit.value)
            .map_err(|error| ScanError::Sample(error.to_string()))
    };
    scan::samples(
        &unit.labels,
        sources,
        &shared.extractor,
        scope,
        recent.is_some(),
        &mut sink,
    )
    .map_err(CodedError::from)?;
    QueryStats::add(&context.stats.lines_passed, passed);
    Ok(())
}
