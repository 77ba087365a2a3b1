//! Numbers, durations and sizes in label values, read as Go's libraries read them.
//!
//! Values that cannot be read end up in `__error_details__` with the words of those libraries, so
//! the rules are followed to the letter: `strconv.ParseFloat`, `time.ParseDuration` and
//! `humanize.ParseBytes`.

use std::fmt;

use model::units::quote;

/// A value that could not be read. Prints as the library of the reference says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NumberFault {
    /// Not a number.
    Syntax(String),
    /// A number that no float holds.
    Range(String),
    /// Not a duration.
    Duration(String),
    /// A duration with a number without unit.
    NoUnit(String),
    /// A duration with an unknown unit.
    Unit {
        /// The unit.
        unit: String,
        /// All of it.
        text: String,
    },
    /// A size with an unknown unit.
    SizeUnit(String),
    /// A size of more than 2^64.
    TooLarge(String),
}

impl fmt::Display for NumberFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let float = |f: &mut fmt::Formatter<'_>, text: &str, why: &str| {
            write!(f, "strconv.ParseFloat: parsing {}: {why}", quote(text))
        };
        match self {
            Self::Syntax(text) => float(f, text, "invalid syntax"),
            Self::Range(text) => float(f, text, "value out of range"),
            Self::Duration(text) => write!(f, "time: invalid duration {}", time_quote(text)),
            Self::NoUnit(text) => write!(f, "time: missing unit in duration {}", time_quote(text)),
            Self::Unit { unit, text } => write!(
                f,
                "time: unknown unit {} in duration {}",
                time_quote(unit),
                time_quote(text)
            ),
            Self::SizeUnit(unit) => write!(f, "unhandled size name: {unit}"),
            Self::TooLarge(text) => write!(f, "too large: {text}"),
        }
    }
}

/// Quotes as Go's package `time` does: what is not printable ASCII is written as bytes.
fn time_quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='\u{7f}' => quoted.push(c),
            _ => {
                for b in c.encode_utf8(&mut [0; 4]).bytes() {
                    quoted.push_str(&format!("\\x{b:02x}"));
                }
            }
        }
    }
    quoted.push('"');
    quoted
}

/// Reads a float: decimal or hexadecimal, with underscores between digits, `inf`, `nan`.
pub(crate) fn parse_float(text: &str) -> Result<f64, NumberFault> {
    // Nearly all values are plain digits, which need no further look.
    let plain = |b: &u8| b.is_ascii_digit() || *b == b'.';
    if text.bytes().all(|b| plain(&b))
        && let Ok(value) = text.parse::<f64>()
        && value.is_finite()
    {
        return Ok(value);
    }
    let syntax = || NumberFault::Syntax(text.to_owned());
    let (negative, body) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    let signed = |value: f64| if negative { -value } else { value };
    if body.eq_ignore_ascii_case("inf") || body.eq_ignore_ascii_case("infinity") {
        return Ok(signed(f64::INFINITY));
    }
    if text.eq_ignore_ascii_case("nan") {
        return Ok(f64::NAN);
    }
    if !underscores_separate_digits(body) {
        return Err(syntax());
    }
    let digits = body.replace('_', "");
    let value = match digits.get(..2) {
        Some("0x" | "0X") => hex_float(digits.get(2..).unwrap_or_default()).ok_or_else(syntax)?,
        _ => {
            let known = |b: u8| b.is_ascii_digit() || b"+-.eE".contains(&b);
            if !digits.bytes().all(known) {
                return Err(syntax());
            }
            digits.parse::<f64>().map_err(|_| syntax())?
        }
    };
    if value.is_infinite() {
        return Err(NumberFault::Range(text.to_owned()));
    }
    Ok(signed(value))
}

/// Underscores stand between digits, or between a base prefix and a digit.
fn underscores_separate_digits(body: &str) -> bool {
    if !body.contains('_') {
        return true;
    }
    let hex = body.starts_with("0x") || body.starts_with("0X");
    let is_digit = |b: u8| b.is_ascii_digit() || (hex && b.is_ascii_hexdigit());
    let bytes = body.as_bytes();
    bytes.iter().enumerate().all(|(at, b)| {
        let before = at.checked_sub(1).and_then(|at| bytes.get(at));
        let digit_before = before.is_some_and(|b| is_digit(*b)) || (hex && at == 2);
        let digit_after = bytes.get(at + 1).is_some_and(|b| is_digit(*b));
        *b != b'_' || (digit_before && digit_after)
    })
}

/// `1F.8p-2`: mantissa in base 16, exponent of two in decimal, which is not optional.
fn hex_float(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut exponent: i64 = exponent.parse().unwrap_or(if exponent.starts_with('-') {
        -100_000
    } else {
        100_000
    });
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.len() + fraction.len() == 0 {
        return None;
    }
    let mut value = 0_f64;
    for b in whole.bytes().chain(fraction.bytes()) {
        value = value * 16.0 + f64::from(char::from(b).to_digit(16)?);
    }
    exponent = exponent.saturating_sub(4 * fraction.len() as i64);
    if value == 0.0 {
        return Some(value);
    }
    // In two steps, so that the power alone neither overflows nor vanishes.
    let half = (exponent / 2).clamp(-20_000, 20_000) as i32;
    let rest = (exponent - exponent / 2).clamp(-20_000, 20_000) as i32;
    Some(value * 2_f64.powi(half) * 2_f64.powi(rest))
}

/// Reads a duration, in nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Result<i64, NumberFault> {
    const MAX: u64 = 1 << 63;
    let invalid = || NumberFault::Duration(text.to_owned());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let whole = take_digits(&mut rest);
        let mut fraction = "";
        if let Some(tail) = rest.strip_prefix('.') {
            rest = tail;
            fraction = take_digits(&mut rest);
        }
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let value = if whole.is_empty() {
            Ok(0)
        } else {
            whole.parse::<u64>()
        };
        let value = value
            .ok()
            .filter(|value| *value <= MAX)
            .ok_or_else(invalid)?;
        let is_end = |c: char| c == '.' || c.is_ascii_digit();
        let (unit, tail) = rest.split_at(rest.find(is_end).unwrap_or(rest.len()));
        rest = tail;
        if unit.is_empty() {
            return Err(NumberFault::NoUnit(text.to_owned()));
        }
        let unit_ns = unit_ns(unit).ok_or_else(|| NumberFault::Unit {
            unit: unit.to_owned(),
            text: text.to_owned(),
        })?;
        let part = value.checked_mul(unit_ns).filter(|part| *part <= MAX);
        let part = part.and_then(|part| part.checked_add(fraction_of(fraction, unit_ns)));
        let sum = part.and_then(|part| total.checked_add(part));
        total = sum.filter(|sum| *sum <= MAX).ok_or_else(invalid)?;
    }
    if negative {
        return Ok((total as i64).wrapping_neg());
    }
    i64::try_from(total).map_err(|_| invalid())
}

fn take_digits<'a>(rest: &mut &'a str) -> &'a str {
    let len = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (digits, tail) = rest.split_at(len);
    *rest = tail;
    digits
}

/// `0.fraction` of a unit, cut off.
fn fraction_of(fraction: &str, unit_ns: u64) -> u64 {
    let (mut value, mut scale) = (0_u64, 1_f64);
    for b in fraction.bytes() {
        let next = value
            .checked_mul(10)
            .and_then(|v| v.checked_add(u64::from(b - b'0')));
        // What does not fit does not matter: it is less than a nanosecond.
        let Some(next) = next.filter(|next| *next < 1 << 63) else {
            break;
        };
        value = next;
        scale *= 10.0;
    }
    (value as f64 * (unit_ns as f64 / scale)) as u64
}

fn unit_ns(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// Reads a size in bytes.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, NumberFault> {
    let is_number = |c: &char| c.is_numeric() || *c == '.' || *c == ',';
    // The library counts characters, and cuts that many bytes.
    let cut = text.chars().take_while(is_number).count();
    let number = text.as_bytes().get(..cut).unwrap_or_default();
    let unit = text.as_bytes().get(cut..).unwrap_or_default();
    let number = String::from_utf8_lossy(number).replace(',', "");
    let value = parse_float(&number)?;
    let unit = String::from_utf8_lossy(unit).trim().to_lowercase();
    let factor = size_of(&unit).ok_or(NumberFault::SizeUnit(unit))?;
    let bytes = value * factor;
    if bytes >= u64::MAX as f64 {
        return Err(NumberFault::TooLarge(text.to_owned()));
    }
    Ok(bytes as u64)
}

fn size_of(unit: &str) -> Option<f64> {
    let power = |letter| "kmgtpe".find(letter).map(|at| at as i32 + 1);
    let mut letters = unit.chars();
    Some(match (letters.next(), letters.as_str()) {
        (None | Some('b'), "") => 1.0,
        (Some(letter), "" | "b") => 1000_f64.powi(power(letter)?),
        (Some(letter), "i" | "ib") => 1024_f64.powi(power(letter)?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_gos() {
        for (text, value) in [
            ("12.5", 12.5),
            ("1e3", 1e3),
            (".5", 0.5),
            ("5.", 5.0),
            ("-0", 0.0),
            ("+7", 7.0),
            ("1_000", 1000.0),
            ("0x1Fp1", 62.0),
            ("0x_1.8p-1", 0.75),
            ("-iNf", f64::NEG_INFINITY),
            ("1e-400", 0.0),
        ] {
            assert_eq!(parse_float(text), Ok(value), "{text}");
        }
        assert!(parse_float("NaN").unwrap().is_nan());
        for bad in [
            "", "1e", "0x1F", "1,5", "٣", "1__0", "_1", "1_", "-nan", " 1", ".",
        ] {
            assert_eq!(parse_float(bad), Err(NumberFault::Syntax(bad.to_owned())));
        }
        assert_eq!(
            parse_float("1e309").unwrap_err().to_string(),
            r#"strconv.ParseFloat: parsing "1e309": value out of range"#
        );
    }

    #[test]
    fn durations_are_gos() {
        for (text, ns) in [
            ("1h30m", 5_400_000_000_000),
            ("-3s", -3_000_000_000),
            ("0", 0),
            ("+1.5ms", 1_500_000),
            (".5s", 500_000_000),
            ("1µs1ns", 1_001),
        ] {
            assert_eq!(parse_duration(text), Ok(ns), "{text}");
        }
        for (text, error) in [
            ("", r#"time: invalid duration """#),
            ("abc", r#"time: invalid duration "abc""#),
            ("5", r#"time: missing unit in duration "5""#),
            ("2d", r#"time: unknown unit "d" in duration "2d""#),
            ("1m ", r#"time: unknown unit "m " in duration "1m ""#),
            ("\"é", r#"time: invalid duration "\"\xc3\xa9""#),
            ("99999999h", r#"time: invalid duration "99999999h""#),
        ] {
            assert_eq!(parse_duration(text).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn sizes_are_those_of_humanize() {
        for (text, bytes) in [
            ("1.5GiB", 1_610_612_736),
            ("10 MB", 10_000_000),
            ("1kb", 1_000),
            ("2Mi", 2_097_152),
            ("1,000B", 1_000),
            ("5", 5),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for (text, error) in [
            ("", r#"strconv.ParseFloat: parsing "": invalid syntax"#),
            ("-1KB", r#"strconv.ParseFloat: parsing "": invalid syntax"#),
            ("2m56s", "unhandled size name: m56s"),
            ("1e3KB", "unhandled size name: e3kb"),
            ("99EB", "too large: 99EB"),
        ] {
            assert_eq!(parse_bytes(text).unwrap_err().to_string(), error);
        }
    }
}
