//! What a template computes with: Go's types, as far as a template can meet them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::gotime::GoTime;

/// Which of Go's integer types a [`Value::Int`] has. It shows in `%T`, in comparisons and in how
/// the value prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntKind {
    /// `int`: a literal, a length.
    Int,
    /// `int64`: the result of arithmetic.
    Int64,
    /// `uint8`: a byte of a string.
    Uint8,
    /// `time.Duration`
    Duration,
    /// `time.Month`
    Month,
    /// `time.Weekday`
    Weekday,
}

/// A value of a template. Strings are bytes, as in Go.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// No value at all, which prints as `<no value>`.
    Missing,
    /// An interface that holds nothing: Go's nil.
    Nil,
    /// `bool`
    Bool(bool),
    /// An integer of some type.
    Int(i64, IntKind),
    /// `float64`
    Float(f64),
    /// `string`
    Str(Cow<'a, [u8]>),
    /// `time.Time`
    Time(GoTime),
    /// `[]interface {}`
    List(Arc<Vec<Value<'static>>>),
    /// `map[string]interface {}`, or `map[string]string` if `strings`.
    Map {
        /// The entries in the order of their keys.
        entries: Arc<BTreeMap<String, Value<'static>>>,
        /// Whether the element type is `string`.
        strings: bool,
    },
    /// The labels of the context, not copied.
    Labels,
}

impl<'a> Value<'a> {
    /// A borrowed string.
    #[must_use]
    pub fn str(text: &'a str) -> Self {
        Self::Str(Cow::Borrowed(text.as_bytes()))
    }

    /// An owned string.
    #[must_use]
    pub fn string(text: impl Into<String>) -> Self {
        Self::Str(Cow::Owned(text.into().into_bytes()))
    }

    /// An `int`.
    #[must_use]
    pub fn int(value: i64) -> Self {
        Self::Int(value, IntKind::Int)
    }

    /// Go's name of the type. `Labels` is replaced before anything asks.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Missing | Self::Nil => "interface {}",
            Self::Bool(_) => "bool",
            Self::Int(_, IntKind::Int) => "int",
            Self::Int(_, IntKind::Int64) => "int64",
            Self::Int(_, IntKind::Uint8) => "uint8",
            Self::Int(_, IntKind::Duration) => "time.Duration",
            Self::Int(_, IntKind::Month) => "time.Month",
            Self::Int(_, IntKind::Weekday) => "time.Weekday",
            Self::Float(_) => "float64",
            Self::Str(_) => "string",
            Self::Time(_) => "time.Time",
            Self::List(_) => "[]interface {}",
            Self::Map { strings: false, .. } => "map[string]interface {}",
            Self::Map { strings: true, .. } | Self::Labels => "map[string]string",
        }
    }

    /// Whether `if` takes the value for true: not the zero value, not empty.
    #[must_use]
    pub fn is_true(&self) -> bool {
        match self {
            Self::Missing | Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value, _) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map { entries, .. } => !entries.is_empty(),
            Self::Time(_) | Self::Labels => true,
        }
    }

    /// Sprig's `empty`: as [`Self::is_true`], but a struct such as a time is never empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.is_true()
    }

    /// A copy that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Missing => Value::Missing,
            Self::Nil => Value::Nil,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value, kind) => Value::Int(value, kind),
            Self::Float(value) => Value::Float(value),
            Self::Str(text) => Value::Str(Cow::Owned(text.into_owned())),
            Self::Time(time) => Value::Time(time),
            Self::List(items) => Value::List(items),
            Self::Map { entries, strings } => Value::Map { entries, strings },
            Self::Labels => Value::Labels,
        }
    }

    /// The value of a JSON document, numbers as `float64`.
    #[must_use]
    pub fn from_json(json: serde_json::Value) -> Value<'static> {
        match json {
            serde_json::Value::Null => Value::Nil,
            serde_json::Value::Bool(value) => Value::Bool(value),
            serde_json::Value::Number(number) => Value::Float(number.as_f64().unwrap_or(0.0)),
            serde_json::Value::String(text) => Value::string(text),
            serde_json::Value::Array(items) => {
                Value::List(Arc::new(items.into_iter().map(Value::from_json).collect()))
            }
            serde_json::Value::Object(fields) => Value::Map {
                entries: Arc::new(
                    fields
                        .into_iter()
                        .map(|(name, value)| (name, Value::from_json(value)))
                        .collect(),
                ),
                strings: false,
            },
        }
    }
}
