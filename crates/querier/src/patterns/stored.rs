//! Patterns of stored lines.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use chunk::{Layout, Projection};
use model::{Code, CodedError};
use parking_lot::Mutex;
use scan::{Deletes, LinesLeft, PatternRows, PatternScan, Prefilter, Source, scan_patterns};

use super::Counting;
use super::counts::Counts;
use super::recent::Recent;
use crate::query::Context;
use crate::stats::QueryStats;
use crate::stored::{Lines, OpenBlocks, OpenUnit, Unit, Wanted, sliced, take_units};
use crate::workers;

/// Units of which a worker scans one after the other before it asks for more.
const UNITS_AT_ONCE: usize = 16;

/// What the workers of a query share.
struct Shared {
    counting: Counting,
    recent: Recent,
    deletes: Deletes,
    /// Whether blocks of several streams are needed whole: some unit of the query compares rows, or
    /// has some that may be deleted.
    shares_lines: bool,
    /// Bytes of lines of which a worker may have the blocks open.
    open_bytes: u64,
    /// The newest first: of lines that are looked at one by one these are preferred.
    units: Mutex<VecDeque<Unit>>,
    open: OpenBlocks,
    prefilter: Prefilter,
    /// Of units whose rows have to be compared all are.
    all_lines: LinesLeft,
}

/// What is read of a unit's blocks.
#[derive(Clone, Copy)]
enum Needed {
    All,
    Patterns,
}

/// Adds the lines of units.
pub(super) async fn count(
    counting: Counting,
    recent: Recent,
    deletes: Deletes,
    units: Vec<Unit>,
    counts: &mut Counts,
) -> Result<(), CodedError> {
    let context = counting.context.clone();
    let mut units = sliced(units, context.slice_bytes());
    units.sort_by_key(|unit| std::cmp::Reverse(unit.max_ts_ns));
    let workers = context.parallelism(1);
    let mut shared = Shared {
        open_bytes: context.open_bytes(workers),
        shares_lines: false,
        counting,
        recent,
        deletes,
        units: Mutex::default(),
        open: OpenBlocks::default(),
        prefilter: Prefilter::default(),
        all_lines: LinesLeft::new(u64::MAX),
    };
    shared.shares_lines = units.iter().any(|unit| !shared.is_plain_counting(unit));
    shared.units = Mutex::new(units.into());
    let step_ns = shared.counting.step_ns;
    let shared = Arc::new(shared);
    let workers = (0..workers).map(|_| work(Arc::clone(&shared), Counts::new(&context, step_ns)));
    for part in workers::run(workers).await? {
        counts
            .merge(&part)
            .map_err(|error| context.over_budget(&error))?;
    }
    Ok(())
}

impl Shared {
    fn context(&self) -> &Context {
        &self.counting.context
    }

    /// Whether all rows of a unit count, and no other source has one of them.
    fn is_plain_counting(&self, unit: &Unit) -> bool {
        let (min_ns, max_ns) = (unit.min_ts_ns, unit.max_ts_ns);
        unit.blocks.len() == 1
            && self.recent.of(unit).is_none()
            && !self.deletes.touch(&unit.labels, min_ns, max_ns)
    }

    /// What of the unit's blocks is needed; `None` if it is damaged, or no line is looked at any
    /// more.
    async fn plan(&self, unit: &Unit) -> Result<Option<Needed>, CodedError> {
        let ([run], true) = (unit.blocks.as_slice(), self.is_plain_counting(unit)) else {
            return Ok(Some(Needed::All));
        };
        let meta = run.block_meta(self.context()).await;
        let Some(meta) = self.context().unless_damaged(meta, run.lost())? else {
            return Ok(None);
        };
        if meta.layout() == Layout::Plain && self.counting.lines.is_empty() {
            self.counting.lines.leave_out(run.rows);
            return Ok(None);
        }
        let is_whole =
            meta.layout() == Layout::Plain || (self.shares_lines && meta.runs().len() > 1);
        Ok(Some(match is_whole {
            true => Needed::All,
            false => Needed::Patterns,
        }))
    }

    fn wanted(&self, unit: &Unit, needed: Needed) -> Wanted<'_> {
        let (projection, lines) = match needed {
            Needed::All => (Projection::ALL, Lines::Projected),
            Needed::Patterns => (Projection::TIMESTAMPS, Lines::Patterns),
        };
        Wanted {
            projection,
            lines,
            prefilter: &self.prefilter,
            range: unit.range_in(self.counting.range),
        }
    }
}

async fn work(shared: Arc<Shared>, mut counts: Counts) -> Result<Counts, CodedError> {
    let context = shared.context();
    loop {
        let workers = context.parallelism(1);
        let (most, bytes_max) = (UNITS_AT_ONCE, shared.open_bytes);
        let units = take_units(&mut shared.units.lock(), most, workers, bytes_max);
        if units.is_empty() {
            return Ok(counts);
        }
        let mut planned = Vec::with_capacity(units.len());
        for unit in units {
            let needed = shared.plan(&unit).await?;
            planned.extend(needed.map(|needed| (unit, needed)));
        }
        let wanted = planned.iter();
        let wanted: Vec<_> = wanted
            .map(|(unit, needed)| (unit, shared.wanted(unit, *needed)))
            .collect();
        let opened = shared.open.open(context, &wanted).await?;
        let units = planned.into_iter().map(|(unit, _)| unit).zip(opened);
        let units: Vec<(Unit, OpenUnit)> = units.filter(|(_, open)| !open.is_empty()).collect();
        if units.is_empty() {
            continue;
        }
        let permit = context.querier.scan_permit(&context.tenant).await?;
        let scanning = Arc::clone(&shared);
        let scanned = tokio::task::spawn_blocking(move || {
            let mut units = units.into_iter();
            let result = units.try_for_each(|(unit, mut open)| {
                scan_unit(&scanning, &unit, &mut open, &mut counts)
            });
            drop(permit);
            result.map(|()| counts)
        });
        counts = scanned
            .await
            .map_err(|_| CodedError::new(Code::Internal, "a scan ended abnormally"))??;
    }
}

/// Adds the lines of a unit. Those of blocks that are merged are counted apart, so that they can be
/// counted again if one of the blocks turns out to be damaged.
fn scan_unit(
    shared: &Shared,
    unit: &Unit,
    open: &mut OpenUnit,
    counts: &mut Counts,
) -> Result<(), CodedError> {
    let context = shared.context();
    if !open.is_merged() {
        open.scan(context, unit, |sources, scanning| {
            add_patterns(shared, unit, sources, scanning, counts)
        })?;
        return open.weigh(context, unit);
    }
    let step_ns = shared.counting.step_ns;
    let mut part = Counts::new(context, step_ns);
    open.scan(context, unit, |sources, scanning| {
        part = Counts::new(context, step_ns);
        add_patterns(shared, unit, sources, scanning, &mut part)
    })?;
    open.weigh(context, unit)?;
    counts
        .merge(&part)
        .map_err(|error| context.over_budget(&error))
}

fn add_patterns(
    shared: &Shared,
    unit: &Unit,
    sources: &[Source],
    scanning: &mut scan::Context<'_>,
    counts: &mut Counts,
) -> Result<(), scan::ScanError> {
    let recent = shared.recent.of(unit);
    let scan = PatternScan {
        range: unit.range_in(shared.counting.range),
        step_ns: shared.counting.step_ns,
        hashes: recent.is_some(),
        lines: match shared.is_plain_counting(unit) {
            true => &shared.counting.lines,
            false => &shared.all_lines,
        },
    };
    let mut deletes = shared
        .deletes
        .for_stream(&unit.labels, unit.min_ts_ns, unit.max_ts_ns);
    let (mut failed, mut duplicates) = (Ok(()), 0);
    let mut sink = |rows: PatternRows<'_>| {
        let hash = rows.row_hash.unwrap_or_default();
        if recent.is_some_and(|recent| recent.has(rows.timestamp_ns, hash)) {
            duplicates += 1;
            return ControlFlow::Continue(());
        }
        failed = counts.add(&rows);
        match failed {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    };
    scan_patterns(sources, &scan, &mut deletes, scanning, &mut sink)?;
    QueryStats::add(&shared.context().stats.duplicates, duplicates);
    Ok(failed?)
}
