//! Calls: counting and checking arguments, and what `and` and `or` leave alone.

use smallvec::SmallVec;

use super::{Last, Run, STEP_BYTES, State};
use crate::template::functions::{Body, Call, Function, Type};
use crate::template::node::{Kind, Node};
use crate::template::value::{IntKind, Value};

type Arguments<'a> = SmallVec<[Value<'a>; 4]>;

impl<'a> State<'a, '_> {
    /// Calls a function or, on a receiver, a method. `node` is what an error of the function names.
    pub(super) fn call(
        &mut self,
        function: &'static Function,
        node: &'a Node,
        given: &'a [Node],
        dot: &Value<'a>,
        last: Last<'a>,
        receiver: Option<Value<'a>>,
    ) -> Run<Value<'a>> {
        self.spend(function.steps)?;
        self.check_count(function, given.len(), last.is_some())?;
        if let Call::And | Call::Or = function.call {
            return self.first_that_decides(function, given, dot, last);
        }
        let mut arguments = Arguments::new();
        arguments.extend(receiver);
        for (at, node) in given.iter().enumerate() {
            let argument = self.argument(function.param(at), node, dot)?;
            arguments.push(argument);
        }
        if let Some(last) = last {
            let last = self.validated(last, function.param(given.len()))?;
            arguments.push(last);
        }
        match function.call {
            Call::Plain(body) => self.run_body(function, body, node, &arguments),
            _ => self.not_callable(node, given.first(), arguments.first()),
        }
    }

    fn check_count(&self, function: &Function, given: usize, last: bool) -> Run<()> {
        let (name, fixed, count) = (
            function.name,
            function.params.len(),
            given + usize::from(last),
        );
        if function.variadic.is_some() {
            if count < fixed {
                return self.fail(format!(
                    "wrong number of args for {name}: want at least {fixed} got {given}"
                ));
            }
        } else if count != fixed {
            return self.fail(format!(
                "wrong number of args for {name}: want {fixed} got {count}"
            ));
        }
        Ok(())
    }

    fn run_body(
        &mut self,
        function: &Function,
        body: Body,
        node: &'a Node,
        arguments: &[Value<'a>],
    ) -> Run<Value<'a>> {
        let taken: usize = arguments.iter().map(weight).sum();
        self.spend(taken / STEP_BYTES)?;
        match body(&self.env, arguments) {
            Ok(value) => {
                self.spend(weight(&value) / STEP_BYTES)?;
                Ok(value)
            }
            Err(message) => {
                self.at(node);
                self.fail(format!("error calling {}: {message}", function.name))
            }
        }
    }

    /// `and` gives its first argument that is false, `or` the first that is true, else the last;
    /// those behind it are not evaluated.
    fn first_that_decides(
        &mut self,
        function: &Function,
        given: &'a [Node],
        dot: &Value<'a>,
        last: Last<'a>,
    ) -> Run<Value<'a>> {
        let decides = matches!(function.call, Call::Or);
        let mut value = Value::Missing;
        for node in given {
            value = self.argument(Some(Type::Any), node, dot)?;
            if value.is_true() == decides {
                return Ok(value);
            }
        }
        match last {
            Some(last) => self.validated(last, Some(Type::Any)),
            None => Ok(value),
        }
    }

    fn not_callable(
        &mut self,
        node: &'a Node,
        written: Option<&Node>,
        value: Option<&Value<'a>>,
    ) -> Run<Value<'a>> {
        self.at(node);
        let Some(value) = value.filter(|value| !matches!(value, Value::Nil)) else {
            return self.fail("error calling call: call of nil");
        };
        let called = written.map_or_else(|| super::shown(value), ToString::to_string);
        self.fail(format!(
            "error calling call: non-function {called} of type {}",
            value.type_name()
        ))
    }

    /// Evaluates an argument for a parameter of type `wanted`; `None` takes anything as it is.
    pub(super) fn argument(
        &mut self,
        wanted: Option<Type>,
        node: &'a Node,
        dot: &Value<'a>,
    ) -> Run<Value<'a>> {
        self.at(node);
        self.spend(1)?;
        let value = match &node.kind {
            Kind::Dot => self.copy(dot)?,
            Kind::Nil => {
                return match wanted {
                    Some(Type::Any) | None => Ok(Value::Nil),
                    Some(wanted) => self.fail(format!("cannot assign nil to {}", wanted.name())),
                };
            }
            Kind::Field(_) | Kind::Variable(_) | Kind::Chain { .. } => {
                self.selected(node, &[], dot, None)?
            }
            Kind::Pipe(_) => self.pipeline(node, dot)?,
            Kind::Identifier(function) => self.call(function, node, &[], dot, None, None)?,
            _ => return self.literal(wanted.unwrap_or(Type::Any), node),
        };
        self.validated(value, wanted)
    }

    /// A constant for a parameter of type `wanted`.
    fn literal(&self, wanted: Type, node: &'a Node) -> Run<Value<'a>> {
        let expected = |what: &str| self.fail(format!("expected {what}; found {node}"));
        match (wanted, &node.kind) {
            (Type::Any, Kind::Bool(value)) => Ok(Value::Bool(*value)),
            (Type::Any, Kind::Number(number)) => self.constant(number),
            (Type::Any | Type::String, Kind::String { text, .. }) => Ok(Value::str(text)),
            (Type::Any, _) => self.fail(format!(
                "can't handle assignment of {node} to empty interface argument"
            )),
            (Type::String, _) => expected("string"),
            (Type::Int | Type::Duration, Kind::Number(number)) => match (number.int, wanted) {
                (Some(int), Type::Int) => Ok(Value::int(int)),
                (Some(int), _) => Ok(Value::Int(int, IntKind::Duration)),
                (None, _) => expected("integer"),
            },
            (Type::Int | Type::Duration, _) => expected("integer"),
            (Type::Float, Kind::Number(number)) => match number.float {
                Some(float) => Ok(Value::Float(float)),
                None => expected("float"),
            },
            (Type::Float, _) => expected("float"),
            (Type::Time, _) => self.fail(format!(
                "can't handle {node} for arg of type {}",
                wanted.name()
            )),
        }
    }

    /// The value, if it may be passed for the type.
    fn validated(&self, value: Value<'a>, wanted: Option<Type>) -> Run<Value<'a>> {
        let Some(wanted) = wanted else {
            return Ok(value);
        };
        let fits = match (wanted, &value) {
            (Type::Any, Value::Missing) => return Ok(Value::Nil),
            (Type::Any, Value::Labels) => return Ok(self.all_labels()),
            (wanted, Value::Missing) => {
                return self.fail(format!("invalid value; expected {}", wanted.name()));
            }
            (Type::Any, _)
            | (Type::String, Value::Str(_))
            | (Type::Int, Value::Int(_, IntKind::Int))
            | (Type::Float, Value::Float(_))
            | (Type::Duration, Value::Int(_, IntKind::Duration))
            | (Type::Time, Value::Time(_)) => true,
            _ => false,
        };
        if fits {
            return Ok(value);
        }
        self.fail(format!(
            "wrong type for value; expected {}; got {}",
            wanted.name(),
            value.type_name()
        ))
    }
}

/// What a function has to look at, in bytes.
fn weight(value: &Value<'_>) -> usize {
    match value {
        Value::Str(text) => text.len(),
        Value::List(items) => items.len() * size_of::<Value<'_>>(),
        Value::Map { entries, .. } => entries.len() * size_of::<Value<'_>>(),
        _ => 0,
    }
}
