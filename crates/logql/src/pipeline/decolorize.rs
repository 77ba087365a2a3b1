//! `| decolorize`: lines without the escape sequences of terminals.

use std::sync::LazyLock;

use regex::bytes::Regex;

/// The sequences, as everyone's `ansi-regex` has them: an introducer, then a title that ends with
/// a bell, or parameters and a final byte.
static SEQUENCES: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let pattern = "[\u{1b}\u{9b}][\\[\\]()#;?]*(?:(?:(?:[a-zA-Z0-9]*(?:;[a-zA-Z0-9]*)*)?\u{7})\
                   |(?:(?:[0-9]{1,4}(?:;[0-9]{0,4})*)?[0-9A-PRZcf-ntqry=><~]))";
    Regex::new(pattern).ok()
});

/// Writes the line without sequences to `out`. `false`, and nothing written, if it has none.
pub fn decolorize(line: &[u8], out: &mut Vec<u8>) -> bool {
    // U+009B is C2 9B in UTF-8.
    if memchr::memchr2(0x1b, 0x9b, line).is_none() {
        return false;
    }
    let Some(sequences) = &*SEQUENCES else {
        return false;
    };
    out.clear();
    let mut at = 0;
    for found in sequences.find_iter(line) {
        out.extend_from_slice(line.get(at..found.start()).unwrap_or_default());
        at = found.end();
    }
    out.extend_from_slice(line.get(at..).unwrap_or_default());
    at > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_go_and_text_stays() {
        let plain = |line: &str| {
            let mut out = Vec::new();
            decolorize(line.as_bytes(), &mut out).then(|| String::from_utf8(out).unwrap())
        };
        assert_eq!(
            plain("\u{1b}[38;5;244mdebug\u{1b}[0m x"),
            Some("debug x".to_owned())
        );
        assert_eq!(plain("\u{1b}[2K\u{1b}[1Gok"), Some("ok".to_owned()));
        assert_eq!(plain("\u{1b}]0;title\u{7}a"), Some("a".to_owned()));
        assert_eq!(plain("no colours"), None);
    }
}
