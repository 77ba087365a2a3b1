//! Where the samples of storage go.

use std::ops::ControlFlow;

use logql::metric::RangeAccumulator;
use model::{BudgetError, CodedError, LabelSet};
use scan::{SampleSink, Values};

use crate::query::Context;
use crate::recent::KnownRows;

/// Adds samples up, but for those of rows that ingesters gave already.
pub(super) struct Sink<'a> {
    sum: &'a mut RangeAccumulator,
    recent: Option<&'a KnownRows>,
    /// Samples of such rows.
    pub(super) duplicates: u64,
    /// Why no more samples are taken.
    pub(super) failed: Option<BudgetError>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(sum: &'a mut RangeAccumulator, recent: Option<&'a KnownRows>) -> Self {
        Self {
            sum,
            recent,
            duplicates: 0,
            failed: None,
        }
    }

    /// Whether all samples were taken.
    pub(super) fn result(self, context: &Context) -> Result<(), CodedError> {
        self.failed
            .map_or(Ok(()), |error| Err(context.over_budget(&error)))
    }

    fn checked(&mut self, added: Result<(), BudgetError>) -> ControlFlow<()> {
        match added {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }
}

impl SampleSink for Sink<'_> {
    fn sample(
        &mut self,
        labels: &LabelSet,
        timestamp_ns: i64,
        value: f64,
        row_hash: Option<u64>,
    ) -> ControlFlow<()> {
        let hash = row_hash.unwrap_or_default();
        let is_known = |recent: &KnownRows| recent.has(timestamp_ns, hash);
        if self.recent.is_some_and(is_known) {
            self.duplicates += 1;
            return ControlFlow::Continue(());
        }
        let added = self
            .sum
            .series(labels)
            .and_then(|id| self.sum.add(id, timestamp_ns, value));
        self.checked(added)
    }

    fn samples(
        &mut self,
        labels: &LabelSet,
        timestamps_ns: &[i64],
        values: Values<'_>,
    ) -> ControlFlow<()> {
        let added = self.sum.series(labels).and_then(|id| match values {
            Values::Ones => self.sum.add_ones(id, timestamps_ns),
            Values::Each(values) => self.sum.add_all(id, timestamps_ns, values),
        });
        self.checked(added)
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
        let id = self.sum.series(labels);
        let added = id.and_then(|id| self.sum.add_at(id, timestamp_ns, values));
        self.checked(added)
    }
}
