//! The metric engine: from samples to the numbers a metric query answers with.
//!
//! A query's leaves are its range aggregations ([`leaves`]). For each, a [`RangeAccumulator`] takes
//! the samples that pipelines extract, in any order and in parts that are merged later, and gives
//! one [`Series`] per label set. [`evaluate`] then computes everything above the leaves: vector
//! aggregations, binary operators, `label_replace`, constants.
//!
//! All of it happens at the [`Steps`] of a query: points in time, each looking back over a window
//! `(t - range, t]`. What depends only on which samples are in a window is folded into *cells*, the
//! pieces of time between the borders of all windows, so that a sample costs the same however many
//! windows it is in; cells are joined into windows when all samples are there. Quantiles and counter
//! rates need the samples themselves and keep them.
//!
//! *Invariants.* The order of samples does not matter, except between samples of equal time for
//! `first_over_time` and `last_over_time`. Memory of accumulators is reserved before it is used.
//! Pure: no clock, no I/O.

mod binary;
mod cells;
mod error;
mod eval;
mod fold;
mod meter;
mod parts;
mod range;
mod raw;
mod replace;
mod split;
mod steps;
mod topk;
mod value;
mod vector;
mod window;

pub use error::EvalError;
pub use eval::{Leaf, Limits, evaluate, leaf_contexts, leaves};
pub use range::{Borders, Partial, RangeAccumulator, SeriesId};
pub use steps::Steps;
pub use value::{Series, Value};

#[cfg(test)]
mod tests;
