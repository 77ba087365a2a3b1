//! What metric expressions evaluate to.

use model::LabelSet;

/// Numbers over time under one label set.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The labels.
    pub labels: LabelSet,
    /// Time in nanoseconds and value, ascending; steps without a value are missing.
    pub points: Vec<(i64, f64)>,
}

/// The value of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number at every step.
    Scalar(Vec<(i64, f64)>),
    /// Series, by labels unless the query sorts them. Those of an instant query have one point.
    Matrix(Vec<Series>),
}
