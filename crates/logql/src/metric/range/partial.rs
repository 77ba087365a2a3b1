//! What some samples amount to, apart from the query that it was reckoned for.
//!
//! Rows in storage do not change, so what they add to the windows of an aggregation need not be
//! reckoned again, as long as the windows have their borders at the same times between the rows: when
//! a dashboard is refreshed, its windows are others, but they begin and end at the same points of the
//! same grid.

use model::{BudgetError, LabelSet, Reservation};

use super::{CellValues, Fold, RangeAccumulator, Store};

/// Bytes that a series of a partial takes besides its labels and amounts.
const SERIES_BYTES: usize = 64;

/// Where windows have their borders, as far as it matters to some samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Borders {
    /// None lies between the samples.
    None,
    /// Wherever the grid has a point, and the range of the aggregation before these.
    Grid {
        /// Distance of the points in nanoseconds.
        step_ns: i64,
        /// A point of the grid, the first that is not before 1970.
        phase_ns: i64,
    },
}

/// What samples amount to in each of the cells between borders.
#[derive(Debug)]
pub struct Partial {
    borders: Borders,
    series: Vec<(LabelSet, Amounts)>,
}

/// Cells are counted from that of a time which who uses the partial knows.
#[derive(Debug)]
enum Amounts {
    /// The most frequent of summaries, in half of the room.
    Sums(Box<[(i64, f64)]>),
    Folds(Box<[(i64, Fold)]>),
    /// Where there is no summary.
    Values(CellValues),
    /// Times and values, where there is no summary either and times matter.
    Samples(Box<[(i64, f64)]>),
}

impl Amounts {
    fn of(store: Store, base: i64) -> Self {
        if !store.values.is_empty() {
            return Self::Values(store.values.counted_from(base));
        }
        if store.folds.is_empty() {
            return Self::Samples(store.samples.into());
        }
        let sum = |(number, fold): &(i64, Fold)| match fold {
            Fold::Sum(sum) => Some((number - base, *sum)),
            _ => None,
        };
        let sums: Option<Box<[(i64, f64)]>> = store.folds.iter().map(sum).collect();
        sums.map_or_else(
            || {
                let folds = store.folds.iter();
                Self::Folds(folds.map(|(number, fold)| (number - base, *fold)).collect())
            },
            Self::Sums,
        )
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Sums(sums) => size_of_val(&**sums),
            Self::Folds(folds) => size_of_val(&**folds),
            Self::Values(values) => values.heap_bytes(),
            Self::Samples(samples) => size_of_val(&**samples),
        }
    }
}

impl Partial {
    /// Bytes that it holds.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let of_series = |(labels, amounts): &(LabelSet, Amounts)| {
            SERIES_BYTES + labels.len() * 64 + labels.text_len() + amounts.heap_bytes()
        };
        size_of::<Self>() + self.series.iter().map(of_series).sum::<usize>()
    }
}

impl RangeAccumulator {
    /// An accumulator for the same query, without samples.
    #[must_use]
    pub fn empty(&self, reservation: Reservation) -> Self {
        Self {
            ids: Default::default(),
            series: Vec::new(),
            absent: self.absent.clone(),
            reservation,
            ..*self
        }
    }

    /// Where the windows have their borders between `min_ns` and `max_ns`. `None` if some of these
    /// times may lie before the first window or after the last: what samples amount to is then more
    /// than this accumulator takes.
    #[must_use]
    pub fn borders(&self, min_ns: i64, max_ns: i64) -> Option<Borders> {
        if !self.cells.covers(min_ns) || !self.cells.covers(max_ns) {
            return None;
        }
        let (first, last) = (self.cells.of(min_ns), self.cells.of(max_ns));
        if first.is_some() && first == last {
            return Some(Borders::None);
        }
        let (step_ns, phase_ns) = self.cells.grid();
        Some(Borders::Grid { step_ns, phase_ns })
    }

    /// What the samples amount to, whose times are those of which [`Self::borders`] were asked;
    /// `min_ns` is the first of these.
    #[must_use]
    pub fn into_partial(self, borders: Borders, min_ns: i64) -> Partial {
        let base = self.base(borders, min_ns);
        let amounts = |mut store: Store| {
            store.compact();
            let labels = std::mem::take(&mut store.labels);
            (labels, Amounts::of(store, base))
        };
        Partial {
            borders,
            series: self.series.into_iter().map(amounts).collect(),
        }
    }

    /// Adds what the same samples amounted to for another query with the same aggregation, whose
    /// windows have the same borders.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn add_partial(&mut self, partial: &Partial, min_ns: i64) -> Result<(), BudgetError> {
        let base = self.base(partial.borders, min_ns);
        for (labels, amounts) in &partial.series {
            let id = self.series(labels)?;
            let Some(store) = self.series.get_mut(id.0 as usize) else {
                continue;
            };
            match amounts {
                Amounts::Sums(sums) => {
                    let folds = sums.iter();
                    let folds = folds.map(|(number, sum)| (base + number, Fold::Sum(*sum)));
                    store.folds.extend(folds);
                }
                Amounts::Folds(folds) => {
                    let folds = folds.iter().map(|(number, fold)| (base + number, *fold));
                    store.folds.extend(folds);
                }
                Amounts::Values(values) => store.values.append(values, base),
                Amounts::Samples(samples) => store.samples.extend_from_slice(samples),
            }
            store.cell = super::NO_CELL;
            store.compact_if_long();
            store.account(&mut self.reservation)?;
        }
        Ok(())
    }

    /// The number of the cell from which a partial counts.
    fn base(&self, borders: Borders, min_ns: i64) -> i64 {
        let cell = match borders {
            Borders::None => self.cells.of(min_ns).map(|cell| cell.number),
            Borders::Grid { .. } => None,
        };
        cell.unwrap_or_else(|| self.cells.first_of_step(min_ns))
    }
}

#[cfg(test)]
mod tests {
    use model::Budget;
    use proptest::prelude::*;

    use super::*;
    use crate::metric::{Series, Steps};
    use crate::syntax::ast::{RangeAggregation, RangeOp};

    fn accumulator(op: RangeOp, range_ns: i64, offset_ns: i64, steps: Steps) -> RangeAccumulator {
        let aggregation = RangeAggregation {
            op,
            parameter: Some(0.5),
            log: Default::default(),
            unwrap: None,
            range_ns,
            offset_ns,
            grouping: None,
        };
        let memory = Budget::new("test", 1 << 20).reservation();
        RangeAccumulator::new(&aggregation, steps, memory)
    }

    fn add(sum: &mut RangeAccumulator, samples: &[(i64, i8)]) {
        let labels = LabelSet::from_pairs([("a", "b")]);
        for (time, value) in samples {
            let id = sum.series(&labels).unwrap();
            sum.add(id, *time, f64::from(*value)).unwrap();
        }
    }

    fn finish(sum: RangeAccumulator) -> Vec<Series> {
        sum.finish(&|| false).unwrap().0
    }

    const OPS: [RangeOp; 8] = [
        RangeOp::Count,
        RangeOp::Sum,
        RangeOp::Max,
        RangeOp::Avg,
        RangeOp::Last,
        RangeOp::Quantile,
        RangeOp::Rate,
        RangeOp::RateCounter,
    ];

    proptest! {
        #[test]
        fn what_was_reckoned_for_one_query_holds_for_another_with_the_same_borders(
            op in 0..OPS.len(), step in 0i64..12, range in 1i64..40, offset in -9i64..9,
            starts in (-30i64..30, -5i64..5), counts in (1i64..12, 1i64..12), lag in 0i64..40,
            samples in prop::collection::vec((-60i64..120, any::<i8>()), 1..20),
        ) {
            let mut samples = samples;
            samples.sort_by_key(|(time, _)| *time);
            samples.dedup_by_key(|(time, _)| *time);
            // An instant query has another phase each time.
            let later = starts.1 * step + if step == 0 { lag } else { 0 };
            let steps = |start: i64, count: i64| Steps {
                start_ns: start,
                end_ns: start + (count - 1) * step,
                step_ns: step,
            };
            let new = |steps| accumulator(OPS[op], range, offset, steps);
            let first = new(steps(starts.0, counts.0));
            let second = || new(steps(starts.0 + later, counts.1));
            let (min, max) = (samples[0].0, samples[samples.len() - 1].0);
            let of_both = (first.borders(min, max), second().borders(min, max));
            if let (Some(borders), Some(others)) = of_both && borders == others {
                let mut part = first.empty(Budget::new("test", 1 << 20).reservation());
                add(&mut part, &samples);
                let part = part.into_partial(borders, min);
                let mut reused = second();
                reused.add_partial(&part, min).unwrap();
                let mut reckoned = second();
                add(&mut reckoned, &samples);
                prop_assert_eq!(finish(reused), finish(reckoned));
            }
        }
    }

    #[test]
    fn borders_are_the_same_when_a_dashboard_is_refreshed() {
        let of = |start_ns, end_ns| {
            let steps = Steps {
                start_ns,
                end_ns,
                step_ns: 10,
            };
            accumulator(RangeOp::Count, 20, 0, steps)
        };
        let grid = Borders::Grid {
            step_ns: 10,
            phase_ns: 0,
        };
        assert_eq!(of(100, 200).borders(105, 195), Some(grid));
        assert_eq!(of(110, 210).borders(105, 195), Some(grid));
        assert_eq!(of(110, 210).borders(101, 109), Some(Borders::None));
        assert_eq!(of(110, 210).borders(90, 109), None, "before the first");
        assert_eq!(of(110, 210).borders(105, 211), None, "after the last");
    }
}
