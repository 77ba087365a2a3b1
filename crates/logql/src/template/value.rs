//! What a template computes with: Go's types, as far as a template can meet them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::gotime::GoTime;

/// Which of Go's integer types a [`Value::Int`] has. It shows in `%T`, in comparisons and in how
/// the value prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IntKind {
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
pub(super) enum Value<'a> {
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
    /// `complex128`: the real part and the imaginary one. Nothing computes with it.
    Complex(f64, f64),
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
    pub(super) fn str(text: &'a str) -> Self {
        Self::Str(Cow::Borrowed(text.as_bytes()))
    }

    /// An owned string.
    pub(super) fn string(text: impl Into<String>) -> Self {
        Self::Str(Cow::Owned(text.into().into_bytes()))
    }

    /// An `int`.
    pub(super) fn int(value: i64) -> Self {
        Self::Int(value, IntKind::Int)
    }

    /// Go's name of the type. `Labels` is replaced before anything asks.
    pub(super) fn type_name(&self) -> &'static str {
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
            Self::Complex(..) => "complex128",
            Self::Str(_) => "string",
            Self::Time(_) => "time.Time",
            Self::List(_) => "[]interface {}",
            Self::Map { strings: false, .. } => "map[string]interface {}",
            Self::Map { strings: true, .. } | Self::Labels => "map[string]string",
        }
    }

    /// Whether `if` takes the value for true: not the zero value, not empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Missing | Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value, _) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Complex(real, imaginary) => *real != 0.0 || *imaginary != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map { entries, .. } => !entries.is_empty(),
            Self::Time(_) | Self::Labels => true,
        }
    }

    /// Sprig's `empty`: as [`Self::is_true`], but a struct such as a time is never empty.
    pub(super) fn is_empty(&self) -> bool {
        !self.is_true()
    }
}
