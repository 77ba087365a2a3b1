//! Line filters: `|= "a" or "b"`, `!~ "x"`, `|> "<_>a"`, `|= ip("10.0.0.0/8")`.

use aho_corasick::AhoCorasick;
use memchr::memmem::Finder;
use model::{re2, readable};
use regex::bytes::Regex;

use super::StageFault;
use super::ip::IpMatcher;
use super::pattern::LinePattern;
use super::regex_plan;
use crate::syntax::ast::{self, LineMatch, LineOp};

/// Literals from which on they are searched together: a few are found faster one by one.
const TOGETHER_MIN: usize = 8;

/// A line filter, compiled.
#[derive(Debug)]
pub struct LineFilter {
    /// Whether no alternative may match, instead of at least one.
    negative: bool,
    alternatives: Vec<LineTest>,
}

/// What is looked for in a line.
#[derive(Debug)]
enum LineTest {
    Literal(Finder<'static>),
    Literals(AhoCorasick),
    Regex {
        regex: Regex,
        /// What tells that a line cannot match, if anything.
        literal: Option<Finder<'static>>,
    },
    Pattern(LinePattern),
    Ip(IpMatcher),
}

impl LineFilter {
    /// Compiles a line filter.
    ///
    /// # Errors
    /// If an expression or an address is none.
    pub fn compile(filter: &ast::LineFilter) -> Result<Self, StageFault> {
        let mut alternatives = Vec::new();
        let mut literals = Vec::new();
        for alternative in &filter.alternatives {
            match (alternative, filter.op) {
                (LineMatch::Ip(pattern), _) => {
                    let matcher = IpMatcher::parse(pattern);
                    let matcher = matcher.ok_or_else(|| StageFault::ip(pattern))?;
                    alternatives.push(LineTest::Ip(matcher));
                }
                (LineMatch::Text(text), LineOp::Contains | LineOp::NotContains) => {
                    literals.push(text.as_str());
                }
                (LineMatch::Text(text), LineOp::Regex | LineOp::NotRegex) => {
                    alternatives.push(LineTest::regex(text)?);
                }
                (LineMatch::Text(text), LineOp::Pattern | LineOp::NotPattern) => {
                    alternatives.push(LineTest::Pattern(LinePattern::compile(text)));
                }
            }
        }
        let together = (literals.len() >= TOGETHER_MIN)
            .then(|| AhoCorasick::new(&literals).ok())
            .flatten();
        match together {
            Some(all) => alternatives.insert(0, LineTest::Literals(all)),
            None => alternatives
                .splice(0..0, literals.into_iter().map(LineTest::literal))
                .for_each(drop),
        }
        Ok(Self {
            negative: matches!(
                filter.op,
                LineOp::NotContains | LineOp::NotRegex | LineOp::NotPattern
            ),
            alternatives,
        })
    }

    /// Whether the line is one that is looked for.
    #[must_use]
    pub fn pass(&self, line: &[u8]) -> bool {
        self.alternatives.iter().any(|test| test.matches(line)) != self.negative
    }
}

impl LineTest {
    fn literal(text: &str) -> Self {
        Self::Literal(Finder::new(text).into_owned())
    }

    fn regex(pattern: &str) -> Result<Self, StageFault> {
        let translated = re2::translate(pattern).map_err(StageFault::regex)?;
        let literals = regex_plan::required_literals(&translated.pattern);
        let longest = literals.into_iter().max_by_key(Vec::len);
        Ok(Self::Regex {
            regex: regex_plan::build(&translated.pattern)?,
            literal: longest.map(|text| Finder::new(&text).into_owned()),
        })
    }

    fn matches(&self, line: &[u8]) -> bool {
        match self {
            Self::Literal(finder) => finder.find(line).is_some(),
            Self::Literals(all) => all.is_match(line),
            Self::Regex { regex, literal } => {
                literal
                    .as_ref()
                    .is_none_or(|literal| literal.find(line).is_some())
                    && regex.is_match(readable(line).as_bytes())
            }
            Self::Pattern(pattern) => pattern.matches(line),
            Self::Ip(matcher) => matcher.is_in(line),
        }
    }
}
