//! Patterns: literals with `<captures>` between, for `| pattern`, `|>` and `!>`.

use memchr::memmem::Finder;
use model::is_valid_label_name;

use super::early::EarlyFilters;
use super::names::{FixedNames, NameId};
use super::row::Row;
use super::wanted::{EXTRACTED_SUFFIX, Wanted};

/// A part of a pattern as written.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// The name; none for `<_>`.
    Capture(Option<String>),
}

/// Splits a pattern. Anything in angle brackets that is no name is literal.
fn parts(pattern: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let capture = rest.strip_prefix('<').and_then(|tail| tail.split_once('>'));
        if let Some((name, tail)) = capture.filter(|(name, _)| is_valid_label_name(name)) {
            parts.push(Part::Capture((name != "_").then(|| name.to_owned())));
            rest = tail;
            continue;
        }
        match parts.last_mut() {
            Some(Part::Literal(literal)) => literal.push(c),
            _ => parts.push(Part::Literal(c.to_string())),
        }
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
    }
    parts
}

/// The pattern of a line filter.
#[derive(Debug)]
pub(super) struct LinePattern {
    literals: Vec<Finder<'static>>,
    /// Whether something stands in front of the first literal.
    open_start: bool,
    /// Whether something stands behind the last one.
    open_end: bool,
    empty: bool,
}

impl LinePattern {
    pub(super) fn compile(pattern: &str) -> Self {
        let parts = parts(pattern);
        let is_capture = |part: Option<&Part>| matches!(part, Some(Part::Capture(_)));
        let literals = parts.iter().filter_map(|part| match part {
            Part::Literal(literal) => Some(Finder::new(literal).into_owned()),
            Part::Capture(_) => None,
        });
        Self {
            literals: literals.collect(),
            open_start: is_capture(parts.first()),
            open_end: is_capture(parts.last()),
            empty: parts.is_empty(),
        }
    }

    /// What every line that it matches contains.
    pub(super) fn literals(&self) -> impl Iterator<Item = &[u8]> {
        self.literals.iter().map(Finder::needle)
    }

    /// Whether the line is of this form up to its end; what stands for a capture is not empty. As in
    /// Loki anything may stand before a literal that the pattern begins with.
    pub(super) fn matches(&self, line: &[u8]) -> bool {
        if line.is_empty() || self.empty {
            return line.is_empty() && self.empty;
        }
        let mut at = 0;
        for (i, literal) in self.literals.iter().enumerate() {
            let Some(found) = literal.find(line.get(at..).unwrap_or_default()) else {
                return false;
            };
            let is_behind_capture = i > 0 || self.open_start;
            if is_behind_capture && found == 0 {
                return false;
            }
            at += found + literal.needle().len();
        }
        self.open_end == (at < line.len())
    }
}

/// A capture and the literal behind it, if any.
#[derive(Debug)]
struct Capture {
    label: Option<NameId>,
    literal: Option<Finder<'static>>,
}

/// `| pattern "..."`, compiled.
#[derive(Debug)]
pub(super) struct Pattern {
    start: Vec<u8>,
    captures: Vec<Capture>,
}

impl Pattern {
    pub(super) fn compile(pattern: &str, names: &mut FixedNames) -> Self {
        let mut start = Vec::new();
        let mut captures: Vec<Capture> = Vec::new();
        for part in parts(pattern) {
            match (part, captures.last_mut()) {
                (Part::Literal(literal), None) => start = literal.into_bytes(),
                (Part::Literal(literal), Some(capture)) => {
                    capture.literal = Some(Finder::new(&literal).into_owned());
                }
                (Part::Capture(name), _) => captures.push(Capture {
                    label: name.map(|name| names.intern(&name)),
                    literal: None,
                }),
            }
        }
        Self { start, captures }
    }

    /// Forgets captures that nobody wants.
    pub(super) fn retain_wanted(&mut self, wanted: &Wanted, names: &FixedNames) {
        for capture in &mut self.captures {
            let name = capture.label.map(|id| names.get(id));
            let is_wanted = name.is_some_and(|name| {
                wanted.has(name) || wanted.has(&format!("{name}{EXTRACTED_SUFFIX}"))
            });
            if !is_wanted {
                capture.label = None;
            }
        }
        let last = self
            .captures
            .iter()
            .rposition(|capture| capture.label.is_some());
        self.captures.truncate(last.map_or(0, |last| last + 1));
    }

    /// Sets labels from the line. `false` if the row is refused.
    pub(super) fn run(&self, line: &[u8], row: &mut Row, early: &EarlyFilters) -> bool {
        if line.is_empty() || row.needs_no_parser() {
            return true;
        }
        let Some(mut rest) = line.strip_prefix(&*self.start) else {
            return true;
        };
        for capture in &self.captures {
            // Where the literal is missing the capture takes all that is left.
            let literal = capture.literal.as_ref();
            let found = literal.and_then(|literal| {
                let at = literal.find(rest)?;
                Some((at, at + literal.needle().len()))
            });
            let value = rest.get(..found.map_or(rest.len(), |(at, _)| at));
            if let Some(label) = capture.label {
                let name = row.parsed_name(label);
                if !row.was_set(name) {
                    row.set_lossy(name, value.unwrap_or_default());
                    if !early.pass(name, row) {
                        return false;
                    }
                }
            }
            let Some((_, behind)) = found else {
                return true;
            };
            rest = rest.get(behind..).unwrap_or_default();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::LabelSet;

    use super::*;

    #[test]
    fn line_patterns_match_up_to_the_end() {
        let matches = |pattern, line: &str| LinePattern::compile(pattern).matches(line.as_bytes());
        for (pattern, line) in [
            ("", ""),
            ("<_>", "x"),
            ("a<_>c", "abc"),
            ("<_>b<_>", "abc"),
            ("abc", "abc"),
            // Only the end is tied to that of the line.
            ("bc", "abc"),
            ("b<_>", "abc"),
            ("<_> <_>", "a b c"),
            ("<é>", "<é>"),
        ] {
            assert!(matches(pattern, line), "{pattern} {line}");
        }
        for (pattern, line) in [
            ("", "x"),
            ("<_>", ""),
            ("a<_>c", "ac"),
            ("a<_>", "ba"),
            ("abc", "abcd"),
            ("<_>b", "abcb"),
            ("<_>x", "a"),
        ] {
            assert!(!matches(pattern, line), "{pattern} {line}");
        }
    }

    #[test]
    fn captures_become_labels() {
        let parsed = |pattern: &str, line: &str| {
            let mut names = FixedNames::default();
            let pattern = Pattern::compile(pattern, &mut names);
            let stream = LabelSet::from_pairs([("app", "web")]);
            let mut row = Row::new(&stream, Arc::new(names), Arc::new(Wanted::all()));
            row.begin(&LabelSet::default());
            assert!(pattern.run(line.as_bytes(), &mut row, &EarlyFilters::default()));
            row.to_row_labels().parsed.to_string()
        };
        assert_eq!(
            parsed("<ip> - <_> [<app>]", "1.1 - x [y]"),
            r#"{app_extracted="y", ip="1.1"}"#
        );
        assert_eq!(parsed("<a> - - <b>", "1 - 2"), r#"{a="1 - 2"}"#);
        assert_eq!(parsed("x<a>", "yx1"), "{}");
        assert_eq!(parsed("<a>=<b>", "="), r#"{a="", b=""}"#);
    }
}
