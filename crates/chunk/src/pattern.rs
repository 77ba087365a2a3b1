//! The pattern of a line: its text with a mark in place of each word that differs from line to line.
//!
//! Words with a digit are such: numbers, times, addresses and identifiers are what differs first. Who
//! looks at patterns of many lines finds out which other words differ.

/// Stands for a word that differs.
pub const VARIABLE: u8 = 1;

/// Bytes of a line that count; what comes behind is one that differs.
const LINE_BYTES_MAX: usize = 3000;
/// Tokens of a line that count; what comes behind is one that differs.
const TOKENS_MAX: usize = 128;

/// Separates words.
const SEPARATOR: u8 = 1;
/// A word that has it differs.
const DIFFERS: u8 = 2;

const KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c => SEPARATOR,
            b'=' | b',' | b'"' | b'\'' | b'[' | b']' | b'(' | b')' => SEPARATOR,
            b'{' | b'}' | b';' | b'|' => SEPARATOR,
            b'0'..=b'9' => DIFFERS,
            // What a template has in place of a value, too.
            0..crate::shape::FIRST_TEXT_BYTE => DIFFERS,
            _ => 0,
        };
        byte += 1;
    }
    kinds
};

/// A part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternToken<'a> {
    /// A word or what separates words.
    Fixed(&'a [u8]),
    /// A word that differs.
    Variable,
}

/// The next word or what separates words, whether a word differs, and what is left.
fn next_token(text: &[u8]) -> Option<(PatternToken<'_>, &[u8])> {
    let kind = |byte: &u8| KINDS[usize::from(*byte)];
    let is_separator = kind(text.first()?) == SEPARATOR;
    let mut differs = false;
    let ends = |byte: &u8| {
        let kind = kind(byte);
        differs |= kind == DIFFERS;
        (kind == SEPARATOR) != is_separator
    };
    let end = text.iter().position(ends).unwrap_or(text.len());
    let (part, rest) = text.split_at(end);
    // The byte behind separators was looked at too.
    let token = match differs && !is_separator {
        true => PatternToken::Variable,
        false => PatternToken::Fixed(part),
    };
    Some((token, rest))
}

/// The parts of a text, or of a pattern.
pub fn pattern_tokens(text: &[u8]) -> impl Iterator<Item = PatternToken<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (token, left) = next_token(rest)?;
        rest = left;
        Some(token)
    })
}

/// Appends the pattern of a line. The pattern of a pattern is the same.
pub fn put_pattern(line: &[u8], out: &mut Vec<u8>) {
    let counts = line.get(..LINE_BYTES_MAX).unwrap_or(line);
    let mut tokens = pattern_tokens(counts);
    for token in tokens.by_ref().take(TOKENS_MAX) {
        match token {
            PatternToken::Fixed(text) => out.extend_from_slice(text),
            PatternToken::Variable => out.push(VARIABLE),
        }
    }
    let is_cut = tokens.next().is_some() || counts.len() < line.len();
    if is_cut && out.last() != Some(&VARIABLE) {
        out.push(VARIABLE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(line: &str) -> String {
        let mut out = Vec::new();
        put_pattern(line.as_bytes(), &mut out);
        let mut again = Vec::new();
        put_pattern(&out, &mut again);
        assert_eq!(out, again);
        String::from_utf8(out).unwrap().replace('\u{1}', "<_>")
    }

    #[test]
    fn words_with_digits_differ() {
        for (line, expected) in [
            ("GET /a/17 took 5ms", "GET <_> took <_>"),
            ("level=info user=\"bob\"", "level=info user=\"bob\""),
            ("", ""),
            ("2026-01-01T00:00:00Z x", "<_> x"),
            ("a, 5", "a, <_>"),
            ("é=1", "é=<_>"),
        ] {
            assert_eq!(pattern(line), expected);
        }
    }

    #[test]
    fn long_lines_end_with_what_differs() {
        let many = pattern(&"a ".repeat(1000));
        assert_eq!(many, format!("{}<_>", "a ".repeat(TOKENS_MAX / 2)));
        let long = pattern(&"a".repeat(LINE_BYTES_MAX + 1));
        assert_eq!(pattern_tokens(long.as_bytes()).count(), 1);
        assert_eq!(pattern(&"5".repeat(LINE_BYTES_MAX + 1)), "<_>");
    }
}
