//! Between numbers and text, with the rules of Go's `strconv` and of the cast library under sprig.

use super::value::Value;
use crate::go_number::parse_float;

/// An integer literal of base 10 or with a prefix (`0x`, `0o`, `0b`, a leading `0`), underscores
/// between digits allowed.
pub(super) fn parse_int_base0(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let magnitude = parse_uint_base0(digits)?;
    if negative {
        0_i64.checked_sub_unsigned(magnitude)
    } else {
        i64::try_from(magnitude).ok()
    }
}

/// As [`parse_int_base0`], without a sign.
pub(super) fn parse_uint_base0(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, lower.get(2..)?),
        Some("0o") => (8, lower.get(2..)?),
        Some("0b") => (2, lower.get(2..)?),
        _ if lower.starts_with('0') && lower.len() > 1 => (8, lower.get(1..)?),
        _ => (10, lower.as_str()),
    };
    // After a prefix an underscore may come first.
    let digits = if radix == 10 {
        digits
    } else {
        digits.strip_prefix('_').unwrap_or(digits)
    };
    let plain = without_underscores(digits)?;
    if plain.starts_with(['+', '-']) {
        return None;
    }
    u64::from_str_radix(&plain, radix).ok()
}

/// The text without underscores, if each of them stands between two digits.
fn without_underscores(text: &str) -> Option<String> {
    let fine = !text.starts_with('_') && !text.ends_with('_') && !text.contains("__");
    fine.then(|| text.replace('_', ""))
}

/// Sprig's `int`, and what its integer arithmetic makes of an argument: 0 for anything strange.
pub(super) fn to_int(value: &Value<'_>) -> i64 {
    match value {
        Value::Bool(value) => i64::from(*value),
        Value::Int(value, _) => *value,
        Value::Float(value) => float_to_int(*value),
        Value::Str(text) => std::str::from_utf8(text).map_or(0, |text| {
            parse_int_base0(without_decimals(text)).unwrap_or(0)
        }),
        _ => 0,
    }
}

/// Go's conversion on amd64: out of range gives the smallest integer.
fn float_to_int(value: f64) -> i64 {
    const LIMIT: f64 = (1_u64 << 63) as f64;
    if (-LIMIT..LIMIT).contains(&value) {
        value as i64
    } else {
        i64::MIN
    }
}

/// `12.50` as `12`, `.5` as `0`; anything else as it is.
fn without_decimals(text: &str) -> &str {
    let Some((whole, fraction)) = text.split_once('.') else {
        return text;
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let body = whole.strip_prefix(['+', '-']).unwrap_or(whole);
    if !digits(body) || !digits(fraction) {
        return text;
    }
    if body.is_empty() { "0" } else { whole }
}

/// Sprig's `float64`: 0 for anything strange.
pub(super) fn to_float(value: &Value<'_>) -> f64 {
    match value {
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::Int(value, _) => *value as f64,
        Value::Float(value) => *value,
        Value::Str(text) => std::str::from_utf8(text)
            .ok()
            .and_then(|text| parse_float(text).ok())
            .unwrap_or(0.0),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_as_int_and_float() {
        for (text, int, float) in [
            ("12.5", 12, 12.5),
            (".5", 0, 0.5),
            ("5.", 5, 5.0),
            ("-0", 0, -0.0),
            ("007", 7, 7.0),
            ("0x1F", 31, 0.0),
            ("1_000", 1000, 1000.0),
            ("1e3", 0, 1000.0),
            ("1e309", 0, 0.0),
            ("x", 0, 0.0),
            ("", 0, 0.0),
            ("1,5", 0, 0.0),
            ("+Inf", 0, f64::INFINITY),
            ("0x1p4", 0, 16.0),
        ] {
            let value = Value::str(text);
            assert_eq!((to_int(&value), to_float(&value)), (int, float), "{text}");
        }
        assert!(to_float(&Value::str("NaN")).is_nan());
    }
}
