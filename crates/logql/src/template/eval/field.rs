//! Fields: labels, entries of maps, and the methods of times and durations.

use super::{Last, Run, State};
use crate::template::functions::{self, Dialect};
use crate::template::node::{Kind, Node};
use crate::template::value::Value;

/// The selected value's type where it is an element of `map[string]interface {}`.
const INTERFACE: &str = "interface {}";

/// Where a chain of fields stands: the node, all words of its command, dot and the last value.
#[derive(Clone)]
struct Chain<'s, 'a> {
    node: &'a Node,
    args: &'a [Node],
    dot: &'s Value<'a>,
    last: Last<'a>,
}

impl<'a> State<'a, '_> {
    /// The value of a field, chain or variable. `args` are all words of the command, this one
    /// included, because a method at the end takes the others.
    pub(super) fn selected(
        &mut self,
        node: &'a Node,
        args: &'a [Node],
        dot: &Value<'a>,
        last: Last<'a>,
    ) -> Run<Value<'a>> {
        self.at(node);
        let (receiver, fields) = match &node.kind {
            Kind::Field(fields) => (self.copy(dot)?, fields.as_slice()),
            Kind::Chain { of, .. } if matches!(of.kind, Kind::Nil) => {
                return self.fail(format!("indirection through explicit nil in {node}"));
            }
            Kind::Chain { of, fields } => (self.argument(None, of, dot)?, fields.as_slice()),
            Kind::Variable(parts) => {
                let name = parts.first().map_or("$", String::as_str);
                let value = self.variable(name)?;
                if parts.len() == 1 {
                    self.no_arguments(args, &last)?;
                    return Ok(value);
                }
                (value, parts.get(1..).unwrap_or_default())
            }
            _ => return Ok(Value::Missing),
        };
        let chain = Chain {
            node,
            args,
            dot,
            last,
        };
        self.walk_fields(receiver, fields, chain)
    }

    fn walk_fields(
        &mut self,
        receiver: Value<'a>,
        fields: &'a [String],
        mut chain: Chain<'_, 'a>,
    ) -> Run<Value<'a>> {
        let mut value = receiver;
        let mut in_interface = false;
        for (at, name) in fields.iter().enumerate() {
            // Arguments are for the last field.
            let (args, last) = if at + 1 == fields.len() {
                (chain.args, chain.last.take())
            } else {
                (Default::default(), None)
            };
            let step = Chain {
                args,
                last,
                ..chain.clone()
            };
            let holds_interfaces = match &value {
                Value::Map { strings, .. } => !strings,
                Value::Labels => self.template.dialect == Dialect::Promtail,
                _ => false,
            };
            value = self.field(value, name, in_interface, step)?;
            in_interface = holds_interfaces;
        }
        Ok(value)
    }

    fn field(
        &mut self,
        receiver: Value<'a>,
        name: &'a str,
        in_interface: bool,
        chain: Chain<'_, 'a>,
    ) -> Run<Value<'a>> {
        if let Some(method) = functions::method(&receiver, name) {
            let given = chain.args.get(1..).unwrap_or_default();
            return self.call(
                method,
                chain.node,
                given,
                chain.dot,
                chain.last,
                Some(receiver),
            );
        }
        match &receiver {
            Value::Missing => return Ok(Value::Missing),
            Value::Nil => {
                return self.fail(format!("nil pointer evaluating {INTERFACE}.{name}"));
            }
            Value::Map { .. } | Value::Labels if chain.args.len() > 1 || chain.last.is_some() => {
                return self.fail(format!("{name} is not a method but has arguments"));
            }
            Value::Map { entries, strings } => {
                return Ok(match (entries.get(name), self.template.dialect) {
                    (Some(value), _) => value.clone(),
                    (None, Dialect::Promtail) => Value::Missing,
                    (None, Dialect::LogQl) if *strings => Value::str(""),
                    (None, Dialect::LogQl) => Value::Nil,
                });
            }
            Value::Labels => {
                return Ok(match (self.labels.get(name), self.template.dialect) {
                    (Some(value), _) => Value::str(value),
                    (None, Dialect::LogQl) => Value::str(""),
                    (None, Dialect::Promtail) => Value::Missing,
                });
            }
            _ => {}
        }
        let type_name = if in_interface {
            INTERFACE
        } else {
            receiver.type_name()
        };
        self.fail(format!("can't evaluate field {name} in type {type_name}"))
    }
}
