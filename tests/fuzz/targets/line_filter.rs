//! Line filters of every kind, alone and in chains, against the plainest way to the same answer.

#![no_main]

use fuzz::rows;
use fuzz::rows::Input;
use libfuzzer_sys::fuzz_target;
use logql::pipeline::LineFilter;
use logql::syntax::ast::{LineMatch, LineOp, Stage};
use logql::syntax::parse_log;
use regex::bytes::Regex;

const OPERATORS: [&str; 8] = ["|=", "!=", "|~", "!~", "|>", "!>", "|= ip", "!= ip"];

fuzz_target!(|input: &[u8]| {
    let Some(input) = Input::new(input) else {
        return;
    };
    let operator = *input.choose(&OPERATORS);
    let alternative = |text: &str| match operator.split_once(' ') {
        Some((_, function)) => format!("{function}({})", rows::quoted(text)),
        None => rows::quoted(text),
    };
    let alternatives: Vec<String> = input.text.split('\u{1}').map(alternative).collect();
    let sign = operator.split(' ').next().unwrap_or_default();
    let filter = format!("{sign} {}", alternatives.join(" or "));
    input.run(&[filter.clone()]);
    check(&filter, &input.lines);
});

fn check(filter: &str, lines: &[&[u8]]) {
    let Ok(log) = parse_log(&format!("{{app=\"web\"}} {filter}")) else {
        return;
    };
    let [Stage::LineFilter(filter)] = log.stages.as_slice() else {
        return;
    };
    let Ok(compiled) = LineFilter::compile(filter) else {
        return;
    };
    for line in lines {
        let found = filter
            .alternatives
            .iter()
            .map(|one| is_in(filter.op, one, line));
        let Some(found) = found.collect::<Option<Vec<bool>>>() else {
            return;
        };
        let negative = matches!(filter.op, LineOp::NotContains | LineOp::NotRegex);
        let expected = found.contains(&true) != negative;
        assert_eq!(compiled.pass(line), expected, "{filter:?}");
    }
}

/// Whether the line has it, if there is a plain way to say so.
fn is_in(op: LineOp, one: &LineMatch, line: &[u8]) -> Option<bool> {
    match (op, one) {
        (LineOp::Contains | LineOp::NotContains, LineMatch::Text(text)) => {
            Some(text.is_empty() || line.windows(text.len()).any(|at| at == text.as_bytes()))
        }
        (LineOp::Regex | LineOp::NotRegex, LineMatch::Text(text)) => {
            let translated = model::re2::translate(text).ok()?;
            Some(Regex::new(&translated.pattern).ok()?.is_match(line))
        }
        _ => None,
    }
}
