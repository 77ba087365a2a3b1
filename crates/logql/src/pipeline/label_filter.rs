//! Label filters: `| status >= 500 and method = "GET"`.

use super::PipelineError;
use super::ip::IpMatcher;
use super::names::{FixedNames, NameId};
use super::row::Row;
use super::text_test::TextTest;
use super::wanted::ERROR_LABEL;
use crate::go_number::{NumberFault, parse_bytes, parse_duration, parse_float};
use crate::syntax::ast::{CompareOp, LabelFilter};

/// What a filter asks of the value of one label.
#[derive(Clone, Debug)]
pub(super) enum LabelTest {
    Text(TextTest),
    Number(CompareOp, f64),
    Duration(CompareOp, i64),
    Bytes(CompareOp, u64),
    /// Nothing passes one that is no address.
    Ip {
        negative: bool,
        matcher: Option<IpMatcher>,
    },
}

impl LabelTest {
    /// Whether the value passes, or why it cannot be read.
    pub(super) fn check(&self, value: &str) -> Result<bool, NumberFault> {
        Ok(match self {
            Self::Text(test) => test.matches(value),
            Self::Number(op, number) => op.holds(&parse_float(value)?, number),
            Self::Duration(op, ns) => op.holds(&parse_duration(value)?, ns),
            Self::Bytes(op, bytes) => op.holds(&parse_bytes(value)?, bytes),
            Self::Ip { negative, matcher } => {
                matcher.is_some_and(|matcher| matcher.is_in(value.as_bytes()) != *negative)
            }
        })
    }

    fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    /// Whether the outcome depends on nothing but the value.
    pub(super) fn is_of_value(&self) -> bool {
        !matches!(self, Self::Ip { .. })
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
    Error(TextTest),
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
                Self::Error(TextTest::compile(matcher)?)
            }
            LabelFilter::Text(matcher) => {
                let test = LabelTest::Text(TextTest::compile(matcher)?);
                Self::Label(names.intern(matcher.name()), test)
            }
            LabelFilter::Number { name, op, value } => {
                Self::Label(names.intern(name), LabelTest::Number(*op, *value))
            }
            LabelFilter::Duration { name, op, value_ns } => {
                Self::Label(names.intern(name), LabelTest::Duration(*op, *value_ns))
            }
            LabelFilter::Bytes { name, op, value } => Self::Label(
                names.intern(name),
                LabelTest::Bytes(*op, as_printed(*value)),
            ),
            LabelFilter::Ip {
                name,
                negative,
                pattern,
            } => {
                let test = LabelTest::Ip {
                    negative: *negative,
                    matcher: IpMatcher::parse(pattern),
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

    /// The tests each of which the labels of a row have to stand for the row to pass.
    pub(super) fn tests(&self) -> Vec<(NameId, &LabelTest)> {
        match self {
            Self::Label(name, test) => vec![(*name, test)],
            Self::And(left, right) => [left.tests(), right.tests()].concat(),
            Self::Error(_) | Self::Or(..) => Vec::new(),
        }
    }

    /// Whether the row passes. A value that cannot be read sets an error and passes.
    pub(super) fn pass(&self, row: &mut Row) -> bool {
        match self {
            Self::Error(test) => test.matches(row.error()),
            Self::And(left, right) => left.pass(row) & right.pass(row),
            Self::Or(left, right) => left.pass(row) || right.pass(row),
            Self::Label(_, LabelTest::Ip { .. }) if row.has_error() => true,
            Self::Label(name, test) => {
                let outcome = match row.get(*name) {
                    None if test.is_text() => test.check(""),
                    None => return false,
                    Some(value) => test.check(value),
                };
                outcome.unwrap_or_else(|fault| {
                    // What went wrong first tells more.
                    if !row.has_error() {
                        row.set_error("LabelFilterErr", Some(&fault.to_string()));
                    }
                    true
                })
            }
        }
    }
}

/// A size as it is after the reference has printed and read it, which happens to every query: in
/// decimal units, with one digit behind the point if there is one before, else with none.
fn as_printed(bytes: u64) -> u64 {
    let mut unit = 1_u64;
    while bytes / unit >= 1000 && unit < 1_000_000_000_000_000 {
        unit *= 1000;
    }
    let value = (bytes as f64 / unit as f64 * 10.0 + 0.5).floor() / 10.0;
    if unit == 1 || bytes / unit >= 1000 {
        bytes
    } else if value < 10.0 {
        (value * unit as f64) as u64
    } else {
        (value.round_ties_even() * unit as f64) as u64
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

#[cfg(test)]
mod tests {
    use super::as_printed;

    #[test]
    fn sizes_lose_what_the_reference_does_not_print() {
        for (bytes, printed) in [
            (0, 0),
            (999, 999),
            (1024, 1000),
            (1536, 1500),
            (12_345, 12_000),
            (999_950, 1_000_000),
            (1 << 30, 1_100_000_000),
            (10 << 20, 10_000_000),
            (u64::MAX, u64::MAX),
        ] {
            assert_eq!(as_printed(bytes), printed, "{bytes}");
        }
    }
}
