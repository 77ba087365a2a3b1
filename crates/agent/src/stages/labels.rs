//! `labels`: extracted values become labels.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use model::is_valid_label_name;

use super::chain::{Flow, Stage};
use super::row::{Found, Row};

/// A label and the extracted value that it is taken from; without one, that of its name.
pub(crate) type Options = BTreeMap<String, Option<String>>;

/// Names of labels with the names of their sources.
pub(crate) type Pairs = Arc<[(Arc<str>, Arc<str>)]>;

/// Reads the options.
pub(crate) fn pairs(options: Options) -> Result<Pairs, String> {
    if options.is_empty() {
        return Err("at least one label is needed".to_owned());
    }
    let pairs = options.into_iter().map(|(label, source)| {
        if !is_valid_label_name(&label) {
            return Err(format!("invalid label name: {label}"));
        }
        let source = source.filter(|source| !source.is_empty());
        let source = source.unwrap_or_else(|| label.clone());
        Ok((label.into(), source.into()))
    });
    pairs.collect()
}

#[derive(Clone)]
pub(crate) struct Labels(Pairs);

impl Labels {
    pub(crate) fn new(options: Options) -> Result<Self, String> {
        Ok(Self(pairs(options)?))
    }
}

impl Stage for Labels {
    fn process(&mut self, row: &mut Row, _now_ns: i64) -> Flow {
        for (label, source) in &*self.0 {
            // Text that is not UTF-8 is no label value.
            let found = row.get(source).filter(|found| !found.is_raw());
            let text = found.and_then(Found::text).map(Cow::into_owned);
            if let Some(text) = text {
                row.set_label(label, text);
            }
        }
        Flow::On
    }

    fn fork(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use crate::stages::testing::{labels, refused};

    const PARSE: &str = "- regex: {expression: '^(?P<a>\\S+) (?P<b>\\S+)'}\n";

    #[test]
    fn extracted_values_become_labels() {
        for (options, expected) in [
            ("{a: , b: ''}", "a=1 b=2"),
            ("{x: a}", "x=1"),
            ("{x: missing, b: }", "b=2"),
        ] {
            let stages = format!("{PARSE}- labels: {options}");
            assert_eq!(labels(&stages, b"1 2"), expected, "{options}");
        }
    }

    #[test]
    fn numbers_and_booleans_are_written_out_and_null_is_none() {
        let stages = "- json: {expressions: {n: , t: , z: }}\n- labels: {n: , t: , z: }";
        assert_eq!(
            labels(stages, br#"{"n":1e3,"t":true,"z":null}"#),
            "n=1000 t=true"
        );
    }

    #[test]
    fn what_is_not_utf8_is_no_label() {
        let stages = "- cri: {}\n- labels: {content: }";
        let line = b"2026-01-02T03:04:05Z stdout F \xff";
        assert_eq!(labels(stages, line), "stream=stdout");
    }

    #[test]
    fn labels_without_a_sound_name_are_refused() {
        assert!(refused("- labels: {'a-b': }").contains("invalid label name: a-b"));
        assert!(refused("- labels: {}").contains("at least one label"));
    }
}
