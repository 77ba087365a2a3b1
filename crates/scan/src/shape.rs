//! What a range aggregation needs to see of a row.

use chunk::Projection;
use logql::syntax::ast::{RangeAggregation, RangeOp, Stage};

/// Where the value of a sample comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleValue {
    /// One per row.
    Rows,
    /// The length of the line.
    Bytes,
    /// What the stages say.
    Stages,
}

/// What a range aggregation needs to see of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleShape {
    /// Where the value comes from.
    pub value: SampleValue,
    /// Whether every row is a sample and its labels are those of stream and metadata, each
    /// independent of the others.
    pub takes_all: bool,
    /// Whether stages look at the text of lines.
    pub reads_lines: bool,
}

impl SampleShape {
    /// Everything, for samples of which nothing is known.
    pub const UNKNOWN: Self = Self {
        value: SampleValue::Stages,
        takes_all: false,
        reads_lines: true,
    };

    /// The shape of an aggregation.
    #[must_use]
    pub fn of(aggregation: &RangeAggregation) -> Self {
        if aggregation.unwrap.is_some() {
            return Self::UNKNOWN;
        }
        let value = match aggregation.op {
            RangeOp::Count | RangeOp::Rate | RangeOp::Absent => SampleValue::Rows,
            RangeOp::Bytes | RangeOp::BytesRate => SampleValue::Bytes,
            _ => return Self::UNKNOWN,
        };
        let stages = &aggregation.log.stages;
        let only_labels = |stage: &Stage| {
            matches!(
                stage,
                Stage::LabelFilter(_) | Stage::Drop(_) | Stage::Keep(_)
            )
        };
        Self {
            value,
            takes_all: stages.is_empty(),
            reads_lines: !stages.iter().all(only_labels),
        }
    }

    /// The columns that hold all that samples of this shape are made of. Sources that overlap need
    /// all columns, whatever the shape.
    #[must_use]
    pub fn projection(&self) -> Projection {
        if self.reads_lines || self.value == SampleValue::Stages {
            return Projection::ALL;
        }
        let lengths = self.value == SampleValue::Bytes;
        Projection {
            metadata: true,
            lengths,
            lines: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use logql::syntax::ast::{Expr, MetricExpr};

    use super::*;

    fn shape(query: &str) -> SampleShape {
        match logql::syntax::parse(query).unwrap() {
            Expr::Metric(MetricExpr::Range(aggregation)) => SampleShape::of(&aggregation),
            other => panic!("not a range aggregation: {other}"),
        }
    }

    #[test]
    fn only_what_the_query_needs() {
        use SampleValue::{Bytes, Rows};
        let of = |value, takes_all, reads_lines| SampleShape {
            value,
            takes_all,
            reads_lines,
        };
        for (query, expected) in [
            (r#"rate({a="b"}[5m])"#, of(Rows, true, false)),
            (r#"bytes_over_time({a="b"}[5m])"#, of(Bytes, true, false)),
            (
                r#"count_over_time({a="b"} | level="x" [5m])"#,
                of(Rows, false, false),
            ),
            (
                r#"count_over_time({a="b"} |= "x" [5m])"#,
                of(Rows, false, true),
            ),
            (
                r#"count_over_time({a="b"} | json [5m])"#,
                of(Rows, false, true),
            ),
            (
                r#"sum_over_time({a="b"} | unwrap x [5m])"#,
                SampleShape::UNKNOWN,
            ),
        ] {
            assert_eq!(shape(query), expected, "{query}");
        }
    }
}
