//! What the values of a field are.

use model::units;

/// What the values of a field are, as Grafana names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Whole numbers.
    Int,
    /// Numbers.
    Float,
    /// `true` or `false`.
    Boolean,
    /// `1m30s`
    Duration,
    /// `5KB`
    Bytes,
    /// Anything.
    String,
}

impl FieldKind {
    /// The kind of a value.
    #[must_use]
    pub fn of(value: &str) -> Self {
        let is_boolean = || {
            matches!(
                value,
                "t" | "T" | "true" | "TRUE" | "True" | "f" | "F" | "false" | "FALSE" | "False"
            )
        };
        if value.parse::<i64>().is_ok() {
            Self::Int
        } else if value.parse::<f64>().is_ok() {
            Self::Float
        } else if is_boolean() {
            Self::Boolean
        } else if units::parse_go_duration(value).is_ok() {
            Self::Duration
        } else if units::parse_bytes(value).is_ok() {
            Self::Bytes
        } else {
            Self::String
        }
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Float => "float",
            Self::Boolean => "boolean",
            Self::Duration => "duration",
            Self::Bytes => "bytes",
            Self::String => "string",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_values() {
        for (value, kind) in [
            ("5", FieldKind::Int),
            ("-5.5", FieldKind::Float),
            ("true", FieldKind::Boolean),
            ("1m30s", FieldKind::Duration),
            ("27KB", FieldKind::Bytes),
            ("web-1", FieldKind::String),
            ("", FieldKind::String),
        ] {
            assert_eq!(FieldKind::of(value), kind, "{value}");
        }
    }
}
