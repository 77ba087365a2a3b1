//! Values of OTLP attributes and bodies, and what they are as text.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// How deep values may be nested. As many levels as prost and serde_json allow.
pub(crate) const DEPTH_MAX: usize = 64;
/// Parts of one value, over all levels. A part takes as little as two bytes in a body, and many
/// times that in memory.
pub(crate) const PARTS_MAX: usize = 100_000;

/// A value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Any<'a> {
    /// Nothing.
    #[default]
    Empty,
    Text(Cow<'a, str>),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(Cow<'a, [u8]>),
    List(Vec<Any<'a>>),
    Map(Vec<(Cow<'a, str>, Any<'a>)>),
}

impl Any<'_> {
    /// The value as text: strings as they are, lists and maps as JSON.
    pub(crate) fn as_text(&self) -> Cow<'_, str> {
        match self {
            Self::Empty => Cow::Borrowed(""),
            Self::Text(text) => Cow::Borrowed(text),
            Self::Bool(true) => Cow::Borrowed("true"),
            Self::Bool(false) => Cow::Borrowed("false"),
            Self::Int(number) => Cow::Owned(number.to_string()),
            Self::Double(number) => Cow::Owned(double_text(*number)),
            Self::Bytes(bytes) => Cow::Owned(STANDARD.encode(bytes)),
            Self::List(_) | Self::Map(_) => {
                let mut json = String::new();
                self.write_json(&mut json);
                Cow::Owned(json)
            }
        }
    }

    /// JSON as Go's `encoding/json` writes it: keys sorted, `<`, `>` and `&` escaped. Nested no
    /// deeper than [`DEPTH_MAX`], which the decoders see to.
    fn write_json(&self, json: &mut String) {
        match self {
            Self::Empty => json.push_str("null"),
            Self::Text(text) => write_json_text(text, json),
            Self::Bytes(bytes) => write_json_text(&STANDARD.encode(bytes), json),
            Self::Bool(_) | Self::Int(_) => json.push_str(&self.as_text()),
            Self::Double(number) if number.is_finite() => json.push_str(&double_text(*number)),
            // JSON has no such numbers.
            Self::Double(number) => write_json_text(&double_text(*number), json),
            Self::List(values) => {
                json.push('[');
                for (i, value) in values.iter().enumerate() {
                    if i > 0 {
                        json.push(',');
                    }
                    value.write_json(json);
                }
                json.push(']');
            }
            Self::Map(pairs) => {
                let mut pairs: Vec<_> = pairs.iter().collect();
                pairs.sort_by(|a, b| a.0.cmp(&b.0));
                json.push('{');
                for (i, (key, value)) in pairs.into_iter().enumerate() {
                    if i > 0 {
                        json.push(',');
                    }
                    write_json_text(key, json);
                    json.push(':');
                    value.write_json(json);
                }
                json.push('}');
            }
        }
    }
}

fn write_json_text(text: &str, json: &mut String) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            '<' | '>' | '&' | '\u{0}'..='\u{1f}' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    json.push('"');
}

/// A number as Go's `encoding/json` writes it.
fn double_text(number: f64) -> String {
    if !number.is_finite() {
        return if number.is_nan() {
            "NaN".to_owned()
        } else if number > 0.0 {
            "+Inf".to_owned()
        } else {
            "-Inf".to_owned()
        };
    }
    let magnitude = number.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = format!("{number:e}");
        return match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => {
                format!("{digits}e+{exponent}")
            }
            _ => text,
        };
    }
    number.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_as_text() {
        let text = |text: &'static str| Any::Text(text.into());
        for (value, expected) in [
            (Any::Empty, ""),
            (text("a\"<b"), "a\"<b"),
            (Any::Bool(true), "true"),
            (Any::Int(-5), "-5"),
            (Any::Double(1.5), "1.5"),
            (Any::Double(3.0), "3"),
            (Any::Double(1e21), "1e+21"),
            (Any::Double(1e-7), "1e-7"),
            (Any::Double(f64::NAN), "NaN"),
            (Any::Bytes(b"bytes"[..].into()), "Ynl0ZXM="),
            (
                Any::List(vec![
                    text("a"),
                    Any::Int(1),
                    Any::Map(vec![("z".into(), text("<&>")), ("b".into(), Any::Empty)]),
                ]),
                r#"["a",1,{"b":null,"z":"\u003c\u0026\u003e"}]"#,
            ),
        ] {
            assert_eq!(value.as_text(), expected);
        }
    }
}
