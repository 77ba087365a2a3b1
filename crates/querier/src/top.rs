//! The first rows of many: keeps the `limit` rows that come first in a direction, each once.
//!
//! Rows of the same time are in a fixed order too, whoever gives his first: by stream, and of a
//! stream in the order in which they were pushed, backward in the opposite one.

use std::collections::{BTreeMap, HashMap};

use model::{BudgetError, Direction, Reservation};
use proto::role::LogRow;

/// Bytes that a row holds besides its line.
const ROW_OVERHEAD_BYTES: u64 = 224;

/// Identity of a row: stream, time, hash.
type RowKey = (u64, i64, u64);

/// What comes first in the direction has the smallest: time, stream, where it was found, and when.
type Rank = (i64, u64, bool, u64);

/// Where a row was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In the store.
    Stored,
    /// At an ingester: it was pushed after what the store has of the same time.
    Recent,
}

/// Collects rows in any order, but those of a stream, time and origin in theirs.
#[derive(Debug)]
pub(crate) struct Top {
    limit: usize,
    direction: Direction,
    rows: BTreeMap<Rank, (RowKey, LogRow)>,
    known: HashMap<RowKey, Rank>,
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
            known: HashMap::new(),
            arrivals: 0,
            duplicates: 0,
            memory,
        }
    }

    /// The rank of the next row.
    fn rank(&self, stream: u64, timestamp_ns: i64, origin: Origin) -> Rank {
        let is_recent = origin == Origin::Recent;
        match self.direction {
            Direction::Forward => (timestamp_ns, stream, is_recent, self.arrivals),
            // `!` reverses the order and, unlike `-`, cannot overflow.
            Direction::Backward => (!timestamp_ns, stream, !is_recent, self.arrivals),
        }
    }

    /// Whether a row, or one that comes later in the direction, would still be kept.
    pub(crate) fn wants(&self, stream: u64, timestamp_ns: i64, origin: Origin) -> bool {
        self.has_room_for(&self.rank(stream, timestamp_ns, origin))
    }

    fn has_room_for(&self, rank: &Rank) -> bool {
        let last = self.rows.last_key_value();
        self.rows.len() < self.limit || last.is_some_and(|(last, _)| rank < last)
    }

    /// Adds a row.
    ///
    /// # Errors
    /// If the query's memory is used up.
    pub(crate) fn push(
        &mut self,
        stream: u64,
        row: LogRow,
        origin: Origin,
    ) -> Result<(), BudgetError> {
        let rank = self.rank(stream, row.timestamp_ns, origin);
        if !self.has_room_for(&rank) {
            return Ok(());
        }
        let key = (stream, row.timestamp_ns, row.row_hash);
        self.arrivals += 1;
        if let Some(known) = self.known.get_mut(&key) {
            self.duplicates += 1;
            if rank < *known
                && let Some(row) = self.rows.remove(known)
            {
                *known = rank;
                self.rows.insert(rank, row);
            }
            return Ok(());
        }
        self.memory.grow(row_bytes(&row))?;
        self.known.insert(key, rank);
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
pub(crate) fn row_bytes(row: &LogRow) -> u64 {
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
            top.push(1, row(*time, 1), Origin::Stored).unwrap();
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
        assert!(top.push(1, row, Origin::Stored).is_err());
    }

    #[test]
    fn the_first_rows_of_a_direction_are_kept() {
        assert_eq!(collect(Direction::Backward, &[1, 5, 3, 4, 2]), [5, 4, 3]);
        assert_eq!(collect(Direction::Forward, &[1, 5, 3, 4, 2]), [1, 2, 3]);
    }

    #[test]
    fn rows_of_one_time_are_in_a_fixed_order() {
        // Streams, where their rows were found, and the rows as they were pushed.
        let found = [
            (2, Origin::Recent, [5, 6]),
            (1, Origin::Stored, [1, 2]),
            (2, Origin::Stored, [3, 4]),
        ];
        for (direction, expected) in [
            (Direction::Forward, [1, 2, 3, 4, 5]),
            (Direction::Backward, [2, 1, 6, 5, 4]),
        ] {
            for first in 0..found.len() {
                let budget = Budget::new("memory", 10_000);
                let mut top = Top::new(5, direction, budget.reservation());
                let turned = found[first..].iter().chain(&found[..first]);
                for (stream, origin, mut hashes) in turned.copied() {
                    if direction == Direction::Backward {
                        hashes.reverse();
                    }
                    for hash in hashes {
                        top.push(stream, row(7, hash), origin).unwrap();
                    }
                }
                let rows = top.into_rows().0;
                let hashes: Vec<u64> = rows.iter().map(|row| row.row_hash).collect();
                assert_eq!(hashes, expected);
            }
        }
    }

    #[test]
    fn copies_count_once() {
        assert_eq!(collect(Direction::Backward, &[1, 1, 2, 2]), [2, 1]);
    }

    #[test]
    fn rows_that_come_too_late_are_not_wanted() {
        let memory = Budget::new("memory", 10_000).reservation();
        let mut top = Top::new(1, Direction::Backward, memory);
        assert!(top.wants(2, i64::MIN, Origin::Stored));
        top.push(2, row(5, 1), Origin::Stored).unwrap();
        let wants = |stream, time_ns, origin| top.wants(stream, time_ns, origin);
        assert!(wants(3, 6, Origin::Stored) && !wants(1, 4, Origin::Recent));
        assert!(wants(1, 5, Origin::Stored) && !wants(2, 5, Origin::Stored));
        assert!(wants(2, 5, Origin::Recent) && !wants(3, 5, Origin::Recent));
    }

    #[test]
    fn memory_is_given_back() {
        let budget = Budget::new("memory", 2 * ROW_OVERHEAD_BYTES);
        let mut top = Top::new(1, Direction::Forward, budget.reservation());
        for time in (0..10).rev() {
            top.push(1, row(time, 1), Origin::Recent).unwrap();
        }
        assert_eq!(budget.used_bytes(), ROW_OVERHEAD_BYTES);
    }
}
