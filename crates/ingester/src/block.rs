//! A block that is encoded and not in the store yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chunk::{EncodedBlock, RunMeta};

/// A block of a tenant's day in memory.
#[derive(Debug)]
pub(crate) struct Block {
    /// The block.
    pub(crate) encoded: EncodedBlock,
    /// The day of all its rows.
    pub(crate) day: i64,
    /// The flush that takes it.
    pub(crate) epoch: u64,
    is_committed: AtomicBool,
}

impl Block {
    /// A block that is in no object yet.
    pub(crate) fn new(encoded: EncodedBlock, day: i64, epoch: u64) -> Self {
        Self {
            encoded,
            day,
            epoch,
            is_committed: AtomicBool::new(false),
        }
    }

    /// Whether its object is committed: queries find it in the store. Changes only under the lock
    /// of the tenant's coverage.
    pub(crate) fn is_committed(&self) -> bool {
        self.is_committed.load(Ordering::Acquire)
    }

    /// Its object is committed.
    pub(crate) fn set_committed(&self) {
        self.is_committed.store(true, Ordering::Release);
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.encoded.heap_bytes()
    }
}

/// A stream's rows in a block.
#[derive(Clone, Debug)]
pub(crate) struct BlockRun {
    /// The block.
    pub(crate) block: Arc<Block>,
    /// Which of its runs.
    pub(crate) run: usize,
}

impl BlockRun {
    /// Counters of the run.
    pub(crate) fn meta(&self) -> Option<&RunMeta> {
        self.block.encoded.meta().runs().get(self.run)
    }
}
