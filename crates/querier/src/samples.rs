//! Range aggregations: samples of ingesters and storage, each row once, added up per series.

mod recent;

use std::collections::VecDeque;
use std::sync::Arc;

use chunk::{Projection, Reduction};
use logql::metric::{Leaf, RangeAccumulator, Series, Steps};
use logql::pipeline::Extractor;
use logql::syntax::ast::RangeAggregation;
use model::{Code, CodedError, TimeRange};
use parking_lot::Mutex;
use scan::{
    Accumulate, Deletes, Prefilter, SamplePlan, SampleScan, SampleShape, ScanError, Source,
    plan_samples, scan_samples,
};

use crate::query::Context;
use crate::recent::{Covered, KnownRows};
use crate::results::{Key, known_by};
use crate::stats::QueryStats;
use crate::stored::{Lines, OpenBlocks, OpenUnit, Unit, Wanted, sliced, take_units};
use crate::workers;
use recent::{Question, Recent};

/// Units of which a worker scans one after the other before it asks for more.
const UNITS_AT_ONCE: usize = 64;

/// The series of one range aggregation of one tenant at all steps, with no labels but those that
/// the aggregation around keeps.
pub(crate) async fn aggregate(
    context: &Context,
    leaf: &Leaf<'_>,
    steps: Steps,
) -> Result<Vec<Series>, CodedError> {
    let aggregation = leaf.aggregation;
    let (prefilter, left) = context.pushdown().split_aggregation(aggregation);
    let extractor = extractor(context, leaf, &left)?;
    let new = || RangeAccumulator::new(aggregation, steps, context.memory.reservation());
    let range = steps.sample_range(aggregation);
    context
        .check_bytes(&aggregation.log.matchers, range)
        .await?;
    let deleting = context.deleting(range).await?;
    let question = Question {
        context,
        leaf,
        steps,
        range,
        deleting: &deleting,
    };
    let (mut sum, recent, units) = question.ask(new).await?;
    context.check_stored(&aggregation.log.matchers, range, &units)?;
    let open_bytes = context.open_bytes(context.parallelism(1));
    let mut units = sliced(units, context.slice_bytes());
    // Those that share a block follow each other, so that it is opened once.
    units.sort_unstable_by_key(Unit::place);
    let is_kept = context.querier.results().is_on();
    let shared = Arc::new(Shared {
        context: context.clone(),
        known_by: known_by(leaf).filter(|_| is_kept),
        shape: context.pushdown().shape(&left),
        prefilter,
        extractor,
        deletes: deleting.stored,
        range,
        recent,
        open_bytes,
        units: Mutex::new(units.into()),
        open: OpenBlocks::default(),
    });
    let workers = (0..context.parallelism(1)).map(|_| work(Arc::clone(&shared), new()));
    for part in workers::run(workers).await? {
        sum.merge(part)
            .map_err(|error| context.over_budget(&error))?;
    }
    let computing = context.clone();
    let finish = move |is_cancelled: &dyn Fn() -> bool| {
        sum.finish(is_cancelled)
            .map_err(|error| computing.failed(&error))
    };
    let (series, memory) = context.compute(finish).await?;
    context.hold(memory);
    Ok(series)
}

/// What takes samples from the rows that the prefilter of a leaf leaves.
fn extractor(
    context: &Context,
    leaf: &Leaf<'_>,
    left: &RangeAggregation,
) -> Result<Extractor, CodedError> {
    Extractor::new(left, leaf.reduce_to.as_ref(), context.now_ns)
        .map_err(|error| CodedError::new(Code::InvalidArgument, error.to_string()))
}

/// Says what a range aggregation would read, as if ingesters had nothing.
pub(crate) struct Planner<'a> {
    shared: Shared,
    leaf: &'a Leaf<'a>,
    steps: Steps,
}

impl<'a> Planner<'a> {
    pub(crate) async fn new(
        context: &Context,
        leaf: &'a Leaf<'a>,
        steps: Steps,
    ) -> Result<Self, CodedError> {
        let (prefilter, left) = context.pushdown().split_aggregation(leaf.aggregation);
        let range = steps.sample_range(leaf.aggregation);
        let shared = Shared {
            context: context.clone(),
            known_by: None,
            shape: context.pushdown().shape(&left),
            prefilter,
            extractor: extractor(context, leaf, &left)?,
            deletes: context.deleting(range).await?.stored,
            range,
            recent: Recent::new(context),
            open_bytes: 0,
            units: Mutex::default(),
            open: OpenBlocks::default(),
        };
        Ok(Self {
            shared,
            leaf,
            steps,
        })
    }

    pub(crate) fn range(&self) -> TimeRange {
        self.shared.range
    }

    pub(crate) fn prefilter(&self) -> &Prefilter {
        &self.shared.prefilter
    }

    /// The units that the aggregation reads.
    pub(crate) async fn units(&self) -> Result<Vec<Unit>, CodedError> {
        let (shared, matchers) = (&self.shared, &self.leaf.aggregation.log.matchers);
        let covered = Covered::default();
        let context = &shared.context;
        context
            .units(matchers, shared.range, &covered, &shared.deletes)
            .await
    }

    pub(crate) fn accumulator(&self) -> RangeAccumulator {
        let memory = self.shared.context.memory.reservation();
        RangeAccumulator::new(self.leaf.aggregation, self.steps, memory)
    }

    /// What of the unit's blocks is needed; `None` if counters gave its samples to `sum`.
    pub(crate) async fn plan(
        &self,
        unit: &Unit,
        sum: &mut RangeAccumulator,
    ) -> Result<Option<Needed>, CodedError> {
        self.shared.plan(unit, sum).await
    }
}

/// What the workers of a query share.
struct Shared {
    context: Context,
    /// By what the aggregation is known, if it makes the same of a row each time.
    known_by: Option<Arc<str>>,
    extractor: Extractor,
    deletes: Deletes,
    shape: SampleShape,
    prefilter: Prefilter,
    range: TimeRange,
    recent: Recent,
    /// Bytes of lines of which a worker may have the blocks open.
    open_bytes: u64,
    units: Mutex<VecDeque<Unit>>,
    open: OpenBlocks,
}

impl Shared {
    /// Rows of the unit's stream that were counted already and may be in the unit too.
    fn recent_of(&self, unit: &Unit) -> Option<&KnownRows> {
        self.recent.of(unit)
    }

    /// What the result of a unit is known by, if it is the same each time: all its rows are asked
    /// for, and no one else gives or hides one.
    fn key(&self, unit: &Unit, sum: &RangeAccumulator) -> Option<Key> {
        let (min_ns, max_ns) = (unit.min_ts_ns, unit.max_ts_ns);
        let query = self.known_by.as_ref()?;
        let is_whole = self.range.covers(min_ns, max_ns)
            && self.recent_of(unit).is_none()
            && !self.deletes.touch(&unit.labels, min_ns, max_ns);
        let borders = sum.borders(min_ns, max_ns).filter(|_| is_whole)?;
        Some(Key::new(Arc::clone(query), unit, borders))
    }

    /// Whether what is known of a unit was added.
    fn reuse(
        &self,
        key: &Key,
        unit: &Unit,
        sum: &mut RangeAccumulator,
    ) -> Result<bool, CodedError> {
        let Some(known) = self.context.querier.results().get(key) else {
            return Ok(false);
        };
        QueryStats::add(&self.context.stats.results_reused, 1);
        sum.add_partial(&known, unit.min_ts_ns)
            .map_err(|error| self.context.over_budget(&error))?;
        Ok(true)
    }

    fn scan(&self, unit: &Unit, hashes: bool) -> SampleScan<'_> {
        let reader = self.extractor.reader(&unit.labels);
        SampleScan {
            range: unit.range_in(self.range),
            shape: self.shape,
            prefilter: &self.prefilter,
            reader: self.context.pushdown().reader(reader),
            known_by: Some(self.extractor.known_by()),
            hashes,
        }
    }

    /// What of the unit's blocks is needed; `None` if counters gave its samples already, or it is
    /// damaged.
    async fn plan(
        &self,
        unit: &Unit,
        sum: &mut RangeAccumulator,
    ) -> Result<Option<Needed>, CodedError> {
        let everything = Needed {
            projection: Projection::ALL,
            reduction: None,
        };
        let ([run], None) = (unit.blocks.as_slice(), self.recent_of(unit)) else {
            return Ok(Some(everything));
        };
        // Counters count deleted rows too.
        if self
            .deletes
            .touch(&unit.labels, unit.min_ts_ns, unit.max_ts_ns)
        {
            return Ok(Some(everything));
        }
        let search = self.prefilter.search();
        let may_have = run.may_have(&self.context, search).await;
        match self.context.unless_damaged(may_have, run.lost())? {
            Some(true) => {}
            // Nothing of it is read.
            Some(false) => return Ok(Some(everything)),
            None => return Ok(None),
        }
        let meta = run.block_meta(&self.context).await;
        let Some(meta) = self.context.unless_damaged(meta, run.lost())? else {
            return Ok(None);
        };
        let is_shared = meta.runs().len() > 1;
        // Of a shared block all is fetched unless counters tell, which they do of rows that are
        // neither searched nor shown to the stages.
        if is_shared && !(self.prefilter.is_empty() && self.shape.takes_all) {
            return Ok(Some(everything));
        }
        let mut stages = self.extractor.for_stream(&unit.labels);
        let mut sink = Accumulate::new(sum);
        let objects = self.context.querier.catalog().objects();
        let held = objects.held(run.object.id, run.block);
        let plan = plan_samples(
            &meta,
            held.as_deref(),
            run.run as usize,
            &self.scan(unit, false),
            &mut stages,
            &mut sink,
        );
        sink.finish().map_err(|error| self.context.ended(error))?;
        let plan = match plan {
            Err(ScanError::Block { error, .. }) => Err(run.damaged(&error)),
            other => other.map_err(|error| self.context.ended(error).into()),
        };
        let Some(plan) = self.context.unless_damaged(plan, run.lost())? else {
            return Ok(None);
        };
        Ok(match plan {
            SamplePlan::Counted => None,
            _ if is_shared => Some(everything),
            SamplePlan::Fetch(projection) => Some(Needed {
                projection,
                reduction: None,
            }),
            SamplePlan::Reduce(reduction) => Some(Needed {
                projection: Projection::TIMESTAMPS,
                reduction: Some(reduction),
            }),
        })
    }
}

/// What is to be fetched of a unit's blocks.
pub(crate) struct Needed {
    pub(crate) projection: Projection,
    pub(crate) reduction: Option<Reduction>,
}

impl Needed {
    /// What is read of lines.
    pub(crate) fn lines(&self) -> Lines<'_> {
        let reduction = self.reduction.as_ref();
        reduction.map_or(Lines::Projected, Lines::Reduced)
    }
}

async fn work(
    shared: Arc<Shared>,
    mut sum: RangeAccumulator,
) -> Result<RangeAccumulator, CodedError> {
    let context = &shared.context;
    loop {
        let workers = context.parallelism(1);
        let (most, bytes_max) = (UNITS_AT_ONCE, shared.open_bytes);
        let units = take_units(&mut shared.units.lock(), most, workers, bytes_max);
        if units.is_empty() {
            return Ok(sum);
        }
        let mut planned = Vec::with_capacity(units.len());
        for unit in units {
            let key = shared.key(&unit, &sum);
            if let Some(key) = &key
                && shared.reuse(key, &unit, &mut sum)?
            {
                continue;
            }
            let needed = shared.plan(&unit, &mut sum).await?;
            planned.extend(needed.map(|needed| (unit, key, needed)));
        }
        let wanted: Vec<(&Unit, Wanted<'_>)> = planned
            .iter()
            .map(|(unit, _, needed)| {
                let wanted = Wanted {
                    projection: needed.projection,
                    lines: needed.lines(),
                    prefilter: &shared.prefilter,
                    range: unit.range_in(shared.range),
                };
                (unit, wanted)
            })
            .collect();
        let opened = shared.open.open(context, &wanted).await?;
        let units = planned.into_iter().zip(opened);
        let units: Vec<(Unit, Option<Key>, OpenUnit)> = units
            .map(|((unit, key, _), open)| (unit, key, open))
            .filter(|(_, key, open)| key.is_some() || !open.is_empty())
            .collect();
        if units.is_empty() {
            continue;
        }
        let permit = context.querier.scan_permit(&context.tenant).await?;
        let scanning = Arc::clone(&shared);
        let scanned = tokio::task::spawn_blocking(move || {
            let result = scan_units(&scanning, units, &mut sum);
            drop(permit);
            result.map(|()| sum)
        });
        sum = scanned
            .await
            .map_err(|_| CodedError::new(Code::Internal, "a scan ended abnormally"))??;
    }
}

/// Adds the samples of units, and keeps what is the same each time.
fn scan_units(
    shared: &Shared,
    units: Vec<(Unit, Option<Key>, OpenUnit)>,
    sum: &mut RangeAccumulator,
) -> Result<(), CodedError> {
    let mut units = units.into_iter().peekable();
    while let Some((unit, key, mut open)) = units.next() {
        match key {
            Some(key) => scan_and_keep(shared, &unit, key, &mut open, sum)?,
            None => scan_unit(shared, &unit, &mut open, sum)?,
        }
        // A block that many units share is weighed once.
        if !units.peek().is_some_and(|(.., next)| open.goes_on_in(next)) {
            open.weigh(&shared.context, &unit)?;
        }
    }
    Ok(())
}

/// Scans a unit whose result is the same each time, and keeps it, unless something is missing.
fn scan_and_keep(
    shared: &Shared,
    unit: &Unit,
    key: Key,
    open: &mut OpenUnit,
    sum: &mut RangeAccumulator,
) -> Result<(), CodedError> {
    let context = &shared.context;
    let mut part = sum.empty(context.memory.reservation());
    if !open.is_empty() {
        scan_unit(shared, unit, open, &mut part)?;
    }
    let partial = Arc::new(part.into_partial(key.borders(), unit.min_ts_ns));
    sum.add_partial(&partial, unit.min_ts_ns)
        .map_err(|error| context.over_budget(&error))?;
    if !open.is_damaged() {
        context.querier.results().keep(key, partial);
    }
    Ok(())
}

/// Adds the samples of a unit. Of blocks that are merged they are added up apart, so that they can
/// be taken again if one of the blocks turns out to be damaged.
fn scan_unit(
    shared: &Shared,
    unit: &Unit,
    open: &mut OpenUnit,
    sum: &mut RangeAccumulator,
) -> Result<(), CodedError> {
    let context = &shared.context;
    if !open.is_merged() {
        return open.scan(context, unit, |sources, scanning| {
            add_samples(shared, unit, sources, scanning, sum)
        });
    }
    let mut part = sum.empty(context.memory.reservation());
    open.scan(context, unit, |sources, scanning| {
        part = part.empty(context.memory.reservation());
        add_samples(shared, unit, sources, scanning, &mut part)
    })?;
    sum.merge(part).map_err(|error| context.over_budget(&error))
}

fn add_samples(
    shared: &Shared,
    unit: &Unit,
    sources: &[Source],
    scanning: &mut scan::Context<'_>,
    sum: &mut RangeAccumulator,
) -> Result<(), ScanError> {
    let recent = shared.recent_of(unit);
    let mut scan = shared.scan(unit, recent.is_some());
    sum.take_from(unit.fingerprint, false);
    let is_known = |time_ns, row_hash| recent.is_some_and(|recent| recent.has(time_ns, row_hash));
    let mut sink = match recent {
        Some(_) => Accumulate::except(sum, &is_known),
        None => Accumulate::new(sum),
    };
    // As the plan looked at it: of other rows only what it says was fetched.
    let deletes = shared
        .deletes
        .for_stream(&unit.labels, unit.min_ts_ns, unit.max_ts_ns);
    scan.shape = deletes.shape(scan.shape);
    scan.reader = scan.reader.filter(|_| deletes.is_empty());
    let mut stages = deletes.before(shared.extractor.for_stream(&unit.labels));
    scan_samples(sources, &scan, &mut stages, scanning, &mut sink)?;
    QueryStats::add(&shared.context.stats.duplicates, sink.finish()?);
    Ok(())
}
