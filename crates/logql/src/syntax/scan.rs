//! Numbers, strings and durations, character by character, as Go's `text/scanner` cuts them.

use model::units;

/// What a number turned out to be.
pub(crate) struct Scanned {
    /// Bytes read.
    pub(crate) len: usize,
    /// What is wrong with it.
    pub(crate) error: Option<String>,
}

/// Digits read so far.
#[derive(Default)]
struct Digits {
    any: bool,
    underscore: bool,
    /// One that the base does not have.
    bad: Option<char>,
}

impl Digits {
    /// Reads digits of `base` from byte `at` on; returns where they end.
    fn run(&mut self, bytes: &[u8], at: usize, base: u8) -> usize {
        let mut end = at;
        while let Some(b) = bytes.get(end) {
            match b {
                b'_' => self.underscore = true,
                b'0'..=b'9' => {
                    self.any = true;
                    if *b >= b'0' + base.min(10) {
                        self.bad = self.bad.or(Some(char::from(*b)));
                    }
                }
                b if base == 16 && b.is_ascii_hexdigit() => self.any = true,
                _ => break,
            }
            end += 1;
        }
        end
    }
}

/// Reads a number at the start of `text`, which begins with a digit or with a dot and a digit
/// (<https://go.dev/ref/spec#Floating-point_literals>). Only if it `is_adjacent` to what is before
/// it is `0b` a prefix: elsewhere the reference leaves the `b` to a size.
pub(crate) fn number(text: &str, is_adjacent: bool) -> Scanned {
    let bytes = text.as_bytes();
    let at = |i: usize| bytes.get(i).map_or(0, u8::to_ascii_lowercase);
    let (base, prefix_len, name) = match (at(0), at(1)) {
        (b'0', b'x') => (16, 2, "hexadecimal"),
        (b'0', b'o') => (8, 2, "octal"),
        (b'0', b'b') if is_adjacent => (2, 2, "binary"),
        (b'0', b'b') => (10, 1, "decimal"),
        (b'0', _) => (8, 1, "octal"),
        _ => (10, 0, "decimal"),
    };
    let mut digits = Digits {
        any: prefix_len == 1 && base == 8,
        ..Digits::default()
    };
    let mut error = None;
    let mut end = digits.run(bytes, prefix_len, base);
    let mut float = false;
    if at(end) == b'.' {
        float = true;
        if prefix_len == 2 && base != 16 {
            error = Some(format!("invalid radix point in {name} literal"));
        }
        end = digits.run(bytes, end + 1, base.max(10));
    }
    if !digits.any {
        error = error.or(Some(format!("{name} literal has no digits")));
    }
    // A `p` after decimal digits begins a unit (`1PB`).
    if at(end) == if base == 16 { b'p' } else { b'e' } {
        float = true;
        if prefix_len == 2 && base != 16 {
            let letter = char::from(bytes.get(end).copied().unwrap_or(b'e'));
            error = error.or(Some(format!(
                "'{letter}' exponent requires decimal mantissa"
            )));
        }
        let sign = usize::from(matches!(at(end + 1), b'+' | b'-'));
        let mut exponent = Digits::default();
        end = exponent.run(bytes, end + 1 + sign, 10);
        digits.underscore |= exponent.underscore;
        if !exponent.any {
            error = error.or(Some("exponent has no digits".to_owned()));
        }
    } else if base == 16 && float {
        error = error.or(Some(
            "hexadecimal mantissa requires a 'p' exponent".to_owned(),
        ));
    }
    if let Some(digit) = digits.bad.filter(|_| !float || prefix_len == 2) {
        error = error.or(Some(format!("invalid digit '{digit}' in {name} literal")));
    }
    let literal = text.get(..end).unwrap_or(text);
    if digits.underscore && !underscores_separate(literal) {
        error = error.or(Some("'_' must separate successive digits".to_owned()));
    }
    Scanned { len: end, error }
}

/// Whether underscores stand between digits (or after the base prefix) only.
fn underscores_separate(literal: &str) -> bool {
    let lower = literal.to_ascii_lowercase();
    let prefixed = ["0x", "0o", "0b"]
        .iter()
        .any(|prefix| lower.starts_with(prefix));
    let body = if prefixed {
        lower.get(2..).unwrap_or_default()
    } else {
        &lower
    };
    let mut before = if prefixed { '0' } else { '.' };
    for c in body.chars() {
        if c == '_' && !before.is_ascii_hexdigit() || before == '_' && !c.is_ascii_hexdigit() {
            return false;
        }
        before = c;
    }
    before != '_'
}

/// A number as Go's `strconv.ParseFloat` reads it; the error is its text.
pub(crate) fn parse_float(text: &str) -> Result<f64, String> {
    let refuse = |why: &str| {
        Err(format!(
            "strconv.ParseFloat: parsing {}: {why}",
            units::quote(text)
        ))
    };
    if text.contains('_') && !underscores_separate(text) {
        return refuse("invalid syntax");
    }
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    if plain.starts_with("0x") || plain.starts_with("0X") {
        return match hex_float(&plain) {
            Some(value) if value.is_finite() => Ok(value),
            Some(_) => refuse("value out of range"),
            None => refuse("invalid syntax"),
        };
    }
    let decimal = plain
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    match plain.parse::<f64>() {
        Ok(value) if decimal && value.is_finite() => Ok(value),
        Ok(_) if decimal => refuse("value out of range"),
        _ => refuse("invalid syntax"),
    }
}

/// `0x1.8p3`; without an exponent it is no float.
fn hex_float(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.get(2..)?.split_once(['p', 'P'])?;
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut value = 0.0_f64;
    for c in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(c.to_digit(16)?);
    }
    let shift = i32::try_from(fraction.len()).ok()?.checked_mul(4)?;
    Some(value * 2.0_f64.powi(exponent.checked_sub(shift)?))
}

/// Reads a Go string in double quotes; `text` starts at the quote. The length read and the text,
/// or what is wrong.
pub(crate) fn quoted(text: &str) -> Result<(usize, String), &'static str> {
    let mut out = Vec::with_capacity(text.len().min(64));
    let mut chars = text.char_indices().skip(1).peekable();
    let mut error = None;
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                return match error {
                    Some(error) => Err(error),
                    None => String::from_utf8(out)
                        .map(|text| (at + 1, text))
                        .map_err(|_| "invalid UTF-8 rune"),
                };
            }
            '\n' => break,
            '\\' => {
                let Some((_, kind)) = chars.next() else { break };
                if kind == '\n' {
                    break;
                }
                let mut take = |count: usize, radix: u32, first: Option<u32>| {
                    let mut value = first.unwrap_or(0);
                    for _ in 0..count {
                        let digit = chars.peek().and_then(|(_, c)| c.to_digit(radix))?;
                        chars.next();
                        value = value.checked_mul(radix)?.checked_add(digit)?;
                    }
                    Some(value)
                };
                if let Err(bad) = escape(kind, &mut take, &mut out) {
                    error = error.or(Some(bad));
                }
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Err(error.unwrap_or("literal not terminated"))
}

/// Writes what `\kind...` stands for; `take(count, radix, first)` reads digits.
fn escape(
    kind: char,
    take: &mut impl FnMut(usize, u32, Option<u32>) -> Option<u32>,
    out: &mut Vec<u8>,
) -> Result<(), &'static str> {
    const BAD: &str = "invalid char escape";
    // A byte may be part of a character that several escapes spell, so validity is checked last.
    let byte = |value: Option<u32>| value.and_then(|value| u8::try_from(value).ok()).ok_or(BAD);
    let character = |value: Option<u32>| value.and_then(char::from_u32).ok_or(BAD);
    match kind {
        'a' => out.push(7),
        'b' => out.push(8),
        'f' => out.push(12),
        'n' => out.push(b'\n'),
        'r' => out.push(b'\r'),
        't' => out.push(b'\t'),
        'v' => out.push(11),
        '\\' => out.push(b'\\'),
        '"' => out.push(b'"'),
        '0'..='7' => out.push(byte(take(2, 8, kind.to_digit(8)))?),
        'x' => out.push(byte(take(2, 16, None))?),
        'u' | 'U' => {
            let c = character(take(if kind == 'u' { 4 } else { 8 }, 16, None))?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        _ => return Err(BAD),
    }
    Ok(())
}

/// A Prometheus duration in nanoseconds; the error is Prometheus' text.
pub(crate) fn range_duration(text: &str) -> Result<i64, String> {
    const UNITS: [&str; 7] = ["y", "w", "d", "h", "m", "s", "ms"];
    let invalid = || format!("not a valid duration string: {}", units::quote(text));
    match text {
        "" => return Err("empty duration string".to_owned()),
        "0" => return Ok(0),
        _ => {}
    }
    let (mut rest, mut total_ns, mut next_unit) = (text, 0_i64, 0);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let unit_len = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        if number.parse::<u64>().is_err() || unit.is_empty() {
            return Err(invalid());
        }
        let Some(at) = UNITS.iter().position(|known| *known == unit) else {
            let (unit, all) = (units::quote(unit), units::quote(text));
            return Err(format!("unknown unit {unit} in duration {all}"));
        };
        if at < next_unit {
            return Err(invalid());
        }
        next_unit = at + 1;
        total_ns = units::parse_prometheus_duration(&format!("{number}{unit}"))
            .ok()
            .and_then(|ns| total_ns.checked_add(ns))
            .ok_or("duration out of range")?;
        rest = tail;
    }
    Ok(total_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_end_where_go_ends_them() {
        for (text, len) in [
            ("1", 1),
            ("1.5.2", 3),
            ("5.", 2),
            (".5", 2),
            ("1e3x", 3),
            ("0x1Fg", 4),
            ("1_000", 5),
            ("64and", 2),
            ("0777", 4),
        ] {
            let scanned = number(text, true);
            assert_eq!((scanned.len, scanned.error), (len, None), "{text}");
        }
        for (text, error) in [
            ("1EB", "exponent has no digits"),
            ("0B", "decimal literal has no digits"),
            ("1__0", "'_' must separate successive digits"),
            ("08", "invalid digit '8' in octal literal"),
        ] {
            assert_eq!(number(text, false).error.as_deref(), Some(error), "{text}");
        }
        for (text, error) in [
            ("0x", "hexadecimal literal has no digits"),
            ("0b1E5", "'E' exponent requires decimal mantissa"),
            ("0B", "binary literal has no digits"),
            ("0b12", "invalid digit '2' in binary literal"),
        ] {
            assert_eq!(number(text, true).error.as_deref(), Some(error), "{text}");
        }
    }

    #[test]
    fn floats_are_gos() {
        assert_eq!(parse_float("1_000.5"), Ok(1000.5));
        assert_eq!(parse_float("0x1p4"), Ok(16.0));
        assert_eq!(
            parse_float("1e400"),
            Err("strconv.ParseFloat: parsing \"1e400\": value out of range".to_owned())
        );
        assert_eq!(
            parse_float("0x10"),
            Err("strconv.ParseFloat: parsing \"0x10\": invalid syntax".to_owned())
        );
        assert!(parse_float("inf").is_err() && parse_float("").is_err());
    }

    #[test]
    fn strings_unquote() {
        assert_eq!(
            quoted(r#""a\x41\u00e9\101\"\n" rest"#),
            Ok((21, "aA\u{e9}A\"\n".to_owned()))
        );
        assert_eq!(quoted(r#""\xc3\xa9""#), Ok((10, "é".to_owned())));
        assert_eq!(quoted(r#""\q""#), Err("invalid char escape"));
        assert_eq!(quoted(r#""a\""#), Err("literal not terminated"));
        assert_eq!(quoted(r#""\xff""#), Err("invalid UTF-8 rune"));
    }

    #[test]
    fn ranges_are_refused_in_prometheus_words() {
        for (text, error) in [
            ("0.5h", r#"unknown unit "." in duration "0.5h""#),
            ("5", r#"not a valid duration string: "5""#),
            ("5m ", r#"unknown unit "m " in duration "5m ""#),
            (" 5m", r#"not a valid duration string: " 5m""#),
            ("5m30", r#"not a valid duration string: "5m30""#),
            ("1h1h", r#"not a valid duration string: "1h1h""#),
            ("", "empty duration string"),
            ("300y", "duration out of range"),
            ("292y99w", "duration out of range"),
        ] {
            assert_eq!(range_duration(text), Err(error.to_owned()), "{text}");
        }
        assert_eq!(range_duration("0"), Ok(0));
    }
}
