//! How large the regular expressions of a query become when they are compiled.
//!
//! Few characters can make much: a class of letters has hundreds of ranges, a counted repetition
//! copies what is before it, and each group is remembered for each state. One expression has a bound
//! of its own where it is compiled; a query may have thousands of them. So their size is estimated
//! before any is compiled, and has a bound for all of them together.

use model::re2;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};

use super::ParseError;

/// The most states that all expressions of a query may have together. A state takes about a hundred
/// bytes by the time that all who run the query have compiled it.
pub(crate) const STATES_MAX: u64 = 500_000;
/// What an expression costs at least: besides its states it has a cache where it runs.
const EXPRESSION_STATES: u64 = 1_000;
/// States that become of a range of characters, as UTF-8.
const RANGE_STATES: u64 = 4;
/// A group is remembered twice per state, which takes a third of what a state takes.
const GROUPS_PER_STATE: u64 = 3;
/// Functions of templates that compile expressions, which may come from lines.
const TEMPLATE_FUNCTIONS: [&str; 2] = ["regexReplaceAll", "count"];

/// What the expressions of a query have come to so far.
#[derive(Debug, Default)]
pub(crate) struct RegexSizes {
    states: u64,
}

impl RegexSizes {
    /// Goes on after so many states.
    pub(crate) fn after(states: u64) -> Self {
        Self { states }
    }

    /// About how many states there are so far.
    pub(crate) fn states(&self) -> u64 {
        self.states
    }

    /// Adds an expression that is asked whether it matches. What is none is refused elsewhere.
    pub(crate) fn add(&mut self, pattern: &str) -> Result<(), ParseError> {
        self.add_states(estimated(pattern).map_or(0, |(states, _)| states))
    }

    /// Adds an expression that is asked for its groups.
    pub(crate) fn add_with_groups(&mut self, pattern: &str) -> Result<(), ParseError> {
        let (states, groups) = estimated(pattern).unwrap_or_default();
        self.add_states(states.saturating_add(states.saturating_mul(groups) / GROUPS_PER_STATE))
    }

    /// Adds a template, which may compile expressions when it runs.
    pub(crate) fn add_template(&mut self, text: &str) -> Result<(), ParseError> {
        match TEMPLATE_FUNCTIONS.iter().any(|name| text.contains(name)) {
            true => self.add_states(0),
            false => Ok(()),
        }
    }

    fn add_states(&mut self, states: u64) -> Result<(), ParseError> {
        let more = states.saturating_add(EXPRESSION_STATES);
        self.states = self.states.saturating_add(more);
        if self.states > STATES_MAX {
            return Err(ParseError::semantic(format!(
                "the regular expressions of the query are too large together: more than \
                 {STATES_MAX} states; use fewer of them, or fewer counted repetitions, classes of \
                 letters and groups"
            ))
            .beyond("query_regex_states_max", STATES_MAX));
        }
        Ok(())
    }
}

/// About how many states an expression has, and how many groups.
fn estimated(pattern: &str) -> Option<(u64, u64)> {
    let translated = re2::translate(pattern).ok()?;
    let mut parser = ParserBuilder::new().utf8(false).build();
    let hir = parser.parse(&translated.pattern).ok()?;
    Some((states(&hir), translated.groups as u64))
}

fn states(hir: &Hir) -> u64 {
    let sum = |parts: &[Hir]| parts.iter().map(states).fold(0, u64::saturating_add);
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(Class::Unicode(class)) => class.ranges().len() as u64 * RANGE_STATES,
        HirKind::Class(Class::Bytes(_)) => 1,
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min).max(1);
            states(&repetition.sub)
                .saturating_mul(u64::from(times))
                .saturating_add(1)
        }
        HirKind::Capture(capture) => states(&capture.sub).saturating_add(2),
        HirKind::Concat(parts) => sum(parts),
        HirKind::Alternation(parts) => sum(parts).saturating_add(parts.len() as u64),
    }
}

#[cfg(test)]
mod tests {
    use crate::syntax::parse;

    #[test]
    fn many_small_expressions_that_become_large_are_refused() {
        for (stage, times) in [
            (r#"| a=~"\\pL{40}x""#, 1000),
            (r#"|~ "[^a]{1000}""#, 300),
            (r#"| drop a=~"\\pL{40}""#, 100),
            (r#"|~ "a""#, 5000),
            ("| line_format `{{ regexReplaceAll .a .b .c }}`", 2000),
            ("| label_format a=`{{ count .a .b }}`", 2000),
        ] {
            let query = format!(r#"{{a="b"}} {}"#, stage.repeat(times));
            let error = parse(&query).unwrap_err().to_string();
            assert!(error.contains("too large together"), "{stage}: {error}");
        }
        let groups: String = (0..2000).map(|at| format!("(?P<a{at}>.)")).collect();
        let matchers = r#",b!~"\\pL{40}""#.repeat(900);
        for query in [
            format!(r#"{{a="b"}} | regexp "{groups}""#),
            format!(r#"{{a="b"{matchers}}}"#),
        ] {
            let error = parse(&query).unwrap_err().to_string();
            assert!(error.contains("too large together"), "{error}");
        }
    }

    #[test]
    fn selectors_of_one_request_count_together() {
        let selector = |at: usize| format!(r#"{{a=~"\\pL{{40}}{at}"}}"#);
        let texts: Vec<String> = (0..100).map(selector).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let parse = crate::syntax::parse_selectors_of_any_streams;
        assert!(parse(&texts[..2]).is_ok());
        let error = parse(&texts).unwrap_err().to_string();
        assert!(error.contains("too large together"), "{error}");
        let long = format!(r#"{{a="{}"}}"#, "x".repeat(1000));
        assert!(parse(&vec![long.as_str(); 200]).is_err());
    }

    #[test]
    fn what_people_write_is_not_large() {
        let words = vec!["[a-z]+-error"; 1000].join("|");
        let groups: String = (0..30).map(|at| format!(r"(?P<a{at}>\\S+) ")).collect();
        let texts = vec!["\"x\""; 8000].join(" or ");
        for query in [
            format!(r#"{{a="b"}} |~ "{words}""#),
            format!(r#"{{a="b"}} | regexp "{groups}""#),
            format!(r#"{{a="b"}} |= {texts}"#),
            format!(r#"{{a="b"}} {}"#, r#"|~ "(?i)error.*\\d{3}""#.repeat(100)),
            format!(r#"{{a="b"}} {}"#, "| line_format `{{.a}}`".repeat(2000)),
        ] {
            assert!(parse(&query).is_ok(), "{query:.100}");
        }
    }
}
