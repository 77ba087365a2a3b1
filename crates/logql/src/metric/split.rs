//! How Loki splits an instant query whose range is long, by time: into parts of `split_ns`, which it
//! adds up again. What adds them up loses labels that have no value, which is the same here.

use crate::syntax::ast::{
    MetricExpr, RangeAggregation, RangeOp, Stage, VectorAggregation, VectorOp,
};

/// Says of each leaf of an instant query, in the order of [`super::leaves`], whether its parts are
/// put together by something that loses labels without a value. Nothing is split if `split_ns` is 0.
pub(super) fn leaves_put_together(expr: &MetricExpr, split_ns: i64) -> Vec<bool> {
    let mut split = Split {
        split_ns,
        leaves: Vec::new(),
    };
    if split_ns > 0 && is_splittable(expr) {
        split.expr(expr, None);
    } else {
        split.leave(expr);
    }
    split.leaves
}

fn is_splittable(expr: &MetricExpr) -> bool {
    match expr {
        MetricExpr::Vector(vector) => {
            let may_be = !matches!(
                vector.op,
                VectorOp::Stddev | VectorOp::Stdvar | VectorOp::Bottomk | VectorOp::ApproxTopk
            );
            may_be && is_splittable(&vector.inner)
        }
        MetricExpr::Range(range) => matches!(
            range.op,
            RangeOp::Rate
                | RangeOp::BytesRate
                | RangeOp::Bytes
                | RangeOp::Count
                | RangeOp::Sum
                | RangeOp::Max
                | RangeOp::Min
        ),
        MetricExpr::Binary(binary) => {
            is_splittable(&binary.left)
                || (is_literal(&binary.left) && is_splittable(&binary.right))
                || is_literal(&binary.right)
        }
        MetricExpr::LabelReplace(replace) => is_splittable(&replace.inner),
        MetricExpr::Literal(_) | MetricExpr::VectorLiteral(_) => false,
    }
}

fn is_literal(expr: &MetricExpr) -> bool {
    matches!(expr, MetricExpr::Literal(_))
}

struct Split {
    split_ns: i64,
    leaves: Vec<bool>,
}

impl Split {
    /// Leaves an expression as it is.
    fn leave(&mut self, expr: &MetricExpr) {
        let count = super::leaves(expr).len();
        self.leaves.extend(std::iter::repeat_n(false, count));
    }

    /// Splits the leaves of an expression, and says whether there is one to split. `around` is the
    /// vector aggregation that goes with the parts.
    fn expr(&mut self, expr: &MetricExpr, around: Option<&VectorAggregation>) -> bool {
        match expr {
            MetricExpr::Range(range) => {
                let (is_split, loses) = self.leaf(range, around);
                self.leaves.push(loses);
                is_split
            }
            MetricExpr::Vector(vector) => {
                let last = super::leaves(&vector.inner).pop();
                if last.is_none_or(|range| range.range_ns <= self.split_ns) {
                    self.leave(&vector.inner);
                    return false;
                }
                let goes_along = !matches!(&*vector.inner, MetricExpr::Binary(_))
                    && !matches!(
                        vector.op,
                        VectorOp::Count | VectorOp::Topk | VectorOp::Sort | VectorOp::SortDesc
                    );
                self.expr(&vector.inner, goes_along.then_some(vector))
            }
            MetricExpr::Binary(binary) => {
                let before = self.leaves.len();
                for side in [&binary.left, &binary.right] {
                    if !self.expr(side, around) && !is_literal(side) {
                        // With one side whole both are.
                        self.leaves.truncate(before);
                        self.leave(expr);
                        return false;
                    }
                }
                true
            }
            MetricExpr::LabelReplace(replace) => self.expr(&replace.inner, around),
            MetricExpr::Literal(_) | MetricExpr::VectorLiteral(_) => false,
        }
    }

    /// Whether a leaf is split, and whether that loses labels without a value.
    fn leaf(&self, range: &RangeAggregation, around: Option<&VectorAggregation>) -> (bool, bool) {
        const WHOLE: (bool, bool) = (false, false);
        let extracts = range.log.stages.iter().any(finds_any_label);
        let is_alone = range.grouping.is_none() && around.is_none();
        if range.range_ns <= self.split_ns || (is_alone && extracts) {
            return WHOLE;
        }
        let loses = range.grouping.as_ref().is_none_or(|by| by.without);
        let is_summed = around.is_some_and(|around| around.op == VectorOp::Sum);
        match range.op {
            RangeOp::Sum | RangeOp::Max | RangeOp::Min => (true, loses),
            RangeOp::Bytes | RangeOp::Count => (true, loses && !extracts),
            RangeOp::Rate | RangeOp::BytesRate if extracts && !is_summed => WHOLE,
            RangeOp::Rate | RangeOp::BytesRate => (true, true),
            _ => WHOLE,
        }
    }
}

/// Whether a parser takes whatever labels the line has.
fn finds_any_label(stage: &Stage) -> bool {
    match stage {
        Stage::Json(extractions) | Stage::Logfmt { extractions, .. } => extractions.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::ast::Expr;

    fn put_together(query: &str) -> Vec<bool> {
        let Ok(Expr::Metric(expr)) = crate::syntax::parse(query) else {
            panic!("{query}")
        };
        leaves_put_together(&expr, 3_600_000_000_000)
    }

    #[test]
    fn long_ranges_lose_labels_where_their_parts_are_summed() {
        for (query, expected) in [
            (r#"count_over_time({a="b"} | json x="y" [1h])"#, false),
            (r#"count_over_time({a="b"} | json x="y" [2h])"#, true),
            // Whatever a parser finds may be too much to add up.
            (r#"count_over_time({a="b"} | json [2h])"#, false),
            (
                r#"sum by (x) (count_over_time({a="b"} | json [2h]))"#,
                false,
            ),
            (r#"sum by (x) (rate({a="b"} | json [2h]))"#, true),
            (r#"avg by (x) (rate({a="b"} | json [2h]))"#, false),
            (r#"stddev(rate({a="b"}[2h]))"#, false),
            (
                r#"max_over_time({a="b"} | json x="y" | unwrap x [2h])"#,
                true,
            ),
            (
                r#"max_over_time({a="b"} | json x="y" | unwrap x [2h]) by (y)"#,
                false,
            ),
            (
                r#"quantile_over_time(1, {a="b"} | json x="y" | unwrap x [2h])"#,
                false,
            ),
            (r#"2 * count_over_time({a="b"}[2h])"#, true),
        ] {
            assert_eq!(put_together(query), [expected], "{query}");
        }
        let both = r#"count_over_time({a="b"}[2h]) + count_over_time({a="b"}[1h])"#;
        assert_eq!(put_together(both), [false, false]);
    }
}
