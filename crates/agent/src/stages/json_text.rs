//! JSON values written as Go's library writes them, because what `json` extracts can be seen.

use std::fmt::Write as _;

use serde_json::{Number, Value};

/// The value on one line, fields sorted; `<`, `>` and `&` are escaped.
pub(crate) fn json_text(value: &Value) -> String {
    let mut out = String::new();
    write_value(value, &mut out);
    out
}

fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => push_json_string(text, out),
        Value::Array(elements) => {
            out.push('[');
            for (at, element) in elements.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_value(element, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            out.push('{');
            for (at, (name, value)) in fields.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                push_json_string(name, out);
                out.push(':');
                write_value(value, out);
            }
            out.push('}');
        }
    }
}

/// All numbers are floats; very large and very small ones have an exponent.
fn write_number(number: &Number, out: &mut String) {
    let value = number.as_f64().unwrap_or(0.0);
    let size = value.abs();
    // Writing to a string does not fail.
    let _ = if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => {
                write!(out, "{digits}e+{exponent:0>2}")
            }
            Some((digits, exponent)) => {
                // Go writes e-7, not e-07.
                write!(out, "{digits}e{exponent}")
            }
            None => out.write_str(&text),
        }
    } else {
        write!(out, "{value}")
    };
}

/// Appends a text in quotes.
pub(crate) fn push_json_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..' ' => {
                // Writing to a string does not fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn as_go_writes_it() {
        for (json, expected) in [
            (
                r#"{"b":1.0,"a":[true,null,"x"]}"#,
                r#"{"a":[true,null,"x"],"b":1}"#,
            ),
            (
                "[1e21,1e-7,123456789,-0.5,100000000000000000000]",
                "[1e+21,1e-7,123456789,-0.5,100000000000000000000]",
            ),
            (
                r#"["<&>","\u0001\n\"\\é"]"#,
                r#"["\u003c\u0026\u003e","\u0001\n\"\\é"]"#,
            ),
        ] {
            let value: Value = serde_json::from_str(json).unwrap();
            assert_eq!(json_text(&value), expected);
        }
    }

    proptest! {
        #[test]
        fn any_text_reads_the_same(text in ".*") {
            let mut written = String::new();
            push_json_string(&text, &mut written);
            prop_assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
        }
    }
}
