//! The first rows of many: keeps the `limit` rows that come first in a direction, each once.

use std::collections::{BTreeMap, HashSet};

use model::{BudgetError, Direction, Reservation};
use proto::role::LogRow;

/// Bytes that a row holds besides its line.
const ROW_OVERHEAD_BYTES: u64 = 160;

/// Identity of a row: stream, time, hash.
type RowKey = (u64, i64, u64);

/// Collects rows in any order.
#[derive(Debug)]
pub(crate) struct Top {
    limit: usize,
    direction: Direction,
    /// By rank: what comes first has the smallest; rows of the same time in the order of arrival.
    rows: BTreeMap<(i64, u64), (RowKey, LogRow)>,
    known: HashSet<RowKey>,
    arrivals: u64,
    duplicates: u64,
    memory: Reservation,
}

impl Top {
    /// Keeps at most `limit` rows.
    pub(crate) fn new(limit: usize, direction: Direction, memory: Reservation) -> Self {
        Self {
            limit,
            direction,
            rows: BTreeMap::new(),
            known: HashSet::new(),
            arrivals: 0,
            duplicates: 0,
            memory,
        }
    }

    fn rank(&self, timestamp_ns: i64) -> i64 {
        match self.direction {
            Direction::Forward => timestamp_ns,
            // `!` reverses the order and, unlike `-`, cannot overflow.
            Direction::Backward => !timestamp_ns,
        }
    }

    /// Whether a row of this time, or of one that comes later in the direction, would still be kept.
    pub(crate) fn wants(&self, timestamp_ns: i64) -> bool {
        self.rows.len() < self.limit
            || self
                .rows
                .last_key_value()
                .is_some_and(|((last, _), _)| self.rank(timestamp_ns) < *last)
    }

    /// Adds a row.
    ///
    /// # Errors
    /// If the query's memory is used up.
    pub(crate) fn push(&mut self, stream: u64, row: LogRow) -> Result<(), BudgetError> {
        if !self.wants(row.timestamp_ns) {
            return Ok(());
        }
        let key = (stream, row.timestamp_ns, row.row_hash);
        if !self.known.insert(key) {
            self.duplicates += 1;
            return Ok(());
        }
        self.memory.grow(row_bytes(&row))?;
        self.arrivals += 1;
        let rank = (self.rank(row.timestamp_ns), self.arrivals);
        self.rows.insert(rank, (key, row));
        if self.rows.len() > self.limit
            && let Some((_, (key, row))) = self.rows.pop_last()
        {
            self.known.remove(&key);
            self.memory.shrink(row_bytes(&row));
        }
        Ok(())
    }

    /// Copies that were left out.
    pub(crate) fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// The rows in order, and the memory that they hold.
    pub(crate) fn into_rows(self) -> (Vec<LogRow>, Reservation) {
        (
            self.rows.into_values().map(|(_, row)| row).collect(),
            self.memory,
        )
    }
}

/// What a row holds. Stages may make labels that are larger than lines; those of the stream are
/// shared by all its rows.
fn row_bytes(row: &LogRow) -> u64 {
    let labels = row.labels.metadata.text_len() + row.labels.parsed.text_len();
    (row.line.len() + labels) as u64 + ROW_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use model::Budget;

    use super::*;

    fn row(timestamp_ns: i64, row_hash: u64) -> LogRow {
        LogRow {
            timestamp_ns,
            line: Bytes::new(),
            labels: Arc::default(),
            row_hash,
        }
    }

    fn collect(direction: Direction, times: &[i64]) -> Vec<i64> {
        let mut top = Top::new(3, direction, Budget::new("memory", 10_000).reservation());
        for time in times {
            top.push(1, row(*time, 1)).unwrap();
        }
        top.into_rows()
            .0
            .iter()
            .map(|row| row.timestamp_ns)
            .collect()
    }

    #[test]
    fn labels_that_stages_made_count_as_memory() {
        let mut top = Top::new(
            10,
            Direction::Forward,
            Budget::new("memory", 10_000).reservation(),
        );
        let mut row = row(1, 1);
        row.labels = Arc::new(model::RowLabels {
            parsed: model::LabelSet::from_pairs([("a", "x".repeat(20_000))]),
            ..Default::default()
        });
        assert!(top.push(1, row).is_err());
    }

    #[test]
    fn the_first_rows_of_a_direction_are_kept() {
        assert_eq!(collect(Direction::Backward, &[1, 5, 3, 4, 2]), [5, 4, 3]);
        assert_eq!(collect(Direction::Forward, &[1, 5, 3, 4, 2]), [1, 2, 3]);
    }

    #[test]
    fn copies_count_once() {
        assert_eq!(collect(Direction::Backward, &[1, 1, 2, 2]), [2, 1]);
    }

    #[test]
    fn rows_that_come_too_late_are_not_wanted() {
        let memory = Budget::new("memory", 10_000).reservation();
        let mut top = Top::new(1, Direction::Backward, memory);
        assert!(top.wants(i64::MIN));
        top.push(1, row(5, 1)).unwrap();
        assert!(top.wants(6) && !top.wants(5));
    }

    #[test]
    fn memory_is_given_back() {
        let budget = Budget::new("memory", 2 * ROW_OVERHEAD_BYTES);
        let mut top = Top::new(1, Direction::Forward, budget.reservation());
        for time in (0..10).rev() {
            top.push(1, row(time, 1)).unwrap();
        }
        assert_eq!(budget.used_bytes(), ROW_OVERHEAD_BYTES);
    }
}
