//! `drop`: lines that fulfil all given conditions end here.

use std::sync::Arc;

use model::readable;
use model::units::{ByteSize, DurationNs};
use prometheus_client::metrics::counter::Counter;
use regex::bytes::Regex;
use serde::Deserialize;

use super::Metrics;
use super::chain::{Flow, Stage};
use super::config::Scalar;
use super::expression;
use super::row::{Found, Row};

/// One name or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Sources {
    One(String),
    Several(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    source: Option<Sources>,
    separator: Option<String>,
    expression: Option<String>,
    value: Option<Scalar>,
    older_than: Option<DurationNs>,
    longer_than: Option<ByteSize>,
    drop_counter_reason: Option<String>,
}

/// What the line or the sources have to be.
#[derive(Clone)]
enum Text {
    Matches(Regex),
    Equals(Arc<[u8]>),
    /// Sources only have to be there.
    Anything,
}

#[derive(Clone)]
pub(crate) struct Drop {
    sources: Arc<[String]>,
    separator: Arc<str>,
    text: Text,
    older_than_ns: Option<i64>,
    longer_than: Option<usize>,
    dropped: Counter,
}

impl Drop {
    pub(crate) fn new(options: Options, metrics: &Metrics) -> Result<Self, String> {
        let sources = match options.source {
            None => Vec::new(),
            Some(Sources::One(source)) => vec![source],
            Some(Sources::Several(sources)) => sources,
        };
        let text = match (options.expression, options.value) {
            (Some(_), Some(_)) => return Err("value and expression exclude each other".to_owned()),
            (Some(expression), None) => Text::Matches(expression::compile(&expression)?),
            (None, Some(Scalar(value))) => Text::Equals(value.into_bytes().into()),
            (None, None) => Text::Anything,
        };
        let by_text = !sources.is_empty() || !matches!(text, Text::Anything);
        if !by_text && options.older_than.is_none() && options.longer_than.is_none() {
            let conditions = "source, expression, value, older_than and longer_than";
            return Err(format!("at least one of {conditions} is needed"));
        }
        let reason = options
            .drop_counter_reason
            .filter(|reason| !reason.is_empty());
        Ok(Self {
            sources: sources.into(),
            separator: options.separator.as_deref().unwrap_or(";").into(),
            text,
            older_than_ns: options.older_than.map(|DurationNs(ns)| ns),
            longer_than: options.longer_than.map(ByteSize::as_usize),
            dropped: metrics.dropped(reason.as_deref().unwrap_or("drop_stage")),
        })
    }

    fn drops(&self, row: &Row, now_ns: i64) -> bool {
        let longer = |bytes| row.entry.line.len() > bytes;
        let older = |ns| row.entry.timestamp_ns < now_ns.saturating_sub(ns);
        self.longer_than.is_none_or(longer)
            && self.older_than_ns.is_none_or(older)
            && self.text_drops(row)
    }

    fn text_drops(&self, row: &Row) -> bool {
        let is_wanted = |text: &[u8]| match &self.text {
            Text::Matches(regex) => regex.is_match(readable(text).as_bytes()),
            Text::Equals(value) => *text == **value,
            Text::Anything => true,
        };
        if self.sources.is_empty() {
            return is_wanted(&row.entry.line);
        }
        let found = self.sources.iter().map(|source| row.get(source));
        let Some(found) = found.collect::<Option<Vec<_>>>() else {
            return false;
        };
        if matches!(self.text, Text::Anything) {
            return true;
        }
        let texts = found
            .into_iter()
            .map(Found::bytes)
            .collect::<Option<Vec<_>>>();
        texts.is_some_and(|texts| is_wanted(&texts.join(self.separator.as_bytes())))
    }
}

impl Stage for Drop {
    fn process(&mut self, row: &mut Row, now_ns: i64) -> Flow {
        if !self.drops(row, now_ns) {
            return Flow::On;
        }
        self.dropped.inc();
        Flow::Stop
    }

    fn fork(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::testing::{NOW_NS, entry, pipeline_with, refused};

    fn is_dropped(options: &str, line: &str, age_ns: i64) -> bool {
        let metrics = Metrics::default();
        let stages = format!("- json: {{expressions: {{a: , b: , c: }}}}\n- drop: {options}");
        let mut pipeline = pipeline_with(&stages, &metrics);
        let (mut entry, mut out) = (entry(line), Vec::new());
        entry.timestamp_ns -= age_ns;
        pipeline.process(entry, NOW_NS, &mut out);
        assert_eq!(
            metrics.dropped("drop_stage").get(),
            u64::from(out.is_empty())
        );
        out.is_empty()
    }

    #[test]
    fn all_conditions_must_hold() {
        const LINE: &str = r#"{"a":"x","b":5,"c":null}"#;
        const HOUR: i64 = 3_600_000_000_000;
        for (options, expected) in [
            ("{source: a}", true),
            ("{source: missing}", false),
            ("{source: [a, c]}", true),
            ("{source: [a, missing]}", false),
            ("{source: a, value: x}", true),
            ("{source: a, value: y}", false),
            ("{source: b, value: 5}", true),
            ("{source: c, value: ''}", false),
            ("{source: [a, b], value: 'x;5'}", true),
            (
                "{source: [a, b], separator: '-', expression: '^x-[0-9]$'}",
                true,
            ),
            ("{expression: '\"a\":\"x'}", true),
            ("{expression: absent}", false),
            ("{value: 'whole line'}", false),
            ("{longer_than: 10}", true),
            ("{longer_than: 1KB}", false),
            ("{older_than: 1h}", true),
            ("{older_than: 3h}", false),
            (
                "{older_than: 1h, longer_than: 10, source: a, expression: x}",
                true,
            ),
            ("{older_than: 1h, longer_than: 1MB, source: a}", false),
        ] {
            assert_eq!(is_dropped(options, LINE, 2 * HOUR), expected, "{options}");
        }
    }

    #[test]
    fn drops_are_counted_by_reason() {
        let metrics = Metrics::default();
        let stages = "- drop: {expression: x, drop_counter_reason: noise}";
        let mut pipeline = pipeline_with(stages, &metrics).fork();
        for line in ["x", "y", "xx"] {
            pipeline.process(entry(line), NOW_NS, &mut Vec::new());
        }
        assert_eq!(metrics.dropped("noise").get(), 2);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (options, error) in [
            ("{}", "at least one of"),
            ("{value: a, expression: b}", "exclude each other"),
            ("{expression: '('}", "missing closing )"),
            ("{older_than: soon}", "not a valid duration"),
            ("{longer_than: much}", "not a valid size"),
        ] {
            let message = refused(&format!("- drop: {options}"));
            assert!(message.contains(error), "{message}");
        }
    }
}
