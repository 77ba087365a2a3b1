//! `label_replace`.

use model::{LabelSet, LabelSetBuilder, re2};
use regex::{Captures, Regex};

use super::meter::Meter;
use super::{EvalError, Series};
use crate::syntax::ast::LabelReplace;

/// The most bytes that a label may be replaced by, as much as a template may print.
pub(super) const VALUE_BYTES_MAX: usize = 4 << 20;

/// Sets a label of each series from another label of it.
pub(crate) fn label_replace(
    replace: &LabelReplace,
    mut series: Vec<Series>,
    meter: &mut Meter<'_>,
) -> Result<Vec<Series>, EvalError> {
    let translated = re2::translate(&format!("^(?:{})$", replace.regex))
        .map_err(|error| EvalError::Regex(error.to_string()))?;
    let regex =
        Regex::new(&translated.pattern).map_err(|error| EvalError::Regex(error.to_string()))?;
    for one in &mut series {
        meter.check()?;
        one.labels = replaced(&one.labels, replace, &regex, meter)?;
    }
    Ok(series)
}

fn replaced(
    labels: &LabelSet,
    replace: &LabelReplace,
    regex: &Regex,
    meter: &mut Meter<'_>,
) -> Result<LabelSet, EvalError> {
    let Some(captures) = regex.captures(labels.get(&replace.src).unwrap_or_default()) else {
        return Ok(labels.clone());
    };
    let value = expanded(replace, &captures)?;
    meter.take_series(labels)?;
    meter.take_text(value.len())?;
    let mut set = LabelSetBuilder::default();
    for label in labels {
        set.push(label.name.clone(), label.value.clone());
    }
    // An empty value takes the label away.
    set.push(replace.dst.as_str(), value);
    Ok(set.build())
}

/// The replacement with groups filled in, piece by piece so that none makes it too long.
fn expanded(replace: &LabelReplace, captures: &Captures<'_>) -> Result<String, EvalError> {
    let mut value = String::new();
    let mut rest = replace.replacement.as_str();
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at_checked(piece_len(rest)).unwrap_or((rest, ""));
        captures.expand(piece, &mut value);
        if value.len() > VALUE_BYTES_MAX {
            return Err(EvalError::LabelTooLong {
                label: replace.dst.clone(),
                limit_bytes: VALUE_BYTES_MAX,
            });
        }
        rest = behind;
    }
    Ok(value)
}

/// Bytes of the first piece that has at most one group in it.
fn piece_len(text: &str) -> usize {
    let behind = |from: usize, stop: char| {
        let found = text.get(from..).unwrap_or_default().find(stop);
        found.map(|at| from + at)
    };
    if text.starts_with("$$") {
        return 2;
    }
    let group_end = match text.starts_with("${") {
        true => behind(2, '}').map_or(text.len(), |at| at + 1),
        false => 1,
    };
    behind(group_end, '$').unwrap_or(text.len())
}

/// Joins series that have got the same labels; their points follow each other by time.
pub(crate) fn join_equal(
    mut series: Vec<Series>,
    meter: &mut Meter<'_>,
) -> Result<Vec<Series>, EvalError> {
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    let mut joined: Vec<Series> = Vec::with_capacity(series.len());
    for mut one in series {
        meter.check()?;
        match joined.last_mut() {
            Some(last) if last.labels == one.labels => {
                meter.take(2 * one.points.len() * size_of::<(i64, f64)>())?;
                last.points.append(&mut one.points);
            }
            _ => joined.push(one),
        }
    }
    for one in &mut joined {
        meter.check()?;
        if !one.points.is_sorted_by_key(|(time_ns, _)| *time_ns) {
            one.points.sort_by_key(|(time_ns, _)| *time_ns);
        }
    }
    Ok(joined)
}
