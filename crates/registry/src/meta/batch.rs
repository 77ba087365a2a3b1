//! Statements for many values at once. Each statement is a trip to the database, and while a change
//! makes its trips no other change is made.

use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe};

/// Values that one statement takes at most.
const VALUES_MAX: usize = 256;

/// Cuts values into batches for a statement each. The last value of a batch is repeated until there
/// are a power of two, so that the statements that the database keeps prepared are few; whoever
/// inserts has to bear with that.
pub(super) fn batches<T: Copy>(values: impl IntoIterator<Item = T>) -> Vec<Vec<T>> {
    let mut batches: Vec<Vec<T>> = Vec::new();
    for value in values {
        match batches.last_mut() {
            Some(batch) if batch.len() < VALUES_MAX => batch.push(value),
            _ => batches.push(vec![value]),
        }
    }
    for batch in &mut batches {
        if let Some(last) = batch.last().copied() {
            batch.resize(batch.len().next_power_of_two(), last);
        }
    }
    batches
}

/// Cuts rows of `width` values into pieces for a statement each, of a power of two each, for who cannot
/// bear a row that is repeated. No statement has many values: to bind one takes SQLite as long as there
/// are others.
pub(super) fn pieces<T>(mut rows: &[T], width: usize) -> Vec<&[T]> {
    let rows_max = 1 << (VALUES_MAX / width.max(1)).max(1).ilog2();
    let mut pieces = Vec::new();
    while let Some(log) = rows.len().checked_ilog2() {
        let (piece, rest) = rows.split_at(rows_max.min(1 << log));
        pieces.push(piece);
        rows = rest;
    }
    pieces
}

/// The statement `sql` with its first value and a batch of digests behind it.
pub(super) fn with_digests<'q>(
    sql: String,
    first: i64,
    digests: &[&'q str],
) -> Query<'q, Any, AnyArguments> {
    let query = sqlx::query(AssertSqlSafe(sql)).bind(first);
    digests
        .iter()
        .fold(query, |query, digest| query.bind(*digest))
}

/// The places of `count` times `width` values in a statement, where other values are before them:
/// `($3, $4), ($5, $6)`, as `VALUES` wants them and, where they are single, `IN` too.
pub(super) fn places(before: usize, count: usize, width: usize) -> String {
    let row = |at: usize| {
        let first = before + at * width + 1;
        let row: Vec<String> = (first..first + width).map(|at| format!("${at}")).collect();
        format!("({})", row.join(", "))
    };
    (0..count).map(row).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_have_few_sizes_and_all_values() {
        assert!(batches([0; 0]).is_empty());
        assert_eq!(batches([1, 2, 3]), [[1, 2, 3, 3]]);
        for count in [1, 2, 255, 256, 257, 4096, 5000] {
            let all = batches(0..count);
            assert!(all.iter().all(|batch| batch.len().is_power_of_two()));
            assert!(all.iter().all(|batch| batch.len() <= VALUES_MAX));
            let mut values = all.concat();
            values.dedup();
            assert_eq!(values, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn pieces_have_few_sizes_and_each_row_once() {
        assert!(pieces(&[0; 0], 1).is_empty());
        assert_eq!(pieces(&[1, 2, 3], 1), [&[1, 2][..], &[3]]);
        for (count, width, largest) in [(5000, 1, 256), (5000, 9, 16), (3, 9, 2), (2, 300, 1)] {
            let values: Vec<usize> = (0..count).collect();
            let all = pieces(&values, width);
            assert!(all.iter().all(|piece| piece.len().is_power_of_two()));
            assert_eq!(all.iter().map(|piece| piece.len()).max(), Some(largest));
            assert_eq!(all.concat(), values);
        }
    }

    #[test]
    fn places_are_numbered_behind_others() {
        assert_eq!(places(0, 1, 1), "($1)");
        assert_eq!(places(1, 3, 1), "($2), ($3), ($4)");
        assert_eq!(places(2, 2, 2), "($3, $4), ($5, $6)");
    }
}
