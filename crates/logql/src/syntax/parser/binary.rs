//! Expressions with binary operators, by precedence climbing.

use super::super::ast::{BinaryExpr, BinaryOp, GroupSide, LogExpr, MetricExpr, VectorMatching};
use super::super::token::{Kind, Word};
use super::{Operand, ParseError, Parser, grown};

/// What stands between an operator and its right side.
#[derive(Default)]
struct Modifiers {
    return_bool: bool,
    matching: Option<VectorMatching>,
}

impl Parser<'_> {
    /// An expression whose operators bind at least as tightly as `lowest`.
    pub(super) fn expression(&mut self, lowest: u8) -> Result<Operand, ParseError> {
        let start = self.at;
        let mut left = self.nested(Self::operand)?;
        loop {
            let op = match self.kind() {
                Kind::Word(word) => word.binary_op(),
                _ => None,
            };
            let Some(op) = op.filter(|op| op.precedence() >= lowest) else {
                return Ok(left);
            };
            self.advance();
            let modifiers = self.modifiers()?;
            // Powers group to the right, all else to the left.
            let tighter = op.precedence() + u8::from(op != BinaryOp::Pow);
            let right = self.nested(|parser| parser.expression(tighter))?;
            left = self.combine(start, op, modifiers, left, right)?;
        }
    }

    /// An expression that must give numbers; what follows a log query is refused.
    pub(super) fn metric_expression(&mut self) -> Result<Operand, ParseError> {
        match self.expression(0)? {
            Operand::Log(_) => Err(self.unexpected(&[])),
            metric => Ok(metric),
        }
    }

    fn operand(&mut self) -> Result<Operand, ParseError> {
        match self.kind() {
            Kind::Word(Word::OpenBrace) => {
                self.log_expression().map(|log| Operand::Log(Box::new(log)))
            }
            Kind::Word(Word::OpenParen) => {
                self.advance();
                let inner = self.expression(0)?;
                self.close()?;
                Ok(inner)
            }
            Kind::Number | Kind::Word(Word::Add | Word::Sub) => self.literal(),
            Kind::RangeOp(op) => {
                let op = *op;
                self.range_aggregation(op)
            }
            Kind::VectorOp(op) => {
                let op = *op;
                self.vector_aggregation(op)
            }
            Kind::LabelReplace => self.label_replace(),
            Kind::Vector => self.vector(),
            _ => Err(self.unexpected(&[])),
        }
    }

    fn literal(&mut self) -> Result<Operand, ParseError> {
        let start = self.at;
        Ok(match self.signed_number()? {
            Ok(value) => Operand::metric(MetricExpr::Literal(value), 1),
            Err(fault) => {
                self.late(start, fault.clone());
                Operand::BadNumber(fault)
            }
        })
    }

    fn modifiers(&mut self) -> Result<Modifiers, ParseError> {
        let return_bool = self.eat(Word::Bool);
        let on = self.is(Word::On);
        if !on && !self.is(Word::Ignoring) {
            return Ok(Modifiers {
                return_bool,
                matching: None,
            });
        }
        self.advance();
        let labels = self.label_list()?;
        let group = match self.kind() {
            Kind::Word(Word::GroupLeft) => Some(GroupSide::Left),
            Kind::Word(Word::GroupRight) => Some(GroupSide::Right),
            _ => None,
        };
        let mut include = Vec::new();
        if group.is_some() {
            self.advance();
            if self.is(Word::OpenParen) {
                include = self.label_list()?;
            }
        }
        let matching = Some(VectorMatching {
            on,
            labels,
            group,
            include,
        });
        Ok(Modifiers {
            return_bool,
            matching,
        })
    }

    /// `(a, b)` or `()`.
    pub(super) fn label_list(&mut self) -> Result<Vec<String>, ParseError> {
        self.expect(Word::OpenParen)?;
        if self.eat(Word::CloseParen) {
            return Ok(Vec::new());
        }
        if *self.kind() != Kind::Identifier {
            return Err(self.unexpected(&["IDENTIFIER", ")"]));
        }
        let labels = self.list(Self::identifier)?;
        if !self.eat(Word::CloseParen) {
            return Err(self.unexpected(&[",", ")"]));
        }
        Ok(labels)
    }

    fn combine(
        &mut self,
        start: usize,
        op: BinaryOp,
        modifiers: Modifiers,
        left: Operand,
        right: Operand,
    ) -> Result<Operand, ParseError> {
        for (side, operand) in [("left", &left), ("right", &right)] {
            if let Operand::Log(log) = operand {
                let found = type_name(log);
                self.late(
                    start,
                    format!(
                        "unexpected type for {side} leg of binary operation ({}): {found}",
                        op.as_str()
                    ),
                );
                return Ok(Operand::Faulty);
            }
        }
        for operand in [&left, &right] {
            if let Operand::BadNumber(fault) = operand {
                self.late(start, fault.clone());
                return Ok(Operand::Faulty);
            }
        }
        for (side, operand) in [("left", &left), ("right", &right)] {
            if let (true, Some(value)) = (op.is_set(), operand.literal()) {
                self.late(
                    start,
                    format!(
                        "unexpected literal for {side} leg of logical/set binary operation ({}): \
                         {value:.6}",
                        op.as_str()
                    ),
                );
                return Ok(Operand::Faulty);
            }
        }
        let (Operand::Metric(left, left_height), Operand::Metric(right, right_height)) =
            (left, right)
        else {
            return Ok(Operand::Faulty);
        };
        if let (MetricExpr::Literal(left), MetricExpr::Literal(right)) = (&*left, &*right) {
            return Ok(Operand::metric(
                MetricExpr::Literal(op.apply(*left, *right)),
                1,
            ));
        }
        let height = grown(left_height.max(right_height))?;
        let Modifiers {
            return_bool,
            matching,
        } = modifiers;
        let both = BinaryExpr {
            op,
            return_bool,
            matching,
            left: *left,
            right: *right,
        };
        Ok(Operand::metric(MetricExpr::Binary(Box::new(both)), height))
    }
}

/// What the reference calls this kind of expression.
fn type_name(log: &LogExpr) -> &'static str {
    if log.stages.is_empty() {
        "*syntax.MatchersExpr"
    } else {
        "*syntax.PipelineExpr"
    }
}
