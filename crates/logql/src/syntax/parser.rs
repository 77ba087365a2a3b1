//! Recursive descent over tokens.
//!
//! The reference's parser is generated from a grammar and refuses a query at the first token that
//! cannot follow what is before it; so does this one, which makes the positions in errors agree.
//! Faults of meaning are reported only if there is no such token: the outermost, then the leftmost
//! first. That is what `late` is for.

mod binary;
mod label_filter;
mod log;
mod metric;

use model::{MatchOp, Matcher, re2};

use super::ast::{Expr, LogExpr, MetricExpr};
use super::regex_size::RegexSizes;
use super::token::{Kind, Token, Word};
use super::{MAX_DEPTH, MAX_HEIGHT, ParseError, lexer};

/// What an expression turned out to be. Small, since a few of them lie on the stack for each level
/// of a query.
enum Operand {
    Log(Box<LogExpr>),
    /// With the height of its tree.
    Metric(Box<MetricExpr>, u32),
    /// A number that is none, and why. Its fault is in `late`, and becomes that of an operator
    /// beside it.
    BadNumber(String),
    /// Something whose fault is in `late` already.
    Faulty,
}

impl Operand {
    fn metric(metric: MetricExpr, height: u32) -> Self {
        Self::Metric(Box::new(metric), height)
    }

    fn literal(&self) -> Option<f64> {
        match self {
            Self::Metric(metric, _) => match **metric {
                MetricExpr::Literal(value) => Some(value),
                _ => None,
            },
            _ => None,
        }
    }
}

/// A fault that a syntax error anywhere would hide.
struct Late {
    /// Where the expression starts that it is about.
    start: usize,
    error: ParseError,
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
    depth: u32,
    late: Vec<Late>,
    regexes: RegexSizes,
    /// A fault behind which the parser has gone on, in case there is a worse one.
    passed: Option<ParseError>,
}

/// Parses a whole query, whose selectors must leave something out if `is_selective`. `states` is how
/// many its request has had before it in regular expressions; returned is how many it has with it.
pub(crate) fn parse(
    query: &str,
    is_selective: bool,
    states: u64,
) -> Result<(Expr, u64), ParseError> {
    let mut parser = Parser {
        tokens: lexer::tokens(query),
        at: 0,
        depth: 0,
        late: Vec::new(),
        regexes: RegexSizes::after(states),
        passed: None,
    };
    let found = parser.expression(0).and_then(|found| match parser.kind() {
        Kind::End => Ok(found),
        _ => Err(parser.unexpected(&[])),
    });
    let found = match (found, parser.faulty_number()) {
        // What the grammar alone finds comes after what is wrong with a number.
        (Err(error), fault) if !error.has_place() || fault.is_none() => Err(error),
        (_, Some(fault)) => Err(fault),
        (found, None) => found,
    };
    let found = match (found, parser.passed.take()) {
        (Err(error), Some(_)) if !error.has_place() => return Err(error),
        (_, Some(passed)) => return Err(passed),
        (found, None) => found?,
    };
    if let Operand::Log(log) = &found
        && is_selective
    {
        parser.require_matcher(0, log);
    }
    // Of faults that start together the one recorded last belongs to the outermost expression.
    let worst = parser
        .late
        .into_iter()
        .enumerate()
        .min_by_key(|(i, late)| (late.start, std::cmp::Reverse(*i)));
    match (worst, found) {
        (Some((_, late)), _) => Err(late.error),
        (None, Operand::Log(log)) => Ok((Expr::Log(*log), parser.regexes.states())),
        (None, Operand::Metric(metric, _)) => Ok((Expr::Metric(*metric), parser.regexes.states())),
        (None, Operand::BadNumber(_) | Operand::Faulty) => {
            Err(ParseError::semantic("invalid query"))
        }
    }
}

impl<'a> Parser<'a> {
    fn kind(&self) -> &Kind {
        self.kind_ahead(0)
    }

    fn kind_ahead(&self, ahead: usize) -> &Kind {
        self.tokens
            .get(self.at + ahead)
            .or(self.tokens.last())
            .map_or(&Kind::End, |t| &t.kind)
    }

    fn is(&self, word: Word) -> bool {
        *self.kind() == Kind::Word(word)
    }

    fn advance(&mut self) {
        self.at += 1;
    }

    /// Goes on if this word is next.
    fn eat(&mut self, word: Word) -> bool {
        let found = self.is(word);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, word: Word) -> Result<(), ParseError> {
        if self.eat(word) {
            Ok(())
        } else {
            Err(self.unexpected(&[word.as_str()]))
        }
    }

    /// The parenthesis behind what could go on in so many ways that the reference names none.
    fn close(&mut self) -> Result<(), ParseError> {
        if self.eat(Word::CloseParen) {
            Ok(())
        } else {
            Err(self.unexpected(&[]))
        }
    }

    fn string(&mut self) -> Result<String, ParseError> {
        match self.kind() {
            Kind::String(text) => {
                let text = text.clone();
                self.advance();
                Ok(text)
            }
            _ => Err(self.unexpected(&["STRING"])),
        }
    }

    /// What the grammar takes for a label name. In the reference that may be a stray character too.
    fn any_name(&mut self) -> Result<String, ParseError> {
        let token = self
            .tokens
            .get(self.at)
            .filter(|token| token.kind == Kind::Identifier);
        let Some(token) = token else {
            return Err(self.unexpected(&["IDENTIFIER"]));
        };
        let name = token.text.to_owned();
        self.advance();
        Ok(name)
    }

    /// A label name. Nothing can have one that is a stray character, which is a fault only where the
    /// grammar finds none.
    fn identifier(&mut self) -> Result<String, ParseError> {
        let (start, fault) = (self.at, self.unexpected(&[]));
        let name = self.any_name()?;
        if !name.starts_with(|c: char| c == '_' || c.is_alphabetic()) {
            let error = fault;
            self.late.push(Late { start, error });
        }
        Ok(name)
    }

    /// What is wrong with the first number up to the token at hand that is none.
    fn faulty_number(&self) -> Option<ParseError> {
        let seen = self.tokens.iter().take(self.at + 1);
        seen.filter_map(|token| token.fault.as_ref())
            .next()
            .cloned()
    }

    fn number_text(&mut self) -> Result<&'a str, ParseError> {
        match self.tokens.get(self.at) {
            Some(Token {
                kind: Kind::Number,
                text,
                ..
            }) => {
                let text = *text;
                self.advance();
                Ok(text)
            }
            _ => Err(self.unexpected(&["NUMBER"])),
        }
    }

    /// The error that the token at hand cannot stand here.
    fn unexpected(&self, expected: &[&str]) -> ParseError {
        let Some(token) = self.tokens.get(self.at).or(self.tokens.last()) else {
            return ParseError::semantic("syntax error: unexpected $end");
        };
        let message = match (&token.kind, expected) {
            (Kind::Bad(error), _) => error.clone(),
            (kind, []) => format!("syntax error: unexpected {}", kind.name()),
            (kind, expected) => format!(
                "syntax error: unexpected {}, expecting {}",
                kind.name(),
                expected.join(" or ")
            ),
        };
        ParseError::at(token.line, token.column, message)
    }

    /// Runs `inner` one level deeper.
    fn nested<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        if self.depth >= MAX_DEPTH {
            return Err(ParseError::semantic(format!(
                "query nests too deeply: more than {MAX_DEPTH} levels"
            ))
            .beyond("query_depth_max", MAX_DEPTH.into()));
        }
        self.depth += 1;
        let found = inner(self);
        self.depth -= 1;
        found
    }

    /// Builds a matcher, with Go's words if its expression is none.
    fn matcher(&mut self, name: String, op: MatchOp, value: String) -> Result<Matcher, ParseError> {
        if matches!(op, MatchOp::Regex | MatchOp::NotRegex) {
            re2::translate(&value).map_err(|error| ParseError::semantic(error.to_string()))?;
            self.regexes.add(&value)?;
        }
        Matcher::new(name, op, value).map_err(|error| {
            ParseError::semantic(format!("error parsing regexp: {}", error.source))
        })
    }

    fn late(&mut self, start: usize, message: impl Into<String>) {
        self.late.push(Late {
            start,
            error: ParseError::semantic(message),
        });
    }

    /// One matcher must select something.
    fn require_matcher(&mut self, start: usize, log: &LogExpr) {
        if log.matchers.iter().all(Matcher::matches_empty) {
            self.late(start, NO_MATCHER);
        }
    }
}

/// What Loki says of a selector that selects everything.
pub(crate) const NO_MATCHER: &str = "queries require at least one regexp or equality matcher that does not \
    have an empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but \
    app=~\".+\" will";

/// Checks the height of a tree whose highest part has `height`.
fn grown(height: u32) -> Result<u32, ParseError> {
    if height >= MAX_HEIGHT {
        return Err(ParseError::semantic(format!(
            "query is too complex: more than {MAX_HEIGHT} operators in a chain"
        ))
        .beyond("query_height_max", MAX_HEIGHT.into()));
    }
    Ok(height + 1)
}
