//! What the grammar cannot say about stages: expressions, patterns, addresses, names.
//!
//! The reference finds these faults when it builds a pipeline, after all others, and shows the
//! stage as it prints.

mod address;
mod capture;
mod path;

use model::{Matcher, is_valid_label_name, re2};

use super::ParseError;
use super::ast::{
    Expr, Extraction, LabelFilter, LabelFormat, LineFilter, LineMatch, LineOp, MetricExpr, Stage,
};
use crate::template::{Dialect, Template};

pub(crate) use capture::capture_pattern;
pub use path::{PathSegment, parse_json_path, parse_logfmt_key};

/// Checks the stages of all pipelines of a query.
pub(crate) fn stages(expr: &Expr) -> Result<(), ParseError> {
    match expr {
        Expr::Log(log) => {
            selector_names(&log.matchers)?;
            log_stages(&log.stages)
        }
        Expr::Metric(metric) => metric_stages(metric),
    }
}

fn metric_stages(metric: &MetricExpr) -> Result<(), ParseError> {
    match metric {
        MetricExpr::Range(range) => {
            selector_names(&range.log.matchers)?;
            log_stages(&range.needed_stages())?;
            let mut filters = range.unwrap.iter().flat_map(|unwrap| &unwrap.filters);
            filters.try_for_each(label_filter)
        }
        MetricExpr::Vector(vector) => metric_stages(&vector.inner),
        MetricExpr::Binary(binary) => {
            metric_stages(&binary.left)?;
            metric_stages(&binary.right)
        }
        MetricExpr::LabelReplace(replace) => metric_stages(&replace.inner),
        MetricExpr::Literal(_) | MetricExpr::VectorLiteral(_) => Ok(()),
    }
}

/// The reference prints a selector and reads it again. A name that is not as Prometheus wants it is
/// printed in quotes, and then it stops there.
fn selector_names(matchers: &[Matcher]) -> Result<(), ParseError> {
    let mut column = 2;
    for matcher in matchers {
        if !is_valid_label_name(matcher.name()) {
            let expected = if column == 2 { " or }" } else { "" };
            let message =
                format!("syntax error: unexpected STRING, expecting IDENTIFIER{expected}");
            return Err(ParseError::at(1, column, message));
        }
        column += matcher.to_string().chars().count() as u32 + 2;
    }
    Ok(())
}

/// Checks a pipeline. Line filters are reported as the reference runs them: joined with those that
/// it moves in front of the stages between.
fn log_stages(stages: &[Stage]) -> Result<(), ParseError> {
    let is_border = |stage: &Stage| {
        matches!(
            stage,
            Stage::LabelFilter(_) | Stage::LineFormat(_) | Stage::Unpack
        )
    };
    for part in stages.split_inclusive(is_border) {
        let filters: Vec<&LineFilter> = part
            .iter()
            .filter_map(|stage| match stage {
                Stage::LineFilter(filter) => Some(filter),
                _ => None,
            })
            .collect();
        let joined = || {
            filters
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };
        // The reference builds a chain from its end.
        for filter in filters.iter().rev() {
            line_filter(filter).map_err(|error| ParseError::stage(joined(), error))?;
        }
        part.iter().try_for_each(stage)?;
    }
    Ok(())
}

fn line_filter(filter: &LineFilter) -> Result<(), String> {
    for alternative in &filter.alternatives {
        match alternative {
            LineMatch::Ip(_) if !matches!(filter.op, LineOp::Contains | LineOp::NotContains) => {
                return Err("ip: invalid operation".to_owned());
            }
            LineMatch::Ip(pattern) => address::check(pattern)?,
            LineMatch::Text(text) => match filter.op {
                LineOp::Regex | LineOp::NotRegex => {
                    re2::translate(text).map_err(|error| error.to_string())?;
                }
                LineOp::Pattern | LineOp::NotPattern => capture::line_pattern(text)?,
                LineOp::Contains | LineOp::NotContains => {}
            },
        }
    }
    Ok(())
}

fn stage(stage: &Stage) -> Result<(), ParseError> {
    let fault = match stage {
        Stage::Json(extractions) => {
            extraction_fault(extractions, |source| parse_json_path(source).map(drop))
        }
        Stage::Logfmt { extractions, .. } => {
            extraction_fault(extractions, |source| parse_logfmt_key(source).map(drop))
        }
        Stage::LabelFilter(filter) => return label_filter(filter),
        Stage::LineFormat(template) => Template::parse("line", template, Dialect::LogQl)
            .err()
            .map(|error| format!("invalid line template: {error}")),
        Stage::LabelFormat(formats) => label_format_fault(formats),
        _ => None,
    };
    fault.map_or(Ok(()), |fault| Err(ParseError::stage(stage, fault)))
}

fn extraction_fault(
    extractions: &[Extraction],
    parse: impl Fn(&str) -> Result<(), String>,
) -> Option<String> {
    extractions.iter().find_map(|Extraction { source, .. }| {
        let error = parse(source).err()?;
        Some(format!("cannot parse expression [{source}]: {error}"))
    })
}

/// The reference looks at the address of a condition that stands alone only.
fn label_filter(filter: &LabelFilter) -> Result<(), ParseError> {
    let LabelFilter::Ip { pattern, .. } = filter else {
        return Ok(());
    };
    address::check(pattern).map_err(|fault| ParseError::stage(format_args!("| {filter}"), fault))
}

fn label_format_fault(formats: &[LabelFormat]) -> Option<String> {
    let name = |format: &LabelFormat| match format {
        LabelFormat::Rename { to, .. } | LabelFormat::Template { to, .. } => to.clone(),
    };
    let mut seen = std::collections::BTreeSet::new();
    for to in formats.iter().map(name) {
        if to == "__error__" {
            return Some(format!("{to} cannot be formatted"));
        }
        if !seen.insert(to.clone()) {
            return Some(format!(
                "multiple label name '{to}' not allowed in a single format operation"
            ));
        }
    }
    formats.iter().find_map(|format| {
        let LabelFormat::Template { to, template } = format else {
            return None;
        };
        let error = Template::parse("label", template, Dialect::LogQl).err()?;
        Some(format!("invalid template for label '{to}': {error}"))
    })
}

/// Checks the expression of `| regexp`.
pub(crate) fn regexp(pattern: &str) -> Result<(), ParseError> {
    let fault = match re2::translate(pattern) {
        Err(error) => Some(error.to_string()),
        Ok(found) if found.names.is_empty() => {
            Some("at least one named capture must be supplied".to_owned())
        }
        Ok(found) => found.names.iter().enumerate().find_map(|(i, (_, name))| {
            let mut before = found.names.iter().take(i);
            let is_double = before.any(|(_, before)| before == name);
            is_double.then(|| format!("duplicate extracted label name '{name}'"))
        }),
    };
    fault.map_or(Ok(()), |fault| {
        Err(ParseError::semantic(format!(
            "invalid regexp parser: {fault}"
        )))
    })
}
