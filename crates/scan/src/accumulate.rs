//! Samples added up: the sink of metric queries.

use std::ops::ControlFlow;

use logql::metric::{RangeAccumulator, SeriesId};
use model::{BudgetError, LabelSet};

use crate::{SampleSink, ScanError, Values};

/// Gives samples to a [`RangeAccumulator`].
pub struct Accumulate<'a> {
    sum: &'a mut RangeAccumulator,
    /// Whether a row, by time and hash, was counted already elsewhere. Without a hash it was not.
    is_counted: Option<&'a dyn Fn(i64, u64) -> bool>,
    last: Option<(LabelSet, SeriesId)>,
    counted: u64,
    failed: Result<(), BudgetError>,
}

impl std::fmt::Debug for Accumulate<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accumulate")
            .field("counted", &self.counted)
            .finish_non_exhaustive()
    }
}

impl<'a> Accumulate<'a> {
    /// Adds all samples.
    pub fn new(sum: &'a mut RangeAccumulator) -> Self {
        Self {
            sum,
            is_counted: None,
            last: None,
            counted: 0,
            failed: Ok(()),
        }
    }

    /// Adds samples except of rows that `is_counted` knows by time and hash. Needs a scan with
    /// hashes.
    pub fn except(sum: &'a mut RangeAccumulator, is_counted: &'a dyn Fn(i64, u64) -> bool) -> Self {
        Self {
            is_counted: Some(is_counted),
            ..Self::new(sum)
        }
    }

    /// How many samples were left out.
    ///
    /// # Errors
    /// If there was not enough memory for all samples.
    pub fn finish(self) -> Result<u64, ScanError> {
        self.failed?;
        Ok(self.counted)
    }

    fn series(&mut self, labels: &LabelSet) -> Result<SeriesId, BudgetError> {
        if let Some((last, id)) = &self.last
            && last == labels
        {
            return Ok(*id);
        }
        let id = self.sum.series(labels)?;
        self.last = Some((labels.clone(), id));
        Ok(id)
    }

    fn add(
        &mut self,
        labels: &LabelSet,
        timestamps_ns: &[i64],
        values: Values<'_>,
    ) -> Result<(), BudgetError> {
        let id = self.series(labels)?;
        match values {
            Values::Each(values) => self.sum.add_all(id, timestamps_ns, values),
            Values::Ones => self.sum.add_ones(id, timestamps_ns),
        }
    }

    fn flow(&mut self, added: Result<(), BudgetError>) -> ControlFlow<()> {
        if added.is_ok() {
            return ControlFlow::Continue(());
        }
        self.failed = added;
        ControlFlow::Break(())
    }
}

impl SampleSink for Accumulate<'_> {
    fn sample(
        &mut self,
        labels: &LabelSet,
        timestamp_ns: i64,
        value: f64,
        row_hash: Option<u64>,
    ) -> ControlFlow<()> {
        if let (Some(is_counted), Some(row_hash)) = (self.is_counted, row_hash)
            && is_counted(timestamp_ns, row_hash)
        {
            self.counted += 1;
            return ControlFlow::Continue(());
        }
        let id = self.series(labels);
        let added = id.and_then(|id| self.sum.add(id, timestamp_ns, value));
        self.flow(added)
    }

    fn samples(
        &mut self,
        labels: &LabelSet,
        timestamps_ns: &[i64],
        values: Values<'_>,
    ) -> ControlFlow<()> {
        let added = self.add(labels, timestamps_ns, values);
        self.flow(added)
    }

    fn cuts(&self, min_ns: i64, max_ns: i64, most: usize) -> Option<Vec<i64>> {
        self.sum.cuts(min_ns, max_ns, most)
    }

    fn value_cuts(&self, min_ns: i64, max_ns: i64, most: usize) -> Option<Vec<i64>> {
        self.sum.value_cuts(min_ns, max_ns, most)
    }

    fn samples_at(
        &mut self,
        labels: &LabelSet,
        timestamp_ns: i64,
        values: &[f64],
    ) -> ControlFlow<()> {
        let id = self.series(labels);
        let added = id.and_then(|id| self.sum.add_at(id, timestamp_ns, values));
        self.flow(added)
    }
}

#[cfg(test)]
mod tests {
    use logql::metric::Steps;
    use logql::syntax::ast::{RangeAggregation, RangeOp};
    use model::Budget;

    use super::*;

    fn sum(op: RangeOp, use_sink: impl FnOnce(&mut Accumulate<'_>)) -> Vec<(i64, f64)> {
        let aggregation = RangeAggregation {
            op,
            parameter: None,
            log: Default::default(),
            unwrap: None,
            range_ns: 10,
            offset_ns: 0,
            grouping: None,
        };
        let steps = Steps {
            start_ns: 10,
            end_ns: 20,
            step_ns: 10,
        };
        let memory = Budget::new("test", 1 << 20).reservation();
        let mut sum = RangeAccumulator::new(&aggregation, steps, memory);
        let mut sink = Accumulate::new(&mut sum);
        use_sink(&mut sink);
        sink.finish().unwrap();
        let (series, _) = sum.finish(&|| false).unwrap();
        series
            .into_iter()
            .flat_map(|series| series.points)
            .collect()
    }

    #[test]
    fn one_by_one_many_and_totals_are_the_same() {
        let labels = LabelSet::default();
        let expected = [(10, 2.0), (20, 1.0)];
        let singly = sum(RangeOp::Count, |sink| {
            for time in [1, 10, 11] {
                assert!(sink.sample(&labels, time, 1.0, None).is_continue());
            }
        });
        assert_eq!(singly, expected);
        let together = sum(RangeOp::Count, |sink| {
            assert!(
                sink.samples(&labels, &[1, 10, 11], Values::Ones)
                    .is_continue()
            );
        });
        assert_eq!(together, expected);
        let totals = sum(RangeOp::Count, |sink| {
            assert_eq!(sink.cuts(1, 11, 1), None, "two windows");
            let cuts = sink.cuts(1, 11, 2).unwrap();
            assert_eq!(cuts, [10, 11]);
            let sums = Values::Each(&[2.0, 1.0]);
            assert!(sink.samples(&labels, &cuts, sums).is_continue());
        });
        assert_eq!(totals, expected);
    }

    #[test]
    fn rows_counted_elsewhere_are_left_out() {
        let points = sum(RangeOp::Count, |sink| {
            let is_counted = |time, hash| (time, hash) == (5, 7);
            let mut sink = Accumulate::except(sink.sum, &is_counted);
            let labels = LabelSet::default();
            for hash in [7, 8] {
                assert!(sink.sample(&labels, 5, 1.0, Some(hash)).is_continue());
            }
            assert_eq!(sink.finish(), Ok(1));
        });
        assert_eq!(points, [(10, 1.0)]);
    }
}
