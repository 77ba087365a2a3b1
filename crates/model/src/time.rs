//! Time ranges and directions.

/// Half open: from `start_ns`, included, to `end_ns`, excluded, in nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// First nanosecond inside.
    pub start_ns: i64,
    /// First nanosecond after.
    pub end_ns: i64,
}

impl TimeRange {
    /// A day, the size of an index partition, in nanoseconds.
    pub const DAY_NS: i64 = 86_400_000_000_000;

    /// `[start, end)`.
    #[must_use]
    pub fn new(start_ns: i64, end_ns: i64) -> Self {
        Self { start_ns, end_ns }
    }

    /// Whether nothing is inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start_ns >= self.end_ns
    }

    /// Whether the time is inside.
    #[must_use]
    pub fn contains(&self, timestamp_ns: i64) -> bool {
        self.start_ns <= timestamp_ns && timestamp_ns < self.end_ns
    }

    /// Whether rows whose times span `min_ns..=max_ns` may have one inside.
    #[must_use]
    pub fn overlaps(&self, min_ns: i64, max_ns: i64) -> bool {
        min_ns < self.end_ns && self.start_ns <= max_ns
    }

    /// Whether all rows whose times span `min_ns..=max_ns` are inside.
    #[must_use]
    pub fn covers(&self, min_ns: i64, max_ns: i64) -> bool {
        self.start_ns <= min_ns && max_ns < self.end_ns
    }

    /// How long it is, in nanoseconds; 0 if empty.
    #[must_use]
    pub fn len_ns(&self) -> i64 {
        self.end_ns.saturating_sub(self.start_ns).max(0)
    }

    /// What both ranges have.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        Self {
            start_ns: self.start_ns.max(other.start_ns),
            end_ns: self.end_ns.min(other.end_ns),
        }
    }

    /// The UTC days touched, as days since the Unix epoch; none if empty.
    #[must_use]
    pub fn days(&self) -> std::ops::RangeInclusive<i64> {
        if self.is_empty() {
            #[allow(clippy::reversed_empty_ranges, reason = "an empty range of days")]
            return 1..=0;
        }
        Self::day_of(self.start_ns)..=Self::day_of(self.end_ns - 1)
    }

    /// The UTC day of a time, as days since the Unix epoch.
    #[must_use]
    pub fn day_of(timestamp_ns: i64) -> i64 {
        timestamp_ns.div_euclid(Self::DAY_NS)
    }
}

/// In which order log lines are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Oldest first.
    Forward,
    /// Newest first.
    #[default]
    Backward,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_touched_exclude_the_end() {
        let day = TimeRange::DAY_NS;
        assert_eq!(TimeRange::new(0, day).days().collect::<Vec<_>>(), [0]);
        assert_eq!(
            TimeRange::new(-1, day + 1).days().collect::<Vec<_>>(),
            [-1, 0, 1]
        );
        assert_eq!(TimeRange::new(5, 5).days().count(), 0);
    }
}
