//! Lines of several tenants together, and lines that are far from each other.

use std::cmp::Reverse;

use bytes::Bytes;
use logql::syntax::ast::LogExpr;
use model::{BudgetError, CodedError, Direction, Reservation, TenantId, TimeRange};
use proto::role::LogRow;

use crate::logs::{self, Wanted};
use crate::query::Context;
use crate::tenancy;
use crate::top::row_bytes;

/// Lines that are taken at once, and then looked at for such that are far from each other, if not
/// more are wanted.
const SLICE_LINES: usize = 256;

/// The first lines of all tenants in order.
///
/// # Errors
/// If the query is wrong, memory is short, or data cannot be read.
pub(crate) async fn first(
    context: &Context,
    tenants: &[TenantId],
    log: &LogExpr,
    wanted: Wanted,
) -> Result<Vec<LogRow>, CodedError> {
    let (rows, memory) = merged(context, tenants, log, wanted).await?;
    memory.into_iter().for_each(|memory| context.hold(memory));
    Ok(rows)
}

/// The first lines in order of which each is as far from the one before as an interval says; 0 is
/// none. Memory holds about twice as many as are wanted, not all of the range.
///
/// # Errors
/// As [`first`].
pub(crate) async fn apart(
    context: &Context,
    tenants: &[TenantId],
    log: &LogExpr,
    wanted: Wanted,
    interval_ns: i64,
) -> Result<Vec<LogRow>, CodedError> {
    if interval_ns == 0 {
        return first(context, tenants, log, wanted).await;
    }
    let distance = Distance {
        interval_ns,
        part_ns: context.limits.split_queries_by_interval.0,
    };
    let mut apart = Apart {
        distance,
        limit: wanted.limit,
        rows: Vec::new(),
        memory: context.memory.reservation(),
    };
    let mut left = wanted.range;
    loop {
        let slice = Wanted {
            range: left,
            limit: wanted.limit.max(SLICE_LINES),
            ..wanted
        };
        let (rows, _memory) = merged(context, tenants, log, slice).await?;
        let (count, last) = (rows.len(), rows.last().map(|row| row.timestamp_ns));
        apart
            .add(rows)
            .map_err(|error| context.over_budget(&error))?;
        left = match last {
            Some(last_ns) if count >= slice.limit => apart.after(last_ns, left, wanted.direction),
            _ => break,
        };
        if left.is_empty() || apart.rows.len() >= wanted.limit {
            break;
        }
    }
    context.hold(apart.memory);
    Ok(apart.rows)
}

/// The first lines of all tenants in order, and the memory that they hold.
async fn merged(
    context: &Context,
    tenants: &[TenantId],
    log: &LogExpr,
    wanted: Wanted,
) -> Result<(Vec<LogRow>, Vec<Reservation>), CodedError> {
    let parts = tenancy::log_shares(log, tenants)?;
    let is_one = parts.len() == 1;
    let (mut rows, mut held) = (Vec::new(), Vec::new());
    for (share, log) in parts {
        let context = context.of(&share.tenant);
        let (lines, memory) = logs::select(&context, &log, wanted).await?;
        rows.extend(share.rows(lines));
        held.push(memory);
    }
    if !is_one {
        // Stable, so that rows of one time stay in the order of their tenants.
        match wanted.direction {
            Direction::Forward => rows.sort_by_key(|row| row.timestamp_ns),
            Direction::Backward => rows.sort_by_key(|row| Reverse(row.timestamp_ns)),
        }
    }
    rows.truncate(wanted.limit);
    Ok((rows, held))
}

/// How far from the one before a line has to be. As Loki asks part by part, a line that is the first
/// of its part of the time is far from any other; parts are `part_ns` long (0: there is one), counted
/// from the epoch on.
#[derive(Clone, Copy)]
struct Distance {
    interval_ns: i64,
    part_ns: i64,
}

impl Distance {
    fn part(&self, at_ns: i64) -> i64 {
        at_ns.div_euclid(self.part_ns.max(1))
    }

    /// Whether a line is far from another.
    fn is_far(&self, at_ns: i64, last_ns: i64) -> bool {
        at_ns.abs_diff(last_ns) >= self.interval_ns.unsigned_abs()
            || self.part_ns > 0 && self.part(at_ns) != self.part(last_ns)
    }

    /// The first time after that of a line which is far from it, in a direction.
    fn next(&self, last_ns: i64, direction: Direction) -> i64 {
        let part = self.part(last_ns);
        match direction {
            Direction::Forward => {
                let far = last_ns.saturating_add(self.interval_ns);
                match self.part_ns > 0 {
                    true => far.min(part.saturating_add(1).saturating_mul(self.part_ns)),
                    false => far,
                }
            }
            Direction::Backward => {
                let far = last_ns.saturating_sub(self.interval_ns);
                match self.part_ns > 0 {
                    true => far.max(part.saturating_mul(self.part_ns).saturating_sub(1)),
                    false => far,
                }
            }
        }
    }
}

/// Lines that are far from each other.
struct Apart {
    distance: Distance,
    limit: usize,
    rows: Vec<LogRow>,
    memory: Reservation,
}

impl Apart {
    /// Takes those of the next lines that are wanted.
    fn add(&mut self, rows: Vec<LogRow>) -> Result<(), BudgetError> {
        for mut row in rows {
            let last = self.rows.last();
            let is_far =
                last.is_none_or(|last| self.distance.is_far(row.timestamp_ns, last.timestamp_ns));
            if !is_far || self.rows.len() >= self.limit {
                continue;
            }
            self.memory.grow(row_bytes(&row))?;
            // What it is a part of is not kept.
            row.line = Bytes::copy_from_slice(&row.line);
            self.rows.push(row);
        }
        Ok(())
    }

    /// Where the next line is if all until `last_ns` were looked at: of this time, too, no more are
    /// wanted.
    fn after(&self, last_ns: i64, range: TimeRange, direction: Direction) -> TimeRange {
        let next = self.rows.last().map_or(last_ns, |last| {
            self.distance.next(last.timestamp_ns, direction)
        });
        match direction {
            Direction::Forward => TimeRange {
                start_ns: next.max(last_ns.saturating_add(1)),
                ..range
            },
            Direction::Backward => TimeRange {
                end_ns: next.saturating_add(1).min(last_ns),
                ..range
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::Budget;
    use proptest::prelude::*;

    use super::*;

    fn rows(times: &[i64]) -> Vec<LogRow> {
        let row = |at: &i64| LogRow {
            timestamp_ns: *at,
            line: Bytes::new(),
            labels: Arc::default(),
            row_hash: 0,
        };
        times.iter().map(row).collect()
    }

    fn apart(interval_ns: i64, part_ns: i64, limit: usize) -> Apart {
        Apart {
            distance: Distance {
                interval_ns,
                part_ns,
            },
            limit,
            rows: Vec::new(),
            memory: Budget::new("test", u64::MAX).reservation(),
        }
    }

    fn times(apart: &Apart) -> Vec<i64> {
        apart.rows.iter().map(|row| row.timestamp_ns).collect()
    }

    #[test]
    fn lines_are_far_from_the_one_before_and_from_all_of_another_part() {
        let kept = |interval_ns, part_ns, limit| {
            let mut apart = apart(interval_ns, part_ns, limit);
            apart.add(rows(&[52, 51, 49, 44, 41, 30])).unwrap();
            times(&apart)
        };
        assert_eq!(kept(5, 0, 9), [52, 44, 30]);
        assert_eq!(kept(5, 50, 9), [52, 49, 44, 30]);
        assert_eq!(kept(5, 50, 2), [52, 49]);
    }

    proptest! {
        /// Lines taken in slices are those taken at once.
        #[test]
        fn nothing_that_is_wanted_is_passed_over(
            mut all in prop::collection::vec(-60i64..60, 0..60), interval in 1i64..30,
            part in 0i64..40, limit in 1usize..20, slice in 1usize..8, forward in any::<bool>(),
        ) {
            all.sort_unstable();
            let direction = if forward { Direction::Forward } else { Direction::Backward };
            if !forward {
                all.reverse();
            }
            let mut expected = apart(interval, part, limit);
            expected.add(rows(&all)).unwrap();
            let mut found = apart(interval, part, limit);
            let mut left = TimeRange::new(-60, 60);
            while !left.is_empty() && found.rows.len() < limit {
                let inside = all.iter().copied().filter(|at| left.contains(*at));
                let taken: Vec<i64> = inside.take(slice).collect();
                found.add(rows(&taken)).unwrap();
                let Some(last) = taken.last() else { break };
                left = found.after(*last, left, direction);
            }
            prop_assert_eq!(times(&found), times(&expected));
        }
    }
}
