//! Go's `fmt`: `Sprint`, `Sprintln` and `Sprintf` over template values.

mod float;
mod printf;
mod verb;

use std::io::Write as _;

use super::value::{IntKind, Value};

pub(super) use float::format_float;
pub(super) use printf::sprintf;
use verb::Flags;

/// The most bytes that one call may print. It stops soon after and leaves it to the caller to see
/// that the text is too long.
const OUTPUT_BYTES_MAX: usize = 4 << 20;

/// `fmt.Sprint`: a space between operands when neither is a string.
pub(super) fn sprint(args: &[Value<'_>], out: &mut Vec<u8>) {
    let mut was_string = true;
    for (i, arg) in args.iter().enumerate() {
        if out.len() > OUTPUT_BYTES_MAX {
            return;
        }
        let is_string = matches!(arg, Value::Str(_));
        if i > 0 && !is_string && !was_string {
            out.push(b' ');
        }
        print_value(arg, out);
        was_string = is_string;
    }
}

/// `fmt.Sprintln`: a space between all operands and a newline at the end.
pub(super) fn sprintln(args: &[Value<'_>], out: &mut Vec<u8>) {
    for (i, arg) in args.iter().enumerate() {
        if out.len() > OUTPUT_BYTES_MAX {
            return;
        }
        if i > 0 {
            out.push(b' ');
        }
        print_value(arg, out);
    }
    out.push(b'\n');
}

/// Prints as `%v` does.
pub(super) fn print_value(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Missing | Value::Nil | Value::Labels => out.extend_from_slice(b"<nil>"),
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Int(value, kind) => match named_int(*value, *kind) {
            Some(name) => out.extend_from_slice(name.as_bytes()),
            None => push_int(*value, out),
        },
        Value::Float(value) => {
            out.extend_from_slice(format_float(*value, b'g', None).as_bytes());
        }
        Value::Complex(real, imaginary) => {
            verb::print_complex(*real, *imaginary, 'v', Flags::default(), out);
        }
        Value::Str(text) => out.extend_from_slice(text),
        Value::Time(time) => out.extend_from_slice(time.to_string().as_bytes()),
        Value::List(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if out.len() > OUTPUT_BYTES_MAX {
                    break;
                }
                if i > 0 {
                    out.push(b' ');
                }
                print_value(item, out);
            }
            out.push(b']');
        }
        Value::Map { entries, .. } => {
            out.extend_from_slice(b"map[");
            for (i, (name, item)) in entries.iter().enumerate() {
                if i > 0 {
                    out.push(b' ');
                }
                out.extend_from_slice(name.as_bytes());
                out.push(b':');
                print_value(item, out);
            }
            out.push(b']');
        }
    }
}

fn push_int(value: i64, out: &mut Vec<u8>) {
    // Writing to a vector does not fail.
    let _ = write!(out, "{value}");
}

/// What the `String` method of an integer type says.
pub(super) fn named_int(value: i64, kind: IntKind) -> Option<String> {
    match kind {
        IntKind::Int | IntKind::Int64 | IntKind::Uint8 => None,
        IntKind::Duration => Some(model::units::format_go_duration(value)),
        IntKind::Month => Some(match super::gotime::month_name(value) {
            Some(name) => name.to_owned(),
            None => format!("%!Month({value})"),
        }),
        IntKind::Weekday => Some(match super::gotime::weekday_name(value) {
            Some(name) => name.to_owned(),
            None => format!("%!Weekday({value})"),
        }),
    }
}
