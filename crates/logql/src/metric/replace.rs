//! `label_replace`.

use model::{LabelSet, LabelSetBuilder, re2};
use regex::Regex;

use super::{EvalError, Series};
use crate::syntax::ast::LabelReplace;

/// Sets a label of each series from another label of it.
pub(crate) fn label_replace(
    replace: &LabelReplace,
    series: Vec<Series>,
) -> Result<Vec<Series>, EvalError> {
    let translated = re2::translate(&format!("^(?:{})$", replace.regex))
        .map_err(|error| EvalError::Regex(error.to_string()))?;
    let regex =
        Regex::new(&translated.pattern).map_err(|error| EvalError::Regex(error.to_string()))?;
    let replaced = series.into_iter().map(|one| {
        let labels = replaced(&one.labels, replace, &regex);
        Series { labels, ..one }
    });
    Ok(replaced.collect())
}

fn replaced(labels: &LabelSet, replace: &LabelReplace, regex: &Regex) -> LabelSet {
    let Some(captures) = regex.captures(labels.get(&replace.src).unwrap_or_default()) else {
        return labels.clone();
    };
    let mut value = String::new();
    captures.expand(&replace.replacement, &mut value);
    let mut set = LabelSetBuilder::default();
    for label in labels {
        set.push(label.name.clone(), label.value.clone());
    }
    // An empty value takes the label away.
    set.push(replace.dst.as_str(), value);
    set.build()
}

/// Joins series that have got the same labels; their points follow each other by time.
pub(crate) fn join_equal(mut series: Vec<Series>) -> Vec<Series> {
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    series.dedup_by(|later, kept| {
        let same = later.labels == kept.labels;
        if same {
            kept.points.append(&mut later.points);
            kept.points.sort_by_key(|(time_ns, _)| *time_ns);
        }
        same
    });
    series
}
