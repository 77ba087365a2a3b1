//! Lines that are no JSON.

use memchr::memchr2;

use super::marks::next_mark;
use super::tokens::{Class, Tokens};

const DIGIT: u8 = 1;
const DOT: u8 = 2;
const DASH: u8 = 4;
const LETTER: u8 = 8;
/// Joins digits to a date or a time of day.
const JOINT: u8 = 16;
/// Ends a value behind `=`.
const END: u8 = 32;
const WORD: u8 = DIGIT | DOT | DASH | LETTER;

const KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b'0'..=b'9' => DIGIT,
            b'.' => DOT,
            b'-' => DASH,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'@' | b'%' | b'~' | b'#' | b'$' | 0x80.. => LETTER,
            b':' | b'/' => JOINT,
            b',' => JOINT | END,
            b' ' | b'\t' | b'\r' | b'\n' | b'"' | b';' | b')' | b']' | b'}' | b'&' => END,
            _ => 0,
        };
        byte += 1;
    }
    kinds
};

#[inline]
fn kind(text: &[u8], at: usize) -> u8 {
    text.get(at).map_or(0, |byte| KINDS[usize::from(*byte)])
}

/// Takes out words with a digit, values behind `=` and quoted text.
pub(super) fn words(text: &[u8], tokens: &mut Tokens) -> bool {
    let mut at = 0;
    while let Some(mark) = next_mark(text, at) {
        let from = std::mem::replace(&mut at, mark);
        let pushed = match text.get(mark) {
            Some(b'"') => quoted(text, &mut at, tokens),
            Some(b'\\') if text.get(mark + 1) == Some(&b'"') => escaped(text, &mut at, tokens),
            Some(b'\\') => {
                at += 1;
                true
            }
            Some(b'=') => assigned(text, &mut at, tokens),
            _ => {
                at = word_start(text, from, mark);
                word(text, &mut at, tokens)
            }
        };
        if !pushed {
            return false;
        }
    }
    tokens.finish(text);
    true
}

/// Where the word begins that has a digit at `digit` and nothing before `from`.
fn word_start(text: &[u8], from: usize, digit: usize) -> usize {
    let before = text.get(from..digit).unwrap_or_default();
    let is_word = |byte: &&u8| KINDS[usize::from(**byte)] & WORD != 0;
    digit - before.iter().rev().take_while(is_word).count()
}

fn word(text: &[u8], at: &mut usize, tokens: &mut Tokens) -> bool {
    let mut start = *at;
    let mut seen = 0;
    loop {
        let next = kind(text, *at);
        if next & WORD != 0 {
            seen |= next;
            *at += 1;
        } else if next & JOINT != 0 && joins(text, start, *at, seen) {
            seen |= JOINT;
            *at += 1;
        } else {
            break;
        }
    }
    // A key is text, whatever it looks like.
    if seen & DIGIT == 0 || text.get(*at) == Some(&b'=') {
        return true;
    }
    let mut end = *at;
    while end > start && kind(text, end - 1) & (DOT | DASH) != 0 {
        end -= 1;
    }
    while start < end && kind(text, start) & (DOT | DASH) != 0 {
        start += 1;
    }
    if end < *at || kind(text, start.wrapping_sub(1)) & (DOT | DASH) != 0 {
        seen = (start..end).fold(0, |seen, at| seen | kind(text, at));
    }
    tokens.push(text, start, end, class(seen))
}

/// Whether the byte at `at` is inside a date (`17/06/09`) or a time (`10:00:01,5`).
fn joins(text: &[u8], start: usize, at: usize, seen: u8) -> bool {
    let digit = |at: usize| kind(text, at) == DIGIT;
    if seen & LETTER != 0 || !digit(at + 1) || at < start + 2 || !digit(at - 1) {
        return false;
    }
    match text.get(at) {
        Some(b',') => seen & JOINT != 0,
        Some(b'/') => at - start <= 5 && digit(at - 2) && digit(at + 2),
        _ => digit(at - 2) && digit(at + 2) && (seen & DOT == 0 || seen & JOINT != 0),
    }
}

fn class(seen: u8) -> Class {
    if seen & LETTER != 0 {
        Class::Other
    } else if seen & (DASH | JOINT) != 0 {
        Class::Time
    } else if seen & DOT != 0 {
        Class::Decimal
    } else {
        Class::Digits
    }
}

/// `at` is at a quote.
fn quoted(text: &[u8], at: &mut usize, tokens: &mut Tokens) -> bool {
    let start = *at + 1;
    let mut from = start;
    loop {
        let rest = text.get(from..).unwrap_or_default();
        match memchr2(b'"', b'\\', rest) {
            None => {
                *at = start;
                return true;
            }
            Some(found) if rest.get(found) == Some(&b'"') => {
                let end = from + found;
                *at = end + 1;
                return end == start || tokens.push(text, start, end, Class::Other);
            }
            Some(found) => from = (from + found + 2).min(text.len()),
        }
    }
}

/// `at` is at `\"`: text up to the next one.
fn escaped(text: &[u8], at: &mut usize, tokens: &mut Tokens) -> bool {
    let start = *at + 2;
    let rest = text.get(start..).unwrap_or_default();
    match memchr::memmem::find(rest, b"\\\"") {
        None | Some(0) => {
            *at = start;
            true
        }
        Some(len) => {
            *at = start + len + 2;
            tokens.push(text, start, start + len, Class::Other)
        }
    }
}

/// `at` is at `=`.
fn assigned(text: &[u8], at: &mut usize, tokens: &mut Tokens) -> bool {
    *at += 1;
    let start = *at;
    let mut seen = 0;
    while let Some(byte) = text.get(*at) {
        let kind = KINDS[usize::from(*byte)];
        if kind & END != 0 || (seen == 0 && (*byte == b'=' || *byte == b'\\')) {
            break;
        }
        seen |= if kind & WORD != 0 {
            kind & WORD
        } else {
            LETTER
        };
        *at += 1;
    }
    *at == start || tokens.push(text, start, *at, class(seen))
}

/// Takes out numbers, wherever they are.
pub(super) fn numbers(text: &[u8], tokens: &mut Tokens) -> bool {
    let mut at = 0;
    while at < text.len() {
        if kind(text, at) != DIGIT {
            at += 1;
            continue;
        }
        let start = at;
        let mut seen = DIGIT;
        loop {
            let next = kind(text, at);
            let inside = next == DOT && seen & DOT == 0 && kind(text, at + 1) == DIGIT;
            if next != DIGIT && !inside {
                break;
            }
            seen |= next;
            at += 1;
        }
        if !tokens.push(text, start, at, class(seen)) {
            return false;
        }
    }
    tokens.finish(text);
    true
}

/// What decides which column each value of a template belongs to: the text before it, if there is
/// enough, else all of the template before it.
pub(super) fn contexts(template: &[u8], mut visit: impl FnMut(&[u8])) {
    const NEAR: usize = 24;
    const ENOUGH_LETTERS: usize = 3;
    let mut piece = 0;
    for (at, byte) in template.iter().enumerate() {
        if *byte >= crate::shape::FIRST_TEXT_BYTE {
            continue;
        }
        let near = template
            .get(piece.max(at.saturating_sub(NEAR))..at)
            .unwrap_or_default();
        let letters = near.iter().filter(|byte| byte.is_ascii_alphabetic());
        visit(if letters.count() >= ENOUGH_LETTERS {
            near
        } else {
            template.get(..at).unwrap_or_default()
        });
        piece = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draft::tokens::Mode;

    fn template(text: &str, mode: Mode) -> String {
        let mut tokens = Tokens::default();
        assert!(tokens.take(text.as_bytes(), mode));
        let mut parts = tokens.parts.iter();
        let mut shown = String::new();
        for byte in &tokens.template {
            if *byte < 5 {
                let part = parts.next().unwrap().of(text.as_bytes());
                shown += &format!("<{}:{}>", byte, String::from_utf8_lossy(part));
            } else {
                shown.push(*byte as char);
            }
        }
        shown
    }

    #[test]
    fn variable_parts_are_taken_out() {
        for (text, expected) in [
            ("plain words only", "plain words only"),
            ("took 5.", "took <1:5>."),
            (
                "at 10:00:01,5 and 17/06/09",
                "at <3:10:00:01,5> and <3:17/06/09>",
            ),
            ("2005-06-03-15.42", "<3:2005-06-03-15.42>"),
            ("from 10.0.0.1:8080", "from <2:10.0.0.1>:<1:8080>"),
            ("a=b c1=d e==", "a=<4:b> c1=<4:d> e=="),
            ("msg=\"two words\" n=1.5", "msg=\"<4:two words>\" n=<2:1.5>"),
            ("say \\\"it\\\" \"", "say \\\"<4:it>\\\" \""),
            ("\"a \\\" b\" \"\"", "\"<4:a \\\" b>\" \"\""),
            ("blk_-16 x", "<4:blk_-16> x"),
        ] {
            assert_eq!(template(text, Mode::Words), expected);
        }
        assert_eq!(
            template("/v1/12.5ms.7", Mode::Numbers),
            "/v<1:1>/<2:12.5>ms.<1:7>"
        );
    }
}
