//! How much of a query is carried out inside blocks.

use logql::pipeline::LineReader;
use logql::syntax::ast::{LogExpr, RangeAggregation};

use crate::{Prefilter, SampleShape};

/// How much of a query is carried out inside blocks. The answer is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pushdown {
    /// All that can be.
    #[default]
    On,
    /// Nothing: every line of the range is put together and goes through all stages.
    Off,
}

impl From<bool> for Pushdown {
    fn from(is_on: bool) -> Self {
        if is_on { Self::On } else { Self::Off }
    }
}

impl Pushdown {
    /// What of a log query is asked of blocks, and what is left: [`Prefilter::split_log`].
    #[must_use]
    pub fn split_log(self, log: &LogExpr) -> (Prefilter, LogExpr) {
        match self {
            Self::On => Prefilter::split_log(log),
            Self::Off => (Prefilter::default(), log.clone()),
        }
    }

    /// As [`Self::split_log`], of a range aggregation.
    #[must_use]
    pub fn split_aggregation(
        self,
        aggregation: &RangeAggregation,
    ) -> (Prefilter, RangeAggregation) {
        match self {
            Self::On => Prefilter::split_aggregation(aggregation),
            Self::Off => (Prefilter::default(), aggregation.clone()),
        }
    }

    /// What is known of the samples of an aggregation.
    #[must_use]
    pub fn shape(self, aggregation: &RangeAggregation) -> SampleShape {
        match self {
            Self::On => SampleShape::of(aggregation),
            Self::Off => SampleShape::UNKNOWN,
        }
    }

    /// What stages read of lines, if lines may be reduced to that.
    #[must_use]
    pub fn reader(self, reader: Option<&LineReader>) -> Option<&LineReader> {
        reader.filter(|_| self == Self::On)
    }
}
