//! The first rows of a direction, of many streams. Of rows of the same time those of the stream with
//! the smaller fingerprint come first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use model::{Budget, BudgetError, Direction, Reservation};
use proto::role::{LogRow, LogRows};

/// What a row costs besides its line.
const ROW_BYTES: u64 = 96;

/// What a row costs. Stages may make labels that are larger than lines; those of the stream are
/// shared by all its rows.
pub(super) fn row_bytes(row: &LogRow) -> u64 {
    let labels = row.labels.metadata.text_len() + row.labels.parsed.text_len();
    (row.line.len() + labels) as u64 + ROW_BYTES
}

/// A row in the heap; the greatest is the one to give up first.
struct Entry {
    /// Smaller is wanted more.
    key: i64,
    stream: u64,
    order: usize,
    row: LogRow,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |entry: &Self| (entry.key, entry.stream, entry.order);
        rank(self).cmp(&rank(other))
    }
}

/// The first `limit` rows.
pub(super) struct Top {
    limit: usize,
    direction: Direction,
    heap: BinaryHeap<Entry>,
    pushed: usize,
    memory: Reservation,
}

impl Top {
    /// No rows yet.
    pub(super) fn new(limit: usize, direction: Direction, budget: &std::sync::Arc<Budget>) -> Self {
        let memory = budget.reservation();
        Self {
            limit,
            direction,
            heap: BinaryHeap::new(),
            pushed: 0,
            memory,
        }
    }

    fn key(&self, timestamp_ns: i64) -> i64 {
        match self.direction {
            Direction::Forward => timestamp_ns,
            // Unlike a negation it has no overflow.
            Direction::Backward => !timestamp_ns,
        }
    }

    /// Whether a row is among the first so far. Of rows of the same stream and time those that came
    /// first are.
    pub(super) fn wants(&self, stream: u64, timestamp_ns: i64) -> bool {
        let rank = (self.key(timestamp_ns), stream);
        let last = self.heap.peek();
        self.heap.len() < self.limit || last.is_some_and(|last| rank < (last.key, last.stream))
    }

    /// Adds a row that is wanted.
    pub(super) fn push(&mut self, stream: u64, row: LogRow) -> Result<(), BudgetError> {
        self.memory.grow(row_bytes(&row))?;
        let key = self.key(row.timestamp_ns);
        self.heap.push(Entry {
            key,
            stream,
            order: self.pushed,
            row,
        });
        self.pushed += 1;
        if self.heap.len() > self.limit
            && let Some(last) = self.heap.pop()
        {
            self.memory.shrink(row_bytes(&last.row));
        }
        Ok(())
    }

    /// The rows by stream, each in the direction.
    pub(super) fn into_rows(self) -> Vec<LogRows> {
        let mut entries = self.heap.into_vec();
        // Within a stream the scan has given rows in order.
        entries.sort_unstable_by_key(|entry| (entry.stream, entry.order));
        let mut streams: Vec<LogRows> = Vec::new();
        for entry in entries {
            match streams.last_mut() {
                Some(last) if last.stream_fingerprint == entry.stream => last.rows.push(entry.row),
                _ => streams.push(LogRows {
                    stream_fingerprint: entry.stream,
                    rows: vec![entry.row],
                }),
            }
        }
        streams
    }
}
