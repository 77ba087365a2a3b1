//! `match`: stages for the lines that a selector selects, or their end.

use std::sync::Arc;

use logql::pipeline::LineFilter;
use logql::syntax::ast::{LogExpr, Stage as LogStage};
use logql::syntax::{ParseError, parse_log};
use model::Matcher;
use prometheus_client::metrics::counter::Counter;
use serde::Deserialize;

use super::chain::{Chain, Flow, Stage};
use super::config::StageConfig;
use super::row::Row;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    /// The stages are run.
    #[default]
    Keep,
    /// The line ends here.
    Drop,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    selector: String,
    #[serde(default)]
    pub(super) stages: Vec<StageConfig>,
    #[serde(default)]
    pub(super) action: Action,
    pipeline_name: Option<String>,
    pub(super) drop_counter_reason: Option<String>,
}

impl Options {
    pub(super) fn reason(&self) -> &str {
        let reason = self.drop_counter_reason.as_deref();
        reason
            .filter(|reason| !reason.is_empty())
            .unwrap_or("match_stage")
    }

    fn fault(&self) -> Option<&'static str> {
        match self.action {
            _ if self.selector.is_empty() => Some("selector must not be empty"),
            _ if self.pipeline_name.as_deref() == Some("") => {
                Some("pipeline_name can be left out but not be empty")
            }
            Action::Keep if self.stages.is_empty() => Some("at least one stage is needed"),
            Action::Drop if !self.stages.is_empty() => Some("action drop takes no stages"),
            _ => None,
        }
    }
}

/// What a line must be to be selected.
struct Selector {
    matchers: Vec<Matcher>,
    filters: Vec<LineFilter>,
}

enum Then {
    Run(Chain),
    Drop(Counter),
}

pub(crate) struct Match {
    selector: Arc<Selector>,
    then: Then,
}

impl Match {
    /// A stage that runs `chain`, or counts what it drops.
    pub(crate) fn new(options: &Options, chain: Chain, dropped: Counter) -> Result<Self, String> {
        if let Some(fault) = options.fault() {
            return Err(fault.to_owned());
        }
        let selector = Arc::new(Selector::parse(&options.selector)?);
        let then = match options.action {
            Action::Keep => Then::Run(chain),
            Action::Drop => Then::Drop(dropped),
        };
        Ok(Self { selector, then })
    }

    fn chain(&self) -> Option<&Chain> {
        match &self.then {
            Then::Run(chain) => Some(chain),
            Then::Drop(_) => None,
        }
    }

    fn release(&mut self, of: impl FnOnce(&mut Chain, &mut Vec<Row>)) -> Vec<Row> {
        let mut rows = Vec::new();
        if let Then::Run(chain) = &mut self.then {
            of(chain, &mut rows);
        }
        rows
    }
}

impl Selector {
    fn parse(text: &str) -> Result<Self, String> {
        let expr = parse_selector(text).map_err(|error| error.to_string())?;
        let filters = expr.stages.iter().map(|stage| match stage {
            LogStage::LineFilter(filter) => {
                LineFilter::compile(filter).map_err(|error| error.to_string())
            }
            _ => Err("selector may only have line filters after the labels".to_owned()),
        });
        Ok(Self {
            filters: filters.collect::<Result<_, _>>()?,
            matchers: expr.matchers,
        })
    }

    fn selects(&self, row: &Row) -> bool {
        let value_of = |name: &str| row.labels().get(name).map_or("", String::as_str);
        let matches = |matcher: &Matcher| matcher.matches_value(value_of(matcher.name()));
        self.matchers.iter().all(matches)
            && self
                .filters
                .iter()
                .all(|filter| filter.pass(&row.entry.line))
    }
}

/// LogQL asks for a matcher that does not match an absent label, a `match` stage does not. One
/// that is put in front and taken out again makes every selector fit.
fn parse_selector(text: &str) -> Result<LogExpr, ParseError> {
    let refused = match parse_log(text) {
        Ok(expr) => return Ok(expr),
        Err(error) => error,
    };
    let Some(inside) = text.trim_start().strip_prefix('{') else {
        return Err(refused);
    };
    let comma = if inside.trim_start().starts_with('}') {
        ""
    } else {
        ","
    };
    match parse_log(&format!("{{always=\"selects\"{comma}{inside}")) {
        Ok(mut expr) => {
            expr.matchers.remove(0);
            Ok(expr)
        }
        Err(_) => Err(refused),
    }
}

impl Stage for Match {
    fn process(&mut self, row: &mut Row, now_ns: i64) -> Flow {
        if !self.selector.selects(row) {
            return Flow::On;
        }
        match &mut self.then {
            Then::Drop(dropped) => {
                dropped.inc();
                Flow::Stop
            }
            Then::Run(chain) => {
                let mut rows = Vec::new();
                chain.process(std::mem::take(row), now_ns, &mut rows);
                match rows.len() {
                    0 => Flow::Stop,
                    1 => {
                        *row = rows.pop().unwrap_or_default();
                        Flow::On
                    }
                    _ => Flow::Instead(rows),
                }
            }
        }
    }

    fn idle(&mut self, now_ns: i64) -> Vec<Row> {
        self.release(|chain, rows| chain.idle(now_ns, rows))
    }

    fn finish(&mut self, now_ns: i64) -> Vec<Row> {
        self.release(|chain, rows| chain.finish(now_ns, rows))
    }

    fn next_deadline_ns(&self) -> Option<i64> {
        self.chain()?.next_deadline_ns()
    }

    fn oldest_held(&self) -> Option<u64> {
        self.chain()?.oldest_held()
    }

    fn is_joining(&self, origins: &dyn Fn(u64) -> bool) -> bool {
        self.chain().is_some_and(|chain| chain.is_joining(origins))
    }

    fn part_from(&mut self, origins: &dyn Fn(u64) -> bool) {
        if let Then::Run(chain) = &mut self.then {
            chain.part_from(origins);
        }
    }

    fn joined_to(&self, origins: &mut Vec<u64>) {
        if let Some(chain) = self.chain() {
            chain.joined_to(origins);
        }
    }

    fn paused_until_ns(&self) -> Option<i64> {
        self.chain()?.paused_until_ns()
    }

    fn fork(&self) -> Box<dyn Stage> {
        let then = match &self.then {
            Then::Run(chain) => Then::Run(chain.fork()),
            Then::Drop(dropped) => Then::Drop(dropped.clone()),
        };
        Box::new(Self {
            selector: Arc::clone(&self.selector),
            then,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::stages::Metrics;
    use crate::stages::testing::{
        NOW_NS, entries, label_text, labelled, lines, pipeline, pipeline_with, refused,
    };

    #[test]
    fn selectors() {
        for (selector, expected) in [
            (r#"{app="web"}"#, true),
            (r#"{app="web",missing=""}"#, true),
            (r#"{app!="web"}"#, false),
            (r#"{app=~"w.*"} |= "err""#, true),
            (r#"{app=~"w.*"} |= "err" != "code 5""#, false),
            (r#"{app="web"} |~ "code [0-9]$""#, true),
            (r#"{} |= "error""#, true),
            (r#"{missing=~".*"}"#, true),
            ("{}", true),
        ] {
            let stages = format!(
                "- match:\n    selector: '{selector}'\n    stages:\n    - static_labels: {{hit: 1}}"
            );
            let out = entries(&stages, [labelled("error code 5", &[("app", "web")])]);
            let hit = if expected { "app=web hit=1" } else { "app=web" };
            assert_eq!(label_text(&out[0].labels), hit, "{selector}");
        }
    }

    #[test]
    fn a_pipeline_may_have_a_name() {
        let stages = "- match:\n    selector: '{}'\n    pipeline_name: web\n    stages:\n    \
                      - static_labels: {hit: 1}";
        let out = entries(stages, [labelled("x", &[])]);
        assert_eq!(label_text(&out[0].labels), "hit=1");
    }

    #[test]
    fn dropped_lines_are_counted() {
        let metrics = Metrics::default();
        for (reason, counted_as) in [
            ("", "match_stage"),
            ("    drop_counter_reason: bots", "bots"),
        ] {
            let stages = format!(
                "- match:\n    selector: '{{app=\"web\"}} |= \"x\"'\n    action: drop\n{reason}"
            );
            let (mut pipeline, mut out) = (pipeline_with(&stages, &metrics), Vec::new());
            for line in ["x", "y", "xx"] {
                pipeline.process(labelled(line, &[("app", "web")]), NOW_NS, &mut out);
            }
            assert_eq!((out.len(), metrics.dropped(counted_as).get()), (1, 2));
        }
    }

    #[test]
    fn nested_stages_share_what_is_extracted_and_may_hold_back() {
        let stages = "
- match:
    selector: '{} |= \"[\"'
    stages:
    - regex: {expression: '(?P<n>[0-9])'}
    - match: {selector: '{}', stages: [{labels: {n: }}]}
- match:
    selector: '{app=\"\"}'
    stages:
    - multiline: {firstline: '^\\['}
";
        assert_eq!(
            lines(stages, &["[1", "a", "b", "[2"]),
            ["a", "b", "[1", "[2"]
        );
        let (mut pipeline, mut out) = (pipeline(stages), Vec::new());
        pipeline.process(labelled("[1", &[]), NOW_NS, &mut out);
        assert_eq!(pipeline.oldest_held(), Some(0));
        assert!(pipeline.next_deadline_ns().is_some() && pipeline.fork().oldest_held().is_none());
        pipeline.idle(NOW_NS + 3_000_000_000, &mut out);
        assert_eq!(label_text(&out[0].labels), "n=1");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_place() {
        for (options, error) in [
            ("{selector: '', action: drop}", "selector must not be empty"),
            ("{selector: '{a=\"b\"}'}", "at least one stage"),
            (
                "{selector: '{a=\"b\"}', action: drop, stages: [{cri: }]}",
                "takes no stages",
            ),
            (
                "{selector: '{a=\"b\"}', action: explode}",
                "unknown variant `explode`",
            ),
            ("{selector: 'a=b', action: drop}", "syntax error"),
            (
                "{selector: '{a=\"b\"} | json', action: drop}",
                "only have line filters",
            ),
            (
                "{selector: '{a=\"b\"}', action: drop, pipeline_name: ''}",
                "pipeline_name",
            ),
            (
                "{selector: '{a=\"b\"}', stages: [{cri: }, {labels: {'-': }}]}",
                "job \"test\": pipeline stage 1 (match) / 2 (labels): invalid label name",
            ),
            (
                "{selector: '{a=\"b\"}', stages: [{nope: }]}",
                "1 (match) / 1 (nope): there is no stage",
            ),
        ] {
            let message = refused(&format!("- match: {options}"));
            assert!(message.contains(error), "{message}");
        }
        let mut nested = "{cri: }".to_owned();
        for _ in 0..20 {
            nested = format!("{{match: {{selector: '{{}}', stages: [{nested}]}}}}");
        }
        assert!(refused(&format!("[{nested}]")).contains("nested too deeply"));
    }
}
