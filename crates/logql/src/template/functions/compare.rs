//! `eq` and its relatives: values of one kind only, integers of all types being one kind.

use std::cmp::Ordering;

use super::Type::Any;
use super::{Called, Env, Function, plain, variadic};
use crate::template::gofmt::print_value;
use crate::template::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    variadic("eq", &[Any], Any, eq),
    plain("ne", &[Any, Any], |_, args| Ok(Value::Bool(!equal(args)?))),
    plain("lt", &[Any, Any], |_, args| Ok(Value::Bool(less(args)?))),
    plain("le", &[Any, Any], |_, args| {
        Ok(Value::Bool(less(args)? || equal(args)?))
    }),
    plain("gt", &[Any, Any], |_, args| {
        Ok(Value::Bool(!(less(args)? || equal(args)?)))
    }),
    plain("ge", &[Any, Any], |_, args| Ok(Value::Bool(!less(args)?))),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Bool,
    Int,
    Float,
    Complex,
    Text,
    /// Everything without an order.
    Other,
}

fn class(value: &Value<'_>) -> Class {
    match value {
        Value::Bool(_) => Class::Bool,
        Value::Int(..) => Class::Int,
        Value::Float(_) => Class::Float,
        Value::Complex(..) => Class::Complex,
        Value::Str(_) => Class::Text,
        _ => Class::Other,
    }
}

fn is_nil(value: &Value<'_>) -> bool {
    matches!(value, Value::Missing | Value::Nil)
}

fn incompatible(a: &Value<'_>, b: &Value<'_>) -> String {
    format!(
        "incompatible types for comparison: {} and {}",
        a.type_name(),
        b.type_name()
    )
}

/// Whether the first argument equals any other.
fn eq<'a>(_: &Env<'a>, args: &[Value<'a>]) -> Called<'a> {
    equal(args).map(Value::Bool)
}

fn equal(args: &[Value<'_>]) -> Result<bool, String> {
    let Some((first, others)) = args.split_first().filter(|(_, others)| !others.is_empty()) else {
        return Err("missing argument for comparison".to_owned());
    };
    for other in others {
        if equal_pair(first, other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn equal_pair(a: &Value<'_>, b: &Value<'_>) -> Result<bool, String> {
    if is_nil(a) || is_nil(b) {
        return Ok(is_nil(a) && is_nil(b));
    }
    if class(a) != class(b) {
        return Err(incompatible(a, b));
    }
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Int(a, _), Value::Int(b, _)) => Ok(a == b),
        (Value::Float(a), Value::Float(b)) => Ok(a == b),
        (Value::Complex(a, a_i), Value::Complex(b, b_i)) => Ok(a == b && a_i == b_i),
        (Value::Str(a), Value::Str(b)) => Ok(a == b),
        (Value::Time(a), Value::Time(b)) => Ok(a.instant() == b.instant()),
        (Value::List(_), Value::List(_)) | (Value::Map { .. }, Value::Map { .. }) => Err(format!(
            "non-comparable type {}: {}",
            shown(b),
            b.type_name()
        )),
        _ => Err(format!(
            "non-comparable types {}: {}, {}: {}",
            shown(a),
            a.type_name(),
            b.type_name(),
            shown(b)
        )),
    }
}

fn shown(value: &Value<'_>) -> String {
    let mut text = Vec::new();
    print_value(value, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn less(args: &[Value<'_>]) -> Result<bool, String> {
    let [a, b] = args else {
        return Err("missing argument for comparison".to_owned());
    };
    let no_order = || Err("invalid type for comparison".to_owned());
    match (class(a), class(b)) {
        (Class::Other, _) | (_, Class::Other) => return no_order(),
        (a_class, b_class) if a_class != b_class => return Err(incompatible(a, b)),
        _ => {}
    }
    let order = match (a, b) {
        (Value::Int(a, _), Value::Int(b, _)) => a.partial_cmp(b),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Str(a), Value::Str(b)) => a.partial_cmp(b),
        _ => return no_order(),
    };
    Ok(order == Some(Ordering::Less))
}
