//! Label filters: `| status >= 500 and method = "GET"`.

use model::Matcher;

use super::ip::IpMatcher;
use super::names::{FixedNames, NameId};
use super::row::Row;
use super::wanted::ERROR_LABEL;
use super::{PipelineError, StageFault};
use crate::go_number::{NumberFault, parse_bytes, parse_duration, parse_float};
use crate::syntax::ast::{CompareOp, LabelFilter};

/// What a filter asks of the value of one label.
#[derive(Clone, Debug)]
pub(super) enum LabelTest {
    Text(Matcher),
    Number(CompareOp, f64),
    Duration(CompareOp, i64),
    Bytes(CompareOp, u64),
    Ip { negative: bool, matcher: IpMatcher },
}

impl LabelTest {
    /// Whether the value passes, or why it cannot be read.
    pub(super) fn check(&self, value: &str) -> Result<bool, NumberFault> {
        Ok(match self {
            Self::Text(matcher) => matcher.matches_value(value),
            Self::Number(op, number) => op.holds(&parse_float(value)?, number),
            Self::Duration(op, ns) => op.holds(&parse_duration(value)?, ns),
            Self::Bytes(op, bytes) => op.holds(&parse_bytes(value)?, bytes),
            Self::Ip { negative, matcher } => matcher.is_in(value.as_bytes()) != *negative,
        })
    }

    /// Whether the outcome depends on nothing but the value.
    pub(super) fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }
}

impl CompareOp {
    fn holds<T: PartialOrd>(self, value: &T, bound: &T) -> bool {
        match self {
            Self::Equal => value == bound,
            Self::NotEqual => value != bound,
            Self::Greater => value > bound,
            Self::GreaterOrEqual => value >= bound,
            Self::Less => value < bound,
            Self::LessOrEqual => value <= bound,
        }
    }
}

/// A condition, compiled.
#[derive(Debug)]
pub(super) enum Condition {
    /// On `__error__`, which is no label while a row is in the pipeline.
    Error(Matcher),
    Label(NameId, LabelTest),
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
}

impl Condition {
    pub(super) fn compile(
        filter: &LabelFilter,
        names: &mut FixedNames,
    ) -> Result<Self, PipelineError> {
        Ok(match filter {
            LabelFilter::Text(matcher) if matcher.name() == ERROR_LABEL => {
                Self::Error(matcher.clone())
            }
            LabelFilter::Text(matcher) => Self::Label(
                names.intern(matcher.name()),
                LabelTest::Text(matcher.clone()),
            ),
            LabelFilter::Number { name, op, value } => {
                Self::Label(names.intern(name), LabelTest::Number(*op, *value))
            }
            LabelFilter::Duration { name, op, value_ns } => {
                Self::Label(names.intern(name), LabelTest::Duration(*op, *value_ns))
            }
            LabelFilter::Bytes { name, op, value } => {
                Self::Label(names.intern(name), LabelTest::Bytes(*op, *value))
            }
            LabelFilter::Ip {
                name,
                negative,
                pattern,
            } => {
                let matcher = IpMatcher::parse(pattern).ok_or_else(|| StageFault::ip(pattern))?;
                let test = LabelTest::Ip {
                    negative: *negative,
                    matcher,
                };
                Self::Label(names.intern(name), test)
            }
            LabelFilter::And(left, right) => Self::And(
                Box::new(Self::compile(left, names)?),
                Box::new(Self::compile(right, names)?),
            ),
            LabelFilter::Or(left, right) => Self::Or(
                Box::new(Self::compile(left, names)?),
                Box::new(Self::compile(right, names)?),
            ),
        })
    }

    /// Whether the row passes. A value that cannot be read sets an error and passes.
    pub(super) fn pass(&self, row: &mut Row) -> bool {
        match self {
            Self::Error(matcher) => matcher.matches_value(row.error()),
            Self::And(left, right) => left.pass(row) & right.pass(row),
            Self::Or(left, right) => left.pass(row) || right.pass(row),
            Self::Label(name, test) => {
                let outcome = match row.get(*name) {
                    None if test.is_text() => test.check(""),
                    None => return false,
                    // After an error only text is compared: a number may be what failed.
                    Some(_) if !test.is_text() && row.has_error() => return true,
                    Some(value) => test.check(value),
                };
                outcome.unwrap_or_else(|fault| {
                    row.set_error("LabelFilterErr", Some(&fault.to_string()));
                    true
                })
            }
        }
    }
}

/// The names of the labels that a filter reads.
pub(super) fn names_in(filter: &LabelFilter, names: &mut Vec<String>) {
    match filter {
        LabelFilter::Text(matcher) => names.push(matcher.name().to_owned()),
        LabelFilter::Number { name, .. }
        | LabelFilter::Duration { name, .. }
        | LabelFilter::Bytes { name, .. }
        | LabelFilter::Ip { name, .. } => names.push(name.clone()),
        LabelFilter::And(left, right) | LabelFilter::Or(left, right) => {
            names_in(left, names);
            names_in(right, names);
        }
    }
}
