//! The functions that templates may call, and what they take.
//!
//! Each is a row of a table: name, parameter types, body. The evaluator checks arguments against
//! the types with Go's words before a body runs, so bodies may rely on them.

mod builtin;
mod compare;
mod encoding;
mod hash;
mod math;
mod sprig;
mod strings;
mod time;

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use regex::bytes::{Regex, RegexBuilder};

use super::value::Value;

pub(super) use time::method;

/// Which functions exist, and what a missing label is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Dialect {
    /// `line_format` and `label_format`: a missing label is an empty string.
    #[default]
    LogQl,
    /// The `template` stage of the agent: a missing key has no value, `__line__` and `__timestamp__`
    /// do not exist, more of sprig does.
    Promtail,
}

/// The type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// `interface {}` or `reflect.Value`: anything.
    Any,
    String,
    Int,
    Float,
    Duration,
    Time,
}

impl Type {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::String => "string",
            Self::Int => "int",
            Self::Float => "float64",
            Self::Duration => "time.Duration",
            Self::Time => "time.Time",
        }
    }
}

/// What a body may look at besides its arguments.
pub(super) struct Env<'a> {
    pub(super) line: &'a [u8],
    pub(super) timestamp_ns: i64,
    pub(super) now_ns: i64,
    pub(super) regexes: &'a Regexes,
}

pub(super) type Called<'a> = Result<Value<'a>, String>;
pub(super) type Body = for<'a> fn(&Env<'a>, &[Value<'a>]) -> Called<'a>;

/// How a function is called.
#[derive(Clone, Copy)]
pub(super) enum Call {
    Plain(Body),
    /// Arguments after the deciding one are not evaluated.
    And,
    Or,
    /// Calls a function value; there are none.
    Value,
}

/// A function or method.
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) params: &'static [Type],
    /// The type of further arguments, if any number of them may follow.
    pub(super) variadic: Option<Type>,
    pub(super) call: Call,
    /// What a call costs, in the steps that bound a run.
    pub(super) steps: usize,
}

impl Function {
    /// The type of the argument at a place.
    pub(super) fn param(&self, at: usize) -> Option<Type> {
        self.params.get(at).copied().or(self.variadic)
    }
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const fn plain(name: &'static str, params: &'static [Type], body: Body) -> Function {
    Function {
        name,
        params,
        variadic: None,
        call: Call::Plain(body),
        steps: 1,
    }
}

const fn variadic(name: &'static str, params: &'static [Type], rest: Type, body: Body) -> Function {
    Function {
        name,
        params,
        variadic: Some(rest),
        call: Call::Plain(body),
        steps: 1,
    }
}

/// Stands for functions that only their names are known of, in a text that is checked but not run.
pub(super) static DECLARED: Function = variadic("declared", &[], Type::Any, |_, _| {
    Err("function is declared only".to_owned())
});

/// A function that may have to compile an expression, which is dear.
const fn regex(name: &'static str, params: &'static [Type], body: Body) -> Function {
    Function {
        steps: 1_024,
        ..plain(name, params, body)
    }
}

/// The function of that name, if the dialect has it.
pub(super) fn find(name: &str, dialect: Dialect) -> Option<&'static Function> {
    let own: [&'static [Function]; 2] = match dialect {
        Dialect::LogQl => [builtin::LOGQL, &[]],
        Dialect::Promtail => [hash::PROMTAIL, sprig::PROMTAIL],
    };
    let common: [&'static [Function]; 6] = [
        builtin::FUNCTIONS,
        compare::FUNCTIONS,
        strings::FUNCTIONS,
        math::FUNCTIONS,
        encoding::FUNCTIONS,
        time::FUNCTIONS,
    ];
    let mut tables = own.into_iter().chain(common);
    tables.find_map(|table| table.iter().find(|function| function.name == name))
}

/// Compiled expressions of one template. An expression is usually a constant of the template, so
/// few exist; when there are more, they are compiled each time.
#[derive(Debug, Default)]
pub(super) struct Regexes(Mutex<HashMap<String, Arc<Regex>>>);

const CACHED_REGEXES_MAX: usize = 8;

/// The most memory that a compiled expression may take.
const REGEX_BYTES_MAX: usize = 1 << 20;

impl Regexes {
    pub(super) fn get(&self, pattern: &[u8]) -> Result<Arc<Regex>, String> {
        let pattern = String::from_utf8_lossy(pattern);
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(regex) = cache.get(pattern.as_ref()) {
            return Ok(Arc::clone(regex));
        }
        let regex = Arc::new(compile(&pattern)?);
        if cache.len() < CACHED_REGEXES_MAX {
            cache.insert(pattern.into_owned(), Arc::clone(&regex));
        }
        Ok(regex)
    }
}

fn compile(pattern: &str) -> Result<Regex, String> {
    let translated = model::re2::translate(pattern).map_err(|error| error.to_string())?;
    let mut builder = RegexBuilder::new(&translated.pattern);
    builder.size_limit(REGEX_BYTES_MAX).build().map_err(|_| {
        let reason = "expression too large";
        format!("error parsing regexp: {reason}: `{pattern}`")
    })
}

/// The most bytes that a function may make of its arguments.
const TEXT_BYTES_MAX: usize = 4 << 20;

/// Refuses a result of `len` bytes if that is too much.
fn bounded(len: usize) -> Result<(), String> {
    if len > TEXT_BYTES_MAX {
        return Err(format!("result is longer than {TEXT_BYTES_MAX} bytes"));
    }
    Ok(())
}

/// Argument `i` as text. The evaluator has checked that it is.
fn text<'v>(args: &'v [Value<'_>], i: usize) -> &'v [u8] {
    match args.get(i) {
        Some(Value::Str(text)) => text,
        _ => b"",
    }
}

/// Argument `i` as text that is UTF-8; what is not, is replaced.
fn utf8<'v>(args: &'v [Value<'_>], i: usize) -> Cow<'v, str> {
    String::from_utf8_lossy(text(args, i))
}

fn int(args: &[Value<'_>], i: usize) -> i64 {
    match args.get(i) {
        Some(Value::Int(value, _)) => *value,
        _ => 0,
    }
}

/// A part of argument `i`, borrowed if that is.
fn part<'a>(args: &[Value<'a>], i: usize, range: Range<usize>) -> Value<'a> {
    match args.get(i) {
        Some(Value::Str(Cow::Borrowed(text))) => {
            Value::Str(Cow::Borrowed(text.get(range).unwrap_or_default()))
        }
        Some(Value::Str(Cow::Owned(text))) => {
            Value::Str(Cow::Owned(text.get(range).unwrap_or_default().to_vec()))
        }
        _ => Value::str(""),
    }
}

fn owned<'a>(bytes: Vec<u8>) -> Value<'a> {
    Value::Str(Cow::Owned(bytes))
}
