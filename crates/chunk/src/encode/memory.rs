//! What a stream's lines looked like last time.

use std::sync::atomic::{AtomicI32, Ordering};

use super::LinesPolicy;
use crate::Layout;

/// Blocks until the choice is tried again.
const REMEMBERED_BLOCKS: i32 = 32;

/// Remembers which layout suits the lines of a stream, so that not every block is tried. What it
/// says costs size or time at most, so it need not be kept or shared exactly.
#[derive(Debug, Default)]
pub struct LinesMemory {
    /// Blocks still to be structured, or if negative to be plain.
    left: AtomicI32,
}

impl LinesMemory {
    /// How to encode the next block.
    #[must_use]
    pub fn policy(&self) -> LinesPolicy {
        match self.left.load(Ordering::Relaxed) {
            0 => LinesPolicy::Probe,
            1.. => LinesPolicy::Structured,
            _ => LinesPolicy::Plain,
        }
    }

    /// How a block was encoded.
    pub fn learn(&self, layout: Layout) {
        let left = self.left.load(Ordering::Relaxed);
        let next = match (left, layout) {
            (..0, _) => left + 1,
            (_, Layout::Plain) => -REMEMBERED_BLOCKS,
            (0, _) => REMEMBERED_BLOCKS,
            _ => left - 1,
        };
        self.left.store(next, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_kept_for_some_blocks() {
        let memory = LinesMemory::default();
        assert_eq!(memory.policy(), LinesPolicy::Probe);
        for (layout, policy) in [
            (Layout::Json, LinesPolicy::Structured),
            (Layout::Plain, LinesPolicy::Plain),
        ] {
            memory.learn(layout);
            for _ in 0..REMEMBERED_BLOCKS - 1 {
                assert_eq!(memory.policy(), policy);
                memory.learn(layout);
            }
            assert_eq!(memory.policy(), policy);
        }
        memory.learn(Layout::Plain);
        assert_eq!(memory.policy(), LinesPolicy::Probe);
    }
}
