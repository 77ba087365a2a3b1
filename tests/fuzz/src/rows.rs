//! Stages over rows.
//!
//! An input is a byte that chooses among variants, the text of the stages' arguments and the rows'
//! lines, with bytes 0xff between these, which no text has.

use std::sync::Arc;

use logql::metric::leaf_contexts;
use logql::pipeline::{Extractor, Literal, LiteralFilter, Pipeline, split_literals};
use logql::syntax;
use logql::syntax::ast::{Expr, LogExpr};
use model::{LabelSet, RowLabels};
use regex::bytes::RegexBuilder;

use crate::NOW_NS;

/// What separates the parts of an input.
const SEPARATOR: u8 = 0xff;

/// A row that passed: line and labels.
type Passed = Option<(Vec<u8>, Arc<RowLabels>)>;

/// An input, taken apart.
pub struct Input<'a> {
    choice: usize,
    /// The arguments of stages.
    pub text: &'a str,
    /// The lines of the rows.
    pub lines: Vec<&'a [u8]>,
}

impl<'a> Input<'a> {
    /// Takes an input apart; nothing if it has no text.
    pub fn new(input: &'a [u8]) -> Option<Self> {
        let (choice, rest) = input.split_first()?;
        let mut parts = rest.split(|byte| *byte == SEPARATOR);
        Some(Self {
            choice: usize::from(*choice),
            text: std::str::from_utf8(parts.next()?).ok()?,
            lines: parts.collect(),
        })
    }

    /// One of several, by the byte that chooses.
    pub fn choose<'b, T>(&self, from: &'b [T]) -> &'b T {
        &from[self.choice % from.len()]
    }

    /// The text as a string of LogQL.
    pub fn quoted(&self) -> String {
        quoted(self.text)
    }

    /// Runs one of these stages over the lines, as a log query and as a metric query.
    pub fn run(&self, variants: &[String]) {
        let stages: &String = self.choose(variants);
        run(stages, self.choice / variants.len(), &self.lines);
    }
}

/// A string of LogQL.
pub fn quoted(text: &str) -> String {
    model::units::quote(text)
}

fn stream() -> LabelSet {
    LabelSet::from_pairs([("app", "web"), ("n", "17")])
}

fn metadata(row: usize) -> LabelSet {
    match row % 3 {
        0 => LabelSet::default(),
        1 => LabelSet::from_pairs([("m", "y"), ("a", "1")]),
        _ => LabelSet::from_pairs([("app", "m")]),
    }
}

fn run(stages: &str, choice: usize, lines: &[&[u8]]) {
    let Ok(log) = syntax::parse_log(&format!("{{app=\"web\"}} {stages}")) else {
        return;
    };
    let Some(all) = passed(&log, lines) else {
        return;
    };
    for (_, labels) in all.iter().flatten() {
        let parts = [&labels.stream, &labels.metadata, &labels.parsed];
        let count: usize = parts.iter().map(|labels| labels.len()).sum();
        assert_eq!(labels.merged().len(), count, "a label twice: {labels:?}");
    }
    literals_come_first(&log, lines, &all);
    let metric = match choice % 4 {
        0 => format!("count_over_time({{app=\"web\"}} {stages} [1m])"),
        1 => format!("sum by (a) (bytes_over_time({{app=\"web\"}} {stages} [1m]))"),
        2 => format!("sum by (app) (sum_over_time({{app=\"web\"}} {stages} | unwrap a [1m]))"),
        _ => format!("max_over_time({{app=\"web\"}} {stages} | unwrap duration(a) | b > 1 [1m])"),
    };
    samples(&metric, lines);
}

/// The rows that pass, twice the same.
fn passed(log: &LogExpr, lines: &[&[u8]]) -> Option<Vec<Passed>> {
    let pipeline = Pipeline::new(log, NOW_NS).ok()?;
    let mut rows = pipeline.for_stream(&stream());
    let mut run = || -> Vec<Passed> {
        let process = |(at, line): (usize, &&[u8])| {
            let passed = rows.process(NOW_NS, line, &metadata(at));
            let passed = passed.map(|(line, labels)| (line.into_owned(), Arc::clone(labels)));
            // Who decides by less of a row never refuses more.
            if metadata(at).is_empty() && passed.is_some() {
                assert!(rows.may_pass(NOW_NS, line), "refused early");
            }
            passed
        };
        lines.iter().enumerate().map(process).collect()
    };
    let (first, second) = (run(), run());
    assert_eq!(first, second, "the second time is another");
    Some(first)
}

/// Rows that meet the conditions which storage may look for pass if and only if they pass what is
/// left of the stages; others do not pass.
fn literals_come_first(log: &LogExpr, lines: &[&[u8]], all: &[Passed]) {
    let (conditions, stages) = split_literals(&log.stages);
    let left = LogExpr {
        matchers: log.matchers.clone(),
        stages,
    };
    if conditions.is_empty() {
        return;
    }
    let Some(left) = passed(&left, lines) else {
        return;
    };
    for ((line, whole), left) in lines.iter().zip(all).zip(left) {
        let expected = match conditions.iter().all(|condition| meets(condition, line)) {
            true => left,
            false => None,
        };
        assert_eq!(*whole, expected, "{conditions:?}");
    }
}

fn meets(condition: &LiteralFilter, line: &[u8]) -> bool {
    let has = |literal: &Literal| match std::str::from_utf8(&literal.text) {
        Ok(text) if literal.any_case => {
            let regex = RegexBuilder::new(&regex::escape(text))
                .case_insensitive(true)
                .build();
            regex.expect("a literal").is_match(line)
        }
        _ => memchr::memmem::find(line, &literal.text).is_some(),
    };
    condition.any_of.iter().any(has) != condition.negative
}

fn samples(query: &str, lines: &[&[u8]]) {
    let Ok(Expr::Metric(expr)) = syntax::parse(query) else {
        return;
    };
    for leaf in leaf_contexts(&expr) {
        let extractor = Extractor::new(leaf.aggregation, leaf.reduce_to.as_ref(), NOW_NS);
        let Ok(extractor) = extractor else {
            return;
        };
        let mut rows = extractor.for_stream(&stream());
        for (at, line) in lines.iter().enumerate() {
            let _ = rows.process(NOW_NS, line, &metadata(at));
        }
    }
}
