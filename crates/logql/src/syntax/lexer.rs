//! Cuts a query into tokens, by the rules of Go's `text/scanner`, which the reference uses: its
//! comments (`#`, `//`, `/* */`), numbers, strings and positions.

use model::units;

use super::ParseError;
use super::scan;
use super::token::{Kind, Token, Word};

/// All tokens of a query; the last is the end or the first that is wrong.
pub(crate) fn tokens(query: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer {
        rest: query.strip_prefix('\u{feff}').unwrap_or(query),
        line: 1,
        column: 1,
    };
    let mut found = Vec::with_capacity(query.len() / 4 + 1);
    loop {
        let token = lexer.token();
        let last = matches!(token.kind, Kind::End | Kind::Bad(_));
        found.push(token);
        if last {
            break;
        }
    }
    if query.is_empty() {
        // The reference has no position for an empty query.
        if let Some(end) = found.last_mut() {
            (end.line, end.column) = (0, 0);
        }
    }
    found
}

struct Lexer<'a> {
    rest: &'a str,
    line: u32,
    column: u32,
}

impl<'a> Lexer<'a> {
    fn token(&mut self) -> Token<'a> {
        let before = self.rest.len();
        let unterminated = self.skip_blank();
        let (line, column, text) = (self.line, self.column, self.rest);
        let is_adjacent = before == text.len();
        let mut fault = None;
        let token = |kind, len: usize| Token {
            kind,
            text: text.get(..len).unwrap_or(text),
            line,
            column,
            fault: None,
        };
        if unterminated {
            return token(Kind::Bad("comment not terminated".to_owned()), text.len());
        }
        let Some(first) = text.chars().next() else {
            return token(Kind::End, 0);
        };
        let (kind, len) = match first {
            '"' => match scan::quoted(text) {
                Ok((len, value)) => (Kind::String(value), len),
                Err(error) => (Kind::Bad(error.to_owned()), text.len()),
            },
            '`' => match text.get(1..).and_then(|tail| tail.find('`')) {
                // Carriage returns are dropped, as in Go.
                Some(end) => {
                    let raw = text.get(1..=end).unwrap_or_default();
                    (Kind::String(raw.replace('\r', "")), end + 2)
                }
                None => (Kind::Bad("literal not terminated".to_owned()), text.len()),
            },
            '\'' => character(text),
            '\0' => (Kind::Bad("invalid character NUL".to_owned()), 1),
            '.' if !text.as_bytes().get(1).is_some_and(u8::is_ascii_digit) => sign(text, first),
            '0'..='9' | '.' => {
                let scanned = scan::number(text, is_adjacent);
                fault = scanned.error;
                number(text, scanned.len)
            }
            '-' => minus(text),
            '[' => range(text),
            c if c == '_' || c.is_alphabetic() => word(text),
            c => sign(text, c),
        };
        let mut token = token(kind, len);
        token.fault = fault.map(|message| ParseError::at(line, column, message));
        // Go's scanner forgets the line when a token is read on by hand.
        let by_hand = match &token.kind {
            Kind::Duration(_) | Kind::Bytes(_) | Kind::Range(_) | Kind::Flag => true,
            Kind::Word(word) => word.as_str().len() > 1 && !first.is_alphabetic() && first != '_',
            Kind::Bad(_) => first == '[',
            _ => false,
        };
        if by_hand {
            token.line = 0;
        }
        self.advance(len);
        token
    }

    /// Skips white space and comments. Returns whether a comment has no end.
    fn skip_blank(&mut self) -> bool {
        loop {
            let text = self.rest;
            let len = match text.as_bytes() {
                [b' ' | b'\t' | b'\n' | b'\r', ..] => text
                    .bytes()
                    .take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r'))
                    .count(),
                [b'#', ..] | [b'/', b'/', ..] => text.find('\n').unwrap_or(text.len()),
                [b'/', b'*', ..] => match text.get(2..).and_then(|tail| tail.find("*/")) {
                    Some(end) => end + 4,
                    None => return true,
                },
                _ => return false,
            };
            self.advance(len);
        }
    }

    fn advance(&mut self, len: usize) {
        let (read, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, ""));
        for c in read.chars() {
            if c == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        self.rest = rest;
    }
}

/// At a single quote. A valid Go character is no token of the language, but becomes a stray one.
fn character(text: &str) -> (Kind, usize) {
    let mut escaped = false;
    let mut chars = 0;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\n' => break,
            '\'' if !escaped => {
                return if chars == 1 {
                    (Kind::Identifier, at + 1)
                } else {
                    (Kind::Bad("invalid char literal".to_owned()), text.len())
                };
            }
            _ => {
                if !escaped {
                    chars += 1;
                }
                escaped = c == '\\' && !escaped;
            }
        }
    }
    (Kind::Bad("literal not terminated".to_owned()), text.len())
}

/// At a number that is `number_len` long: what it is with what follows, a duration or a size, or a
/// number.
fn number(text: &str, number_len: usize) -> (Kind, usize) {
    if let Some((ns, len)) = duration(text, number_len) {
        return (Kind::Duration(ns), len);
    }
    let is_size_char = |c: char| {
        c.is_numeric() || matches!(c, '.' | 'B' | 'i' | 'k' | 'K' | 'M' | 'G' | 'T' | 'P')
    };
    let len = read_on(text, number_len, is_size_char);
    let size = text.get(..len).filter(|_| len > number_len);
    match size.and_then(|size| units::parse_bytes(size).ok()) {
        Some(bytes) => (Kind::Bytes(bytes), len),
        None => (Kind::Number, number_len),
    }
}

/// A duration at the start of `text`, whose first `len` bytes are read already.
fn duration(text: &str, len: usize) -> Option<(i64, usize)> {
    let is_duration_char = |c: char| {
        c.is_numeric() || matches!(c, '.' | 'n' | 'u' | 'µ' | 'm' | 's' | 'h' | 'd' | 'w' | 'y')
    };
    let end = read_on(text, len, is_duration_char);
    let all = text.get(..end).filter(|_| end > len)?;
    Some((units::parse_duration(all).ok()?, end))
}

/// Where the characters that `wanted` accepts end, from byte `from` on.
fn read_on(text: &str, from: usize, wanted: impl Fn(char) -> bool) -> usize {
    let tail = text.get(from..).unwrap_or_default();
    from + tail.find(|c| !wanted(c)).unwrap_or(tail.len())
}

/// At a minus: a flag, a negative duration or the sign.
fn minus(text: &str) -> (Kind, usize) {
    let goes_on = |c: char| c == '-' || c.is_alphabetic();
    for flag in ["--strict", "--keep-empty"] {
        if let Some(after) = text.strip_prefix(flag)
            && !after.starts_with(goes_on)
        {
            return (Kind::Flag, flag.len());
        }
    }
    match duration(text, 1) {
        Some((ns, len)) => (Kind::Duration(ns), len),
        None => (Kind::Word(Word::Sub), 1),
    }
}

/// At an opening bracket.
fn range(text: &str) -> (Kind, usize) {
    let Some(end) = text.find(']') else {
        return (
            Kind::Bad("missing closing ']' in duration".to_owned()),
            text.len(),
        );
    };
    match scan::range_duration(text.get(1..end).unwrap_or_default()) {
        Ok(ns) => (Kind::Range(ns), end + 1),
        Err(error) => (Kind::Bad(error), end + 1),
    }
}

/// At a letter or underscore: a keyword, function or name.
fn word(text: &str) -> (Kind, usize) {
    let len = read_on(text, 0, |c| c == '_' || c.is_alphabetic() || c.is_numeric());
    let (name, after) = text.split_at_checked(len).unwrap_or((text, ""));
    let kind = match Kind::function(name) {
        Some(function) if calls(after) => function,
        Some(_) => Kind::Identifier,
        None => Word::parse(name).map_or(Kind::Identifier, Kind::Word),
    };
    (kind, len)
}

/// Whether an argument list or a grouping follows.
fn calls(after: &str) -> bool {
    let after = after.trim_start();
    if after.starts_with('(') {
        return true;
    }
    ["by", "without"].iter().any(|grouping| {
        after
            .split_at_checked(grouping.len())
            .is_some_and(|(word, tail)| {
                word.eq_ignore_ascii_case(grouping) && tail.trim_start().starts_with('(')
            })
    })
}

/// At any other character: a sign, or a stray character.
fn sign(text: &str, first: char) -> (Kind, usize) {
    for len in [2, 1] {
        if let Some(word) = text.get(..len).and_then(Word::parse) {
            return (Kind::Word(word), len);
        }
    }
    (Kind::Identifier, first.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(query: &str) -> Vec<Kind> {
        tokens(query).into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn numbers_durations_and_sizes() {
        let (number, end) = (Kind::Number, Kind::End);
        assert_eq!(
            kinds("5 5s 1.5h 1d 5KB 1KiB -5m -5 64and 5 KB"),
            [
                number.clone(),
                Kind::Duration(5_000_000_000),
                Kind::Duration(5_400_000_000_000),
                Kind::Duration(86_400_000_000_000),
                Kind::Bytes(5000),
                Kind::Bytes(1024),
                Kind::Duration(-300_000_000_000),
                Kind::Word(Word::Sub),
                number.clone(),
                number.clone(),
                Kind::Word(Word::And),
                number,
                Kind::Identifier,
                end
            ]
        );
    }

    #[test]
    fn functions_are_names_unless_called() {
        use super::super::ast::VectorOp::Sum;
        assert_eq!(
            kinds("sum(sum BY (sum by sum"),
            [
                Kind::VectorOp(Sum),
                Kind::Word(Word::OpenParen),
                Kind::VectorOp(Sum),
                Kind::Word(Word::By),
                Kind::Word(Word::OpenParen),
                Kind::Identifier,
                Kind::Word(Word::By),
                Kind::Identifier,
                Kind::End
            ]
        );
    }

    #[test]
    fn comments_and_positions() {
        let found = tokens("# one\n /* two\n */ é |= // three\n  x");
        let at: Vec<_> = found.iter().map(|t| (t.text, t.line, t.column)).collect();
        assert_eq!(at, [("é", 3, 5), ("|=", 0, 7), ("x", 4, 3), ("", 4, 4)]);
        assert_eq!(tokens("").last().map(|t| (t.line, t.column)), Some((0, 0)));
    }
}
