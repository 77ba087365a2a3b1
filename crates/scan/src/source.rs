//! Where rows come from.

use std::sync::Arc;

use chunk::{Block, RunMeta};
use model::Entries;

/// A part of a stream's rows. It has a row once.
#[derive(Clone, Debug)]
pub enum Source {
    /// Rows in memory. Those out of time order are sorted in a copy.
    Rows(Arc<Entries>),
    /// A run of a block. Blocks with several runs are shared: one `Block` for the scans of all its
    /// streams is decoded once.
    Block {
        /// The block, with the bytes that the scan needs.
        block: Arc<Block>,
        /// The stream's run.
        run: usize,
    },
}

impl Source {
    /// Times of the first and last row; `None` without rows.
    #[must_use]
    pub fn bounds(&self) -> Option<(i64, i64)> {
        match self {
            Self::Rows(entries) => {
                let times = entries.timestamps_ns();
                if entries.is_time_ordered() {
                    return Some((*times.first()?, *times.last()?));
                }
                Some((*times.iter().min()?, *times.iter().max()?))
            }
            Self::Block { .. } => self.run_meta().map(|run| (run.min_ts_ns, run.max_ts_ns)),
        }
    }

    pub(crate) fn run_meta(&self) -> Option<&RunMeta> {
        match self {
            Self::Rows(_) => None,
            Self::Block { block, run } => block.meta().runs().get(*run),
        }
    }
}
