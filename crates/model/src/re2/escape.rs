//! Escapes and named classes.

use super::{Re2Error, after, consumed, error, split_char};

/// `\d`, `\pL`, `\p{Greek}` and their negations at the start of `text`, in the crate's words.
pub(super) fn class_escape(text: &str) -> Result<Option<(String, &str)>, Re2Error> {
    let Some(kind) = text.strip_prefix('\\').and_then(|tail| tail.chars().next()) else {
        return Ok(None);
    };
    let class = match kind {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        's' => "[\\t\\n\\x0C\\r ]",
        'S' => "[^\\t\\n\\x0C\\r ]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        'p' | 'P' => return unicode_class(text, kind == 'P').map(Some),
        _ => return Ok(None),
    };
    Ok(Some((class.to_owned(), after(text, 2))))
}

/// At `\p` or `\P`.
fn unicode_class(text: &str, negative: bool) -> Result<(String, &str), Re2Error> {
    const REASON: &str = "invalid character class range";
    let Some((first, tail)) = split_char(after(text, 2)) else {
        return error(REASON, text);
    };
    let (name, tail) = if first == '{' {
        match tail.split_once('}') {
            Some(parts) => parts,
            None => return error(REASON, text),
        }
    } else {
        (consumed(after(text, 2), tail), tail)
    };
    let (name, negative) = match name.strip_prefix('^') {
        Some(name) => (name, !negative),
        None => (name, negative),
    };
    let class = format!("\\{}{{{name}}}", if negative { 'P' } else { 'p' });
    let is_word = !name.is_empty() && name.bytes().all(|b| b == b'_' || b.is_ascii_alphabetic());
    if !is_word || regex::Regex::new(&class).is_err() {
        return error(REASON, consumed(text, tail));
    }
    Ok((class, tail))
}

/// `[:alpha:]` inside a class.
pub(super) fn posix_class(text: &str) -> Result<Option<(&str, &str)>, Re2Error> {
    if !text.starts_with("[:") || text.len() < 3 {
        return Ok(None);
    }
    let Some(end) = after(text, 2).find(":]") else {
        return Ok(None);
    };
    let (class, tail) = (text.get(..end + 4).unwrap_or(text), after(text, end + 4));
    let name = text.get(2..end + 2).unwrap_or_default();
    match name.strip_prefix('^').unwrap_or(name) {
        "alnum" | "alpha" | "ascii" | "blank" | "cntrl" | "digit" | "graph" | "lower" | "print"
        | "punct" | "space" | "upper" | "word" | "xdigit" => Ok(Some((class, tail))),
        _ => error("invalid character class range", class),
    }
}

/// One character of the class that starts at `class`.
pub(super) fn class_char<'a>(text: &'a str, class: &str) -> Result<(char, &'a str), Re2Error> {
    match split_char(text) {
        None => error("missing closing ]", class),
        Some(('\\', _)) => char_escape(text),
        Some(found) => Ok(found),
    }
}

/// At a backslash that stands for one character.
pub(super) fn char_escape(text: &str) -> Result<(char, &str), Re2Error> {
    let Some((c, mut rest)) = split_char(after(text, 1)) else {
        return error("trailing backslash at end of expression", "");
    };
    let octal = |text: &str| text.chars().next().and_then(|c| c.to_digit(8));
    let found = match c {
        // A single digit other than 0 would be a reference to a group, which RE2 does not know.
        '1'..='7' if octal(rest).is_none() => None,
        '0'..='7' => {
            let mut value = c.to_digit(8).unwrap_or(0);
            for _ in 0..2 {
                if let Some(digit) = octal(rest) {
                    value = value * 8 + digit;
                    rest = after(rest, 1);
                }
            }
            char::from_u32(value)
        }
        'x' => {
            let (found, tail) = hex_escape(rest);
            rest = tail;
            found
        }
        'a' => Some('\u{7}'),
        'f' => Some('\u{c}'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\u{b}'),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(c),
        _ => None,
    };
    match found {
        Some(c) => Ok((c, rest)),
        None => error("invalid escape sequence", consumed(text, rest)),
    }
}

/// After `\x`: two hexadecimal digits, or any number of them in braces.
fn hex_escape(text: &str) -> (Option<char>, &str) {
    let mut rest = text;
    let mut value = 0_u32;
    if let Some(tail) = text.strip_prefix('{') {
        rest = tail;
        let mut digits = 0;
        while let Some((c, tail)) = split_char(rest) {
            rest = tail;
            match c.to_digit(16) {
                Some(digit) if value <= 0x10_ffff => value = value * 16 + digit,
                None if c == '}' && digits > 0 => return (char::from_u32(value), rest),
                _ => return (None, rest),
            }
            digits += 1;
        }
        return (None, rest);
    }
    for _ in 0..2 {
        let Some((c, tail)) = split_char(rest) else {
            return (None, rest);
        };
        rest = tail;
        let Some(digit) = c.to_digit(16) else {
            return (None, rest);
        };
        value = value * 16 + digit;
    }
    (char::from_u32(value), rest)
}
