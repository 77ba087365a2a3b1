//! Streams of lines that can be told apart, so that a missing or doubled one has a name.

use crate::api::{Labels, Line};

/// A second in nanoseconds.
pub const SECOND_NS: i64 = 1_000_000_000;

/// Now, in nanoseconds since the Unix epoch.
#[must_use]
pub fn now_ns() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// `{app="<app>", writer="<writer>"}`
#[must_use]
pub fn labels(app: &str, writer: usize) -> Labels {
    [("app", app.to_owned()), ("writer", writer.to_string())]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Line `number` of a writer, at a time of its own.
#[must_use]
pub fn line(writer: usize, number: usize, base_ns: i64) -> Line {
    Line {
        timestamp_ns: base_ns + number as i64 * 1_000,
        text: format!("level=info writer={writer} number={number} msg=\"line {number:08}\""),
    }
}

/// Lines `from..to` of a writer.
#[must_use]
pub fn lines(writer: usize, from: usize, to: usize, base_ns: i64) -> Vec<Line> {
    (from..to)
        .map(|number| line(writer, number, base_ns))
        .collect()
}

/// Says which lines are missing, doubled or unknown; `None` if it is exactly those expected.
#[must_use]
pub fn difference(expected: &[Line], found: &[Line]) -> Option<String> {
    let count = |lines: &[Line]| {
        let mut counts = std::collections::BTreeMap::<Line, i64>::new();
        for line in lines {
            *counts.entry(line.clone()).or_default() += 1;
        }
        counts
    };
    let (expected_counts, found_counts) = (count(expected), count(found));
    let missing: Vec<_> = expected_counts
        .iter()
        .filter(|(line, count)| found_counts.get(*line).unwrap_or(&0) < count)
        .map(|(line, _)| line.text.clone())
        .collect();
    let extra: Vec<_> = found_counts
        .iter()
        .filter(|(line, count)| expected_counts.get(*line).unwrap_or(&0) < count)
        .map(|(line, _)| line.text.clone())
        .collect();
    (!missing.is_empty() || !extra.is_empty()).then(|| {
        format!(
            "{} expected, {} found, {} missing (first {:?}), {} extra (first {:?})",
            expected.len(),
            found.len(),
            missing.len(),
            missing.first(),
            extra.len(),
            extra.first(),
        )
    })
}
