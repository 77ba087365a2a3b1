//! A time range in parts.

use std::ops::Range;

use crate::TimeRange;

/// A time range in parts that are numbered from 0. All but the first begin at multiples of the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// All parts together.
    pub range: TimeRange,
    /// How long a part is, in nanoseconds; if not positive there is one part.
    pub step_ns: i64,
}

impl Parts {
    /// All of a range in one part.
    #[must_use]
    pub fn whole(range: TimeRange) -> Self {
        Self { range, step_ns: 0 }
    }

    /// Which part a time of the range lies in.
    #[must_use]
    pub fn number_of(&self, timestamp_ns: i64) -> u32 {
        if self.step_ns <= 0 {
            return 0;
        }
        let step = |time_ns: i64| time_ns.div_euclid(self.step_ns);
        let number = step(timestamp_ns).saturating_sub(step(self.range.start_ns));
        u32::try_from(number.max(0)).unwrap_or(u32::MAX)
    }

    /// The part of a number, empty if there is none.
    #[must_use]
    pub fn part(&self, number: u32) -> TimeRange {
        if self.step_ns <= 0 {
            return self.range;
        }
        let first_ns = self.range.start_ns.div_euclid(self.step_ns);
        let first_ns = first_ns.saturating_mul(self.step_ns);
        let begin_ns = first_ns.saturating_add(self.step_ns.saturating_mul(i64::from(number)));
        let part = TimeRange::new(begin_ns, begin_ns.saturating_add(self.step_ns));
        part.intersect(&self.range)
    }

    /// The numbers of the parts that rows whose times span `min_ns..=max_ns` may lie in.
    #[must_use]
    pub fn overlapping(&self, min_ns: i64, max_ns: i64) -> Range<u32> {
        if !self.range.overlaps(min_ns, max_ns) || self.range.is_empty() {
            return 0..0;
        }
        let last_ns = max_ns.min(self.range.end_ns - 1);
        let end = self.number_of(last_ns).saturating_add(1);
        self.number_of(min_ns.max(self.range.start_ns))..end
    }

    /// Of times in order, which lie in which part; parts that have some.
    pub fn split<'a>(
        &'a self,
        times_ns: &'a [i64],
    ) -> impl Iterator<Item = (u32, Range<usize>)> + 'a {
        let mut at = times_ns.partition_point(|time_ns| *time_ns < self.range.start_ns);
        std::iter::from_fn(move || {
            let rest = times_ns.get(at..)?;
            let first_ns = *rest.first().filter(|first| **first < self.range.end_ns)?;
            let number = self.number_of(first_ns);
            let end_ns = self.part(number).end_ns;
            let start = at;
            at += rest.partition_point(|time_ns| *time_ns < end_ns).max(1);
            Some((number, start..at))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Parts {
        Parts {
            range: TimeRange::new(-5, 25),
            step_ns: 10,
        }
    }

    #[test]
    fn parts_begin_at_multiples_of_the_step() {
        let bounds: Vec<_> = (0..5)
            .map(|number| parts().part(number))
            .filter(|part| !part.is_empty())
            .map(|part| (part.start_ns, part.end_ns))
            .collect();
        assert_eq!(bounds, [(-5, 0), (0, 10), (10, 20), (20, 25)]);
        for time_ns in -5..25 {
            let part = parts().part(parts().number_of(time_ns));
            assert!(part.contains(time_ns), "{time_ns}");
        }
        let whole = Parts::whole(parts().range);
        assert_eq!((whole.part(0), whole.number_of(7)), (whole.range, 0));
    }

    #[test]
    fn times_are_told_by_the_part_they_lie_in() {
        let times = [-9, -5, -1, 0, 0, 21, 24, 25];
        let found: Vec<_> = parts().split(&times).collect();
        assert_eq!(found, [(0, 1..3), (1, 3..5), (3, 5..7)]);
        assert_eq!(parts().split(&[]).count(), 0);
        assert_eq!(Parts::whole(parts().range).split(&times).count(), 1);
    }

    #[test]
    fn spans_lie_in_the_parts_that_they_touch() {
        assert_eq!(parts().overlapping(-100, 100), 0..4);
        assert_eq!(parts().overlapping(3, 10), 1..3);
        assert_eq!(parts().overlapping(25, 30), 0..0);
        let all = Parts {
            range: TimeRange::new(i64::MIN, i64::MAX),
            step_ns: 1,
        };
        assert_eq!(all.overlapping(0, 5), u32::MAX..u32::MAX);
    }
}
