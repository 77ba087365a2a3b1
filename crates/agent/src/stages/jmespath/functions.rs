//! The functions that an expression may call.

use serde_json::{Map, Number, Value};

use super::eval::{Found, WrongType, equal};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Abs,
    Avg,
    Ceil,
    Contains,
    EndsWith,
    Floor,
    Join,
    Keys,
    Length,
    Max,
    Merge,
    Min,
    NotNull,
    Reverse,
    Sort,
    StartsWith,
    Sum,
    ToArray,
    ToNumber,
    ToString,
    Type,
    Values,
}

impl Function {
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "abs" => Self::Abs,
            "avg" => Self::Avg,
            "ceil" => Self::Ceil,
            "contains" => Self::Contains,
            "ends_with" => Self::EndsWith,
            "floor" => Self::Floor,
            "join" => Self::Join,
            "keys" => Self::Keys,
            "length" => Self::Length,
            "max" => Self::Max,
            "merge" => Self::Merge,
            "min" => Self::Min,
            "not_null" => Self::NotNull,
            "reverse" => Self::Reverse,
            "sort" => Self::Sort,
            "starts_with" => Self::StartsWith,
            "sum" => Self::Sum,
            "to_array" => Self::ToArray,
            "to_number" => Self::ToNumber,
            "to_string" => Self::ToString,
            "type" => Self::Type,
            "values" => Self::Values,
            _ => return None,
        })
    }

    /// What it takes, if it does not take that many arguments.
    pub(super) fn refuses(self, arguments: usize) -> Option<&'static str> {
        match self {
            Self::Merge | Self::NotNull => (arguments == 0).then_some("at least 1 argument"),
            Self::Contains | Self::EndsWith | Self::Join | Self::StartsWith => {
                (arguments != 2).then_some("2 arguments")
            }
            _ => (arguments != 1).then_some("1 argument"),
        }
    }

    pub(super) fn call(self, arguments: &[Found<'_>]) -> Result<Value, WrongType> {
        let first = arguments.first().map(|value| &**value).ok_or(WrongType)?;
        let second = || arguments.get(1).map(|value| &**value).ok_or(WrongType);
        Ok(match self {
            Self::Abs => number(of_number(first)?.abs()),
            Self::Ceil => number(of_number(first)?.ceil()),
            Self::Floor => number(of_number(first)?.floor()),
            Self::Avg => match numbers(first)? {
                numbers if numbers.is_empty() => Value::Null,
                numbers => number(numbers.iter().sum::<f64>() / numbers.len() as f64),
            },
            Self::Sum => number(numbers(first)?.iter().sum()),
            Self::Max => sorted(first)?.pop().unwrap_or(Value::Null),
            Self::Min => sorted(first)?.into_iter().next().unwrap_or(Value::Null),
            Self::Sort => Value::Array(sorted(first)?),
            Self::Contains => Value::Bool(contains(first, second()?)?),
            Self::StartsWith => Value::Bool(text(first)?.starts_with(text(second()?)?)),
            Self::EndsWith => Value::Bool(text(first)?.ends_with(text(second()?)?)),
            Self::Join => {
                let parts = second()?.as_array().ok_or(WrongType)?;
                let parts = parts.iter().map(text).collect::<Result<Vec<_>, _>>()?;
                Value::String(parts.join(text(first)?))
            }
            Self::Keys => first
                .as_object()
                .map(|fields| fields.keys().cloned().map(Value::String).collect())
                .ok_or(WrongType)?,
            Self::Values => first
                .as_object()
                .map(|fields| fields.values().cloned().collect())
                .ok_or(WrongType)?,
            Self::Length => Value::from(match first {
                Value::String(text) => text.chars().count(),
                Value::Array(elements) => elements.len(),
                Value::Object(fields) => fields.len(),
                _ => return Err(WrongType),
            }),
            Self::Merge => merged(arguments)?,
            Self::NotNull => {
                let found = arguments.iter().find(|value| !value.is_null());
                found.map_or(Value::Null, |value| value.clone().into_owned())
            }
            Self::Reverse => match first {
                Value::String(text) => Value::String(text.chars().rev().collect()),
                Value::Array(elements) => elements.iter().rev().cloned().collect(),
                _ => return Err(WrongType),
            },
            Self::ToArray => match first {
                Value::Array(_) => first.clone(),
                other => Value::Array(vec![other.clone()]),
            },
            Self::ToNumber => match first {
                Value::Number(_) => first.clone(),
                Value::String(text) => text.parse().map_or(Value::Null, number),
                _ => Value::Null,
            },
            Self::ToString => match first {
                Value::String(_) => first.clone(),
                other => Value::String(other.to_string()),
            },
            Self::Type => Value::from(type_name(first)),
        })
    }
}

/// A number, whole if it can be.
fn number(value: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        return Value::from(value as i64);
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

fn of_number(value: &Value) -> Result<f64, WrongType> {
    value.as_f64().ok_or(WrongType)
}

fn numbers(value: &Value) -> Result<Vec<f64>, WrongType> {
    value
        .as_array()
        .ok_or(WrongType)?
        .iter()
        .map(of_number)
        .collect()
}

fn text(value: &Value) -> Result<&str, WrongType> {
    value.as_str().ok_or(WrongType)
}

/// The elements of an array of numbers, or of texts, in order.
fn sorted(value: &Value) -> Result<Vec<Value>, WrongType> {
    let mut elements = value.as_array().ok_or(WrongType)?.clone();
    if elements.iter().all(Value::is_number) {
        let of = |value: &Value| value.as_f64().unwrap_or(0.0);
        elements.sort_by(|left, right| of(left).total_cmp(&of(right)));
    } else if elements.iter().all(Value::is_string) {
        elements.sort_by(|left, right| left.as_str().cmp(&right.as_str()));
    } else {
        return Err(WrongType);
    }
    Ok(elements)
}

fn contains(subject: &Value, wanted: &Value) -> Result<bool, WrongType> {
    match subject {
        Value::String(subject) => Ok(wanted.as_str().is_some_and(|text| subject.contains(text))),
        Value::Array(elements) => Ok(elements.iter().any(|element| equal(element, wanted))),
        _ => Err(WrongType),
    }
}

fn merged(arguments: &[Found<'_>]) -> Result<Value, WrongType> {
    let mut merged = Map::new();
    for argument in arguments {
        let fields = argument.as_object().ok_or(WrongType)?;
        merged.extend(
            fields
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
    }
    Ok(Value::Object(merged))
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
