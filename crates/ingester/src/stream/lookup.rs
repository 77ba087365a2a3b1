//! Finding a row that is older than the stream's newest.

use std::collections::HashSet;

use chunk::Projection;
use model::{Entries, EntryRef, row_hash};

use super::State;
use crate::block::BlockRun;
use crate::head::{self, rows_at};

/// Bytes that one push may decode of blocks. Rows of what is left out pass for new: queries and the
/// compactor find that they are copies.
const DECODED_BYTES_MAX: u64 = 32 << 20;

/// Looks rows of one push up in all that a stream has in memory. What it decodes of blocks is kept
/// for the next row of the push.
pub(super) struct Lookup {
    at_ns: Option<i64>,
    /// Hashes of the rows with that time.
    hashes: HashSet<u64, foldhash::fast::RandomState>,
    blocks: Vec<Decoded>,
    /// Bytes that may still be decoded.
    left_bytes: u64,
}

impl Default for Lookup {
    fn default() -> Self {
        Self {
            at_ns: None,
            hashes: HashSet::default(),
            blocks: Vec::new(),
            left_bytes: DECODED_BYTES_MAX,
        }
    }
}

/// A run of a block, as far as it was decoded.
#[derive(Default)]
struct Decoded {
    times: Option<Vec<i64>>,
    rows: Option<Entries>,
}

impl Lookup {
    /// Whether the stream has this row.
    pub(super) fn contains(&mut self, state: &State, row: EntryRef<'_>) -> bool {
        if self.at_ns != Some(row.timestamp_ns) {
            self.collect(state, row.timestamp_ns);
        }
        !self.hashes.is_empty() && self.hashes.contains(&row_hash(row.line, row.metadata))
    }

    /// The row was added to the stream after it was looked up.
    pub(super) fn added(&mut self, row: EntryRef<'_>) {
        if self.at_ns == Some(row.timestamp_ns) {
            self.hashes.insert(row_hash(row.line, row.metadata));
        }
    }

    /// Collects all rows of a time.
    fn collect(&mut self, state: &State, at_ns: i64) {
        self.at_ns = Some(at_ns);
        self.hashes.clear();
        for (_, run) in state.runs() {
            self.collect_from(run, at_ns);
        }
        for (number, run) in state.blocks().enumerate() {
            let covers = |meta: &chunk::RunMeta| (meta.min_ts_ns..=meta.max_ts_ns).contains(&at_ns);
            if !run.meta().is_some_and(covers) {
                continue;
            }
            if self.blocks.len() <= number {
                self.blocks.resize_with(number + 1, Decoded::default);
            }
            let Some(slot) = self.blocks.get_mut(number) else {
                continue;
            };
            let mut decoded = std::mem::take(slot);
            if let Some(rows) = decoded.rows_at(run, at_ns, &mut self.left_bytes) {
                self.collect_from(rows, at_ns);
            }
            if let Some(slot) = self.blocks.get_mut(number) {
                *slot = decoded;
            }
        }
    }

    fn collect_from(&mut self, rows: &Entries, at_ns: i64) {
        for row in rows_at(rows, at_ns).filter_map(|i| rows.get(i)) {
            self.hashes.insert(row_hash(row.line, row.metadata));
        }
    }
}

impl Decoded {
    /// All rows of the run if one of them has the time. The times alone are cheap, and mostly say
    /// that there is none.
    fn rows_at(&mut self, run: &BlockRun, at_ns: i64, left_bytes: &mut u64) -> Option<&Entries> {
        let mut decode = |columns: Projection| {
            let bytes = run.block.encoded.meta().decoded_bytes(run.run, columns);
            *left_bytes = left_bytes.checked_sub(bytes)?;
            run.block.encoded.open().rows(run.run, columns, None).ok()
        };
        if self.times.is_none() {
            self.times = Some(decode(Projection::TIMESTAMPS)?.timestamps_ns().to_vec());
        }
        self.times.as_ref()?.binary_search(&at_ns).ok()?;
        if self.rows.is_none() {
            self.rows = decode(Projection::ALL)?.to_entries();
        }
        self.rows.as_ref().filter(|rows| head::span(rows).is_some())
    }
}
