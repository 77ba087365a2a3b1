//! Stored rows: which blocks a selector touches. [`open`] reads them.
//!
//! The index names, per stream, blocks and the run in each. Blocks of a stream that overlap in time
//! (replicas wrote them, or a window allowed late lines) form one [`Unit`], whose rows are merged
//! without copies; other blocks are units of their own, which run in any order and at once.

mod claims;
mod held;
mod indexes;
mod kept;
mod open;
mod opened;
mod search;
mod slices;
mod wanted;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use chunk::{BlockMeta, ChunkError, Search};
use index::{BlockRef, IndexError};
use model::{CodedError, LabelSet, Matcher, Reservation, TimeRange};
use scan::Deletes;
use storage::{ObjectRef, Snapshot};

use crate::damage::{Lost, ReadError};
use crate::query::Context;
use crate::recent::Covered;
use crate::stats::QueryStats;
use claims::BlockKey;
pub(crate) use indexes::OpenIndex;
pub(crate) use open::OpenBlocks;
pub(crate) use opened::OpenUnit;
pub(crate) use slices::sliced;
pub(crate) use wanted::{Lines, Wanted, first_ranges};

/// Rows of one stream in blocks that overlap in time.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) labels: LabelSet,
    /// Of the labels.
    pub(crate) fingerprint: u64,
    pub(crate) blocks: Vec<RunRef>,
    pub(crate) min_ts_ns: i64,
    pub(crate) max_ts_ns: i64,
}

/// The run of a stream in a block.
#[derive(Clone, Debug)]
pub(crate) struct RunRef {
    pub(crate) object: Arc<ObjectRef>,
    pub(crate) block: u32,
    pub(crate) run: u32,
    pub(crate) min_ts_ns: i64,
    pub(crate) max_ts_ns: i64,
    pub(crate) rows: u64,
    pub(crate) raw_bytes: u64,
}

/// A stream in a map: the index has its fingerprint, so that its labels are looked at only when they
/// are those that are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct StreamKey {
    fingerprint: u64,
    labels: LabelSet,
}

impl Hash for StreamKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.fingerprint);
    }
}

/// Bytes that a stream takes besides its runs.
const STREAM_BYTES: usize = 96;

/// The runs of each stream.
type Runs = HashMap<StreamKey, Vec<RunRef>, foldhash::fast::RandomState>;

impl Context {
    /// What storage has, as of a moment that misses nothing which the ingesters left out.
    pub(crate) async fn snapshot(
        &self,
        range: TimeRange,
        covered: &Covered,
    ) -> Result<Snapshot, CodedError> {
        let at_least: Vec<(i64, u64)> = covered
            .at_least
            .iter()
            .map(|(day, sequence)| (*day, *sequence))
            .collect();
        let catalog = self.querier.catalog();
        catalog
            .snapshot(&self.tenant, range, &at_least)
            .await
            .map_err(CodedError::from)
    }

    /// The units that a selector touches, in no order. Runs of which every row of the range is
    /// deleted are left out.
    pub(crate) async fn units(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        covered: &Covered,
        deletes: &Deletes,
    ) -> Result<Vec<Unit>, CodedError> {
        let snapshot = self.snapshot(range, covered).await?;
        let mut runs = self.runs(&snapshot, matchers, range, covered).await?;
        if !deletes.is_empty() {
            for (stream, runs) in &mut runs {
                runs.retain(|run| {
                    !deletes.cover_in(&stream.labels, range, run.min_ts_ns, run.max_ts_ns)
                });
            }
        }
        let matched = runs.values().map(|runs| runs.len() as u64).sum();
        QueryStats::add(&self.stats.blocks_matched, matched);
        let mut units = Vec::with_capacity(runs.len());
        for (stream, runs) in runs {
            group(&stream, runs, &mut units);
        }
        Ok(units)
    }

    /// The runs that a selector touches, which take memory until the answer was sent.
    async fn runs(
        &self,
        snapshot: &Snapshot,
        matchers: &[Matcher],
        range: TimeRange,
        covered: &Covered,
    ) -> Result<Runs, CodedError> {
        let wanted = Arc::new(WantedRuns {
            context: self.clone(),
            matchers: matchers.to_vec(),
            range,
            holding: covered.holding.clone(),
            recent_streams: covered.streams.clone(),
        });
        let mut found = FoundRuns {
            runs: Runs::default(),
            streams: covered.streams.len(),
            memory: self.memory.reservation(),
        };
        for partition in snapshot.partitions() {
            for file in partition.indexes() {
                let Some(index) = self.open_index(partition, file).await? else {
                    continue;
                };
                let wanted = Arc::clone(&wanted);
                let read = index.read(move |index| {
                    let added = wanted.add(index, &mut found);
                    added.map(|()| found)
                });
                found = read.await??;
            }
        }
        self.hold(found.memory);
        Ok(found.runs)
    }
}

/// Which runs are wanted.
struct WantedRuns {
    context: Context,
    matchers: Vec<Matcher>,
    range: TimeRange,
    /// Objects to leave out.
    holding: HashSet<u128>,
    /// Streams that count already.
    recent_streams: HashSet<u64>,
}

/// Runs of label indexes.
struct FoundRuns {
    runs: Runs,
    /// Streams that the query touches, those of ingesters too.
    streams: usize,
    memory: Reservation,
}

impl WantedRuns {
    /// Adds those that an index file names.
    fn add(&self, open: &OpenIndex, found: &mut FoundRuns) -> Result<(), CodedError> {
        let (context, index) = (&self.context, open.index());
        let objects: Vec<Option<Arc<ObjectRef>>> = index
            .objects()
            .iter()
            .map(|object| open.partition().object_ref(object.id).map(Arc::new))
            .collect();
        let selected = index.select(&self.matchers, &|| open.goes_on());
        let selected = selected.map_err(|error| open.failed(&error));
        let Some(selected) = context.unless_damaged(selected, Lost::file(open.file()))? else {
            return Ok(());
        };
        open.each(&selected, |series| {
            self.add_stream(open, &objects, series, found)
        })
        .map_err(|error| match error {
            AddError::Stopped(error) => open.failed(&error).into(),
            AddError::Failed(error) => error,
        })
    }

    fn add_stream(
        &self,
        open: &OpenIndex,
        objects: &[Option<Arc<ObjectRef>>],
        series: u32,
        found: &mut FoundRuns,
    ) -> Result<(), AddError> {
        let (context, range) = (&self.context, self.range);
        let damaged = |error: IndexError| open.failed(&error);
        let blocks = open.index().blocks(series).map_err(damaged);
        let Some(blocks) = context.unless_damaged(blocks, Lost::Stream(series))? else {
            return Ok(());
        };
        let run = |block: &BlockRef| {
            let object = objects.get(block.object as usize)?.as_ref()?;
            let is_held = self.holding.contains(&object.id);
            (!is_held).then(|| RunRef {
                object: Arc::clone(object),
                block: block.block,
                run: block.run,
                min_ts_ns: block.min_ts_ns,
                max_ts_ns: block.max_ts_ns,
                rows: block.rows,
                raw_bytes: block.raw_bytes,
            })
        };
        let blocks = blocks
            .iter()
            .filter(|block| range.overlaps(block.min_ts_ns, block.max_ts_ns));
        let blocks: Vec<RunRef> = blocks.filter_map(run).collect();
        if blocks.is_empty() {
            return Ok(());
        }
        let stream = open.index().stream(series).map_err(damaged);
        let Some((labels, fingerprint)) = context.unless_damaged(stream, Lost::Stream(series))?
        else {
            return Ok(());
        };
        if !context.shard.has(fingerprint) {
            return Ok(());
        }
        let bytes = STREAM_BYTES + size_of::<RunRef>() * blocks.len();
        found
            .memory
            .grow(bytes as u64)
            .map_err(|error| context.over_budget(&error))?;
        let stream = StreamKey {
            fingerprint,
            labels,
        };
        match found.runs.entry(stream) {
            Entry::Occupied(mut entry) => entry.get_mut().extend(blocks),
            Entry::Vacant(entry) => {
                entry.insert(blocks);
                found.streams += usize::from(!self.recent_streams.contains(&fingerprint));
                let (limits, tenant) = (&context.limits, &context.tenant);
                limits.check_cardinality(found.streams, tenant)?;
            }
        }
        Ok(())
    }
}

/// Why adding runs ends early.
enum AddError {
    /// The index is not read on.
    Stopped(IndexError),
    Failed(CodedError),
}

impl From<IndexError> for AddError {
    fn from(error: IndexError) -> Self {
        Self::Stopped(error)
    }
}

impl From<CodedError> for AddError {
    fn from(error: CodedError) -> Self {
        Self::Failed(error)
    }
}

/// Adds blocks that overlap as one unit, others as units of their own.
fn group(stream: &StreamKey, mut runs: Vec<RunRef>, units: &mut Vec<Unit>) {
    runs.sort_by_key(|run| (run.min_ts_ns, run.max_ts_ns));
    let first = units.len();
    for run in runs {
        match units.get_mut(first..).and_then(<[Unit]>::last_mut) {
            Some(unit) if run.min_ts_ns <= unit.max_ts_ns => {
                unit.max_ts_ns = unit.max_ts_ns.max(run.max_ts_ns);
                unit.blocks.push(run);
            }
            _ => units.push(Unit {
                labels: stream.labels.clone(),
                fingerprint: stream.fingerprint,
                min_ts_ns: run.min_ts_ns,
                max_ts_ns: run.max_ts_ns,
                blocks: vec![run],
            }),
        }
    }
}

/// Bytes of lines for which it is worth to change threads.
const WORTH_BYTES: u64 = 2 << 20;

/// Takes the next units to work on at once: what they cost besides their rows is shared. Not so many
/// that other workers have nothing to do, unless they are small, nor, but for one, of more bytes of
/// lines than `bytes_max`.
pub(crate) fn take_units(
    units: &mut VecDeque<Unit>,
    most: usize,
    workers: usize,
    bytes_max: u64,
) -> Vec<Unit> {
    let share = units.len() / (workers.max(1) * 2);
    let mut bytes = 0;
    let fit = units.iter().take(most).enumerate();
    let fit = fit.take_while(|(taken, unit)| {
        bytes += unit.raw_bytes();
        *taken == 0 || bytes <= bytes_max && (*taken < share || bytes <= WORTH_BYTES)
    });
    let count = fit.count();
    units.drain(..count).collect()
}

impl Unit {
    /// Where its first run is: object, block and run.
    pub(crate) fn place(&self) -> Option<(u128, u32, u32)> {
        let run = self.blocks.first()?;
        Some((run.object.id, run.block, run.run))
    }

    /// Bytes of lines of its blocks' runs.
    fn raw_bytes(&self) -> u64 {
        self.blocks.iter().map(|run| run.raw_bytes).sum()
    }

    /// The part of a range in which it has rows.
    pub(crate) fn range_in(&self, range: TimeRange) -> TimeRange {
        let end_ns = self.max_ts_ns.saturating_add(1);
        range.intersect(&TimeRange::new(self.min_ts_ns, end_ns))
    }
}

impl RunRef {
    fn key(&self) -> BlockKey {
        (self.object.id, self.block)
    }

    /// What the run's block says about itself.
    pub(crate) async fn block_meta(&self, context: &Context) -> Result<Arc<BlockMeta>, ReadError> {
        let objects = context.querier.catalog().objects();
        let meta = objects.meta(&self.object).await?;
        meta.block(self.block as usize)
            .map_err(|error| self.damaged(&error))
    }

    /// Whether a row of the run's block may be found, as far as the object's outlines of its blocks tell:
    /// the block's meta is not needed for it.
    pub(crate) async fn may_have(
        &self,
        context: &Context,
        search: &Search,
    ) -> Result<bool, ReadError> {
        if search.is_empty() {
            return Ok(true);
        }
        let objects = context.querier.catalog().objects();
        let meta = objects.meta(&self.object).await?;
        meta.may_have(self.block as usize, search)
            .map_err(|error| self.damaged(&error))
    }

    /// It cannot be read.
    pub(crate) fn damaged(&self, error: &ChunkError) -> ReadError {
        ReadError::of_block(&self.object.key, self.block, error)
    }

    /// What an answer lacks without it.
    pub(crate) fn lost(&self) -> Lost {
        Lost::Run {
            object: self.object.id,
            block: self.block,
            run: self.run,
            rows: self.rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(min_ts_ns: i64, max_ts_ns: i64) -> RunRef {
        let object = Arc::new(ObjectRef {
            key: "k".to_owned(),
            id: 1,
            meta_off: 0,
            meta_len: 0,
        });
        RunRef {
            object,
            block: 0,
            run: 0,
            min_ts_ns,
            max_ts_ns,
            rows: 1,
            raw_bytes: 1,
        }
    }

    #[test]
    fn blocks_that_overlap_are_one_unit() {
        let runs = vec![run(20, 30), run(0, 10), run(5, 8), run(10, 12), run(31, 31)];
        let stream = StreamKey {
            fingerprint: LabelSet::default().fingerprint(),
            labels: LabelSet::default(),
        };
        let mut units = Vec::new();
        group(&stream, runs, &mut units);
        let spans: Vec<_> = units
            .iter()
            .map(|u| (u.min_ts_ns, u.max_ts_ns, u.blocks.len()))
            .collect();
        assert_eq!(spans, [(0, 12, 3), (20, 30, 1), (31, 31, 1)]);
    }

    #[test]
    fn workers_take_a_share_but_small_units_together() {
        let unit = |raw_bytes: u64| Unit {
            labels: LabelSet::default(),
            fingerprint: 0,
            min_ts_ns: 0,
            max_ts_ns: 0,
            blocks: vec![RunRef {
                raw_bytes,
                ..run(0, 0)
            }],
        };
        let counts = |raw_bytes: u64, most: usize, bytes_max: u64| {
            let mut units: VecDeque<Unit> = (0..20).map(|_| unit(raw_bytes)).collect();
            let taken = || take_units(&mut units, most, 2, bytes_max).len();
            let taken = std::iter::repeat_with(taken);
            taken.take_while(|count| *count > 0).collect::<Vec<_>>()
        };
        let (large, small) = (WORTH_BYTES, WORTH_BYTES / 4);
        let halves = [5, 3, 3, 2, 1, 1, 1, 1, 1, 1, 1];
        assert_eq!(counts(large, 64, u64::MAX), halves);
        assert_eq!(counts(small, 64, u64::MAX), [5, 4, 4, 4, 3]);
        assert_eq!(counts(small, 2, u64::MAX), [2; 10]);
        assert_eq!(counts(large, 64, 2 * large)[..3], [2; 3]);
        assert_eq!(counts(large, 64, 1), [1; 20]);
    }
}
