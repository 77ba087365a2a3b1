//! The points in time at which a query is evaluated.

use model::TimeRange;

use crate::syntax::ast::RangeAggregation;

/// The points `start, start + step, ...` up to `end`, or a single one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// First point in nanoseconds.
    pub start_ns: i64,
    /// No point lies behind.
    pub end_ns: i64,
    /// Distance in nanoseconds; 0 for an instant query.
    pub step_ns: i64,
}

impl Steps {
    /// One point, for an instant query.
    #[must_use]
    pub fn instant(time_ns: i64) -> Self {
        Self {
            start_ns: time_ns,
            end_ns: time_ns,
            step_ns: 0,
        }
    }

    /// The points of a range query: multiples of the step, from the one at or before `start_ns` to
    /// the one at or after `end_ns`, so that the same query some seconds later hits the same points.
    #[must_use]
    pub fn aligned(start_ns: i64, end_ns: i64, step_ns: i64) -> Self {
        let step_ns = step_ns.max(1);
        let over = end_ns.rem_euclid(step_ns);
        let up = if over == 0 { 0 } else { step_ns - over };
        Self {
            start_ns: start_ns.saturating_sub(start_ns.rem_euclid(step_ns)),
            end_ns: end_ns.saturating_add(up),
            step_ns,
        }
    }

    /// Whether it is a single point asked for as such.
    #[must_use]
    pub fn is_instant(&self) -> bool {
        self.step_ns == 0
    }

    /// How many points there are.
    #[must_use]
    #[allow(
        clippy::len_without_is_empty,
        reason = "a query without points is refused earlier"
    )]
    pub fn len(&self) -> usize {
        if self.end_ns < self.start_ns {
            return 0;
        }
        if self.step_ns <= 0 {
            return 1;
        }
        let span = i128::from(self.end_ns) - i128::from(self.start_ns);
        usize::try_from(span / i128::from(self.step_ns) + 1).unwrap_or(usize::MAX)
    }

    /// Point `i`.
    #[must_use]
    pub fn time_ns(&self, i: usize) -> i64 {
        let i = i64::try_from(i).unwrap_or(i64::MAX);
        self.start_ns.saturating_add(i.saturating_mul(self.step_ns))
    }

    /// All points.
    pub fn iter(&self) -> impl Iterator<Item = i64> + use<> {
        let steps = *self;
        (0..steps.len()).map(move |i| steps.time_ns(i))
    }

    /// Which point this time is; only for times that are points.
    pub(crate) fn index(&self, time_ns: i64) -> usize {
        if self.step_ns <= 0 {
            return 0;
        }
        let distance = time_ns.saturating_sub(self.start_ns) / self.step_ns;
        usize::try_from(distance).unwrap_or(0)
    }

    /// The time in which samples of an aggregation can lie.
    #[must_use]
    pub fn sample_range(&self, aggregation: &RangeAggregation) -> TimeRange {
        let shift = |time_ns: i64| {
            time_ns
                .saturating_sub(aggregation.offset_ns)
                .saturating_add(1)
        };
        TimeRange::new(
            shift(self.start_ns).saturating_sub(aggregation.range_ns),
            shift(self.end_ns),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_queries_hit_multiples_of_the_step() {
        let steps = Steps::aligned(601, 660, 60);
        assert_eq!(steps.iter().collect::<Vec<_>>(), [600, 660]);
        assert_eq!(
            Steps::aligned(600, 601, 60).iter().collect::<Vec<_>>(),
            [600, 660]
        );
        assert_eq!(
            Steps::aligned(-1, 1, 10).iter().collect::<Vec<_>>(),
            [-10, 0, 10]
        );
        assert_eq!((steps.index(660), Steps::instant(7).index(7)), (1, 0));
        assert_eq!(Steps::instant(7).len(), 1);
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        assert!(Steps::aligned(i64::MIN, i64::MAX, 1).len() > 1);
        assert_eq!(Steps::aligned(10, 0, 1).len(), 0);
    }
}
