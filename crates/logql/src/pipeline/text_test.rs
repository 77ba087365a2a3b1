//! What a label filter asks of text: `level="error"`, `path=~"/api/.*"`.
//!
//! The reference takes some expressions apart instead of running them, and what is left is not the
//! same: `10.*` and `.*10` are *contains* `10`, and of alternatives that begin alike, each is. An
//! expression that matches nothing but the empty text lets everything pass. All others match from
//! the first to the last character, as anywhere with labels, but `.` is not a newline.

use memchr::memmem::Finder;
use model::{MatchOp, Matcher, re2};
use regex::Regex;

use super::StageFault;

/// A condition on text.
#[derive(Clone, Debug)]
pub(super) struct TextTest {
    negative: bool,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Equal(String),
    Regex(Regex),
    Anything,
    Something,
    OneOf(Vec<Alternative>),
}

#[derive(Clone, Debug)]
enum Alternative {
    Equal(String),
    Contains(Box<Finder<'static>>),
}

impl TextTest {
    pub(super) fn compile(matcher: &Matcher) -> Result<Self, StageFault> {
        let (pattern, op) = (matcher.value(), matcher.op());
        let kind = match op {
            MatchOp::Equal | MatchOp::NotEqual => Kind::Equal(pattern.to_owned()),
            MatchOp::Regex | MatchOp::NotRegex => match pattern {
                "" | ".*" => Kind::Anything,
                ".+" => Kind::Something,
                pattern => match alternatives(pattern) {
                    Some(alternatives) => Kind::OneOf(alternatives),
                    None => Kind::Regex(anchored(pattern)?),
                },
            },
        };
        Ok(Self {
            negative: matches!(op, MatchOp::NotEqual | MatchOp::NotRegex),
            kind,
        })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let matches = match &self.kind {
            Kind::Equal(value) => text == value,
            Kind::Regex(regex) => regex.is_match(text),
            Kind::Anything => true,
            Kind::Something => !text.is_empty(),
            Kind::OneOf(alternatives) => alternatives.iter().any(|one| match one {
                Alternative::Equal(value) => text == value,
                Alternative::Contains(finder) => finder.find(text.as_bytes()).is_some(),
            }),
        };
        matches != self.negative
    }
}

fn anchored(pattern: &str) -> Result<Regex, StageFault> {
    let translated = re2::translate(pattern).map_err(StageFault::regex)?;
    let anchored = format!("^(?:{})$", translated.pattern);
    Regex::new(&anchored).map_err(|source| StageFault::Regex {
        pattern: pattern.to_owned(),
        source: Box::new(source),
    })
}

/// A literal with `.*` around it or not.
#[derive(Clone, Copy)]
struct Piece<'a> {
    any_before: bool,
    literal: &'a str,
    any_behind: bool,
}

impl<'a> Piece<'a> {
    fn parse(pattern: &'a str) -> Option<Self> {
        let inner = pattern.strip_prefix(".*");
        let (any_before, rest) = (inner.is_some(), inner.unwrap_or(pattern));
        let inner = rest.strip_suffix(".*");
        let (any_behind, literal) = (inner.is_some(), inner.unwrap_or(rest));
        let is_literal = !literal.is_empty() && !literal.contains(|c| r".*+?()[]{}^$\".contains(c));
        is_literal.then_some(Self {
            any_before,
            literal,
            any_behind,
        })
    }
}

/// The alternatives of an expression that consists of pieces, if the reference takes it apart.
fn alternatives(pattern: &str) -> Option<Vec<Alternative>> {
    let pieces = pattern.split('|').map(Piece::parse);
    let pieces = pieces.collect::<Option<Vec<Piece<'_>>>>()?;
    if becomes_class(
        pieces
            .iter()
            .map(|piece| (piece.literal, piece.any_before || piece.any_behind)),
    ) {
        return None;
    }
    let mut found = Vec::with_capacity(pieces.len());
    for run in pieces.chunk_by(begin_alike) {
        if run.len() > 1
            && !can_be_joined(
                run.iter()
                    .map(|piece| (piece.literal, piece.any_behind))
                    .collect(),
            )
        {
            return None;
        }
        for piece in run {
            let whole = run.len() == 1 && !piece.any_before && !piece.any_behind;
            found.push(if whole {
                Alternative::Equal(piece.literal.to_owned())
            } else {
                Alternative::Contains(Box::new(Finder::new(piece.literal).into_owned()))
            });
        }
    }
    Some(found)
}

fn begin_alike(left: &Piece<'_>, right: &Piece<'_>) -> bool {
    let first = |piece: &Piece<'_>| piece.literal.chars().next();
    !left.any_before && !right.any_before && first(left) == first(right)
}

/// Whether two neighbours are single characters: those become a class, which is not taken apart.
fn becomes_class<'a>(rests: impl Iterator<Item = (&'a str, bool)>) -> bool {
    let single = rests.map(|(rest, any_behind)| !any_behind && rest.chars().count() == 1);
    let single: Vec<bool> = single.collect();
    single.windows(2).any(|pair| pair == [true, true])
}

/// Whether alternatives that begin alike can be taken apart behind their beginning.
fn can_be_joined(mut rests: Vec<(&str, bool)>) -> bool {
    loop {
        let first = rests.first().and_then(|(rest, _)| rest.chars().next());
        let Some(first) = first else { break };
        let cut: Option<Vec<_>> = rests
            .iter()
            .map(|(rest, any_behind)| Some((rest.strip_prefix(first)?, *any_behind)))
            .collect();
        match cut {
            Some(cut) => rests = cut,
            None => break,
        }
    }
    if becomes_class(rests.iter().copied()) {
        return false;
    }
    let first = |rest: &str| rest.chars().next();
    let mut runs = rests.chunk_by(|(a, _), (b, _)| first(a).is_some() && first(a) == first(b));
    runs.all(|run| run.len() == 1 || can_be_joined(run.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(op: MatchOp, pattern: &str, text: &str) -> bool {
        let matcher = Matcher::new("a", op, pattern).unwrap();
        TextTest::compile(&matcher).unwrap().matches(text)
    }

    #[test]
    fn text_is_compared_whole() {
        for (pattern, text, expected) in [
            ("a.c", "abc", true),
            ("a.c", "xabc", false),
            ("a|b", "b", true),
            ("a|b", "ab", false),
            ("error|warn", "error", true),
            ("error|warn", "errors", false),
            ("(err).*", "xerr", false),
            ("a.+c", "a\nc", false),
            ("ba[rz]", "foobar", false),
            ("bar|baz", "foobar", false),
        ] {
            assert_eq!(
                matches(MatchOp::Regex, pattern, text),
                expected,
                "{pattern} {text}"
            );
            assert_eq!(
                matches(MatchOp::NotRegex, pattern, text),
                !expected,
                "{pattern} {text}"
            );
        }
        assert!(matches(MatchOp::Equal, "", "") && !matches(MatchOp::NotEqual, "x", "x"));
    }

    #[test]
    fn what_is_taken_apart_is_contained() {
        for (pattern, text, expected) in [
            ("", "x", true),
            (".*", "", true),
            (".+", "", false),
            ("10.*", "198.51.100.77", true),
            (".*10", "10x", true),
            (".*10.*", "1", false),
            ("err.*|warn.*", "a warning", true),
            ("err|warn.*", "a err", false),
            ("prod|production", "nonprod", true),
            ("api-gw|api-web", "my-api-web", true),
            ("xa|ya", "xya", false),
        ] {
            assert_eq!(
                matches(MatchOp::Regex, pattern, text),
                expected,
                "{pattern} {text}"
            );
        }
    }
}
