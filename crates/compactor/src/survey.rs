//! Where the rows of a partition are, by stream, as its label indexes say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use index::Index;
use model::LabelSet;

use crate::CompactError;

/// The run of a stream in a block of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunRef {
    pub(crate) object: u128,
    pub(crate) block: u32,
    pub(crate) run: u32,
    pub(crate) min_ts_ns: i64,
    pub(crate) max_ts_ns: i64,
    pub(crate) rows: u64,
    pub(crate) raw_bytes: u64,
}

/// The streams of some objects, in the order in which they are written, and their runs by time.
pub(crate) type Survey = BTreeMap<LabelSet, Vec<RunRef>>;

/// What the indexes say of these objects.
pub(crate) fn survey(
    indexes: &[Arc<Index>],
    objects: &BTreeSet<u128>,
) -> Result<Survey, CompactError> {
    let mut streams = Survey::new();
    for index in indexes {
        let ids: Vec<Option<u128>> = index
            .objects()
            .iter()
            .map(|object| objects.contains(&object.id).then_some(object.id))
            .collect();
        if ids.iter().all(Option::is_none) {
            continue;
        }
        for series in 0..index.series_count() {
            let found = index.blocks(series)?.iter().filter_map(|block| {
                let object = ids.get(block.object as usize).copied().flatten()?;
                Some(RunRef {
                    object,
                    block: block.block,
                    run: block.run,
                    min_ts_ns: block.min_ts_ns,
                    max_ts_ns: block.max_ts_ns,
                    rows: block.rows,
                    raw_bytes: block.raw_bytes,
                })
            });
            let found: Vec<RunRef> = found.collect();
            if !found.is_empty() {
                streams
                    .entry(index.labels(series)?)
                    .or_default()
                    .extend(found);
            }
        }
    }
    for runs in streams.values_mut() {
        runs.sort_by_key(|run| (run.min_ts_ns, run.max_ts_ns, run.object, run.block));
    }
    Ok(streams)
}
