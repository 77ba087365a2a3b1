//! Go's string and character literals.

/// The text of a quoted or raw string literal, quotes included in `literal`.
pub(super) fn unquote(literal: &str) -> Option<String> {
    if let Some(raw) = literal.strip_prefix('`') {
        // A carriage return in a raw string is dropped, as in Go source.
        return Some(raw.strip_suffix('`')?.replace('\r', ""));
    }
    let mut rest = literal.strip_prefix('"')?.strip_suffix('"')?;
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some(c) = rest.chars().next() {
        if c != '\\' {
            let mut buffer = [0; 4];
            bytes.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
            rest = rest.get(c.len_utf8()..)?;
            continue;
        }
        let (unit, len) = escape(rest, '"')?;
        match unit {
            Unit::Char(c) => {
                let mut buffer = [0; 4];
                bytes.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
            }
            Unit::Byte(byte) => bytes.push(byte),
        }
        rest = rest.get(len..)?;
    }
    // Go strings are bytes; one that is not UTF-8 is not worth a second string type here.
    Some(
        String::from_utf8(bytes)
            .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()),
    )
}

/// The code point of a character literal such as `'a'` or `'\n'`.
pub(super) fn unquote_char(literal: &str) -> Option<u32> {
    let inside = literal.strip_prefix('\'')?.strip_suffix('\'')?;
    let first = inside.chars().next()?;
    if first != '\\' {
        return (first.len_utf8() == inside.len() && first != '\'').then_some(first as u32);
    }
    let (unit, len) = escape(inside, '\'')?;
    (len == inside.len()).then_some(match unit {
        Unit::Char(c) => c as u32,
        Unit::Byte(byte) => u32::from(byte),
    })
}

enum Unit {
    Char(char),
    Byte(u8),
}

/// Reads one escape at the start of `text`; the second value is its length.
fn escape(text: &str, quote: char) -> Option<(Unit, usize)> {
    let kind = text.chars().nth(1)?;
    let digits = |count: usize, radix: u32| {
        let digits = text.get(2..2 + count)?;
        u32::from_str_radix(digits, radix).ok()
    };
    Some(match kind {
        'a' => (Unit::Char('\u{7}'), 2),
        'b' => (Unit::Char('\u{8}'), 2),
        'f' => (Unit::Char('\u{c}'), 2),
        'n' => (Unit::Char('\n'), 2),
        'r' => (Unit::Char('\r'), 2),
        't' => (Unit::Char('\t'), 2),
        'v' => (Unit::Char('\u{b}'), 2),
        '\\' => (Unit::Char('\\'), 2),
        c if c == quote => (Unit::Char(quote), 2),
        'x' => (Unit::Byte(u8::try_from(digits(2, 16)?).ok()?), 4),
        'u' => (Unit::Char(char::from_u32(digits(4, 16)?)?), 6),
        'U' => (Unit::Char(char::from_u32(digits(8, 16)?)?), 10),
        '0'..='7' => {
            let value = u32::from_str_radix(text.get(1..4)?, 8).ok()?;
            (Unit::Byte(u8::try_from(value).ok()?), 4)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals() {
        for (literal, text) in [
            (r#""a\"b\n\x41\101\u00e9""#, Some("a\"b\nAAé")),
            ("`raw\\n`", Some("raw\\n")),
            (r#""\q""#, None),
            (r#""\x4""#, None),
            (r#""\'""#, None),
        ] {
            assert_eq!(unquote(literal).as_deref(), text, "{literal}");
        }
        assert_eq!(unquote_char(r"'\n'"), Some(10));
        assert_eq!(unquote_char("'é'"), Some(0xe9));
        assert_eq!(unquote_char("'ab'"), None);
    }
}
