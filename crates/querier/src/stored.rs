//! Stored rows: which blocks a selector touches. [`open`] reads them.
//!
//! The index names, per stream, blocks and the run in each. Blocks of a stream that overlap in time
//! (replicas wrote them, or a window allowed late lines) form one [`Unit`], whose rows are merged
//! without copies; other blocks are units of their own, which run in any order and at once.

mod claims;
mod open;

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use chunk::{BlockMeta, ChunkError};
use model::{Code, CodedError, LabelSet, Matcher, TimeRange};
use scan::{Deletes, Source};
use storage::{Catalog, ObjectRef, Snapshot};

use crate::query::Context;
use crate::recent::Covered;
use crate::stats::QueryStats;
use claims::BlockKey;
pub(crate) use open::{OpenBlocks, Wanted, first_ranges};

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

/// The runs of each stream.
type Runs = HashMap<StreamKey, Vec<RunRef>, foldhash::fast::RandomState>;

pub(crate) fn damaged(error: &index::IndexError) -> CodedError {
    CodedError::new(Code::Internal, format!("label index: {error}"))
}

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
        let mut runs = self
            .runs(&snapshot, matchers, range, &covered.holding)
            .await?;
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

    async fn runs(
        &self,
        snapshot: &Snapshot,
        matchers: &[Matcher],
        range: TimeRange,
        holding: &HashSet<u128>,
    ) -> Result<Runs, CodedError> {
        let mut runs = Runs::default();
        let limit = self.limits.cardinality_limit;
        for partition in snapshot.partitions() {
            for file in partition.indexes() {
                let index = open_index(self.querier.catalog(), partition, file).await?;
                let objects: Vec<Option<Arc<ObjectRef>>> = index
                    .objects()
                    .iter()
                    .map(|object| partition.object_ref(object.id).map(Arc::new))
                    .collect();
                for series in index.select(matchers).map_err(|e| damaged(&e))? {
                    let blocks = index.blocks(series).map_err(|e| damaged(&e))?;
                    let mut wanted = blocks
                        .iter()
                        .filter(|block| range.overlaps(block.min_ts_ns, block.max_ts_ns))
                        .filter_map(|block| {
                            let object = objects.get(block.object as usize)?.as_ref()?;
                            (!holding.contains(&object.id)).then(|| RunRef {
                                object: Arc::clone(object),
                                block: block.block,
                                run: block.run,
                                min_ts_ns: block.min_ts_ns,
                                max_ts_ns: block.max_ts_ns,
                                rows: block.rows,
                                raw_bytes: block.raw_bytes,
                            })
                        })
                        .peekable();
                    if wanted.peek().is_none() {
                        continue;
                    }
                    let (labels, fingerprint) = index.stream(series).map_err(|e| damaged(&e))?;
                    if !self.shard.has(fingerprint) {
                        continue;
                    }
                    let stream = StreamKey {
                        fingerprint,
                        labels,
                    };
                    runs.entry(stream).or_default().extend(wanted);
                    if limit > 0 && runs.len() > limit {
                        let error = CodedError::new(
                            Code::InvalidArgument,
                            format!(
                                "the query touches more streams than cardinality_limit ({limit}) of tenant {} allows; add label matchers to the selector",
                                self.tenant
                            ),
                        );
                        return Err(error.beyond("cardinality_limit", &limit, &self.tenant));
                    }
                }
            }
        }
        Ok(runs)
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

/// The label index in a file, from memory if it is there.
pub(crate) async fn open_index(
    catalog: &Catalog,
    partition: &storage::Partition,
    file: &storage::IndexFile,
) -> Result<Arc<index::Index>, CodedError> {
    catalog
        .index(partition.tenant(), partition.day(), file)
        .await
        .map_err(CodedError::from)
}

impl Unit {
    /// Takes in how much its blocks hold now that they were scanned.
    pub(crate) fn weigh(&self, context: &Context, sources: &[Source]) {
        let objects = context.querier.catalog().objects();
        for source in sources {
            if let Source::Block { block, .. } = source {
                let of_block = self.blocks.iter();
                let runs = of_block.filter(|run| run.block == block.meta().ordinal());
                runs.for_each(|run| objects.weigh(run.object.id, block));
            }
        }
    }
}

/// Takes the next units to work on at once: what they cost besides their rows is shared. Not so many
/// that other workers have nothing to do.
pub(crate) fn take_units(units: &mut VecDeque<Unit>, most: usize, workers: usize) -> Vec<Unit> {
    let share = units.len() / (workers.max(1) * 2);
    let count = share.clamp(1, most.max(1)).min(units.len());
    units.drain(..count).collect()
}

impl RunRef {
    fn key(&self) -> BlockKey {
        (self.object.id, self.block)
    }

    /// What the run's block says about itself.
    pub(crate) async fn block_meta(&self, context: &Context) -> Result<Arc<BlockMeta>, CodedError> {
        let meta = context
            .querier
            .catalog()
            .objects()
            .meta(&self.object)
            .await?;
        meta.block(self.block as usize)
            .map_err(|error| self.damaged(&error))
    }

    fn damaged(&self, error: &ChunkError) -> CodedError {
        let (key, block) = (&self.object.key, self.block);
        CodedError::new(Code::Internal, format!("{key}, block {block}: {error}"))
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
}
