//! Several literals at once.

use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;

use super::literal::Test;
use super::{Needle, plain};
use crate::RowSet;

/// Conditions on a line, all of which must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Those first that probably hold of few lines. Blocks that remember the search share them.
    conditions: Arc<Vec<Condition>>,
}

/// A line must contain one of the needles, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    negative: bool,
    any_of: Vec<Needle>,
}

impl Condition {
    /// Of how few lines it holds, roughly: long literals are rare.
    fn rank(&self) -> (bool, std::cmp::Reverse<usize>) {
        let shortest = self.any_of.iter().map(Needle::len).min();
        (self.negative, std::cmp::Reverse(shortest.unwrap_or(0)))
    }
}

impl Search {
    /// Adds a condition: one of the needles is in the line, or if `negative` none is.
    pub fn add(&mut self, any_of: Vec<Needle>, negative: bool) {
        let conditions = Arc::make_mut(&mut self.conditions);
        conditions.push(Condition { negative, any_of });
        conditions.sort_by_key(Condition::rank);
    }

    /// Whether there is no condition.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Needles of which one must be in a line, or if negative none.
    pub(super) fn conditions(&self) -> impl Iterator<Item = (&[Needle], bool)> {
        let conditions = self.conditions.iter();
        conditions.map(|condition| (condition.any_of.as_slice(), condition.negative))
    }

    /// Whether a line may meet all conditions, of which `has` says what is in its
    /// [outline](crate::outline).
    pub(crate) fn may_hold(&self, has: &dyn Fn(u32) -> bool) -> bool {
        let mut conditions = self.conditions();
        conditions
            .all(|(any_of, negative)| negative || any_of.iter().any(|needle| needle.may_be(has)))
    }

    /// Whether a line meets all conditions.
    #[must_use]
    pub fn holds(&self, line: &[u8]) -> bool {
        self.conditions.iter().all(|condition| {
            let mut any_of = condition.any_of.iter();
            any_of.any(|needle| Test::new(needle.anywhere()).holds(line)) != condition.negative
        })
    }

    /// Which lines meet all conditions: each ends in `lines` where `ends` says. Only those among
    /// `rows` are looked at, others are in the set or not.
    #[must_use]
    pub fn find_in(&self, lines: &[u8], ends: &[u32], rows: Range<usize>) -> RowSet {
        let find = |needle: &Needle| Ok(plain::find_lines(lines, ends, rows.clone(), needle));
        self.rows(ends.len(), find)
            .unwrap_or_else(|never: Infallible| match never {})
    }

    /// Of so many rows those that meet all conditions.
    pub(super) fn rows<E>(
        &self,
        count: usize,
        mut find: impl FnMut(&Needle) -> Result<RowSet, E>,
    ) -> Result<RowSet, E> {
        let mut rows = RowSet::all(count);
        for condition in self.conditions.iter() {
            let mut found = RowSet::none(count);
            for needle in &condition.any_of {
                found.union(&find(needle)?);
            }
            if condition.negative {
                found.complement();
            }
            rows.intersect(&found);
            if rows.is_empty() {
                break;
            }
        }
        Ok(rows)
    }
}
