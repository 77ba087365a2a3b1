//! `pack`: the line and some of its labels become one JSON object, which `unpack` of LogQL takes
//! apart again.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::chain::{Flow, Stage};
use super::json_text::push_json_string;
use super::row::{Found, Row};

/// The key of the line.
const ENTRY: &str = "_entry";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    labels: Vec<String>,
    #[serde(default = "yes")]
    ingest_timestamp: bool,
}

fn yes() -> bool {
    true
}

#[derive(Clone)]
pub(crate) struct Pack {
    labels: Arc<[String]>,
    /// Whether the entry gets the time at which it was read, since packing streams together may put
    /// their lines out of order.
    takes_read_time: bool,
}

impl Pack {
    pub(crate) fn new(options: Options) -> Result<Self, String> {
        if options.labels.iter().any(|label| label == ENTRY) {
            return Err(format!("the label {ENTRY} cannot be packed"));
        }
        Ok(Self {
            labels: options.labels.into(),
            takes_read_time: options.ingest_timestamp,
        })
    }
}

impl Stage for Pack {
    fn process(&mut self, row: &mut Row, _now_ns: i64) -> Flow {
        let texts = self.labels.iter().filter_map(|label| {
            // Labels that stages added are not among the extracted values.
            let label_text = || row.labels().get(label).map(|text| text.as_str().into());
            let text = row.get(label).and_then(Found::text).or_else(label_text)?;
            Some((label, text.into_owned()))
        });
        let texts: BTreeMap<&String, String> = texts.collect();
        let mut packed = String::with_capacity(row.entry.line.len() + 64);
        packed.push('{');
        for (label, text) in &texts {
            push_json_string(label, &mut packed);
            packed.push(':');
            push_json_string(text, &mut packed);
            packed.push(',');
        }
        push_json_string(ENTRY, &mut packed);
        packed.push(':');
        let line: Cow<'_, str> = String::from_utf8_lossy(&row.entry.line);
        push_json_string(&line, &mut packed);
        packed.push('}');
        row.entry.line = packed.into_bytes();
        for label in texts.keys() {
            row.remove_label(label);
        }
        if self.takes_read_time {
            row.entry.set_time(row.entry.read_ns);
        }
        Flow::On
    }

    fn fork(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use crate::stages::testing::{NOW_NS, entries, label_text, labelled, refused};

    #[test]
    fn labels_and_extracted_values_are_packed() {
        let stages =
            "- regex: {expression: '(?P<word>\\w+)'}\n- pack: {labels: [pod, word, missing]}";
        let mut entry = labelled("say \"hi\"", &[("pod", "p-1"), ("app", "web")]);
        entry.timestamp_ns = 5;
        let out = entries(stages, [entry.clone()]);
        let line = String::from_utf8(out[0].line.clone()).unwrap();
        assert_eq!(line, r#"{"pod":"p-1","word":"say","_entry":"say \"hi\""}"#);
        assert_eq!(
            (label_text(&out[0].labels).as_str(), out[0].timestamp_ns),
            ("app=web", NOW_NS)
        );

        let out = entries("- pack: {labels: [], ingest_timestamp: false}", [entry]);
        assert_eq!(out[0].line, br#"{"_entry":"say \"hi\""}"#);
        assert_eq!(out[0].timestamp_ns, 5);
        assert!(refused("- pack: {labels: [_entry]}").contains("cannot be packed"));
    }
}
