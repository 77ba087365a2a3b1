//! Time, as who drives a reader gives it.

use std::time::Duration;

/// A moment by two clocks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Now {
    /// By a clock that only goes forward, since some beginning.
    pub(crate) mono: Duration,
    /// Nanoseconds since 1970.
    pub(crate) wall_ns: i64,
}

/// Times for lines that have none of their own: each later than the one before, since equal lines
/// at equal times would count as one, and lines that go back in time as out of order.
#[derive(Debug, Default)]
pub(crate) struct Stamps(i64);

impl Stamps {
    pub(crate) fn next(&mut self, wall_ns: i64) -> i64 {
        self.0 = wall_ns.max(self.0.saturating_add(1));
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_only_go_forward() {
        let mut stamps = Stamps::default();
        let times: Vec<i64> = [5, 5, 3, 9].map(|now| stamps.next(now)).into();
        assert_eq!(times, [5, 6, 7, 9]);
    }
}
