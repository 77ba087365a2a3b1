//! Long queries over several lines, as `format_query` shows them.

use std::fmt::Display;

use model::units::{format_go_duration, format_prometheus_duration, quote};

use super::ast::{
    BinaryExpr, BinaryOp, Expr, Grouping, LabelReplace, LineFilter, LogExpr, MetricExpr,
    RangeAggregation, Stage, VectorAggregation, VectorMatching,
};
use super::print::{Selector, conversion, group_side, is_read_as_list};

/// What has no more bytes than these, the indentation left out, stays on one line.
const LINE_BYTES: usize = 100;
const DAY_NS: i64 = 86_400_000_000_000;

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
    let text = expr.to_string();
    let is_long = text.len() > LINE_BYTES;
    let line = format!("{}{text}", indent(level));
    if is_long { Err(line) } else { Ok(line) }
}

fn log_expr(log: &LogExpr, level: usize) -> String {
    if let Ok(line) = one_line(log, level) {
        return line;
    }
    let mut text = format!("{}{}", indent(level), Selector(&log.matchers));
    let mut stages = log.stages.as_slice();
    while let Some((stage, rest)) = stages.split_first() {
        let part = match stage {
            Stage::LineFilter(_) => {
                let filters = leading_filters(stages);
                stages = stages.get(filters.len()..).unwrap_or_default();
                line_filters(&filters, level + 1)
            }
            _ => {
                stages = rest;
                // Loki does not indent it.
                let level = if *stage == Stage::Decolorize {
                    0
                } else {
                    level + 1
                };
                format!("{}{stage}", indent(level))
            }
        };
        text.push_str(&format!("\n{part}"));
    }
    text
}

fn leading_filters(stages: &[Stage]) -> Vec<&LineFilter> {
    let leading = stages.iter().map_while(|stage| match stage {
        Stage::LineFilter(filter) => Some(filter),
        _ => None,
    });
    leading.collect()
}

/// Line filters that follow each other: together while they fit, each further one on its own line.
fn line_filters(filters: &[&LineFilter], level: usize) -> String {
    let mut filters = filters.iter();
    let first = filters.next().map(ToString::to_string).unwrap_or_default();
    let (Ok(mut text) | Err(mut text)) = one_line(first, level);
    let mut fits = true;
    for filter in filters {
        if fits {
            match one_line(format!("{} {filter}", text.trim_start()), level) {
                Ok(longer) => {
                    text = longer;
                    continue;
                }
                Err(_) => fits = false,
            }
        }
        text.push_str(&format!("\n{}{filter}", indent(level)));
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
        let indent = indent(level + 2);
        text.push_str(&format!("\n{indent}{}", conversion(unwrap)));
        for filter in &unwrap.filters {
            text.push_str(&format!("\n{indent}| {filter}"));
        }
    }
    text.push_str(&format!(
        " [{}]",
        format_prometheus_duration(range.range_ns)
    ));
    let offset = match range.offset_ns {
        0 => String::new(),
        // A duration with a sign is not read if it has days.
        ns if ns <= -DAY_NS => format!(" offset {}", format_go_duration(ns)),
        ns if ns < 0 => format!(" offset -{}", format_prometheus_duration(-ns)),
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
        operator(binary),
        side(&binary.right, binary.op, right_grouping, level + 1)
    )
}

/// The operator on its own line.
fn operator(binary: &BinaryExpr) -> String {
    let mut text = binary.op.as_str().to_owned();
    if binary.return_bool {
        text.push_str(" bool");
    }
    if let Some(matching) = &binary.matching {
        let VectorMatching { on, labels, .. } = matching;
        let word = if *on { "on" } else { "ignoring" };
        let group = group_side(matching);
        text.push_str(&format!(" {word} ({}) {group}", labels.join(", ")));
        if !matching.include.is_empty() || is_read_as_list(binary) {
            text.push_str(&format!(" ({})", matching.include.join(", ")));
        }
    }
    text
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
