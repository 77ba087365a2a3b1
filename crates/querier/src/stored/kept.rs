//! Blocks that stay open between the units of a query, within a share of its memory.

use std::sync::Arc;

use chunk::Block;
use parking_lot::Mutex;

use super::RunRef;
use super::held::Held;
use crate::query::Context;

/// Blocks that stay open; a block shared by many small streams is then decoded once.
const OPEN_BLOCKS_MAX: usize = 32;
/// Blocks that stay open take one of so many parts of what a query may hold.
const KEPT_SHARE: u64 = 4;

/// An open block.
#[derive(Clone, Debug)]
pub(super) struct OpenBlock {
    pub(super) object: u128,
    pub(super) ordinal: u32,
    pub(super) block: Arc<Block>,
    pub(super) held: Arc<Held>,
    /// Whether more was fetched of it than a search needs.
    pub(super) is_whole: bool,
}

/// Blocks that stay open, the one that is open for the longest first.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Vec<OpenBlock>>);

impl Kept {
    pub(super) fn get(&self, run: &RunRef) -> Option<OpenBlock> {
        let open = self.0.lock();
        let mut open = open.iter();
        open.find(|open| open.object == run.object.id && open.ordinal == run.block)
            .cloned()
    }

    /// Keeps a block open for other units, in place of those that are open for the longest: blocks
    /// that are kept take no more than a share of the query's memory.
    pub(super) fn keep(&self, context: &Context, block: OpenBlock) {
        let mut open = self.0.lock();
        open.retain(|known| known.object != block.object || known.ordinal != block.ordinal);
        let bytes_max = context.memory_max() / KEPT_SHARE;
        let mut bytes: u64 = open.iter().map(|open| open.held.bytes()).sum();
        while open.len() >= OPEN_BLOCKS_MAX || (bytes > bytes_max && !open.is_empty()) {
            bytes -= bytes.min(open.remove(0).held.bytes());
        }
        open.push(block);
    }
}
