//! Whether what is written is what was there.

use model::{EntryRef, row_hash};

/// Rows of a stream by time and hash, in any order and without copies.
#[derive(Debug, Default)]
pub(crate) struct RowSet(Vec<(i64, u64)>);

impl RowSet {
    /// Room for some rows.
    pub(crate) fn with_capacity(rows: usize) -> Self {
        Self(Vec::with_capacity(rows))
    }

    /// Memory for so many rows.
    pub(crate) fn bytes(rows: usize) -> u64 {
        (rows as u64).saturating_mul(size_of::<(i64, u64)>() as u64)
    }

    pub(crate) fn add(&mut self, row: EntryRef<'_>) {
        let hash = row_hash(row.line, row.metadata);
        self.0.push((row.timestamp_ns, hash));
    }

    /// Whether both have the same rows, however often each.
    pub(crate) fn equals(mut self, mut other: Self) -> bool {
        for rows in [&mut self.0, &mut other.0] {
            // Runs of ascending times, which this finds.
            rows.sort();
            rows.dedup();
        }
        self.0 == other.0
    }
}

#[cfg(test)]
mod tests {
    use model::LabelSet;

    use super::*;

    #[test]
    fn order_and_copies_do_not_matter_all_else_does() {
        let metadata = LabelSet::default();
        let set = |rows: &[(i64, &str)]| {
            let mut set = RowSet::default();
            for (timestamp_ns, line) in rows {
                set.add(EntryRef {
                    timestamp_ns: *timestamp_ns,
                    line: line.as_bytes(),
                    metadata: &metadata,
                });
            }
            set
        };
        let is_same = |a: &[(i64, &str)], b: &[(i64, &str)]| set(a).equals(set(b));
        assert!(is_same(
            &[(1, "a"), (1, "b"), (1, "a")],
            &[(1, "b"), (1, "a")]
        ));
        assert!(!is_same(&[(1, "a")], &[(2, "a")]));
        assert!(!is_same(&[(1, "a")], &[(1, "b")]));
        assert!(!is_same(&[(1, "a")], &[]));
    }
}
