//! One argument printed by one verb.

use model::units::quote;

use super::{OUTPUT_BYTES_MAX, float::format_float, named_int, print_value};
use crate::template::value::Value;

/// What stands between `%` and the verb.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    pub(super) sharp: bool,
    pub(super) zero: bool,
    pub(super) plus: bool,
    pub(super) minus: bool,
    pub(super) space: bool,
    pub(super) width: Option<usize>,
    pub(super) precision: Option<usize>,
}

/// `%!d(string=x)`
pub(super) fn bad_verb(arg: &Value<'_>, verb: char, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("%!{verb}(").as_bytes());
    if matches!(arg, Value::Nil) {
        out.extend_from_slice(b"<nil>");
    } else {
        out.extend_from_slice(arg.type_name().as_bytes());
        out.push(b'=');
        print_value(arg, out);
    }
    out.push(b')');
}

/// Prints `arg`; `false` if the verb is not for its type.
pub(super) fn print_verb(arg: &Value<'_>, verb: char, flags: Flags, out: &mut Vec<u8>) -> bool {
    if verb == 'T' {
        let name = match arg {
            Value::Missing | Value::Nil => "<nil>",
            _ => arg.type_name(),
        };
        pad(name.as_bytes(), flags, out);
        return true;
    }
    match arg {
        Value::Missing | Value::Nil | Value::Labels => {
            if verb == 'v' {
                pad(b"<nil>", flags, out);
            }
            verb == 'v'
        }
        Value::Bool(value) => {
            if matches!(verb, 't' | 'v') {
                pad(value.to_string().as_bytes(), flags, out);
            }
            matches!(verb, 't' | 'v')
        }
        Value::Int(value, kind) => match named_int(*value, *kind) {
            Some(name) if matches!(verb, 'v' | 's' | 'x' | 'X' | 'q') => {
                print_string(name.as_bytes(), verb, flags, out)
            }
            _ => print_int(*value, verb, flags, out),
        },
        Value::Float(value) => print_float(*value, verb, flags, out),
        Value::Complex(real, imaginary) => print_complex(*real, *imaginary, verb, flags, out),
        Value::Str(text) => print_string(text, verb, flags, out),
        Value::Time(time) => {
            if matches!(verb, 'v' | 's' | 'x' | 'X' | 'q') {
                return print_string(time.to_string().as_bytes(), verb, flags, out);
            }
            false
        }
        Value::List(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b' ');
                }
                print_element(item, verb, flags, out);
            }
            out.push(b']');
            true
        }
        Value::Map { entries, .. } => {
            out.extend_from_slice(b"map[");
            for (i, (name, item)) in entries.iter().enumerate() {
                if i > 0 {
                    out.push(b' ');
                }
                print_element(&Value::str(name), verb, flags, out);
                out.push(b':');
                print_element(item, verb, flags, out);
            }
            out.push(b']');
            true
        }
    }
}

fn print_element(item: &Value<'_>, verb: char, flags: Flags, out: &mut Vec<u8>) {
    if out.len() > OUTPUT_BYTES_MAX {
        return;
    }
    if matches!(item, Value::Nil) {
        out.extend_from_slice(b"<nil>");
    } else if !print_verb(item, verb, flags, out) {
        bad_verb(item, verb, out);
    }
}

fn pad(text: &[u8], flags: Flags, out: &mut Vec<u8>) {
    let missing = missing(text, flags);
    if flags.minus {
        out.extend_from_slice(text);
        out.resize(out.len() + missing, b' ');
    } else {
        let fill = if flags.zero { b'0' } else { b' ' };
        out.resize(out.len() + missing, fill);
        out.extend_from_slice(text);
    }
}

/// Characters missing to the width.
fn missing(text: &[u8], flags: Flags) -> usize {
    let chars = String::from_utf8_lossy(text).chars().count();
    flags.width.unwrap_or(0).saturating_sub(chars)
}

fn print_string(text: &[u8], verb: char, flags: Flags, out: &mut Vec<u8>) -> bool {
    let cut;
    let text = match flags.precision {
        Some(precision) if matches!(verb, 's' | 'v' | 'q') => {
            cut = String::from_utf8_lossy(text)
                .chars()
                .take(precision)
                .collect::<String>();
            cut.as_bytes()
        }
        Some(precision) => text.get(..precision).unwrap_or(text),
        None => text,
    };
    match verb {
        's' | 'v' if !(verb == 'v' && flags.sharp) => pad(text, flags, out),
        'q' | 'v' => {
            let text = String::from_utf8_lossy(text);
            let quoted = if flags.sharp && verb == 'q' && !text.contains(['`', '\n', '\r']) {
                format!("`{text}`")
            } else {
                quote(&text)
            };
            pad(quoted.as_bytes(), flags, out);
        }
        'x' | 'X' => {
            let mut hex = String::with_capacity(text.len() * 2);
            for (i, byte) in text.iter().enumerate() {
                if flags.space && i > 0 {
                    hex.push(' ');
                }
                if flags.sharp && (i == 0 || flags.space) {
                    hex.push_str("0x");
                }
                hex.push_str(&format!("{byte:02x}"));
            }
            if verb == 'X' {
                hex.make_ascii_uppercase();
            }
            pad(hex.as_bytes(), flags, out);
        }
        _ => return false,
    }
    true
}

fn print_int(value: i64, verb: char, flags: Flags, out: &mut Vec<u8>) -> bool {
    let magnitude = value.unsigned_abs();
    let (digits, prefix) = match verb {
        'd' | 'v' => (magnitude.to_string(), ""),
        'b' => (
            format!("{magnitude:b}"),
            if flags.sharp { "0b" } else { "" },
        ),
        'o' => (format!("{magnitude:o}"), if flags.sharp { "0" } else { "" }),
        'O' => (format!("{magnitude:o}"), "0o"),
        'x' => (
            format!("{magnitude:x}"),
            if flags.sharp { "0x" } else { "" },
        ),
        'X' => (
            format!("{magnitude:X}"),
            if flags.sharp { "0X" } else { "" },
        ),
        'c' | 'q' | 'U' => return print_rune(value, verb, flags, out),
        _ => return false,
    };
    let sign = if value < 0 {
        "-"
    } else if flags.plus {
        "+"
    } else if flags.space {
        " "
    } else {
        ""
    };
    let mut zeros = flags
        .precision
        .map_or(0, |precision| precision.saturating_sub(digits.len()));
    let mut flags = flags;
    if flags.zero && !flags.minus && flags.precision.is_none() {
        let used = sign.len() + prefix.len() + digits.len();
        zeros = flags.width.unwrap_or(0).saturating_sub(used);
    }
    flags.zero = false;
    let text = if flags.precision == Some(0) && value == 0 {
        String::new()
    } else {
        format!("{sign}{prefix}{}{digits}", "0".repeat(zeros))
    };
    pad(text.as_bytes(), flags, out);
    true
}

fn print_rune(value: i64, verb: char, flags: Flags, out: &mut Vec<u8>) -> bool {
    let c = u32::try_from(value)
        .ok()
        .and_then(char::from_u32)
        .unwrap_or('\u{fffd}');
    let text = match verb {
        'c' => c.to_string(),
        'q' if c == '\'' => "'\\''".to_owned(),
        'q' => {
            let quoted = quote(&c.to_string());
            format!("'{}'", quoted.trim_matches('"'))
        }
        _ if flags.sharp && !c.is_control() => format!("U+{value:04X} '{c}'"),
        _ => format!("U+{value:04X}"),
    };
    pad(text.as_bytes(), flags, out);
    true
}

/// `(1+2i)`: both parts as the verb has them, the second with its sign.
pub(super) fn print_complex(
    real: f64,
    imaginary: f64,
    verb: char,
    flags: Flags,
    out: &mut Vec<u8>,
) -> bool {
    let start = out.len();
    out.push(b'(');
    let signed = Flags {
        plus: true,
        ..flags
    };
    if !print_float(real, verb, flags, out) || !print_float(imaginary, verb, signed, out) {
        out.truncate(start);
        return false;
    }
    out.extend_from_slice(b"i)");
    true
}

fn print_float(value: f64, verb: char, flags: Flags, out: &mut Vec<u8>) -> bool {
    let (letter, precision) = match verb {
        'v' => (b'g', flags.precision),
        'g' => (b'g', flags.precision),
        'G' => (b'G', flags.precision),
        'e' => (b'e', Some(flags.precision.unwrap_or(6))),
        'E' => (b'E', Some(flags.precision.unwrap_or(6))),
        'f' | 'F' => (b'f', Some(flags.precision.unwrap_or(6))),
        _ => return false,
    };
    let mut text = format_float(value, letter, precision);
    if !value.is_finite() {
        if value.is_nan() && flags.plus {
            text.insert(0, '+');
        }
        pad(
            text.as_bytes(),
            Flags {
                zero: false,
                ..flags
            },
            out,
        );
        return true;
    }
    if !text.starts_with('-') {
        if flags.plus {
            text.insert(0, '+');
        } else if flags.space {
            text.insert(0, ' ');
        }
    }
    if flags.zero && !flags.minus && text.starts_with(['+', '-', ' ']) {
        // The sign stays in front of the zeros.
        let (sign, digits) = text.split_at(1);
        out.extend_from_slice(sign.as_bytes());
        let width = flags.width.map(|width| width.saturating_sub(1));
        pad(digits.as_bytes(), Flags { width, ..flags }, out);
    } else {
        pad(text.as_bytes(), flags, out);
    }
    true
}
