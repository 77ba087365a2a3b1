//! How many replicas must have a row.

/// Replicas that must have stored a row before it is acknowledged: more than half.
#[must_use]
pub fn write_quorum(replication_factor: usize) -> usize {
    replication_factor / 2 + 1
}

/// Ingesters that may fail to answer a query without acknowledged rows going missing: one fewer
/// than have every row.
#[must_use]
pub fn failures_max(replication_factor: usize) -> usize {
    write_quorum(replication_factor) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_found_as_long_as_one_holder_answers() {
        for (factor, quorum, failures) in [(1, 1, 0), (2, 2, 1), (3, 2, 1)] {
            assert_eq!(
                (write_quorum(factor), failures_max(factor)),
                (quorum, failures)
            );
        }
    }
}
