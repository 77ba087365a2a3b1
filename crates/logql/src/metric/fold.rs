//! What is remembered of the samples of a cell or window.

use crate::syntax::ast::RangeOp;

/// A summary of samples that can be joined with another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fold {
    Sum(f64),
    Min(f64),
    Max(f64),
    Mean {
        count: f64,
        sum: f64,
    },
    /// Welford's moments (<https://en.wikipedia.org/wiki/Algorithms_for_calculating_variance>).
    Moments {
        count: f64,
        mean: f64,
        squares: f64,
    },
    First {
        at: Place,
        value: f64,
    },
    Last {
        at: Place,
        value: f64,
    },
}

/// What decides which of two samples is first: the time, then where they come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) time_ns: i64,
    pub(crate) source: u64,
}

/// Which summary a function needs; `None` for those that need the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoldKind {
    Sum,
    Min,
    Max,
    Mean,
    Moments,
    First,
    Last,
}

impl FoldKind {
    pub(crate) fn of(op: RangeOp) -> Option<Self> {
        Some(match op {
            RangeOp::Count
            | RangeOp::Rate
            | RangeOp::Bytes
            | RangeOp::BytesRate
            | RangeOp::Sum
            | RangeOp::Absent => Self::Sum,
            RangeOp::Min => Self::Min,
            RangeOp::Max => Self::Max,
            RangeOp::Avg => Self::Mean,
            RangeOp::Stddev | RangeOp::Stdvar => Self::Moments,
            RangeOp::First => Self::First,
            RangeOp::Last => Self::Last,
            RangeOp::Quantile | RangeOp::RateCounter => return None,
        })
    }

    /// The summary of one sample.
    pub(crate) fn start(self, at: Place, value: f64) -> Fold {
        match self {
            Self::Sum => Fold::Sum(value),
            Self::Min => Fold::Min(value),
            Self::Max => Fold::Max(value),
            Self::Mean => Fold::Mean {
                count: 1.0,
                sum: value,
            },
            Self::Moments => Fold::Moments {
                count: 1.0,
                mean: value,
                squares: 0.0,
            },
            Self::First => Fold::First { at, value },
            Self::Last => Fold::Last { at, value },
        }
    }
}

impl Fold {
    /// Joins with the summary of other samples. Of samples of one place, `First` prefers its own and
    /// `Last` the other's.
    pub(crate) fn join(&mut self, other: &Self) {
        match (self, *other) {
            (Self::Sum(a), Self::Sum(b)) => *a += b,
            // A value that is not a number gives way to any other.
            (Self::Min(a), Self::Min(b)) if b < *a || a.is_nan() => *a = b,
            (Self::Max(a), Self::Max(b)) if b > *a || a.is_nan() => *a = b,
            (Self::Mean { count, sum }, Self::Mean { count: n, sum: s }) => {
                *count += n;
                *sum += s;
            }
            (
                Self::Moments {
                    count,
                    mean,
                    squares,
                },
                Self::Moments {
                    count: n,
                    mean: m,
                    squares: s,
                },
            ) => {
                let (all, delta) = (*count + n, m - *mean);
                *mean += delta * n / all;
                *squares += s + delta * delta * *count * n / all;
                *count = all;
            }
            (Self::First { at, value }, Self::First { at: a, value: v }) if a < *at => {
                (*at, *value) = (a, v);
            }
            (Self::Last { at, value }, Self::Last { at: a, value: v }) if a >= *at => {
                (*at, *value) = (a, v);
            }
            _ => {}
        }
    }

    /// The function's value for a window of `range_s` seconds.
    pub(crate) fn value(&self, op: RangeOp, range_s: f64) -> f64 {
        match *self {
            Self::Sum(sum) => match op {
                RangeOp::Rate | RangeOp::BytesRate => sum / range_s,
                _ => sum,
            },
            Self::Mean { count, sum } => sum / count,
            Self::Moments { count, squares, .. } => match op {
                RangeOp::Stddev => (squares / count).sqrt(),
                _ => squares / count,
            },
            Self::Min(value)
            | Self::Max(value)
            | Self::First { value, .. }
            | Self::Last { value, .. } => value,
        }
    }
}
