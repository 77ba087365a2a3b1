//! Lines that are JSON objects.

use memchr::memchr2;

use super::tokens::{Class, Tokens};
use crate::shape::FIRST_TEXT_BYTE;

/// Deeper objects are taken as text.
const MAX_DEPTH: usize = 32;

/// Takes out every scalar value. `false`, and something else in `tokens`, if the line is no object.
pub(super) fn take(line: &[u8], tokens: &mut Tokens) -> bool {
    let mut scan = Scan {
        line,
        at: 0,
        tokens,
    };
    let is_json = scan.value(0).is_some();
    scan.space();
    if !is_json || scan.at != line.len() {
        return false;
    }
    tokens.finish(line);
    true
}

struct Scan<'a> {
    line: &'a [u8],
    at: usize,
    tokens: &'a mut Tokens,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            b'{' if depth < MAX_DEPTH => self.items(b'}', depth, true),
            b'[' if depth < MAX_DEPTH => self.items(b']', depth, false),
            b'"' => {
                let start = self.at + 1;
                self.string()?;
                self.push(start, self.at - 1, Class::Other)
            }
            b'-' | b'0'..=b'9' => {
                let start = self.at;
                while matches!(
                    self.peek(),
                    Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
                ) {
                    self.at += 1;
                }
                self.push(start, self.at, Class::Digits)
            }
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => None,
        }
    }

    /// Members of an object or elements of an array.
    fn items(&mut self, close: u8, depth: usize, with_keys: bool) -> Option<()> {
        self.at += 1;
        self.space();
        if self.peek()? == close {
            self.at += 1;
            return Some(());
        }
        loop {
            self.space();
            if with_keys {
                (self.peek()? == b'"').then_some(())?;
                self.string()?;
                self.space();
                self.expect(b':')?;
                self.space();
            }
            self.value(depth + 1)?;
            self.space();
            match self.peek()? {
                b',' => self.at += 1,
                byte if byte == close => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    /// From a quote to behind the one that ends the string.
    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            let rest = self.line.get(self.at..)?;
            let found = memchr2(b'"', b'\\', rest)?;
            if rest.get(found) == Some(&b'"') {
                self.at += found + 1;
                return Some(());
            }
            self.at += found + 2;
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        let start = self.at;
        self.line.get(start..)?.starts_with(word).then_some(())?;
        self.at += word.len();
        self.push(start, self.at, Class::Time)
    }

    fn push(&mut self, start: usize, end: usize, class: Class) -> Option<()> {
        self.tokens.push(self.line, start, end, class).then_some(())
    }
}

/// What decides which column each value of a JSON template belongs to: the keys on the way to it,
/// joined by zero bytes.
pub(super) fn contexts(template: &[u8], mut visit: impl FnMut(&[u8])) {
    let mut path: Vec<u8> = Vec::new();
    // Per object or array around: whether it is an object, and how long the path to it is.
    let mut around: Vec<(bool, usize)> = Vec::new();
    let mut at = 0;
    let mut wants_key = false;
    while let Some(byte) = template.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => {
                path.push(if *byte == b'[' { 1 } else { 0 });
                around.push((*byte == b'{', path.len()));
                wants_key = *byte == b'{';
            }
            b'}' | b']' => {
                around.pop();
                path.truncate(around.last().map_or(0, |(_, len)| *len));
            }
            b',' => {
                let (is_object, len) = around.last().copied().unwrap_or_default();
                path.truncate(len);
                wants_key = is_object;
            }
            b'"' if wants_key => {
                let end = end_of_string(template, at);
                path.extend_from_slice(template.get(at..end).unwrap_or_default());
                at = end + 1;
                wants_key = false;
            }
            byte if *byte < FIRST_TEXT_BYTE => visit(&path),
            _ => {}
        }
    }
}

fn end_of_string(text: &[u8], mut at: usize) -> usize {
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draft::tokens::Mode;

    fn take(line: &str) -> Option<(String, Vec<String>)> {
        let mut tokens = Tokens::default();
        assert!(tokens.take(line.as_bytes(), Mode::Lines));
        let template = String::from_utf8(tokens.template.clone()).unwrap();
        let mut paths = Vec::new();
        contexts(&tokens.template, |path| {
            paths.push(String::from_utf8_lossy(path).replace('\0', "/"));
        });
        tokens.is_json.then_some((template, paths))
    }

    #[test]
    fn values_are_taken_out_and_keys_say_where_they_were() {
        let (template, paths) =
            take(r#"{"a":1, "b\"":{"c":"x\"y","d":[true,"",-1.5e3]},"e":null} "#).unwrap();
        assert_eq!(
            template,
            "{\"a\":\u{1}, \"b\\\"\":{\"c\":\"\u{4}\",\"d\":[\u{3},\"\u{4}\",\u{1}]},\"e\":\u{3}} "
        );
        let array = "/b\\\"/d\u{1}";
        assert_eq!(paths, ["/a", "/b\\\"/c", array, array, array, "/e"]);
    }

    #[test]
    fn what_is_no_object_is_text() {
        for line in [
            "{",
            "{}x",
            "{\"a\"}",
            "{\"a\":1,}",
            "{\"a\":tru}",
            "{a:1}",
            "{\"a\":\"}",
        ] {
            assert_eq!(take(line), None, "{line}");
        }
        assert!(take("{}").is_some());
    }
}
