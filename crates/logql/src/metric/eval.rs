//! Expressions above the leaves.

use std::collections::HashMap;

use model::Reservation;

use super::meter::Meter;
use super::parts::Place;
use super::{EvalError, Series, Steps, Value, binary, replace, split, topk, vector};
use crate::syntax::ast::{
    BinaryExpr, Grouping, MetricExpr, RangeAggregation, RangeOp, VectorAggregation, VectorOp,
};

/// What a query may ask for.
#[derive(Clone, Copy)]
pub struct Limits<'a> {
    /// Series of the answer, and of parts of the query that Loki has answered alone; 0 for any
    /// number.
    pub max_series: usize,
    /// How long, in nanoseconds, the parts are into which Loki splits the query by time: its range if
    /// it is an instant query, else its steps; 0 if it does not.
    pub split_ns: i64,
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
}

impl Leaf<'_> {
    /// The leaf at its place, over another aggregation: a tenant's share of it.
    #[must_use]
    pub fn over<'a>(&self, aggregation: &'a RangeAggregation) -> Leaf<'a> {
        Leaf {
            aggregation,
            reduce_to: self.reduce_to.clone(),
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

/// Evaluates a query. `leaf` is asked for the series of each leaf, in the order of [`leaves`], and
/// accounts for their memory; what is made of them is taken from `memory`, which covers the answer
/// in the end.
///
/// # Errors
/// If the query asks for too much, or for something that is not defined, or is cancelled.
pub fn evaluate(
    expr: &MetricExpr,
    steps: Steps,
    limits: Limits<'_>,
    memory: &mut Reservation,
    leaf: &mut dyn FnMut(&RangeAggregation) -> Result<Vec<Series>, EvalError>,
) -> Result<Value, EvalError> {
    let put_together = match steps.is_instant() {
        true => split::leaves_put_together(expr, limits.split_ns),
        false => Vec::new(),
    };
    let mut evaluator = Evaluator {
        steps,
        limits,
        meter: Meter::new(memory, limits.is_cancelled),
        leaf,
        put_together: put_together.into_iter(),
    };
    if let MetricExpr::Literal(value) = expr {
        return Ok(Value::Scalar(
            steps.iter().map(|time_ns| (time_ns, *value)).collect(),
        ));
    }
    let mut series = evaluator.series(expr, Place::ROOT)?;
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
    meter: Meter<'a>,
    leaf: &'a mut dyn FnMut(&RangeAggregation) -> Result<Vec<Series>, EvalError>,
    /// Of each leaf to come whether labels without a value are lost.
    put_together: std::vec::IntoIter<bool>,
}

impl Evaluator<'_> {
    fn check(&self, series: &[Series]) -> Result<(), EvalError> {
        let limit = self.limits.max_series;
        if limit > 0 && series.len() > limit {
            return Err(EvalError::TooManySeries { limit });
        }
        Ok(())
    }

    /// Checks a part of the query, which is asked for each time that the query is split into.
    fn check_part(&self, series: &[Series]) -> Result<(), EvalError> {
        let (limit, split_ns) = (self.limits.max_series, self.limits.split_ns);
        if limit == 0 || series.len() <= limit {
            return Ok(());
        }
        if split_ns <= 0 || self.steps.is_instant() {
            return self.check(series);
        }
        let mut counts: HashMap<i64, usize> = HashMap::new();
        for one in series {
            let mut last = None;
            for (time_ns, _) in &one.points {
                let part = time_ns.div_euclid(split_ns);
                if last.replace(part) == Some(part) {
                    continue;
                }
                let count = counts.entry(part).or_default();
                *count += 1;
                if *count > limit {
                    return Err(EvalError::TooManySeries { limit });
                }
            }
        }
        Ok(())
    }

    fn series(&mut self, expr: &MetricExpr, place: Place) -> Result<Vec<Series>, EvalError> {
        self.meter.check()?;
        match expr {
            MetricExpr::Range(aggregation) => {
                let series = (self.leaf)(aggregation)?;
                if place.is_leaf_part(aggregation) {
                    self.check_part(&series)?;
                }
                let merger = place.merger(aggregation);
                let by_time = self.put_together.next() == Some(true);
                let merger = merger.or(by_time.then_some(VectorOp::Sum));
                match merger {
                    Some(op) => self.valued(op, series),
                    None => Ok(series),
                }
            }
            MetricExpr::Vector(vector) => self.vector(vector, place),
            MetricExpr::Binary(binary) => self.binary(binary, place),
            MetricExpr::LabelReplace(replace) => {
                let series = self.series(&replace.inner, place)?;
                let replaced = replace::label_replace(replace, series, &mut self.meter)?;
                // Over time, equal label sets are one series; at one time they stay apart.
                if self.steps.is_instant() {
                    return Ok(replaced);
                }
                replace::join_equal(replaced, &mut self.meter)
            }
            MetricExpr::VectorLiteral(value) => {
                let (labels, mut points) = (model::LabelSet::default(), Vec::new());
                self.meter.take_series(&labels)?;
                for time_ns in self.steps.iter() {
                    self.meter.push(&mut points, (time_ns, *value))?;
                }
                Ok(vec![Series { labels, points }])
            }
            MetricExpr::Literal(_) => Err(EvalError::UnexpectedLiteral),
        }
    }

    /// Series without labels that have no value; those that become equal are aggregated.
    fn valued(&mut self, op: VectorOp, series: Vec<Series>) -> Result<Vec<Series>, EvalError> {
        let is_empty = |label: &model::Label| label.value.is_empty();
        if !series.iter().any(|one| one.labels.iter().any(is_empty)) {
            return Ok(series);
        }
        let nothing = Grouping {
            without: true,
            labels: Vec::new(),
        };
        let mark = self.meter.mark();
        let valued = vector::aggregate(op, Some(&nothing), self.steps, &series, &mut self.meter)?;
        self.meter.keep(mark, &valued);
        Ok(valued)
    }

    fn vector(
        &mut self,
        aggregation: &VectorAggregation,
        place: Place,
    ) -> Result<Vec<Series>, EvalError> {
        if aggregation.op == VectorOp::ApproxTopk && !self.steps.is_instant() {
            return Err(EvalError::ApproximateRange);
        }
        // Loki splits these by the selectors below them.
        if matches!(*aggregation.inner, MetricExpr::Literal(_))
            && let VectorOp::Sum | VectorOp::Avg | VectorOp::Count | VectorOp::ApproxTopk =
                aggregation.op
        {
            return Err(EvalError::NoSelector);
        }
        let mark = self.meter.mark();
        let mut series = self.series(&aggregation.inner, place.within(aggregation))?;
        self.meter.check()?;
        let (steps, meter) = (self.steps, &mut self.meter);
        let grouping = aggregation.grouping.as_ref();
        let k = || {
            usize::try_from(aggregation.parameter.unwrap_or(1))
                .unwrap_or(1)
                .max(1)
        };
        let aggregated = match aggregation.op {
            VectorOp::Sort | VectorOp::SortDesc => {
                topk::sort(&mut series, aggregation.op == VectorOp::SortDesc);
                series
            }
            VectorOp::Topk | VectorOp::ApproxTopk => {
                topk::select(k(), true, grouping, steps, &series, meter)?
            }
            VectorOp::Bottomk => topk::select(k(), false, grouping, steps, &series, meter)?,
            op => vector::aggregate(op, grouping, steps, &series, meter)?,
        };
        if !aggregation.op.is_sort() {
            self.meter.keep(mark, &aggregated);
        }
        if place.is_part(aggregation) {
            self.check_part(&aggregated)?;
        }
        match place.is_quotient(aggregation) {
            true => self.valued(VectorOp::Avg, aggregated),
            false => Ok(aggregated),
        }
    }

    /// A side of an operator, which is a part of the query if nothing in it is.
    fn side(&mut self, expr: &MetricExpr, place: Place) -> Result<Vec<Series>, EvalError> {
        let series = self.series(expr, place)?;
        self.meter.check()?;
        if !place.in_part && place.is_whole(expr) {
            self.check_part(&series)?;
        }
        Ok(series)
    }

    fn binary(&mut self, expr: &BinaryExpr, place: Place) -> Result<Vec<Series>, EvalError> {
        match (&expr.left, &expr.right) {
            (MetricExpr::Literal(_), MetricExpr::Literal(_)) => Err(EvalError::UnexpectedLiteral),
            (MetricExpr::Literal(number), other) => {
                let series = self.side(other, place)?;
                Ok(binary::with_number(expr, series, *number, true))
            }
            (other, MetricExpr::Literal(number)) => {
                let series = self.side(other, place)?;
                Ok(binary::with_number(expr, series, *number, false))
            }
            (left, right) => {
                let mark = self.meter.mark();
                let left = self.side(left, place)?;
                let right = self.side(right, place)?;
                let meter = &mut self.meter;
                let found = match expr.op.is_set() {
                    true => binary::set_operation(expr, self.steps, &left, &right, meter)?,
                    false => binary::between(expr, self.steps, &left, &right, meter)?,
                };
                self.meter.keep(mark, &found);
                Ok(found)
            }
        }
    }
}
