//! Whether what is written is what was there.
//!
//! A row is hashed when it has been decoded from where it lay, and again when it has been decoded
//! from what was written. In between it is only moved: whatever happens to it on the way, the sums
//! of both differ.

use std::ops::{AddAssign, Range};

use model::Entries;

/// Rows of a stream, whatever their order: how many they are, and a sum of what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) rows: u64,
    sum: u64,
}

impl Digest {
    /// Of some rows.
    pub(crate) fn of(rows: &Entries) -> Self {
        Self::new(rows.timestamps_ns(), &rows.row_hashes())
    }

    fn new(times_ns: &[i64], hashes: &[u64]) -> Self {
        let of_row = times_ns.iter().zip(hashes);
        let sum = of_row.fold(0u64, |sum, (time_ns, hash)| {
            sum.wrapping_add(mixed(*time_ns, *hash))
        });
        Self {
            rows: times_ns.len() as u64,
            sum,
        }
    }
}

impl AddAssign for Digest {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// Time and hash of a row as one number: both halves of their product, in which neither can be told
/// from the other's place.
fn mixed(time_ns: i64, hash: u64) -> u64 {
    const OF_TIME: u64 = 0x2d35_8dcc_aa6c_78a5;
    const OF_HASH: u64 = 0x8bb8_4b93_962e_acc9;
    let (time, hash) = (time_ns as u64 ^ OF_TIME, hash ^ OF_HASH);
    let product = u128::from(time) * u128::from(hash);
    (product as u64) ^ ((product >> 64) as u64) ^ hash.rotate_left(32)
}

/// Rows, each with the hash of its line and metadata.
#[derive(Debug, Default)]
pub(crate) struct HashedRows {
    rows: Entries,
    hashes: Vec<u64>,
}

impl HashedRows {
    pub(crate) fn new(rows: Entries) -> Self {
        Self {
            hashes: rows.row_hashes(),
            rows,
        }
    }

    pub(crate) fn rows(&self) -> &Entries {
        &self.rows
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn times_ns(&self) -> &[i64] {
        self.rows.timestamps_ns()
    }

    pub(crate) fn heap_bytes(&self) -> u64 {
        (self.rows.heap_bytes() + self.hashes.capacity() * size_of::<u64>()) as u64
    }

    /// Those of some rows; none if some are not there.
    pub(crate) fn hashes(&self, range: Range<usize>) -> &[u64] {
        self.hashes.get(range).unwrap_or_default()
    }

    /// What some rows are.
    pub(crate) fn digest(&self, range: Range<usize>) -> Digest {
        let times = self.times_ns().get(range.clone()).unwrap_or_default();
        Digest::new(times, self.hashes(range))
    }
}

#[cfg(test)]
mod tests {
    use model::LabelSet;

    use super::*;

    fn rows(rows: &[(i64, &str, &str)]) -> Entries {
        let mut entries = Entries::default();
        for (time_ns, line, level) in rows {
            let metadata = LabelSet::from_pairs([("level", *level)]);
            assert!(entries.push(*time_ns, line.as_bytes(), &metadata));
        }
        entries
    }

    #[test]
    fn order_does_not_matter_all_else_does() {
        let digest = |of: &[(i64, &str, &str)]| Digest::of(&rows(of));
        let (a, b) = ((1, "a", "info"), (2, "b", "warn"));
        assert_eq!(digest(&[a, b]), digest(&[b, a]));
        for other in [
            &[a][..],
            &[a, b, b],
            &[a, a],
            &[a, (2, "B", "warn")],
            &[a, (3, "b", "warn")],
            &[a, (2, "b", "info")],
            &[(2, "a", "info"), (1, "b", "warn")],
            &[(1, "b", "info"), (2, "a", "warn")],
            &[(1, "ab", "info"), (2, "", "warn")],
        ] {
            assert_ne!(digest(&[a, b]), digest(other), "{other:?}");
        }
    }

    #[test]
    fn parts_add_up() {
        let all = HashedRows::new(rows(&[(1, "a", "x"), (2, "b", "x"), (2, "b", "x")]));
        let mut sum = all.digest(0..1);
        sum += all.digest(1..3);
        assert_eq!(sum, Digest::of(&all.rows));
        assert_eq!(all.digest(2..4), Digest::default());
    }
}
