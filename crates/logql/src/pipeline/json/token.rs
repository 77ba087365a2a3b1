//! Pieces of JSON text.

use super::super::near;

/// Why text is not the JSON that was expected; the texts are those of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JsonFault {
    /// Neither a value nor its beginning.
    #[error("Unknown value type")]
    UnknownValue,
    /// Structure is missing.
    #[error("Malformed JSON error")]
    Malformed,
    /// A string does not end.
    #[error("Value is string, but can't find closing '\"' symbol")]
    String,
    /// An array does not end.
    #[error("Value is array, but can't find closing ']' symbol")]
    Array,
    /// An object does not begin or end.
    #[error("Value looks like object, but can't find closing '}}' symbol")]
    Object,
    /// A backslash that means nothing.
    #[error("Encountered an invalid escape sequence in a string")]
    Escape,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Kind {
    String,
    Number,
    Boolean,
    Null,
    Array,
    Object,
}

/// A value: `data[start..end]`, without the quotes of a string; the text goes on at `after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Value {
    pub(in super::super) kind: Kind,
    pub(in super::super) start: usize,
    pub(in super::super) end: usize,
    pub(in super::super) after: usize,
    /// Whether a string has backslashes.
    pub(in super::super) escaped: bool,
}

impl Value {
    pub(in super::super) fn text(self, data: &[u8]) -> &[u8] {
        data.get(self.start..self.end).unwrap_or_default()
    }
}

/// Where the next byte is that is no white space.
pub(in super::super) fn next_token(data: &[u8], from: usize) -> Option<usize> {
    let rest = data.get(from..)?;
    let at = rest
        .iter()
        .position(|b| !matches!(b, b' ' | b'\n' | b'\r' | b'\t'))?;
    Some(from + at)
}

/// Where the string ends whose first byte, after the quote, is at `from`; behind the closing
/// quote. And whether there is a backslash in it.
pub(in super::super) fn string_end(data: &[u8], from: usize) -> Option<(usize, bool)> {
    const NEAR: usize = 64;
    let (mut at, mut escaped) = (from, false);
    loop {
        let rest = data.get(at..)?;
        let head = rest.get(..NEAR).unwrap_or(rest);
        let mut found = near::position(head, |word| {
            near::equal(word, b'"') | near::equal(word, b'\\')
        });
        if found == head.len() {
            found += memchr::memchr2(b'"', b'\\', rest.get(found..)?)?;
        }
        if rest.get(found) == Some(&b'"') {
            return Some((at + found + 1, escaped));
        }
        escaped = true;
        at += found + 2;
    }
}

/// Where the block ends that opens at `from`; behind its closing bracket.
pub(in super::super) fn block_end(data: &[u8], from: usize, open: u8, close: u8) -> Option<usize> {
    let (mut at, mut depth) = (from, 0_usize);
    loop {
        at += memchr::memchr3(b'"', open, close, data.get(at..)?)?;
        match data.get(at) {
            Some(b'"') => at = string_end(data, at + 1)?.0,
            Some(b) if *b == open => {
                depth += 1;
                at += 1;
            }
            _ => {
                at += 1;
                if depth <= 1 {
                    return Some(at);
                }
                depth -= 1;
            }
        }
    }
}

/// Marks what ends a number or a word.
fn ends_value(word: u64) -> u64 {
    let space = near::equal(word, b' ') | near::equal(word, b'\n');
    let space = space | near::equal(word, b'\r') | near::equal(word, b'\t');
    let structure = near::equal(word, b',') | near::equal(word, b'}') | near::equal(word, b']');
    space | structure
}

/// The value whose first byte is at `from` or after white space there.
pub(in super::super) fn value(data: &[u8], from: usize) -> Result<Value, JsonFault> {
    let start = next_token(data, from).ok_or(JsonFault::Malformed)?;
    let whole = |kind, end| Value {
        kind,
        start,
        end,
        after: end,
        escaped: false,
    };
    match data.get(start) {
        Some(b'"') => {
            let (after, escaped) = string_end(data, start + 1).ok_or(JsonFault::String)?;
            Ok(Value {
                kind: Kind::String,
                start: start + 1,
                end: after - 1,
                after,
                escaped,
            })
        }
        Some(b'[') => {
            let end = block_end(data, start, b'[', b']').ok_or(JsonFault::Array)?;
            Ok(whole(Kind::Array, end))
        }
        Some(b'{') => {
            let end = block_end(data, start, b'{', b'}').ok_or(JsonFault::Object)?;
            Ok(whole(Kind::Object, end))
        }
        Some(first) => {
            let rest = data.get(start..).unwrap_or_default();
            let len = near::position(rest, ends_value);
            let kind = match (first, rest.get(..len).unwrap_or_default()) {
                (_, b"true" | b"false") => Kind::Boolean,
                (_, b"null") => Kind::Null,
                (b'0'..=b'9' | b'-', _) => Kind::Number,
                _ => return Err(JsonFault::UnknownValue),
            };
            Ok(whole(kind, start + len))
        }
        None => Err(JsonFault::Malformed),
    }
}

/// Writes what the text of a string means to `out`. `false` if a backslash means nothing.
pub(in super::super) fn unescape(mut text: &[u8], out: &mut Vec<u8>) -> bool {
    while let Some(at) = memchr::memchr(b'\\', text) {
        out.extend_from_slice(text.get(..at).unwrap_or_default());
        let escape = text.get(at..).unwrap_or_default();
        let plain = match escape.get(1) {
            Some(b @ (b'"' | b'\\' | b'/')) => *b,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                let Some((c, len)) = unicode_escape(escape) else {
                    return false;
                };
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                text = escape.get(len..).unwrap_or_default();
                continue;
            }
            _ => return false,
        };
        out.push(plain);
        text = escape.get(2..).unwrap_or_default();
    }
    out.extend_from_slice(text);
    true
}

/// `\u0041`, or two of them that are a surrogate pair: the character and its length in the text.
fn unicode_escape(text: &[u8]) -> Option<(char, usize)> {
    let first = hex4(text)?;
    if !(0xd800..0xe000).contains(&first) {
        return Some((char::from_u32(first)?, 6));
    }
    let second = hex4(text.get(6..)?)?;
    if second < 0xdc00 {
        return None;
    }
    let code = (0x10000 + ((first - 0xd800) << 10)).checked_add(second - 0xdc00)?;
    let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    Some((c, 12))
}

fn hex4(text: &[u8]) -> Option<u32> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |code, b| {
        let digit = char::from(*b).to_digit(16)?;
        Some(code << 4 | digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_delimited_leniently() {
        for (text, kind, content) in [
            (r#" "a\"b" x"#, Kind::String, r#"a\"b"#),
            ("01,", Kind::Number, "01"),
            ("-", Kind::Number, "-"),
            ("1.5x}", Kind::Number, "1.5x"),
            ("true]", Kind::Boolean, "true"),
            ("null", Kind::Null, "null"),
            (r#"[1,"]",[2]] "#, Kind::Array, r#"[1,"]",[2]]"#),
            (r#"{"a":"}"}}"#, Kind::Object, r#"{"a":"}"}"#),
        ] {
            let found = value(text.as_bytes(), 0).unwrap();
            assert_eq!(
                (found.kind, found.text(text.as_bytes())),
                (kind, content.as_bytes())
            );
        }
        for (text, fault) in [
            ("", JsonFault::Malformed),
            ("}", JsonFault::UnknownValue),
            ("tru", JsonFault::UnknownValue),
            ("NaN", JsonFault::UnknownValue),
            ("\"a", JsonFault::String),
            ("\"a\\\"", JsonFault::String),
            ("[1", JsonFault::Array),
            ("{\"", JsonFault::Object),
        ] {
            assert_eq!(value(text.as_bytes(), 0), Err(fault), "{text}");
        }
    }

    #[test]
    fn escapes_mean_what_json_says() {
        let of = |text: &str| {
            let mut out = Vec::new();
            unescape(text.as_bytes(), &mut out).then(|| String::from_utf8(out).unwrap())
        };
        assert_eq!(
            of(r#"a\n\"\\\/\u00e9\ud83d\ude00z"#).unwrap(),
            "a\n\"\\/é😀z"
        );
        assert_eq!(of("plain").unwrap(), "plain");
        for bad in [r"\q", r"\", r"\u12", r"\ud800", r"\ud800\u0041", r"\u00zz"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn long_strings_end_at_their_quote() {
        let text = format!("{}\\\"{}\"tail", "a".repeat(40), "b".repeat(40));
        assert_eq!(string_end(text.as_bytes(), 0), Some((83, true)));
        assert_eq!(string_end(b"abc", 0), None);
        assert_eq!(string_end(b"abc\\", 0), None);
    }
}
