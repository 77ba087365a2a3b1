//! Conditions on labels.
//!
//! `and` binds tighter than `or`, both to the left. A comma or two conditions side by side mean
//! `and` too, but the reference's grammar gives them no precedence, so that everything after them
//! is taken together first: `a , b or c` is `a and (b or c)`.

use model::MatchOp;

use super::super::ast::LabelFilter;
use super::super::scan;
use super::super::token::{Kind, Word};
use super::{ParseError, Parser, grown};

#[derive(Clone, Copy, PartialEq)]
enum Join {
    And,
    Or,
    /// A comma or nothing.
    Loose,
}

impl Join {
    /// Whether the condition to the left is complete when `next` follows it.
    fn ends_before(self, next: Self) -> bool {
        self != Self::Loose && next != Self::Loose && (self, next) != (Self::Or, Self::And)
    }
}

impl Parser<'_> {
    pub(super) fn label_filter(&mut self) -> Result<LabelFilter, ParseError> {
        self.measured_filter().map(|(filter, _)| filter)
    }

    /// A filter with the height of its tree.
    fn measured_filter(&mut self) -> Result<(LabelFilter, u32), ParseError> {
        let mut done = vec![self.condition()?];
        let mut joins: Vec<Join> = Vec::new();
        while let Some(join) = self.join() {
            while joins.last().is_some_and(|left| left.ends_before(join)) {
                combine(&mut done, &mut joins)?;
            }
            joins.push(join);
            done.push(self.condition()?);
        }
        while !joins.is_empty() {
            combine(&mut done, &mut joins)?;
        }
        done.pop().ok_or_else(|| self.unexpected(&[]))
    }

    fn join(&mut self) -> Option<Join> {
        let join = match self.kind() {
            Kind::Word(Word::And) => Join::And,
            Kind::Word(Word::Or) => Join::Or,
            Kind::Word(Word::Comma) => Join::Loose,
            Kind::Word(Word::OpenParen) | Kind::Identifier => return Some(Join::Loose),
            _ => return None,
        };
        self.advance();
        Some(join)
    }

    /// One condition or a group in parentheses, with its height.
    fn condition(&mut self) -> Result<(LabelFilter, u32), ParseError> {
        if self.eat(Word::OpenParen) {
            let filter = self.nested(Self::measured_filter)?;
            self.close()?;
            return Ok(filter);
        }
        if *self.kind() != Kind::Identifier {
            return Err(self.unexpected(&["IDENTIFIER", "("]));
        }
        let name_at = self.at;
        // A stray character is refused only after what follows it, as in the reference.
        self.advance();
        let filter = self.comparison(name_at)?;
        Ok((filter, 1))
    }

    fn name_at(&mut self, name_at: usize) -> Result<String, ParseError> {
        let at = std::mem::replace(&mut self.at, name_at);
        let name = self.identifier()?;
        self.at = at;
        Ok(name)
    }

    /// After the name: operator and value.
    fn comparison(&mut self, name_at: usize) -> Result<LabelFilter, ParseError> {
        let Kind::Word(word) = *self.kind() else {
            return Err(self.unexpected(&[]));
        };
        let match_op = self.match_op();
        let Some(op) = word.compare_op() else {
            // Only regexes are left.
            let Some(op) = match_op else {
                return Err(self.unexpected(&[]));
            };
            self.advance();
            let value = self.string()?;
            let name = self.name_at(name_at)?;
            return self.matcher(name, op, value).map(LabelFilter::Text);
        };
        self.advance();
        match (self.kind(), match_op) {
            (Kind::String(_), Some(op)) => {
                let value = self.string()?;
                let name = self.name_at(name_at)?;
                self.matcher(name, op, value).map(LabelFilter::Text)
            }
            (Kind::Ip, Some(op)) => {
                let pattern = self.ip_argument()?;
                let name = self.name_at(name_at)?;
                Ok(LabelFilter::Ip {
                    name,
                    negative: op == MatchOp::NotEqual,
                    pattern,
                })
            }
            (Kind::Duration(ns), _) => {
                let value_ns = *ns;
                self.advance();
                Ok(LabelFilter::Duration {
                    name: self.name_at(name_at)?,
                    op,
                    value_ns,
                })
            }
            (Kind::Bytes(bytes), _) => {
                let value = *bytes;
                self.advance();
                Ok(LabelFilter::Bytes {
                    name: self.name_at(name_at)?,
                    op,
                    value,
                })
            }
            (Kind::Number | Kind::Word(Word::Add | Word::Sub), _) => {
                let value = self.signed_number()?.map_err(ParseError::semantic)?;
                Ok(LabelFilter::Number {
                    name: self.name_at(name_at)?,
                    op,
                    value,
                })
            }
            _ => Err(self.unexpected(&[])),
        }
    }

    /// `5`, `+5` or `-5`; or what is wrong with its text, which is no fault of the grammar's.
    pub(super) fn signed_number(&mut self) -> Result<Result<f64, String>, ParseError> {
        let negative = self.eat(Word::Sub);
        if !negative {
            self.eat(Word::Add);
        }
        let value = scan::parse_float(self.number_text()?);
        Ok(match value {
            Ok(value) if negative => Ok(-value),
            Ok(value) => Ok(value),
            Err(error) => Err(format!("unable to parse literal as a float: {error}")),
        })
    }
}

/// Joins the last two conditions.
fn combine(done: &mut Vec<(LabelFilter, u32)>, joins: &mut Vec<Join>) -> Result<(), ParseError> {
    if let (Some(join), Some((right, right_height)), Some((left, left_height))) =
        (joins.pop(), done.pop(), done.pop())
    {
        let height = grown(left_height.max(right_height))?;
        let (left, right) = (Box::new(left), Box::new(right));
        let both = match join {
            Join::Or => LabelFilter::Or(left, right),
            Join::And | Join::Loose => LabelFilter::And(left, right),
        };
        done.push((both, height));
    }
    Ok(())
}
