//! Requests to delete lines.
//!
//! Unlike a partition's manifest they are few and about any range of days, so each is a file of its
//! own, `deletes/<tenant>/<ulid>.lgdr`, written once. When the compactor has taken the last row out
//! of the data it says so in a second file, `….done`. Both are created conditionally and never
//! changed. A request exists as long as its `.lgdr` does; cancelling it deletes both.

use model::TimeRange;
use serde::{Deserialize, Serialize};

/// A request to delete lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteRequest {
    /// Its id, printed as a ULID.
    #[serde(with = "crate::manifest::id")]
    pub id: u128,
    /// Which lines: a log query.
    pub query: String,
    /// From this time on, included.
    pub start_ns: i64,
    /// Up to this time, included.
    pub end_ns: i64,
    /// When it was asked for. Lines ingested later are deleted as well if they match, as long as it
    /// is in force.
    pub created_ns: i64,
    /// When the last of its rows was taken out of the data, if that is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processed_ns: Option<i64>,
}

impl DeleteRequest {
    /// The times of its lines.
    #[must_use]
    pub fn range(&self) -> TimeRange {
        TimeRange::new(self.start_ns, self.end_ns.saturating_add(1))
    }

    /// Whether queries leave its lines out, and compactions too: until `after_ns` have passed since
    /// it was carried out. Views of a partition may be older than that moment, and an ingester that
    /// was down may have lines that it has not stored yet.
    #[must_use]
    pub fn is_in_force(&self, now_ns: i64, after_ns: i64) -> bool {
        self.processed_ns
            .is_none_or(|at_ns| now_ns < at_ns.saturating_add(after_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_obeyed_for_a_while_after_it_was_carried_out() {
        let mut request = DeleteRequest {
            id: 1,
            query: "{a=\"b\"}".to_owned(),
            start_ns: 5,
            end_ns: 9,
            created_ns: 10,
            processed_ns: None,
        };
        assert!(request.range().contains(9) && !request.range().contains(10));
        assert!(request.is_in_force(i64::MAX, 7));
        request.processed_ns = Some(20);
        assert!(request.is_in_force(26, 7));
        assert!(!request.is_in_force(27, 7));
    }
}
