//! The body that rows came in, and which of its bytes their lines are.

use std::ops::Range;

use bytes::Bytes;
use proto::role::Received;

/// A body of snappy that is being read.
#[derive(Debug)]
pub(crate) struct Origin {
    snappy: Bytes,
    /// Where the decompressed body lies in memory.
    addresses: Range<usize>,
}

impl Origin {
    /// `raw` is `snappy` decompressed, and outlives the reading.
    pub(crate) fn new(snappy: Bytes, raw: &[u8]) -> Self {
        let start = raw.as_ptr().addr();
        Self {
            snappy,
            addresses: start..start + raw.len(),
        }
    }

    /// Where in the decompressed body a line begins, if it is a part of it: one that was cut is not.
    pub(super) fn start_of(&self, line: &[u8]) -> Option<u32> {
        if line.is_empty() {
            return Some(0);
        }
        let start = line.as_ptr().addr().checked_sub(self.addresses.start)?;
        let is_inside = start.checked_add(line.len())? <= self.addresses.len();
        u32::try_from(start).ok().filter(|_| is_inside)
    }

    /// The body with the places of the lines that were taken of it.
    pub(super) fn received(self, line_starts: Vec<Vec<u32>>) -> Received {
        Received {
            snappy: self.snappy,
            raw_len: self.addresses.len(),
            line_starts,
        }
    }
}
