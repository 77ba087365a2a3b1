//! Cells: the pieces of time between the borders of all windows.
//!
//! Windows end at `start + i * step` and begin `range` earlier. With `range = q * step + g`, each
//! step between two ends is cut at most once more, `g` before its end. Two numbers per step (`2 * j`
//! for the part before the cut, `2 * j + 1` for the part behind it) name all cells, and a window is
//! a run of them. Times here are relative: offset added, start taken off.

use super::Steps;

/// Names cells and says which of them make up a window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cells {
    /// What to add to a sample's time.
    shift_ns: i64,
    step_ns: i64,
    /// `range / step`
    whole: i64,
    /// `range % step`
    rest_ns: i64,
    range_ns: i64,
    windows: i64,
}

/// A cell and its borders in the times of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) number: i64,
    /// Not inside any more.
    pub(crate) after_ns: i64,
    /// The last nanosecond inside.
    pub(crate) last_ns: i64,
}

impl Cells {
    pub(crate) fn new(steps: Steps, range_ns: i64, offset_ns: i64) -> Self {
        let range_ns = range_ns.max(0);
        // An instant query has one window: a step as long as it.
        let step_ns = if steps.step_ns > 0 {
            steps.step_ns
        } else {
            range_ns.max(1)
        };
        Self {
            shift_ns: offset_ns.saturating_sub(steps.start_ns),
            step_ns,
            whole: range_ns / step_ns,
            rest_ns: range_ns % step_ns,
            range_ns,
            windows: i64::try_from(steps.len()).unwrap_or(i64::MAX),
        }
    }

    /// A time between the beginning of the first window and the end of the last.
    fn inside(&self, time_ns: i64) -> Option<i64> {
        let at = time_ns.checked_add(self.shift_ns)?;
        let end = (self.windows - 1).checked_mul(self.step_ns)?;
        (at > -self.range_ns && at <= end).then_some(at)
    }

    /// Whether a time lies between the beginning of the first window and the end of the last.
    pub(crate) fn covers(&self, time_ns: i64) -> bool {
        self.inside(time_ns).is_some()
    }

    /// Distance of the ends of windows, and the first end, in times of samples, that would not be
    /// negative if windows went on for ever.
    pub(crate) fn grid(&self) -> (i64, i64) {
        let end = self.shift_ns.rem_euclid(self.step_ns);
        (self.step_ns, (self.step_ns - end) % self.step_ns)
    }

    /// The number of the first cell of the step that a time is in.
    pub(crate) fn first_of_step(&self, time_ns: i64) -> i64 {
        let at = time_ns.saturating_add(self.shift_ns);
        let step = at.saturating_sub(1).div_euclid(self.step_ns);
        step.saturating_mul(2)
    }

    /// The cell of a sample, unless it is in no window.
    pub(crate) fn of(&self, time_ns: i64) -> Option<Cell> {
        let at = self.inside(time_ns)?;
        let step = (at - 1).div_euclid(self.step_ns);
        let (begin, cut) = (
            step.saturating_mul(self.step_ns),
            self.step_ns - self.rest_ns,
        );
        let behind_cut = self.rest_ns > 0 && at.saturating_sub(begin) > cut;
        if self.whole == 0 && !behind_cut {
            return None;
        }
        let (after, last) = match (behind_cut, self.rest_ns > 0) {
            (true, _) => (cut, self.step_ns),
            (false, true) => (0, cut),
            (false, false) => (0, self.step_ns),
        };
        let border = |inside: i64| begin.saturating_add(inside).saturating_sub(self.shift_ns);
        Some(Cell {
            number: step.saturating_mul(2).saturating_add(i64::from(behind_cut)),
            after_ns: border(after),
            last_ns: border(last),
        })
    }

    /// The last time that is in the same windows as this one and all between them.
    pub(crate) fn same_until(&self, time_ns: i64) -> i64 {
        if let Some(cell) = self.of(time_ns) {
            return cell.last_ns;
        }
        let at = time_ns.saturating_add(self.shift_ns);
        let border = |at: i64| at.saturating_sub(self.shift_ns).max(time_ns);
        if at <= -self.range_ns {
            return border(-self.range_ns);
        }
        if self.inside(time_ns).is_none() {
            return i64::MAX;
        }
        // In no window, which are shorter than the steps between them.
        let step = (at - 1).div_euclid(self.step_ns);
        border((step + 1).saturating_mul(self.step_ns) - self.rest_ns)
    }

    /// First and last cell of window `i`.
    pub(crate) fn window(&self, i: usize) -> (i64, i64) {
        let i = i64::try_from(i).unwrap_or(i64::MAX / 4);
        (
            2 * (i - self.whole) - i64::from(self.rest_ns > 0),
            2 * i - 1,
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn extreme_times_do_not_overflow(
            start in any::<i64>(), step in 0i64.., range in any::<i64>(), offset in any::<i64>(),
            time in any::<i64>(),
        ) {
            let steps = Steps { start_ns: start, end_ns: start.saturating_add(step), step_ns: step };
            let cells = Cells::new(steps, range, offset);
            let _ = (cells.of(time), cells.window(0), cells.window(usize::MAX));
            prop_assert!(cells.same_until(time) >= time);
        }

        #[test]
        fn a_sample_s_cell_is_in_exactly_the_windows_that_it_is_in(
            start in -50i64..50, step in 0i64..12, count in 0i64..8,
            range in 0i64..40, offset in -20i64..20, time in -120i64..200,
        ) {
            let steps = Steps { start_ns: start, end_ns: start + count * step, step_ns: step };
            let cells = Cells::new(steps, range, offset);
            let cell = cells.of(time);
            for (i, t) in steps.iter().enumerate() {
                let inside = t - offset - range < time && time <= t - offset;
                let (first, last) = cells.window(i);
                let found = cell.is_some_and(|cell| first <= cell.number && cell.number <= last);
                prop_assert_eq!(inside, found, "window {} of {:?}", i, cell);
            }
            let until = cells.same_until(time);
            for other in time..=until.min(250) {
                prop_assert_eq!(cells.of(other), cell, "at {}", other);
            }
            if until < i64::MAX && range > 0 {
                prop_assert_ne!(cells.of(until + 1), cell);
            }
            if let Some(cell) = cell {
                prop_assert!(cell.after_ns < time && time <= cell.last_ns);
                for other in cell.after_ns + 1..=cell.last_ns {
                    prop_assert_eq!(cells.of(other), Some(cell));
                }
            }
        }
    }
}
