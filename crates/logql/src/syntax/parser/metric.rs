//! Aggregations over ranges and vectors, and the other functions that give numbers.

use model::re2;

use super::super::ast::{
    Grouping, LabelReplace, LogExpr, MetricExpr, RangeAggregation, RangeOp, Unwrap,
    VectorAggregation, VectorOp,
};
use super::super::scan;
use super::super::token::{Kind, Word};
use super::{Operand, ParseError, Parser, grown};

/// A log expression in a range aggregation, and the range if it has been read.
#[derive(Default)]
struct LogRange {
    log: LogExpr,
    unwrap: Option<Unwrap>,
    range_ns: Option<i64>,
    offset_ns: i64,
}

impl Parser<'_> {
    /// `rate({..}[5m])`; the function's name is next.
    pub(super) fn range_aggregation(&mut self, op: RangeOp) -> Result<Operand, ParseError> {
        let start = self.at;
        self.advance();
        self.expect(Word::OpenParen)?;
        let mut parameter = None;
        if *self.kind() == Kind::Number {
            parameter = Some(self.number_text()?);
            self.expect(Word::Comma)?;
            if !self.is(Word::OpenBrace) && !self.is(Word::OpenParen) {
                return Err(self.unexpected(&["{", "("]));
            }
        } else if !self.is(Word::OpenBrace) && !self.is(Word::OpenParen) {
            return Err(self.unexpected(&["NUMBER", "{", "("]));
        }
        let mut range = self.nested(Self::log_range)?;
        if range.range_ns.is_none() {
            let expected: &[&str] = match range.unwrap {
                Some(_) => &["RANGE", "|"],
                None => &[],
            };
            return Err(self.unexpected(expected));
        }
        self.expect(Word::CloseParen)?;
        let grouping = self.grouping()?;
        self.require_matcher(start, &range.log);
        let has_unwrap = range.unwrap.is_some();
        let (parameter, fault) = range_parameter(op, parameter);
        let fault = fault.or_else(|| range_fault(op, grouping.is_some(), has_unwrap));
        if let Some(fault) = fault {
            self.late(start, fault);
            return Ok(Operand::Faulty);
        }
        let aggregation = RangeAggregation {
            op,
            parameter,
            log: std::mem::take(&mut range.log),
            unwrap: range.unwrap,
            range_ns: range.range_ns.unwrap_or_default(),
            offset_ns: range.offset_ns,
            grouping,
        };
        Ok(Operand::metric(MetricExpr::Range(aggregation), 1))
    }

    /// The argument of a range aggregation. The range may stand before the pipeline, after it, or
    /// after parentheses around either.
    fn log_range(&mut self) -> Result<LogRange, ParseError> {
        if self.eat(Word::OpenParen) {
            let mut inner = self.nested(Self::log_range)?;
            match (inner.range_ns, &inner.unwrap) {
                (Some(_), _) => self.expect(Word::CloseParen)?,
                (None, None) => self.close()?,
                (None, Some(_)) if self.eat(Word::CloseParen) => {}
                (None, Some(_)) => return Err(self.unexpected(&["RANGE", ")", "|"])),
            }
            if inner.range_ns.is_none() {
                self.range_and_offset(&mut inner, true)?;
                if inner.log.stages.is_empty() && inner.unwrap.is_none() {
                    inner.unwrap = self.unwrap()?;
                }
            }
            return Ok(inner);
        }
        let matchers = self.selector(true)?;
        let mut found = LogRange {
            log: LogExpr {
                matchers,
                ..LogExpr::default()
            },
            ..LogRange::default()
        };
        self.range_and_offset(&mut found, false)?;
        let range_first = found.range_ns.is_some();
        found.log.stages = self.pipeline(true)?;
        found.unwrap = self.unwrap()?;
        if !range_first {
            self.range_and_offset(&mut found, false)?;
        }
        Ok(found)
    }

    /// `[5m] offset 1h`, if a range is next or must be.
    fn range_and_offset(&mut self, found: &mut LogRange, must: bool) -> Result<(), ParseError> {
        let Kind::Range(ns) = *self.kind() else {
            return if must {
                Err(self.unexpected(&["RANGE"]))
            } else {
                Ok(())
            };
        };
        self.advance();
        found.range_ns = Some(ns);
        if self.eat(Word::Offset) {
            let Kind::Duration(ns) = *self.kind() else {
                return Err(self.unexpected(&["DURATION"]));
            };
            self.advance();
            found.offset_ns = ns;
        }
        Ok(())
    }

    /// `| unwrap bytes(x) | y > 5`, if it is next.
    fn unwrap(&mut self) -> Result<Option<Unwrap>, ParseError> {
        if !self.is(Word::Pipe) || *self.kind_ahead(1) != Kind::Word(Word::Unwrap) {
            return Ok(None);
        }
        self.advance();
        self.advance();
        let (conversion, label) = match self.kind() {
            Kind::Conversion(conversion) => {
                let conversion = *conversion;
                self.advance();
                self.expect(Word::OpenParen)?;
                let label = self.identifier()?;
                self.expect(Word::CloseParen)?;
                (Some(conversion), label)
            }
            Kind::Identifier => (None, self.identifier()?),
            _ => {
                let wanted = [
                    "IDENTIFIER",
                    "BYTES_CONV",
                    "DURATION_CONV",
                    "DURATION_SECONDS_CONV",
                ];
                return Err(self.unexpected(&wanted));
            }
        };
        let mut filters = Vec::new();
        while self.eat(Word::Pipe) {
            if *self.kind() != Kind::Identifier && !self.is(Word::OpenParen) {
                return Err(self.unexpected(&["IDENTIFIER", "("]));
            }
            filters.push(self.label_filter()?);
        }
        Ok(Some(Unwrap {
            label,
            conversion,
            filters,
        }))
    }

    /// `by (a)` or `without (a)`, if it is next.
    fn grouping(&mut self) -> Result<Option<Grouping>, ParseError> {
        let without = self.is(Word::Without);
        if !without && !self.is(Word::By) {
            return Ok(None);
        }
        self.advance();
        let labels = self.label_list()?;
        Ok(Some(Grouping { without, labels }))
    }

    /// `sum by (a) (..)`; the function's name is next.
    pub(super) fn vector_aggregation(&mut self, op: VectorOp) -> Result<Operand, ParseError> {
        let start = self.at;
        self.advance();
        let before = self.grouping()?;
        self.expect(Word::OpenParen)?;
        let mut parameter = None;
        if *self.kind() == Kind::Number && *self.kind_ahead(1) == Kind::Word(Word::Comma) {
            parameter = Some(self.number_text()?);
            self.advance();
        }
        let inner = self.metric_expression()?;
        self.close()?;
        let grouping = match before {
            Some(grouping) => Some(grouping),
            None => self.grouping()?,
        };
        let (parameter, fault) = vector_parameter(op, parameter);
        let fault = fault.or_else(|| vector_fault(op, grouping.as_ref()?));
        // All series become one with and without an empty `by`.
        let grouping = grouping.filter(|grouping| grouping.without || !grouping.labels.is_empty());
        if let Some(fault) = fault {
            self.late(start, fault);
            return Ok(Operand::Faulty);
        }
        let Operand::Metric(inner, height) = inner else {
            return Ok(Operand::Faulty);
        };
        let height = grown(height)?;
        let aggregation = VectorAggregation {
            op,
            parameter,
            grouping,
            inner,
        };
        Ok(Operand::metric(MetricExpr::Vector(aggregation), height))
    }

    /// `label_replace(v, "dst", "replacement", "src", "regex")`; the name is next.
    pub(super) fn label_replace(&mut self) -> Result<Operand, ParseError> {
        let start = self.at;
        self.advance();
        self.expect(Word::OpenParen)?;
        let inner = self.metric_expression()?;
        if !self.is(Word::Comma) {
            return Err(self.unexpected(&[]));
        }
        let mut text = || {
            self.expect(Word::Comma)?;
            self.string()
        };
        let (dst, replacement, src, regex) = (text()?, text()?, text()?, text()?);
        self.expect(Word::CloseParen)?;
        if let Err(error) = re2::translate(&format!("^(?:{regex})$")) {
            self.late(start, format!("invalid regex in label_replace: {error}"));
            return Ok(Operand::Faulty);
        }
        self.regexes.add_with_groups(&regex)?;
        let Operand::Metric(inner, height) = inner else {
            return Ok(Operand::Faulty);
        };
        let height = grown(height)?;
        let replace = LabelReplace {
            inner: *inner,
            dst,
            replacement,
            src,
            regex,
        };
        Ok(Operand::metric(
            MetricExpr::LabelReplace(Box::new(replace)),
            height,
        ))
    }

    /// `vector(5)`; the name is next.
    pub(super) fn vector(&mut self) -> Result<Operand, ParseError> {
        let start = self.at;
        self.advance();
        self.expect(Word::OpenParen)?;
        let number = self.number_text()?;
        self.expect(Word::CloseParen)?;
        match scan::parse_float(number) {
            Ok(value) => Ok(Operand::metric(MetricExpr::VectorLiteral(value), 1)),
            Err(error) => {
                self.late(
                    start,
                    format!("unable to parse vectorExpr as a float: {error}"),
                );
                Ok(Operand::Faulty)
            }
        }
    }
}

/// The parameter of a range function, and what is wrong with it.
fn range_parameter(op: RangeOp, text: Option<&str>) -> (Option<f64>, Option<String>) {
    let name = op.as_str();
    match text {
        Some(text) if op == RangeOp::Quantile => match scan::parse_float(text) {
            Ok(value) => (Some(value), None),
            Err(error) => (
                None,
                Some(format!("invalid parameter for operation {name}: {error}")),
            ),
        },
        Some(text) => (
            None,
            Some(format!(
                "parameter {text} not supported for operation {name}"
            )),
        ),
        None if op == RangeOp::Quantile => (
            None,
            Some(format!("parameter required for operation {name}")),
        ),
        None => (None, None),
    }
}

fn range_fault(op: RangeOp, has_grouping: bool, has_unwrap: bool) -> Option<String> {
    let name = op.as_str();
    if has_grouping && !op.allows_grouping() {
        Some(format!("grouping not allowed for {name} aggregation"))
    } else if has_unwrap && !op.allows_unwrap() {
        Some(format!("invalid aggregation {name} with unwrap"))
    } else if !has_unwrap && !op.allows_lines() {
        Some(format!("invalid aggregation {name} without unwrap"))
    } else {
        None
    }
}

/// The parameter of a vector function, and what is wrong with it.
fn vector_parameter(op: VectorOp, text: Option<&str>) -> (Option<i64>, Option<String>) {
    let name = op.as_str();
    match text {
        Some(text) if op.has_parameter() => match text.parse::<i64>() {
            Ok(value) if value > 0 => (Some(value), None),
            Ok(_) => {
                let fault = format!("invalid parameter (must be greater than 0) {name}({text}");
                (None, Some(fault))
            }
            Err(_) => (None, Some(format!("invalid parameter {name}({text},"))),
        },
        Some(text) => (
            None,
            Some(format!(
                "unsupported parameter for operation {name}({text},"
            )),
        ),
        None if op.has_parameter() => (
            None,
            Some(format!("parameter required for operation {name}")),
        ),
        None => (None, None),
    }
}

/// What is wrong with a grouping of what must have none. An empty `by` is none where series are sorted.
fn vector_fault(op: VectorOp, grouping: &Grouping) -> Option<String> {
    if op == VectorOp::ApproxTopk {
        return Some(format!(
            "grouping not allowed for {} aggregation",
            op.as_str()
        ));
    }
    let is_empty = !grouping.without && grouping.labels.is_empty();
    (op.is_sort() && !is_empty).then(|| "sort and sort_desc doesn't allow grouping by ".to_owned())
}
