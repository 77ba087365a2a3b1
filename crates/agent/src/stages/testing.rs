//! What the tests of stages share: pipelines from YAML, and rows as short texts.

use std::collections::BTreeMap;

use super::row::Row;
use super::{Metrics, Pipeline, StageConfig};
use crate::Entry;

/// The time at which tests take place: 2026-01-15T00:00:00Z.
pub(crate) const NOW_NS: i64 = 1_768_435_200_000_000_000;

pub(crate) fn pipeline_with(yaml: &str, metrics: &Metrics) -> Pipeline {
    let stages: Vec<StageConfig> = serde_yaml::from_str(yaml).unwrap();
    Pipeline::new(&stages, "test", metrics).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn pipeline(yaml: &str) -> Pipeline {
    pipeline_with(yaml, &Metrics::default())
}

/// Why a pipeline is refused.
pub(crate) fn refused(yaml: &str) -> String {
    let stages: Vec<StageConfig> = serde_yaml::from_str(yaml).unwrap();
    match Pipeline::new(&stages, "test", &Metrics::default()) {
        Ok(_) => panic!("{yaml} is not refused"),
        Err(error) => error.to_string(),
    }
}

pub(crate) fn entry(line: impl AsRef<[u8]>) -> Entry {
    Entry {
        line: line.as_ref().to_vec(),
        timestamp_ns: NOW_NS,
        read_ns: NOW_NS,
        ..Entry::default()
    }
}

pub(crate) fn labelled(line: impl AsRef<[u8]>, labels: &[(&str, &str)]) -> Entry {
    let labels = labels
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    Entry {
        labels: labels.collect(),
        ..entry(line)
    }
}

/// What leaves the pipeline for these entries, including what was held back.
pub(crate) fn entries(yaml: &str, entries: impl IntoIterator<Item = Entry>) -> Vec<Entry> {
    let (mut pipeline, mut out) = (pipeline(yaml), Vec::new());
    for entry in entries {
        pipeline.process(entry, NOW_NS, &mut out);
    }
    pipeline.finish(&mut out);
    out
}

/// The lines that leave the pipeline.
pub(crate) fn lines(yaml: &str, lines: &[&str]) -> Vec<String> {
    let numbered = lines.iter().zip(0..);
    let entries = entries(
        yaml,
        numbered.map(|(line, origin)| Entry {
            origin,
            ..entry(line)
        }),
    );
    entries
        .into_iter()
        .map(|entry| String::from_utf8(entry.line).unwrap())
        .collect()
}

/// The labels that one line has at the end, as `a=1 b=2`.
pub(crate) fn labels(yaml: &str, line: &[u8]) -> String {
    entries(yaml, [entry(line)])
        .iter()
        .map(|entry| label_text(&entry.labels))
        .collect()
}

pub(crate) fn label_text(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<_> = labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join(" ")
}

/// The extracted values that one line has at the end, as `a=1 b=2`; null is `a`.
pub(crate) fn extracted(yaml: &str, line: &str) -> String {
    let (mut pipeline, mut rows) = (pipeline(yaml), Vec::new());
    pipeline
        .chain
        .process(Row::new(entry(line)), NOW_NS, &mut rows);
    let values = rows.iter().flat_map(Row::values);
    let texts: Vec<_> = values
        .map(|(name, value)| match value.text() {
            Some(text) => format!("{name}={text}"),
            None => name.to_owned(),
        })
        .collect();
    texts.join(" ")
}
