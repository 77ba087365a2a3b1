//! Long queries over several lines, as `format_query` shows them.

use std::fmt::Display;

use model::units::{format_go_duration, format_prometheus_duration, quote};

use super::ast::{
    BinaryExpr, BinaryOp, Expr, Grouping, LabelReplace, LogExpr, MetricExpr, RangeAggregation,
    VectorAggregation,
};
use super::print::{Operator, Selector};

/// What fits into this many characters stays on one line.
const LINE_CHARS: usize = 100;

/// Formats a query: on one line if it fits, else each part on its own.
#[must_use]
pub fn pretty(expr: &Expr) -> String {
    match expr {
        Expr::Log(log) => log_expr(log, 0),
        Expr::Metric(metric) => metric_expr(metric, 0),
    }
}

fn indent(level: usize) -> String {
    "  ".repeat(level)
}

/// The expression on one line, if that is short enough.
fn one_line(expr: impl Display, level: usize) -> Result<String, String> {
    let line = format!("{}{expr}", indent(level));
    if line.chars().count() > LINE_CHARS {
        Err(line)
    } else {
        Ok(line)
    }
}

fn log_expr(log: &LogExpr, level: usize) -> String {
    if let Ok(line) = one_line(log, level) {
        return line;
    }
    let mut text = format!("{}{}", indent(level), Selector(&log.matchers));
    // Line filters that follow each other stay together.
    let mut before_was_filter = false;
    for stage in &log.stages {
        let is_filter = matches!(stage, super::ast::Stage::LineFilter(_));
        if is_filter && before_was_filter {
            text.push_str(&format!(" {stage}"));
        } else {
            text.push_str(&format!("\n{}{stage}", indent(level + 1)));
        }
        before_was_filter = is_filter;
    }
    text
}

fn metric_expr(metric: &MetricExpr, level: usize) -> String {
    match metric {
        MetricExpr::Literal(_) | MetricExpr::VectorLiteral(_) => {
            one_line(metric, level).unwrap_or_else(|line| line)
        }
        _ => one_line(metric, level).unwrap_or_else(|_| match metric {
            MetricExpr::Range(range) => range_aggregation(range, level),
            MetricExpr::Vector(vector) => vector_aggregation(vector, level),
            MetricExpr::Binary(binary) => binary_expr(binary, level),
            MetricExpr::LabelReplace(replace) => label_replace(replace, level),
            MetricExpr::Literal(_) | MetricExpr::VectorLiteral(_) => metric.to_string(),
        }),
    }
}

fn range_aggregation(range: &RangeAggregation, level: usize) -> String {
    let mut text = format!("{}{}(\n", indent(level), range.op.as_str());
    if let Some(parameter) = range.parameter {
        text.push_str(&format!("{}{parameter},\n", indent(level + 1)));
    }
    text.push_str(&log_expr(&range.log, level + 1));
    if let Some(unwrap) = &range.unwrap {
        text.push_str(&format!("\n{}{unwrap}", indent(level + 2)));
    }
    text.push_str(&format!(
        " [{}]",
        format_prometheus_duration(range.range_ns)
    ));
    // Prometheus durations have no sign.
    let offset = match range.offset_ns {
        0 => String::new(),
        ns if ns < 0 => format!(" offset {}", format_go_duration(ns)),
        ns => format!(" offset {}", format_prometheus_duration(ns)),
    };
    text.push_str(&offset);
    text.push_str(&format!("\n{})", indent(level)));
    text.push_str(&grouping(&range.grouping));
    text
}

fn vector_aggregation(vector: &VectorAggregation, level: usize) -> String {
    let mut text = format!("{}{}", indent(level), vector.op.as_str());
    text.push_str(&grouping(&vector.grouping));
    text.push_str("(\n");
    if let Some(parameter) = vector.parameter {
        text.push_str(&format!("{}{parameter},\n", indent(level + 1)));
    }
    text.push_str(&metric_expr(&vector.inner, level + 1));
    text.push_str(&format!("\n{})", indent(level)));
    text
}

fn grouping(grouping: &Option<Grouping>) -> String {
    grouping.as_ref().map_or_else(String::new, |grouping| {
        let word = if grouping.without { "without" } else { "by" };
        format!(" {word} ({})", grouping.labels.join(", "))
    })
}

fn binary_expr(binary: &BinaryExpr, level: usize) -> String {
    let right_grouping = binary.op == BinaryOp::Pow;
    format!(
        "{}\n{}{}\n{}",
        side(&binary.left, binary.op, !right_grouping, level + 1),
        indent(level),
        Operator(binary),
        side(&binary.right, binary.op, right_grouping, level + 1)
    )
}

/// One side of a binary operator. An operator inside it that is broken over lines has no
/// parentheses of its own; it gets some if it would be read otherwise without them.
fn side(expr: &MetricExpr, outer: BinaryOp, groups_here: bool, level: usize) -> String {
    if let MetricExpr::Binary(inner) = expr
        && one_line(expr, level).is_err()
    {
        let (inner, outer) = (inner.op.precedence(), outer.precedence());
        if inner < outer || inner == outer && !groups_here {
            let text = metric_expr(expr, level + 1);
            return format!("{}(\n{text}\n{})", indent(level), indent(level));
        }
    }
    metric_expr(expr, level)
}

fn label_replace(replace: &LabelReplace, level: usize) -> String {
    let mut text = format!("{}label_replace(\n", indent(level));
    text.push_str(&metric_expr(&replace.inner, level + 1));
    for argument in [
        &replace.dst,
        &replace.replacement,
        &replace.src,
        &replace.regex,
    ] {
        text.push_str(&format!(",\n{}{}", indent(level + 1), quote(argument)));
    }
    text.push_str(&format!("\n{})", indent(level)));
    text
}
