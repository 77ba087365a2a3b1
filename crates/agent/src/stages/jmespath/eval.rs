//! Applying an expression to a value.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::{Comparison, Node, Slice};

/// A function was given what it does not take.
pub(super) struct WrongType;

/// A value that was found in the input, or made.
pub(super) type Found<'a> = Cow<'a, Value>;

const NULL: Value = Value::Null;

fn null<'a>() -> Found<'a> {
    Cow::Borrowed(&NULL)
}

pub(super) fn eval<'a>(node: &'a Node, value: &Found<'a>) -> Result<Found<'a>, WrongType> {
    Ok(match node {
        Node::Current => value.clone(),
        Node::Literal(literal) => Cow::Borrowed(literal),
        Node::Field(name) => part(value, |value| value.get(name.as_str())),
        Node::Index(index) => part(value, |value| {
            let elements = value.as_array()?;
            elements.get(position(*index, elements.len())?)
        }),
        Node::Slice(slice) => match value.as_array() {
            Some(elements) => Cow::Owned(Value::Array(sliced(*slice, elements))),
            None => null(),
        },
        Node::Then(left, right) => eval(right, &eval(left, value)?)?,
        Node::Project(left, right) => match elements(eval(left, value)?) {
            Some(elements) => project(elements, right)?,
            None => null(),
        },
        Node::ProjectValues(left, right) => match values(eval(left, value)?) {
            Some(values) => project(values, right)?,
            None => null(),
        },
        Node::Flatten(inner) => match elements(eval(inner, value)?) {
            Some(elements) => Cow::Owned(Value::Array(flattened(elements))),
            None => null(),
        },
        Node::Filter {
            left,
            condition,
            right,
        } => match elements(eval(left, value)?) {
            Some(mut elements) => {
                let mut kept = Vec::new();
                for element in elements.drain(..) {
                    if is_true(&*eval(condition, &element)?) {
                        kept.push(element);
                    }
                }
                project(kept, right)?
            }
            None => null(),
        },
        Node::List(_) | Node::Map(_) if value.is_null() => null(),
        Node::List(nodes) => {
            let found = nodes.iter().map(|node| Ok(eval(node, value)?.into_owned()));
            Cow::Owned(Value::Array(found.collect::<Result<_, _>>()?))
        }
        Node::Map(pairs) => {
            let found = pairs
                .iter()
                .map(|(key, node)| Ok((key.clone(), eval(node, value)?.into_owned())));
            Cow::Owned(Value::Object(found.collect::<Result<Map<_, _>, _>>()?))
        }
        Node::Compare(comparison, left, right) => {
            let (left, right) = (eval(left, value)?, eval(right, value)?);
            Cow::Owned(compared(*comparison, &left, &right))
        }
        Node::Or(left, right) => match eval(left, value)? {
            left if is_true(&left) => left,
            _ => eval(right, value)?,
        },
        Node::And(left, right) => match eval(left, value)? {
            left if is_true(&left) => eval(right, value)?,
            left => left,
        },
        Node::Not(inner) => Cow::Owned(Value::Bool(!is_true(&*eval(inner, value)?))),
        Node::Call(function, arguments) => {
            let arguments = arguments.iter().map(|node| eval(node, value));
            Cow::Owned(function.call(&arguments.collect::<Result<Vec<_>, _>>()?)?)
        }
    })
}

/// A part of a value, borrowed if the value is.
fn part<'a>(value: &Found<'a>, of: impl for<'b> Fn(&'b Value) -> Option<&'b Value>) -> Found<'a> {
    match value {
        Cow::Borrowed(value) => of(value).map_or_else(null, Cow::Borrowed),
        Cow::Owned(value) => of(value).map_or_else(null, |part| Cow::Owned(part.clone())),
    }
}

fn elements(value: Found<'_>) -> Option<Vec<Found<'_>>> {
    match value {
        Cow::Borrowed(Value::Array(elements)) => Some(elements.iter().map(Cow::Borrowed).collect()),
        Cow::Owned(Value::Array(elements)) => Some(elements.into_iter().map(Cow::Owned).collect()),
        _ => None,
    }
}

fn values(value: Found<'_>) -> Option<Vec<Found<'_>>> {
    match value {
        Cow::Borrowed(Value::Object(fields)) => Some(fields.values().map(Cow::Borrowed).collect()),
        Cow::Owned(Value::Object(fields)) => Some(
            fields
                .into_iter()
                .map(|(_, value)| Cow::Owned(value))
                .collect(),
        ),
        _ => None,
    }
}

/// Applies a node to each element; what gives nothing is left out.
fn project<'a>(elements: Vec<Found<'a>>, node: &'a Node) -> Result<Found<'a>, WrongType> {
    let mut found = Vec::with_capacity(elements.len());
    for element in elements {
        let result = eval(node, &element)?;
        if !result.is_null() {
            found.push(result.into_owned());
        }
    }
    Ok(Cow::Owned(Value::Array(found)))
}

fn flattened(elements: Vec<Found<'_>>) -> Vec<Value> {
    let mut flat = Vec::with_capacity(elements.len());
    for element in elements {
        match element.into_owned() {
            Value::Array(inner) => flat.extend(inner),
            other => flat.push(other),
        }
    }
    flat
}

/// The position of an index, which counts from the end if it is negative.
fn position(index: i64, len: usize) -> Option<usize> {
    if index < 0 {
        len.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)
    } else {
        usize::try_from(index).ok()
    }
}

fn sliced(slice: Slice, elements: &[Value]) -> Vec<Value> {
    let len = i64::try_from(elements.len()).unwrap_or(i64::MAX);
    // Where the slice ends if nothing is said: one past the last element of its direction.
    let (low, high) = if slice.step > 0 {
        (0, len)
    } else {
        (-1, len - 1)
    };
    let bound = |index: i64| {
        let index = if index < 0 {
            index.saturating_add(len)
        } else {
            index
        };
        index.clamp(low, high)
    };
    let (first, last) = if slice.step > 0 {
        (low, high)
    } else {
        (high, low)
    };
    let mut at = slice.start.map_or(first, bound);
    let stop = slice.stop.map_or(last, bound);
    let mut found = Vec::new();
    while (slice.step > 0 && at < stop) || (slice.step < 0 && at > stop) {
        found.extend(
            usize::try_from(at)
                .ok()
                .and_then(|at| elements.get(at))
                .cloned(),
        );
        at = at.saturating_add(slice.step);
    }
    found
}

/// Everything is true but null, false and what is empty.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(_) => true,
        Value::String(text) => !text.is_empty(),
        Value::Array(elements) => !elements.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// Equality in which 1 and 1.0 are the same.
pub(super) fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| equal(l, r))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(name, value)| right.get(name).is_some_and(|other| equal(value, other)))
        }
        _ => left == right,
    }
}

/// Only numbers have an order; comparing anything else gives null.
fn compared(comparison: Comparison, left: &Value, right: &Value) -> Value {
    let order = || -> Option<Ordering> { left.as_f64()?.partial_cmp(&right.as_f64()?) };
    let answer = match comparison {
        Comparison::Equal => Some(equal(left, right)),
        Comparison::NotEqual => Some(!equal(left, right)),
        Comparison::Less => order().map(Ordering::is_lt),
        Comparison::LessOrEqual => order().map(Ordering::is_le),
        Comparison::Greater => order().map(Ordering::is_gt),
        Comparison::GreaterOrEqual => order().map(Ordering::is_ge),
    };
    answer.map_or(Value::Null, Value::Bool)
}
