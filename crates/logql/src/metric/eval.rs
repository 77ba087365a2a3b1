//! Expressions above the leaves.

use super::{EvalError, Series, Steps, Value, binary, replace, topk, vector};
use crate::syntax::ast::{
    BinaryExpr, Grouping, MetricExpr, RangeAggregation, RangeOp, VectorAggregation, VectorOp,
};

/// What a query may ask for.
#[derive(Clone, Copy)]
pub struct Limits<'a> {
    /// Series of the answer, and of leaves that are not aggregated at once; 0 for any number.
    pub max_series: usize,
    /// Whether the answer is not wanted any more.
    pub is_cancelled: &'a dyn Fn() -> bool,
}

impl std::fmt::Debug for Limits<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limits")
            .field("max_series", &self.max_series)
            .finish_non_exhaustive()
    }
}

/// The range aggregations of a query, in the order in which [`evaluate`] asks for them.
#[must_use]
pub fn leaves(expr: &MetricExpr) -> Vec<&RangeAggregation> {
    leaf_contexts(expr)
        .into_iter()
        .map(|leaf| leaf.aggregation)
        .collect()
}

/// A leaf, and what is done to its series first.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf<'a> {
    /// The range aggregation.
    pub aggregation: &'a RangeAggregation,
    /// Labels to which its series may be reduced before they are accumulated without changing the
    /// answer, because the vector aggregation around it does the same afterwards. All of them if
    /// `None`.
    pub reduce_to: Option<Grouping>,
    /// Whether its series count against the limit.
    pub(crate) counted: bool,
}

impl Leaf<'_> {
    /// The leaf at its place, over another aggregation: a tenant's share of it.
    #[must_use]
    pub fn over<'a>(&self, aggregation: &'a RangeAggregation) -> Leaf<'a> {
        Leaf {
            aggregation,
            reduce_to: self.reduce_to.clone(),
            counted: self.counted,
        }
    }

    /// The leaf as a query of its own whose leaf is the same, with the same reduction: what to ask
    /// those who have a part of the rows.
    #[must_use]
    pub fn to_expr(&self) -> MetricExpr {
        let inner = MetricExpr::Range(self.aggregation.clone());
        let Some(grouping) = &self.reduce_to else {
            return inner;
        };
        MetricExpr::Vector(VectorAggregation {
            op: match self.aggregation.op {
                RangeOp::Min => VectorOp::Min,
                RangeOp::Max => VectorOp::Max,
                _ => VectorOp::Sum,
            },
            parameter: None,
            grouping: Some(grouping.clone()),
            inner: Box::new(inner),
        })
    }
}

/// The leaves with what surrounds them.
#[must_use]
pub fn leaf_contexts(expr: &MetricExpr) -> Vec<Leaf<'_>> {
    let mut found = Vec::new();
    collect(expr, None, &mut found);
    found
}

fn collect<'a>(
    expr: &'a MetricExpr,
    outer: Option<&'a VectorAggregation>,
    found: &mut Vec<Leaf<'a>>,
) {
    match expr {
        MetricExpr::Range(aggregation) => found.push(Leaf {
            aggregation,
            reduce_to: outer.and_then(|outer| reduction(outer, aggregation)),
            counted: is_counted(outer),
        }),
        MetricExpr::Vector(vector) => collect(&vector.inner, Some(vector), found),
        MetricExpr::Binary(binary) => {
            collect(&binary.left, None, found);
            collect(&binary.right, None, found);
        }
        MetricExpr::LabelReplace(replace) => collect(&replace.inner, None, found),
        MetricExpr::Literal(_) | MetricExpr::VectorLiteral(_) => {}
    }
}

/// Whether an aggregation brings many series of a leaf down to few.
fn is_counted(outer: Option<&VectorAggregation>) -> bool {
    !outer.is_some_and(|outer| {
        matches!(
            outer.op,
            VectorOp::Sum
                | VectorOp::Avg
                | VectorOp::Count
                | VectorOp::Min
                | VectorOp::Max
                | VectorOp::Stddev
                | VectorOp::Stdvar
        )
    })
}

/// The grouping that may be done before the range aggregation: sums of sums, minima of minima.
fn reduction(outer: &VectorAggregation, inner: &RangeAggregation) -> Option<Grouping> {
    let sums = matches!(
        inner.op,
        RangeOp::Count | RangeOp::Rate | RangeOp::Bytes | RangeOp::BytesRate | RangeOp::Sum
    );
    let same = match outer.op {
        VectorOp::Sum => sums,
        VectorOp::Min => inner.op == RangeOp::Min,
        VectorOp::Max => inner.op == RangeOp::Max,
        _ => false,
    };
    // With a grouping of its own the inner one decides first.
    if !same || inner.grouping.is_some() {
        return None;
    }
    let all = Grouping {
        without: false,
        labels: Vec::new(),
    };
    Some(outer.grouping.clone().unwrap_or(all))
}

/// Evaluates a query. `leaf` is asked for the series of each leaf, in the order of [`leaves`].
///
/// # Errors
/// If the query asks for too much, or for something that is not defined, or is cancelled.
pub fn evaluate(
    expr: &MetricExpr,
    steps: Steps,
    limits: Limits<'_>,
    leaf: &mut dyn FnMut(&RangeAggregation) -> Result<Vec<Series>, EvalError>,
) -> Result<Value, EvalError> {
    let counted = leaf_contexts(expr)
        .into_iter()
        .map(|leaf| leaf.counted)
        .collect();
    let mut evaluator = Evaluator {
        steps,
        limits,
        leaf,
        counted,
        asked: 0,
    };
    if let MetricExpr::Literal(value) = expr {
        return Ok(Value::Scalar(
            steps.iter().map(|time_ns| (time_ns, *value)).collect(),
        ));
    }
    let mut series = evaluator.series(expr)?;
    evaluator.check(&series)?;
    let sorted = matches!(expr, MetricExpr::Vector(vector) if vector.op.is_sort());
    if !(sorted && steps.is_instant()) {
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
    }
    Ok(Value::Matrix(series))
}

struct Evaluator<'a> {
    steps: Steps,
    limits: Limits<'a>,
    leaf: &'a mut dyn FnMut(&RangeAggregation) -> Result<Vec<Series>, EvalError>,
    counted: Vec<bool>,
    asked: usize,
}

impl Evaluator<'_> {
    fn check(&self, series: &[Series]) -> Result<(), EvalError> {
        let limit = self.limits.max_series;
        if limit > 0 && series.len() > limit {
            return Err(EvalError::TooManySeries { limit });
        }
        Ok(())
    }

    fn series(&mut self, expr: &MetricExpr) -> Result<Vec<Series>, EvalError> {
        if (self.limits.is_cancelled)() {
            return Err(EvalError::Cancelled);
        }
        match expr {
            MetricExpr::Range(aggregation) => {
                let series = (self.leaf)(aggregation)?;
                if self.counted.get(self.asked).copied().unwrap_or(true) {
                    self.check(&series)?;
                }
                self.asked += 1;
                Ok(series)
            }
            MetricExpr::Vector(vector) => self.vector(vector),
            MetricExpr::Binary(binary) => self.binary(binary),
            MetricExpr::LabelReplace(replace) => {
                let series = self.series(&replace.inner)?;
                let replaced = replace::label_replace(replace, series)?;
                // Over time, equal label sets are one series; at one time they stay apart.
                Ok(if self.steps.is_instant() {
                    replaced
                } else {
                    replace::join_equal(replaced)
                })
            }
            MetricExpr::VectorLiteral(value) => Ok(vec![Series {
                labels: model::LabelSet::default(),
                points: self.steps.iter().map(|time_ns| (time_ns, *value)).collect(),
            }]),
            MetricExpr::Literal(_) => Err(EvalError::UnexpectedLiteral),
        }
    }

    fn vector(&mut self, aggregation: &VectorAggregation) -> Result<Vec<Series>, EvalError> {
        if aggregation.op == VectorOp::ApproxTopk && !self.steps.is_instant() {
            return Err(EvalError::ApproximateRange);
        }
        let mut series = self.series(&aggregation.inner)?;
        let grouping = aggregation.grouping.as_ref();
        let k = || {
            usize::try_from(aggregation.parameter.unwrap_or(1))
                .unwrap_or(1)
                .max(1)
        };
        Ok(match aggregation.op {
            VectorOp::Sort | VectorOp::SortDesc => {
                topk::sort(&mut series, aggregation.op == VectorOp::SortDesc);
                series
            }
            VectorOp::Topk | VectorOp::ApproxTopk => {
                topk::select(k(), true, grouping, self.steps, &series)
            }
            VectorOp::Bottomk => topk::select(k(), false, grouping, self.steps, &series),
            op => vector::aggregate(op, grouping, self.steps, &series),
        })
    }

    fn binary(&mut self, expr: &BinaryExpr) -> Result<Vec<Series>, EvalError> {
        match (&expr.left, &expr.right) {
            (MetricExpr::Literal(_), MetricExpr::Literal(_)) => Err(EvalError::UnexpectedLiteral),
            (MetricExpr::Literal(number), other) => {
                let series = self.series(other)?;
                Ok(binary::with_number(expr, series, *number, true))
            }
            (other, MetricExpr::Literal(number)) => {
                let series = self.series(other)?;
                Ok(binary::with_number(expr, series, *number, false))
            }
            (left, right) => {
                let left = self.series(left)?;
                let right = self.series(right)?;
                if expr.op.is_set() {
                    Ok(binary::set_operation(expr, self.steps, &left, &right))
                } else {
                    binary::between(expr, self.steps, &left, &right)
                }
            }
        }
    }
}
