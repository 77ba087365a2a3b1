//! `regex`: the named groups of an expression become extracted values.

use std::sync::Arc;

use model::readable;
use regex::bytes::{CaptureLocations, Regex};
use serde::Deserialize;

use super::chain::{Flow, Stage};
use super::expression;
use super::row::{Row, Value};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    expression: String,
    source: Option<String>,
}

#[derive(Clone)]
pub(crate) struct RegexStage {
    regex: Regex,
    source: Option<Arc<str>>,
    groups: Arc<[(usize, Arc<str>)]>,
    locations: CaptureLocations,
}

impl RegexStage {
    pub(crate) fn new(options: Options) -> Result<Self, String> {
        if options.expression.is_empty() {
            return Err("expression must not be empty".to_owned());
        }
        let regex = expression::compile(&options.expression)?;
        let groups = expression::groups(&regex);
        if groups.is_empty() {
            return Err("expression needs at least one named group".to_owned());
        }
        Ok(Self {
            source: expression::non_empty(options.source, "source")?.map(Arc::from),
            groups: groups.into(),
            locations: regex.capture_locations(),
            regex,
        })
    }
}

impl Stage for RegexStage {
    fn process(&mut self, row: &mut Row, _now_ns: i64) -> Flow {
        let Some(input) = row.input(self.source.as_deref()) else {
            return Flow::On;
        };
        let input = readable(&input);
        let input = input.as_bytes();
        if self
            .regex
            .captures_read(&mut self.locations, input)
            .is_none()
        {
            return Flow::On;
        }
        let values: Vec<Value> = self
            .groups
            .iter()
            .map(|(group, _)| {
                let found = self.locations.get(*group);
                let found = found.and_then(|(from, to)| input.get(from..to));
                Value::from_bytes(found.unwrap_or_default())
            })
            .collect();
        for ((_, name), value) in self.groups.iter().zip(values) {
            row.set(name, value);
        }
        Flow::On
    }

    fn fork(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use crate::stages::testing::{extracted, refused};

    #[test]
    fn named_groups_are_extracted() {
        for (options, line, expected) in [
            (
                r"{expression: '^(?P<ip>\S+) (?P<n>\d+)?'}",
                "1.2.3.4 57 x",
                "ip=1.2.3.4 n=57",
            ),
            // A group that took no part has the empty value.
            (r"{expression: 'a(?P<b>b)?(?P<c>c)'}", "xxac", "b= c=c"),
            (r"{expression: '(?P<a>z)'}", "no match", ""),
            (r"{expression: '(?P<a>.)(.)', source: missing}", "xy", ""),
        ] {
            assert_eq!(
                extracted(&format!("- regex: {options}"), line),
                expected,
                "{options}"
            );
        }
    }

    #[test]
    fn a_source_is_used_instead_of_the_line() {
        let stages = "- regex: {expression: 'm=(?P<m>\\w+)'}\n\
                      - regex: {expression: '^(?P<first>.)', source: m}";
        assert_eq!(extracted(stages, "x m=abc"), "first=a m=abc");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (options, error) in [
            ("{}", "missing field `expression`"),
            ("{expression: ''}", "must not be empty"),
            ("{expression: '('}", "missing closing )"),
            ("{expression: 'a(b)'}", "at least one named group"),
            (
                "{expression: '(?P<a>.)', source: ''}",
                "source must not be empty",
            ),
            (
                "{expression: '(?P<a>.)', sauce: b}",
                "unknown field `sauce`",
            ),
        ] {
            let message = refused(&format!("- regex: {options}"));
            assert!(message.contains(error), "{message}");
        }
    }
}
