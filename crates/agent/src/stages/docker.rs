//! `docker`: lines as Docker's `json-file` driver writes them,
//! `{"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.6Z"}`.
//!
//! Four other stages one after the other.

use super::chain::{Flow, Stage};
use super::json::{self, JsonStage};
use super::labels::Labels;
use super::output::{self, Output};
use super::row::Row;
use super::timestamp::{self, Timestamp};

#[derive(Clone)]
pub(crate) struct Docker {
    json: JsonStage,
    labels: Labels,
    timestamp: Timestamp,
    output: Output,
}

impl Docker {
    pub(crate) fn new() -> Result<Self, String> {
        let field = |name: &str, expression: &str| (name.to_owned(), Some(expression.to_owned()));
        Ok(Self {
            json: JsonStage::new(json::Options {
                expressions: [
                    field("output", "log"),
                    field("stream", "stream"),
                    field("timestamp", "time"),
                ]
                .into(),
                source: None,
                drop_malformed: false,
            })?,
            labels: Labels::new([field("stream", "stream")].into())?,
            timestamp: Timestamp::new(timestamp::Options::rfc3339("timestamp"))?,
            output: Output::new(&output::Options::of("output"))?,
        })
    }
}

impl Stage for Docker {
    fn process(&mut self, row: &mut Row, now_ns: i64) -> Flow {
        self.json.process(row, now_ns);
        self.labels.process(row, now_ns);
        self.timestamp.process(row, now_ns);
        self.output.process(row, now_ns)
    }

    fn fork(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use crate::stages::testing::{NOW_NS, entries, entry, label_text, refused};

    #[test]
    fn a_line_is_taken_apart() {
        let line =
            r#"{"log":"hi \"you\"\n","stream":"stderr","time":"2026-01-15T00:00:02.000000001Z"}"#;
        let out = entries("- docker: {}", [entry(line)]);
        assert_eq!(out[0].line, b"hi \"you\"\n");
        assert_eq!(label_text(&out[0].labels), "stream=stderr");
        assert_eq!(out[0].timestamp_ns - NOW_NS, 2_000_000_001);
    }

    #[test]
    fn other_lines_pass_unchanged() {
        for line in ["plain", r#"{"msg":"x"}"#] {
            assert_eq!(entries("- docker:", [entry(line)]), [entry(line)]);
        }
        assert!(refused("- docker: {a: 1}").contains("unknown field `a`"));
    }
}
