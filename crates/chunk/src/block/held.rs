//! What an open block holds in memory: pieces of its object, and what was decoded of them.

use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::{Block, Piece};
use crate::values::Decoded;

impl Block {
    /// Those of some ranges of the object that are not in a piece yet.
    #[must_use]
    pub fn missing(&self, ranges: &[Range<u64>]) -> Vec<Range<u64>> {
        let pieces = self.pieces.read().unwrap_or_else(PoisonError::into_inner);
        let is_held =
            |range: &Range<u64>| range.is_empty() || pieces.iter().any(|piece| piece.holds(range));
        let missing = ranges.iter().filter(|range| !is_held(range));
        missing.cloned().collect()
    }

    /// Adds more of the body, in place of pieces that lie in the new ones.
    pub fn add_pieces(&self, pieces: Vec<Piece>) {
        let mut all = self.pieces.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|old| !pieces.iter().any(|new| new.holds(&old.range())));
        all.extend(pieces);
        all.sort_by_key(|piece| piece.offset);
    }

    /// The block with the same pieces, what its rows and bytes are counted by, what searches found, what was
    /// kept of lines, what queries made of them and their patterns, and nothing else decoded.
    #[must_use]
    pub fn undecoded(&self) -> Self {
        let pieces = self.pieces.read().unwrap_or_else(PoisonError::into_inner);
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let reduced = self.reduced.lock().unwrap_or_else(PoisonError::into_inner);
        let remembered = self.remembered.lock();
        let remembered = remembered.unwrap_or_else(PoisonError::into_inner);
        Self {
            coarse_times: self.coarse_times.clone(),
            ends: self.ends.clone(),
            found: Mutex::new(found.clone()),
            reduced: Mutex::new(reduced.clone()),
            remembered: Mutex::new(remembered.clone()),
            patterns: self.patterns.clone(),
            ..Self::new(Arc::clone(&self.meta), pieces.clone())
        }
    }

    /// Bytes that it holds besides what it says about itself.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let pieces = self.pieces.read().unwrap_or_else(PoisonError::into_inner);
        let pieces = pieces.iter().map(|piece| piece.bytes.len() + PIECE_BYTES);
        let frames = self.frames.iter().filter_map(OnceLock::get);
        let columns = self.columns.iter().filter_map(OnceLock::get);
        let coarse = self.coarse_times.get();
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let reduced = self.reduced.lock().unwrap_or_else(PoisonError::into_inner);
        let reduced = reduced
            .iter()
            .map(|(reduction, _, lines)| reduction.heap_bytes() + lines.heap_bytes());
        let remembered = self.remembered.lock();
        let remembered = remembered.unwrap_or_else(PoisonError::into_inner);
        size_of::<Self>()
            + pieces.sum::<usize>()
            + reduced.sum::<usize>()
            + remembered.heap_bytes()
            + self.patterns.get().map_or(0, |found| found.heap_bytes())
            + self.frames.len() * size_of::<OnceLock<bytes::Bytes>>()
            + frames.map(bytes::Bytes::len).sum::<usize>()
            + self.timestamps.get().map_or(0, |times| times.len() * 8)
            + coarse.map_or(0, |times| times.heap_bytes())
            + self.ends.get().map_or(0, |ends| ends.len() * 4)
            + self.lines.get().map_or(0, bytes::Bytes::len)
            + self.decoded.get().map_or(0, Decoded::heap_bytes)
            + found
                .iter()
                .map(|(_, rows)| rows.heap_bytes())
                .sum::<usize>()
            + columns
                .map(|(ids, table)| ids.len() * 4 + table.heap_bytes())
                .sum::<usize>()
    }
}

/// What a piece takes besides its bytes.
const PIECE_BYTES: usize = 64;

impl Piece {
    fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.bytes.len() as u64
    }

    fn holds(&self, range: &Range<u64>) -> bool {
        let own = self.range();
        own.start <= range.start && range.end <= own.end
    }
}
