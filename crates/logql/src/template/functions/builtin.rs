//! What Go's templates bring along, the line and its time, and `default`.

use super::Type::{Any, String as Text};
use super::{Call, Called, Env, Function, Type, bounded, owned, plain, text, variadic};
use crate::template::gofmt;
use crate::template::gotime::GoTime;
use crate::template::value::{IntKind, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    special("and", Call::And),
    special("or", Call::Or),
    special("call", Call::Value),
    plain("not", &[Any], |_, args| {
        Ok(Value::Bool(!args.first().is_some_and(Value::is_true)))
    }),
    plain("len", &[Any], len),
    variadic("index", &[Any], Any, index),
    variadic("slice", &[Any], Any, slice),
    variadic("print", &[], Any, |_, args| {
        printed(|out| gofmt::sprint(args, out))
    }),
    variadic("println", &[], Any, |_, args| {
        printed(|out| gofmt::sprintln(args, out))
    }),
    variadic("printf", &[Text], Any, |_, args| {
        let rest = args.get(1..).unwrap_or_default();
        printed(|out| gofmt::sprintf(text(args, 0), rest, out))
    }),
    variadic("default", &[Any], Any, |_, args| {
        let given = args.get(1).filter(|given| !given.is_empty());
        Ok(given.or(args.first()).cloned().unwrap_or(Value::Nil))
    }),
];

/// Only in LogQL: the row that the template runs for.
pub(super) const LOGQL: &[Function] = &[
    plain("__line__", &[], |env, _| Ok(Value::Str(env.line.into()))),
    plain("__timestamp__", &[], |env, _| {
        Ok(Value::Time(GoTime::from_unix_ns(env.timestamp_ns)))
    }),
];

const fn special(name: &'static str, call: Call) -> Function {
    const ANY: &[Type] = &[Any];
    Function {
        name,
        params: ANY,
        variadic: Some(Any),
        call,
        steps: 1,
    }
}

fn printed<'a>(print: impl FnOnce(&mut Vec<u8>)) -> Called<'a> {
    let mut out = Vec::new();
    print(&mut out);
    bounded(out.len())?;
    Ok(owned(out))
}

fn len<'a>(_: &Env<'a>, args: &[Value<'a>]) -> Called<'a> {
    let len = match args.first() {
        Some(Value::Str(text)) => text.len(),
        Some(Value::List(items)) => items.len(),
        Some(Value::Map { entries, .. }) => entries.len(),
        None | Some(Value::Missing | Value::Nil) => return Err("len of nil pointer".to_owned()),
        Some(value) => return Err(format!("len of type {}", value.type_name())),
    };
    Ok(Value::int(len as i64))
}

fn index<'a>(_: &Env<'a>, args: &[Value<'a>]) -> Called<'a> {
    let mut args = args.iter();
    let mut item = match args.next() {
        None | Some(Value::Missing | Value::Nil) => return Err("index of untyped nil".to_owned()),
        Some(item) => item.clone(),
    };
    for index in args {
        item = match &item {
            Value::Str(text) => {
                let at = position(index, text.len())?;
                let byte = text
                    .get(at)
                    .copied()
                    .ok_or("reflect: string index out of range")?;
                Value::Int(i64::from(byte), IntKind::Uint8)
            }
            Value::List(items) => {
                let at = position(index, items.len())?;
                let item = items.get(at).cloned();
                item.ok_or("reflect: slice index out of range")?
            }
            Value::Map { entries, strings } => match (entries.get(&key(index)?), strings) {
                (Some(value), _) => value.clone(),
                (None, true) => Value::str(""),
                (None, false) => Value::Nil,
            },
            Value::Missing | Value::Nil => return Err("index of nil pointer".to_owned()),
            other => return Err(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(item)
}

/// A place in a text or list; just behind the end is one, too.
fn position(index: &Value<'_>, len: usize) -> Result<usize, String> {
    let at = match index {
        Value::Int(at, _) => *at,
        Value::Missing | Value::Nil => return Err("cannot index slice/array with nil".to_owned()),
        other => {
            return Err(format!(
                "cannot index slice/array with type {}",
                other.type_name()
            ));
        }
    };
    usize::try_from(at)
        .ok()
        .filter(|at| *at <= len)
        .ok_or_else(|| format!("index out of range: {at}"))
}

fn key(index: &Value<'_>) -> Result<String, String> {
    match index {
        Value::Str(text) => Ok(String::from_utf8_lossy(text).into_owned()),
        Value::Missing | Value::Nil => Err("value is nil; should be of type string".to_owned()),
        other => Err(format!(
            "value has type {}; should be string",
            other.type_name()
        )),
    }
}

/// `slice text from to` and `slice list from to [capacity]`; both ends may be left out.
fn slice<'a>(_: &Env<'a>, args: &[Value<'a>]) -> Called<'a> {
    let (item, indexes) = match args.split_first() {
        None | Some((Value::Missing | Value::Nil, _)) => {
            return Err("slice of untyped nil".to_owned());
        }
        Some(split) => split,
    };
    if indexes.len() > 3 {
        return Err(format!("too many slice indexes: {}", indexes.len()));
    }
    let len = match item {
        Value::Str(_) if indexes.len() == 3 => {
            return Err("cannot 3-index slice a string".to_owned());
        }
        Value::Str(text) => text.len(),
        Value::List(items) => items.len(),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    let mut bounds = [0, len, len];
    for (bound, index) in bounds.iter_mut().zip(indexes) {
        *bound = position(index, len)?;
    }
    let [from, to, capacity] = bounds;
    for (low, high) in [(from, to), (to, capacity)] {
        if low > high {
            return Err(format!("invalid slice index: {low} > {high}"));
        }
    }
    Ok(match item {
        Value::List(items) => {
            let part = items.get(from..to).unwrap_or_default();
            Value::List(part.to_vec().into())
        }
        _ => super::part(args, 0, from..to),
    })
}
