//! The pairs of a logfmt line.

use std::fmt;

use super::super::near;

/// What is wrong at a place of the line; prints with the words of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Counted from one.
    position: usize,
    kind: FaultKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FaultKind {
    Unexpected(u8),
    InvalidKey,
    Unterminated,
    InvalidQuoted,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "logfmt syntax error at pos {} : ", self.position)?;
        match self.kind {
            FaultKind::Unexpected(b) => write!(f, "unexpected '{}'", char::from(b)),
            FaultKind::InvalidKey => f.write_str("invalid key"),
            FaultKind::Unterminated => f.write_str("unterminated quoted value"),
            FaultKind::InvalidQuoted => f.write_str("invalid quoted value"),
        }
    }
}

/// The value of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairValue<'a> {
    /// As it stands in the line.
    Plain(&'a [u8]),
    /// In the buffer that was given to [`Scanner::next`].
    Unquoted,
}

impl<'a> PairValue<'a> {
    /// The value, if `unquoted` is that buffer.
    #[must_use]
    pub fn of(self, unquoted: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Plain(value) => value,
            Self::Unquoted => unquoted,
        }
    }
}

/// What the scanner came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pair<'a> {
    /// A key; without value if there is none or it is empty.
    Found {
        /// As it stands in the line.
        key: &'a [u8],
        /// What stands behind the `=`.
        value: Option<PairValue<'a>>,
    },
    /// Something else, which was passed over.
    Fault(Fault),
    /// Nothing more.
    End,
}

/// Reads pairs one after the other. What is no pair ends at the next white space, as a rule.
#[derive(Debug)]
pub struct Scanner<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// At the start of a line.
    #[must_use]
    pub fn new(line: &'a [u8]) -> Self {
        Self { line, at: 0 }
    }

    /// Where it has come to.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Goes on at a place where a pair begins.
    pub(super) fn go_to(&mut self, at: usize) {
        self.at = at;
    }

    fn rest(&self) -> &'a [u8] {
        self.line.get(self.at..).unwrap_or_default()
    }

    /// The next pair. A quoted value with escapes is written to `unquoted`.
    pub fn next(&mut self, unquoted: &mut Vec<u8>) -> Pair<'a> {
        let Some(start) = self.rest().iter().position(|b| *b > b' ') else {
            self.at = self.line.len();
            return Pair::End;
        };
        self.at += start;
        let rest = self.rest();
        let len = near::position(rest, ends_word);
        let key = rest.get(..len).unwrap_or_default();
        self.at += len;
        let end = rest.get(len).copied();
        match end {
            Some(b'"') => return self.unexpected(b'"'),
            Some(b'=') if key.is_empty() => return self.unexpected(b'='),
            _ => {}
        }
        if !key.is_ascii() && !is_clean(key) {
            let fault = self.fault(FaultKind::InvalidKey);
            if end == Some(b'=') {
                self.skip();
            }
            return fault;
        }
        if end != Some(b'=') {
            return Pair::Found { key, value: None };
        }
        self.at += 1;
        match self.rest().first() {
            Some(b'"') => self.quoted(key, unquoted),
            Some(b) if *b > b' ' => self.plain(key),
            _ => Pair::Found { key, value: None },
        }
    }

    fn plain(&mut self, key: &'a [u8]) -> Pair<'a> {
        let rest = self.rest();
        let len = near::position(rest, ends_word);
        self.at += len;
        match rest.get(len) {
            Some(b @ (b'=' | b'"')) => self.unexpected(*b),
            _ => Pair::Found {
                key,
                value: rest.get(..len).map(PairValue::Plain),
            },
        }
    }

    fn quoted(&mut self, key: &'a [u8], unquoted: &mut Vec<u8>) -> Pair<'a> {
        let rest = self.rest();
        let mut len = 1;
        let mut escaped = false;
        loop {
            let tail = rest.get(len..).unwrap_or_default();
            match memchr::memchr2(b'"', b'\\', tail) {
                Some(found) if tail.get(found) == Some(&b'"') => {
                    len += found;
                    break;
                }
                Some(found) => {
                    escaped = true;
                    len += found + 2;
                }
                None => {
                    self.at = self.line.len();
                    return self.fault(FaultKind::Unterminated);
                }
            }
        }
        self.at += len + 1;
        let text = rest.get(1..len).unwrap_or_default();
        let value = if !escaped {
            Some(PairValue::Plain(text)).filter(|_| !text.is_empty())
        } else if unquote(text, unquoted) {
            Some(PairValue::Unquoted)
        } else {
            return self.fault(FaultKind::InvalidQuoted);
        };
        Pair::Found { key, value }
    }

    fn unexpected(&mut self, b: u8) -> Pair<'a> {
        let fault = self.fault(FaultKind::Unexpected(b));
        self.skip();
        fault
    }

    fn fault(&self, kind: FaultKind) -> Pair<'a> {
        Pair::Fault(Fault {
            position: self.at + 1,
            kind,
        })
    }

    /// Goes to the next white space.
    fn skip(&mut self) {
        let rest = self.rest();
        self.at += rest.iter().position(|b| *b <= b' ').unwrap_or(rest.len());
    }
}

/// Marks what no key and no unquoted value goes on behind.
fn ends_word(word: u64) -> u64 {
    near::equal(word, b'=') | near::equal(word, b'"') | near::below(word, b'!')
}

/// Whether the text is UTF-8 without U+FFFD, which stands for what is not.
fn is_clean(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| !text.contains(char::REPLACEMENT_CHARACTER))
}

/// Resolves the escapes of JSON. Control characters must be written as escapes.
fn unquote(text: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    let mut rest = text;
    while let Some((b, tail)) = rest.split_first() {
        rest = tail;
        if *b < b' ' {
            return false;
        }
        if *b != b'\\' {
            out.push(*b);
            continue;
        }
        let Some((escape, tail)) = rest.split_first() else {
            return false;
        };
        rest = tail;
        out.push(match escape {
            b'"' | b'\\' | b'/' | b'\'' => *escape,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let Some((c, tail)) = unicode(rest) else {
                    return false;
                };
                rest = tail;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return false,
        });
    }
    true
}

/// The character of `0041` behind `\u`, with the second half of a surrogate pair if there is one.
fn unicode(text: &[u8]) -> Option<(char, &[u8])> {
    let hex4 = |text: &[u8]| {
        text.get(..4)?.iter().try_fold(0_u32, |code, b| {
            let digit = char::from(*b).to_digit(16)?;
            Some(code << 4 | digit)
        })
    };
    let (first, rest) = (hex4(text)?, text.get(4..)?);
    if let Some(c) = char::from_u32(first) {
        return Some((c, rest));
    }
    let second = rest.strip_prefix(b"\\u").and_then(hex4);
    let low = second.filter(|low| first < 0xdc00 && (0xdc00..0xe000).contains(low));
    let pair =
        low.and_then(|low| char::from_u32(0x10000 + ((first - 0xd800) << 10) + low - 0xdc00));
    match pair {
        Some(c) => Some((c, rest.get(6..)?)),
        None => Some((char::REPLACEMENT_CHARACTER, rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(line: &str) -> Vec<String> {
        let (mut scanner, mut unquoted) = (Scanner::new(line.as_bytes()), Vec::new());
        let mut found = Vec::new();
        loop {
            match scanner.next(&mut unquoted) {
                Pair::End => return found,
                Pair::Fault(fault) => found.push(format!("!{fault}")),
                Pair::Found { key, value } => {
                    let value = value.map(|value| value.of(&unquoted));
                    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                    let value = value.map_or("-".to_owned(), text);
                    found.push(format!("{}:{value}", text(key)));
                }
            }
        }
    }

    #[test]
    fn pairs_and_faults() {
        for (line, expected) in [
            ("a=1 b=\"x y\" c= d", vec!["a:1", "b:x y", "c:-", "d:-"]),
            ("a=\"b\"c=d", vec!["a:b", "c:d"]),
            (r#"m="q\"\n\u00e9" y=\u00e9"#, vec!["m:q\"\né", r"y:\u00e9"]),
            (
                "=x a=b",
                vec!["!logfmt syntax error at pos 1 : unexpected '='", "a:b"],
            ),
            (
                "a=b=c d=e",
                vec!["!logfmt syntax error at pos 4 : unexpected '='", "d:e"],
            ),
            (
                "k\"2=v",
                vec!["!logfmt syntax error at pos 2 : unexpected '\"'"],
            ),
            (
                "a=\"b",
                vec!["!logfmt syntax error at pos 5 : unterminated quoted value"],
            ),
            (
                r#"a="\x" b=1"#,
                vec![
                    "!logfmt syntax error at pos 7 : invalid quoted value",
                    "b:1",
                ],
            ),
            ("a=\"\" \t\n", vec!["a:-"]),
            ("", vec![]),
        ] {
            assert_eq!(pairs(line), expected, "{line}");
        }
    }

    #[test]
    fn surrogates_are_joined() {
        let mut out = Vec::new();
        assert!(unquote(br"\ud83d\ude00\ud800x", &mut out));
        assert_eq!(out, "😀\u{fffd}x".as_bytes());
        assert!(!unquote(b"a\tb", &mut out) && !unquote(br"\u12", &mut out));
    }
}
