//! `replace`: what the groups of an expression capture is replaced by what a template makes of it.

use std::borrow::Cow;
use std::sync::Arc;

use regex::bytes::{Captures, Regex};
use serde::Deserialize;

use super::chain::{Flow, Stage};
use super::expression;
use super::row::{Row, Value};
use super::template_data::{Data, StageTemplate};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    expression: String,
    source: Option<String>,
    #[serde(default)]
    replace: String,
}

#[derive(Clone)]
pub(crate) struct Replace {
    regex: Regex,
    groups: Arc<[(usize, Arc<str>)]>,
    source: Option<Arc<str>>,
    template: Arc<StageTemplate>,
}

impl Replace {
    pub(crate) fn new(options: Options) -> Result<Self, String> {
        if options.expression.is_empty() {
            return Err("expression must not be empty".to_owned());
        }
        let regex = expression::compile(&options.expression)?;
        Ok(Self {
            groups: expression::groups(&regex).into(),
            regex,
            source: expression::non_empty(options.source, "source")?.map(Arc::from),
            template: Arc::new(StageTemplate::parse(&options.replace)?),
        })
    }

    /// The text with what was replaced, and what the named groups of the first match became.
    /// `None` if nothing matches, or the template fails.
    fn replaced(&self, row: &Row, now_ns: i64) -> Option<Replaced> {
        let input = row.input(self.source.as_deref())?;
        let mut all = self.regex.captures_iter(&input).peekable();
        all.peek()?;
        let mut data = self.template.data(row);
        let (mut text, mut end) = (Vec::with_capacity(input.len()), 0);
        let mut values = Vec::new();
        for (at, captures) in all.enumerate() {
            for (group, made) in self.made(row, &captures, &mut data, now_ns)? {
                // A group inside of one that was replaced is gone.
                if let Some(before) = input.get(end..group.start) {
                    text.extend_from_slice(before);
                    text.extend_from_slice(&made);
                    end = group.end;
                }
                let name = self.groups.iter().find(|(no, _)| *no == group.no);
                if let Some((_, name)) = name.filter(|_| at == 0) {
                    values.push((Arc::clone(name), Value::from_bytes(&made)));
                }
            }
        }
        text.extend_from_slice(input.get(end..).unwrap_or_default());
        Some(Replaced { text, values })
    }

    /// What the template makes of each group of a match.
    fn made<'a>(
        &'a self,
        row: &'a Row,
        captures: &Captures<'_>,
        data: &mut Data<'a>,
        now_ns: i64,
    ) -> Option<Vec<(Group, Vec<u8>)>> {
        let mut made = Vec::with_capacity(captures.len());
        for no in 1..captures.len() {
            let Some(group) = captures.get(no) else {
                continue;
            };
            let value = String::from_utf8_lossy(group.as_bytes()).into_owned();
            data.set("Value", Cow::Owned(value));
            let text = self.template.run(row, data, now_ns).ok()?;
            made.push((
                Group {
                    no,
                    start: group.start(),
                    end: group.end(),
                },
                text,
            ));
        }
        Some(made)
    }
}

struct Group {
    no: usize,
    start: usize,
    end: usize,
}

struct Replaced {
    text: Vec<u8>,
    values: Vec<(Arc<str>, Value)>,
}

impl Stage for Replace {
    fn process(&mut self, row: &mut Row, now_ns: i64) -> Flow {
        let Some(replaced) = self.replaced(row, now_ns) else {
            return Flow::On;
        };
        match &self.source {
            Some(source) => row.set(source, Value::from_bytes(&replaced.text)),
            None => row.entry.line = replaced.text,
        }
        for (name, value) in replaced.values {
            row.set(&name, value);
        }
        Flow::On
    }

    fn fork(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::stages::testing::{extracted, lines, refused};

    #[test]
    fn groups_are_replaced_and_the_rest_stays() {
        for (options, line, expected) in [
            (
                r"{expression: 'password=(\S+)', replace: '***'}",
                "a password=x1 b password=y",
                "a password=*** b password=***",
            ),
            (
                r"{expression: '(\d+)-(\d+)', replace: '<{{ .Value }}>'}",
                "1-2 3-4",
                "<1>-<2> <3>-<4>",
            ),
            ("{expression: '(a)(b)', replace: 'x'}", "abab", "xxxx"),
            (
                "{expression: '((a)b)', replace: '{{ .Value | ToUpper }}'}",
                "cab",
                "cAB",
            ),
            ("{expression: '(a)?b', replace: 'x'}", "b ab", "b xb"),
            ("{expression: 'x', replace: z}", "xx", "xx"),
            ("{expression: '(b+)'}", "abbc", "ac"),
            ("{expression: '(z)', replace: w}", "a", "a"),
            (
                "{expression: '(a)', replace: '{{ index .Value 7 }}'}",
                "a",
                "a",
            ),
        ] {
            assert_eq!(
                lines(&format!("- replace: {options}"), &[line]),
                [expected],
                "{options}"
            );
        }
    }

    #[test]
    fn named_groups_and_sources_are_extracted() {
        let stages = "- regex: {expression: '(?P<who>\\w+)$'}\n\
            - replace: {expression: '^(?P<first>\\w)(?P<gone>x)?', source: who, replace: '{{ .Value | ToUpper }}{{ .who }}'}";
        assert_eq!(extracted(stages, "hi bob"), "first=Bbob who=Bbobob");
        let missing = "- replace: {expression: '(.)', source: missing, replace: x}";
        assert_eq!(lines(missing, &["a"]), ["a"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(refused("- replace: {expression: '', replace: a}").contains("must not be empty"));
        assert!(refused("- replace: {expression: '(', replace: a}").contains("missing closing )"));
        assert!(refused("- replace: {expression: a, replace: '{{'}").contains("unclosed action"));
    }

    proptest! {
        #[test]
        fn a_template_that_prints_its_value_changes_nothing(line in "[ab ]{0,20}") {
            let stages = "- replace: {expression: '(a+)(b)?', replace: '{{ .Value }}'}";
            prop_assert_eq!(lines(stages, &[&line]), [line]);
        }
    }
}
