//! Log queries: the first lines of a direction, from ingesters and storage together.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use chunk::Projection;
use logql::pipeline::Pipeline;
use logql::syntax::ast::LogExpr;
use model::{Code, CodedError, Direction, Reservation, TimeRange};
use parking_lot::Mutex;
use proto::role::{LogRow, Select, SelectLogs};
use scan::{Deletes, LogScan, Prefilter, scan_logs};

use crate::deletes::Deleting;
use crate::query::Context;
use crate::recent::{self, Covered};
use crate::stats::QueryStats;
use crate::stored::{self, OpenBlocks, OpenUnit, Unit, sliced, take_units};
use crate::top::{Origin, Top};
use crate::workers;

/// Units that a worker searches at once, and then scans one after the other.
const UNITS_AT_ONCE: usize = 32;
/// Workers per thread where blocks are searched: most of their time they wait for what they read.
const SEARCHES_PER_THREAD: usize = 4;

/// What a log query asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) range: TimeRange,
    pub(crate) limit: usize,
    pub(crate) direction: Direction,
}

/// The lines of one tenant in order, and the memory that they hold.
pub(crate) async fn select(
    context: &Context,
    log: &LogExpr,
    wanted: Wanted,
) -> Result<(Vec<LogRow>, Reservation), CodedError> {
    let (prefilter, left) = context.pushdown().split_log(log);
    let pipeline = Pipeline::new(&left, context.now_ns)
        .map_err(|error| CodedError::new(Code::InvalidArgument, error.to_string()))?;
    let memory = context.memory.reservation();
    let mut top = Top::new(wanted.limit, wanted.direction, memory);
    context.check_bytes(&log.matchers, wanted.range).await?;
    let deleting = context.deleting(wanted.range).await?;
    let covered = recent_lines(context, log, wanted, &deleting, &mut top).await?;
    let units = context
        .units(&log.matchers, wanted.range, &covered, &deleting.stored)
        .await?;
    context.check_stored(&log.matchers, wanted.range, &units)?;
    let workers = workers_of(context, &prefilter);
    let open_bytes = context.open_bytes(workers);
    let mut units = sliced(units, context.slice_bytes());
    match wanted.direction {
        Direction::Backward => units.sort_by_key(|unit| (!unit.max_ts_ns, unit.fingerprint)),
        Direction::Forward => units.sort_by_key(|unit| (unit.min_ts_ns, unit.fingerprint)),
    }
    let shared = Arc::new(Shared {
        context: context.clone(),
        prefilter,
        pipeline,
        deletes: deleting.stored,
        wanted,
        workers,
        open_bytes,
        units: Mutex::new(units.into()),
        top: Mutex::new(top),
        open: OpenBlocks::default(),
    });
    let workers = (0..workers).map(|_| work(Arc::clone(&shared)));
    workers::run(workers).await?;
    let shared = Arc::into_inner(shared)
        .ok_or_else(|| CodedError::new(Code::Internal, "a part of the query is still running"))?;
    let top = shared.top.into_inner();
    QueryStats::add(&context.stats.duplicates, top.duplicates());
    Ok(top.into_rows())
}

async fn recent_lines(
    context: &Context,
    log: &LogExpr,
    wanted: Wanted,
    deleting: &Deleting,
    top: &mut Top,
) -> Result<Covered, CodedError> {
    let request = SelectLogs {
        tenant: context.tenant.clone(),
        query: log.to_string(),
        range: wanted.range,
        limit: u32::try_from(wanted.limit).unwrap_or(0),
        direction: wanted.direction,
        deletions: deleting.deletions.clone(),
        shard: context.shard,
    };
    let ask = |ingester: Arc<dyn Select>| {
        let request = request.clone();
        async move { ingester.select_logs(request).await }
    };
    recent::gather(context, ask, |_, stream, covered| {
        QueryStats::add(&context.stats.ingester_lines, stream.rows.len() as u64);
        let fingerprint = stream.stream_fingerprint;
        covered.add_stream(context, fingerprint)?;
        for row in stream.rows {
            top.push(fingerprint, row, Origin::Recent)
                .map_err(|error| context.over_budget(&error))?;
        }
        Ok(())
    })
    .await
}

/// What the workers of a query share.
struct Shared {
    context: Context,
    pipeline: Pipeline,
    prefilter: Prefilter,
    deletes: Deletes,
    wanted: Wanted,
    workers: usize,
    /// Bytes of lines of which a worker may have the blocks open.
    open_bytes: u64,
    /// Those that come first in the direction first.
    units: Mutex<VecDeque<Unit>>,
    top: Mutex<Top>,
    open: OpenBlocks,
}

/// Workers beside each other. More would read what nobody wants where the first lines are enough.
fn workers_of(context: &Context, prefilter: &Prefilter) -> usize {
    context.parallelism(match prefilter.is_empty() {
        true => 1,
        false => SEARCHES_PER_THREAD,
    })
}

impl Shared {
    /// The next units that may still have a line that is wanted, at most so many.
    fn next(&self, most: usize) -> Vec<Unit> {
        let mut units = take_units(&mut self.units.lock(), most, self.workers, self.open_bytes);
        // Units are in order: if one comes too late, so do all that follow.
        let wanted = units.iter().take_while(|unit| self.wants(unit)).count();
        units.truncate(wanted);
        units
    }

    /// Whether a unit may still have a line that is wanted.
    fn wants(&self, unit: &Unit) -> bool {
        let first_ns = match self.wanted.direction {
            Direction::Backward => unit.max_ts_ns,
            Direction::Forward => unit.min_ts_ns,
        };
        let top = self.top.lock();
        top.wants(unit.fingerprint, first_ns, Origin::Stored)
    }
}

async fn work(shared: Arc<Shared>) -> Result<(), CodedError> {
    let context = &shared.context;
    // Of the first units there may be lines enough.
    let mut at_once = 1;
    loop {
        let units = shared.next(at_once);
        if units.is_empty() {
            return Ok(());
        }
        if !shared.prefilter.is_empty() {
            at_once = (at_once * 2).min(UNITS_AT_ONCE);
        }
        let wanted = |unit: &Unit| stored::Wanted {
            projection: Projection::ALL,
            lines: stored::Lines::Projected,
            prefilter: &shared.prefilter,
            range: unit.range_in(shared.wanted.range),
        };
        let wanted: Vec<_> = units.iter().map(|unit| (unit, wanted(unit))).collect();
        let opened = shared.open.open(context, &wanted).await?;
        let units: Vec<(Unit, OpenUnit)> = units
            .into_iter()
            .zip(opened)
            .filter(|(_, open)| !open.is_empty())
            .collect();
        if units.is_empty() {
            continue;
        }
        let permit = context.querier.scan_permit(&context.tenant).await?;
        let scanning = Arc::clone(&shared);
        let scanned = tokio::task::spawn_blocking(move || {
            let mut units = units.into_iter();
            let result = units.try_for_each(|(unit, open)| match scanning.wants(&unit) {
                true => scan_unit(&scanning, &unit, open),
                false => Ok(()),
            });
            drop(permit);
            result
        });
        scanned
            .await
            .map_err(|_| CodedError::new(Code::Internal, "a scan ended abnormally"))??;
    }
}

/// Adds the lines of a unit. Where it is scanned again without a damaged block, lines that are there
/// already are known.
fn scan_unit(shared: &Shared, unit: &Unit, mut open: OpenUnit) -> Result<(), CodedError> {
    let (context, wanted) = (&shared.context, shared.wanted);
    let stream = unit.fingerprint;
    let scan = LogScan {
        range: unit.range_in(wanted.range),
        direction: wanted.direction,
        limit: wanted.limit,
        prefilter: &shared.prefilter,
        hashes: true,
        pushdown: context.pushdown(),
    };
    let mut failed = None;
    let mut sink = |hit: scan::LogRow<'_>| {
        let mut top = shared.top.lock();
        if !top.wants(stream, hit.timestamp_ns, Origin::Stored) {
            return ControlFlow::Break(());
        }
        let row = LogRow {
            timestamp_ns: hit.timestamp_ns,
            line: Bytes::copy_from_slice(hit.line),
            labels: Arc::clone(hit.labels),
            row_hash: hit.row_hash.unwrap_or_default(),
        };
        match top.push(stream, row, Origin::Stored) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(context.over_budget(&error));
                ControlFlow::Break(())
            }
        }
    };
    let deletes = shared.deletes.for_stream_in(&unit.labels, wanted.range);
    let mut stages = deletes.before(shared.pipeline.for_stream(&unit.labels));
    open.scan(context, unit, |sources, scanning| {
        scan_logs(sources, &scan, &mut stages, scanning, &mut sink)
    })?;
    open.weigh(context, unit)?;
    failed.map_or(Ok(()), Err)
}
