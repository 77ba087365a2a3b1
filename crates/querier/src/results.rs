//! What stored rows amounted to in range aggregations before, so that a dashboard that is refreshed
//! has to look at new rows only.
//!
//! Objects do not change, so what a query makes of a [`Unit`] is the same each time it is asked, and
//! is kept for as long as there is room. A unit is known by its runs: as soon as one of them is
//! merged into another object or a row of it is asked to be deleted, it is looked at anew.

use std::sync::Arc;

use logql::metric::{Borders, Leaf, Partial};
use logql::syntax::ast::{LabelFormat, Stage};
use storage::{ByteCache, CacheName};

use crate::stored::Unit;

/// Bytes of a key besides the runs that it names.
const KEY_BYTES: usize = 112;
/// Parts of the cache; a partial that takes more than one of them is not kept.
const SHARDS: usize = 4;

/// Which rows, and what was asked of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    query: Arc<str>,
    /// Object, block and run.
    runs: Box<[(u128, u32, u32)]>,
    /// Which of their rows, by their times.
    span: (i64, i64),
    borders: Borders,
}

impl Key {
    pub(crate) fn new(query: Arc<str>, unit: &Unit, borders: Borders) -> Self {
        let runs = unit.blocks.iter();
        Self {
            query,
            runs: runs
                .map(|run| (run.object.id, run.block, run.run))
                .collect(),
            span: (unit.min_ts_ns, unit.max_ts_ns),
            borders,
        }
    }

    pub(crate) fn borders(&self) -> Borders {
        self.borders
    }
}

/// The partials that are kept.
#[derive(Debug)]
pub(crate) struct Results {
    cache: ByteCache<Key, Partial>,
    is_on: bool,
}

impl Results {
    pub(crate) fn new(bytes: u64, metrics: storage::Metrics) -> Self {
        Self {
            cache: ByteCache::new(CacheName::Results, bytes, SHARDS, metrics),
            is_on: bytes > 0,
        }
    }

    /// Whether anything is kept.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Partial>> {
        self.cache.get(key)
    }

    pub(crate) fn keep(&self, key: Key, partial: Arc<Partial>) {
        let bytes = KEY_BYTES + size_of_val(&*key.runs) + partial.heap_bytes();
        self.cache.insert(key, partial, bytes as u64);
    }
}

/// The text by which an aggregation is known; none if it does not always make the same of a row,
/// since its templates may ask for the time.
pub(crate) fn known_by(leaf: &Leaf<'_>) -> Option<Arc<str>> {
    let asks = |template: &str| template.contains("now");
    let asks_for_time = |stage: &Stage| match stage {
        Stage::LineFormat(template) => asks(template),
        Stage::LabelFormat(formats) => formats.iter().any(|format| match format {
            LabelFormat::Template { template, .. } => asks(template),
            LabelFormat::Rename { .. } => false,
        }),
        _ => false,
    };
    let is_timeless = !leaf.aggregation.log.stages.iter().any(asks_for_time);
    is_timeless.then(|| leaf.to_expr().to_string().into())
}
