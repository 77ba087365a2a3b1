//! How Loki takes a metric query apart.
//!
//! Its front end has parts of a query answered by queriers and puts the answers together. That shows
//! in two ways, which are the same here: the limit of series holds for each part, and what puts
//! parts together, a `sum without ()` or a quotient, loses labels that have no value.

use crate::syntax::ast::{
    BinaryExpr, BinaryOp, Grouping, LabelFilter, LabelFormat, MetricExpr, RangeAggregation,
    RangeOp, Stage, VectorAggregation, VectorMatching, VectorOp,
};

/// Where an expression stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Whether it belongs to a part that begins further out.
    pub(super) in_part: bool,
    /// Whether no vector aggregation is around it.
    pub(super) is_top: bool,
}

impl Place {
    /// That of a whole query.
    pub(super) const ROOT: Self = Self {
        in_part: false,
        is_top: true,
    };

    /// That of what a vector aggregation aggregates.
    pub(super) fn within(self, vector: &VectorAggregation) -> Self {
        Self {
            in_part: self.in_part || self.is_part(vector),
            is_top: false,
        }
    }

    /// Whether a vector aggregation at this place is a part of the query.
    pub(super) fn is_part(self, vector: &VectorAggregation) -> bool {
        !self.in_part
            && is_shardable_vector(vector, self.is_top)
            && match vector.op {
                VectorOp::Sum => !reduces_labels(&vector.inner) || is_additive(&vector.inner),
                VectorOp::Min | VectorOp::Max => !reduces_labels(&vector.inner),
                _ => true,
            }
    }

    /// Whether it is a quotient of a sum and a count, both parts of the query.
    pub(super) fn is_quotient(self, vector: &VectorAggregation) -> bool {
        vector.op == VectorOp::Avg && self.is_part(vector)
    }

    /// What puts the parts of a leaf at this place together, if they lose labels thereby.
    pub(super) fn merger(self, range: &RangeAggregation) -> Option<VectorOp> {
        if self.in_part || range.grouping.as_ref().is_some_and(|by| !by.without) {
            return None;
        }
        let is_grouped = |by: &Grouping| !by.labels.is_empty();
        let may_conflict =
            range.grouping.as_ref().is_some_and(is_grouped) || stages_reduce_labels(range);
        may_conflict.then(|| merger(range)).flatten()
    }

    /// Whether a leaf at this place is a part of the query.
    pub(super) fn is_leaf_part(self, range: &RangeAggregation) -> bool {
        !self.in_part && merger(range).is_some()
    }

    /// Whether Loki leaves an expression at this place whole, because nothing in it can be a part.
    pub(super) fn is_whole(self, expr: &MetricExpr) -> bool {
        match expr {
            MetricExpr::Range(range) => !self.is_leaf_part(range),
            MetricExpr::Vector(vector) => {
                !self.is_part(vector) && self.within(vector).is_whole(&vector.inner)
            }
            MetricExpr::LabelReplace(replace) => self.is_whole(&replace.inner),
            MetricExpr::Binary(_) => false,
            MetricExpr::Literal(_) | MetricExpr::VectorLiteral(_) => true,
        }
    }
}

/// What puts the parts of a range aggregation together; `None` if it has none.
fn merger(range: &RangeAggregation) -> Option<VectorOp> {
    match range.op {
        RangeOp::Rate | RangeOp::Count | RangeOp::Bytes | RangeOp::BytesRate | RangeOp::Sum => {
            Some(VectorOp::Sum)
        }
        RangeOp::Min => Some(VectorOp::Min),
        RangeOp::Max => Some(VectorOp::Max),
        RangeOp::Avg if !filters_errors(range) => Some(VectorOp::Avg),
        _ => None,
    }
}

/// Whether a filter after the unwrapping looks at errors.
fn filters_errors(range: &RangeAggregation) -> bool {
    let mut filters = range.unwrap.iter().flat_map(|unwrap| &unwrap.filters);
    filters.any(|filter| label_of(filter, "__error__"))
}

fn label_of(filter: &LabelFilter, name: &str) -> bool {
    match filter {
        LabelFilter::And(left, right) | LabelFilter::Or(left, right) => {
            label_of(left, name) || label_of(right, name)
        }
        LabelFilter::Text(matcher) => matcher.name() == name,
        _ => false,
    }
}

/// Whether Loki gives parts of it, by streams, to several queriers.
fn is_shardable(expr: &MetricExpr, is_top: bool) -> bool {
    match expr {
        MetricExpr::Range(range) => match range.op {
            RangeOp::Quantile => is_top,
            RangeOp::First | RangeOp::Last | RangeOp::Avg => true,
            _ => merger(range).is_some(),
        },
        MetricExpr::Vector(vector) => is_shardable_vector(vector, is_top),
        MetricExpr::Binary(binary) => is_shardable_binary(binary, is_top),
        MetricExpr::Literal(_) => true,
        MetricExpr::LabelReplace(_) | MetricExpr::VectorLiteral(_) => false,
    }
}

fn is_shardable_vector(vector: &VectorAggregation, is_top: bool) -> bool {
    let inner = &*vector.inner;
    let may_be = match vector.op {
        VectorOp::Sum => !matches!(inner, MetricExpr::Vector(inner)
            if matches!(inner.op, VectorOp::Min | VectorOp::Max)),
        VectorOp::Count | VectorOp::Avg => !reduces_labels(inner),
        VectorOp::Min | VectorOp::Max => {
            matches!(inner, MetricExpr::Range(_)) && is_shardable(inner, false)
        }
        VectorOp::ApproxTopk => true,
        _ => false,
    };
    may_be && is_shardable(inner, is_top)
}

fn is_shardable_binary(binary: &BinaryExpr, is_top: bool) -> bool {
    let changes_labels = |matching: &VectorMatching| matching.on || !matching.labels.is_empty();
    matches!(binary.op, BinaryOp::Add | BinaryOp::Mul)
        && !binary.matching.as_ref().is_some_and(changes_labels)
        && is_shardable(&binary.left, is_top)
        && is_shardable(&binary.right, is_top)
}

/// Whether series of different streams may become the same.
fn reduces_labels(expr: &MetricExpr) -> bool {
    let reduces = |by: &Option<Grouping>| by.as_ref().is_some_and(|by| !by.labels.is_empty());
    match expr {
        MetricExpr::Range(range) => reduces(&range.grouping) || stages_reduce_labels(range),
        MetricExpr::Vector(vector) => reduces(&vector.grouping) || reduces_labels(&vector.inner),
        MetricExpr::Binary(binary) => reduces_labels(&binary.left) || reduces_labels(&binary.right),
        MetricExpr::LabelReplace(replace) => reduces_labels(&replace.inner),
        MetricExpr::Literal(_) | MetricExpr::VectorLiteral(_) => false,
    }
}

fn stages_reduce_labels(range: &RangeAggregation) -> bool {
    range.log.stages.iter().any(|stage| match stage {
        Stage::Drop(_) | Stage::Keep(_) => true,
        Stage::LabelFormat(formats) => formats
            .iter()
            .any(|format| matches!(format, LabelFormat::Rename { .. })),
        _ => false,
    })
}

/// Whether sums of it may be added up.
fn is_additive(expr: &MetricExpr) -> bool {
    match expr {
        MetricExpr::Range(range) => merger(range) == Some(VectorOp::Sum),
        MetricExpr::Vector(vector) => vector.op != VectorOp::Avg && is_additive(&vector.inner),
        MetricExpr::Binary(binary) => is_additive(&binary.left) && is_additive(&binary.right),
        MetricExpr::LabelReplace(replace) => is_additive(&replace.inner),
        MetricExpr::Literal(_) | MetricExpr::VectorLiteral(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::ast::Expr;

    fn metric(query: &str) -> MetricExpr {
        let Ok(Expr::Metric(expr)) = crate::syntax::parse(query) else {
            panic!("{query}")
        };
        expr
    }

    /// Whether the outermost aggregation is a part, and whether the leaf below is.
    fn parts(query: &str) -> (bool, bool) {
        let MetricExpr::Vector(vector) = metric(query) else {
            panic!("{query}")
        };
        let mut place = Place::ROOT.within(&vector);
        let mut inner = &*vector.inner;
        while let MetricExpr::Vector(vector) = inner {
            place = place.within(vector);
            inner = &vector.inner;
        }
        let MetricExpr::Range(range) = inner else {
            panic!("{query}")
        };
        (Place::ROOT.is_part(&vector), place.is_leaf_part(range))
    }

    #[test]
    fn parts_are_what_may_be_added_up_by_streams() {
        let counted = r#"count_over_time({a="b"}[1m])"#;
        let renamed = r#"count_over_time({a="b"} | label_format c=a [1m])"#;
        let highest = r#"max_over_time({a="b"} | label_format c=a | unwrap v [1m])"#;
        for (query, expected) in [
            (format!("sum({counted})"), (true, false)),
            (format!("sum({renamed})"), (true, false)),
            (format!("sum({highest})"), (false, true)),
            (format!("avg({counted})"), (true, false)),
            (format!("avg({renamed})"), (false, true)),
            (format!("max({counted})"), (true, false)),
            (format!("max(sum({counted}))"), (false, false)),
            (format!("stddev({counted})"), (false, true)),
            (format!("topk(1, {counted})"), (false, true)),
            (
                "stddev(stddev_over_time({a=\"b\"} | unwrap v [1m]))".to_owned(),
                (false, false),
            ),
        ] {
            assert_eq!(parts(&query), expected, "{query}");
        }
    }

    #[test]
    fn what_is_merged_loses_labels_without_a_value() {
        let merger = |query: &str| {
            let MetricExpr::Range(range) = metric(query) else {
                panic!("{query}")
            };
            Place::ROOT.merger(&range)
        };
        for (query, expected) in [
            (r#"count_over_time({a="b"}[1m])"#, None),
            (
                r#"count_over_time({a="b"} | drop c [1m])"#,
                Some(VectorOp::Sum),
            ),
            (
                r#"max_over_time({a="b"} | unwrap v [1m]) without (c)"#,
                Some(VectorOp::Max),
            ),
            (r#"max_over_time({a="b"} | unwrap v [1m]) by (c)"#, None),
            (
                r#"avg_over_time({a="b"} | keep c, v | unwrap v [1m])"#,
                Some(VectorOp::Avg),
            ),
            (
                r#"avg_over_time({a="b"} | keep c, v | unwrap v | __error__="" [1m])"#,
                None,
            ),
            (
                r#"first_over_time({a="b"} | keep c, v | unwrap v [1m])"#,
                None,
            ),
        ] {
            assert_eq!(merger(query), expected, "{query}");
        }
    }
}
