//! Fields of a JSON line, found without building values.
//!
//! The scanner is lenient: what comes before an error counts, as in Loki. It never recurses, so
//! depth costs nothing but bytes.

use std::borrow::Cow;

use memchr::memchr2;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A string; the token is what is between its quotes, escapes as they are.
    Text,
    /// `{`; the token is empty.
    ObjectStart,
    /// `[`; the token is empty.
    ArrayStart,
    /// Number, `true`, `false`, `null`.
    Other,
}

struct Scanner<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn skip_space(&mut self) -> Option<u8> {
        let rest = self.line.get(self.at..)?;
        let space = rest.iter().position(|b| !b.is_ascii_whitespace())?;
        self.at += space;
        self.line.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.skip_space()? == byte).then(|| self.at += 1)
    }

    /// A string whose opening quote is next.
    fn text(&mut self) -> Option<&'a [u8]> {
        self.take(b'"')?;
        let start = self.at;
        loop {
            let found = self.at + memchr2(b'"', b'\\', self.line.get(self.at..)?)?;
            if self.line.get(found) == Some(&b'"') {
                self.at = found + 1;
                return self.line.get(start..found);
            }
            self.at = found + 2;
        }
    }

    /// A value, or the beginning of one that has parts.
    fn value(&mut self) -> Option<(Kind, &'a [u8])> {
        match self.skip_space()? {
            b'"' => Some((Kind::Text, self.text()?)),
            b'{' => {
                self.at += 1;
                Some((Kind::ObjectStart, &[]))
            }
            b'[' => {
                self.at += 1;
                Some((Kind::ArrayStart, &[]))
            }
            _ => {
                let rest = self.line.get(self.at..)?;
                let ends = |b: &u8| matches!(b, b',' | b'}' | b']') || b.is_ascii_whitespace();
                let len = rest.iter().position(ends)?;
                self.at += len;
                (len > 0).then_some((Kind::Other, rest.get(..len)?))
            }
        }
    }

    /// Passes over the rest of an object or array whose opening bracket was taken.
    fn skip_nested(&mut self) -> Option<()> {
        let mut open = 1_usize;
        while open > 0 {
            match self.line.get(self.at)? {
                b'"' => {
                    self.text()?;
                    continue;
                }
                b'{' | b'[' => open += 1,
                b'}' | b']' => open -= 1,
                _ => {}
            }
            self.at += 1;
        }
        Some(())
    }
}

/// The first string, in the order of the line, whose key is one of `names` and that is no deeper
/// than `depth_max` objects, the line's own included; 0 means any depth. Arrays are passed over.
pub(crate) fn first_text_of<'a>(
    line: &'a [u8],
    names: &[String],
    depth_max: usize,
) -> Option<&'a [u8]> {
    let mut scanner = Scanner { line, at: 0 };
    scanner.take(b'{')?;
    let mut depth = 1_usize;
    let mut expects_key = true;
    loop {
        match scanner.skip_space()? {
            b'}' => {
                scanner.at += 1;
                depth -= 1;
                if depth == 0 {
                    return None;
                }
                expects_key = false;
            }
            b',' if !expects_key => {
                scanner.at += 1;
                expects_key = true;
            }
            b'"' if expects_key => {
                let key = scanner.text()?;
                scanner.take(b':')?;
                expects_key = false;
                match scanner.value()? {
                    (Kind::Text, text) if names.iter().any(|name| name.as_bytes() == key) => {
                        return Some(text);
                    }
                    (Kind::ObjectStart, _) if depth_max == 0 || depth < depth_max => {
                        depth += 1;
                        expects_key = true;
                    }
                    (Kind::ObjectStart | Kind::ArrayStart, _) => scanner.skip_nested()?,
                    _ => {}
                }
            }
            _ => return None,
        }
    }
}

/// The value at a path of keys, `a.b.c`: a string without its quotes and escapes, else the text of
/// the value.
pub(crate) fn at_path<'a>(line: &'a [u8], path: &str) -> Option<Cow<'a, str>> {
    let mut scanner = Scanner { line, at: 0 };
    scanner.take(b'{')?;
    let mut keys = path.split('.').peekable();
    loop {
        let key = keys.next()?;
        find_key(&mut scanner, key)?;
        let start = scanner.at;
        let (kind, token) = scanner.value()?;
        match (kind, keys.peek().is_some()) {
            (Kind::ObjectStart, true) => {}
            (_, true) => return None,
            (Kind::Text, false) => return unescaped(token),
            (Kind::Other, false) => return std::str::from_utf8(token).ok().map(Cow::Borrowed),
            (Kind::ObjectStart | Kind::ArrayStart, false) => {
                scanner.skip_nested()?;
                let text = line.get(start..scanner.at)?.trim_ascii();
                return std::str::from_utf8(text).ok().map(Cow::Borrowed);
            }
        }
    }
}

/// Moves behind the colon of `key` in the object whose bracket was taken.
fn find_key(scanner: &mut Scanner<'_>, key: &str) -> Option<()> {
    loop {
        let found = scanner.text()?;
        scanner.take(b':')?;
        if found == key.as_bytes() {
            return Some(());
        }
        if let (Kind::ObjectStart | Kind::ArrayStart, _) = scanner.value()? {
            scanner.skip_nested()?;
        }
        scanner.take(b',')?;
    }
}

fn unescaped(token: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(token).ok()?;
    if !text.contains('\\') {
        return Some(Cow::Borrowed(text));
    }
    serde_json::from_str(&format!("\"{text}\""))
        .ok()
        .map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_text_down_to_a_depth() {
        let names = ["level".to_owned()];
        for (line, depth_max, found) in [
            (r#"{"level":"a"}"#, 1, Some("a")),
            (r#"{"x":{"level":"b"},"level":"a"}"#, 0, Some("b")),
            (r#"{"x":{"level":"b"},"level":"a"}"#, 1, Some("a")),
            (r#"{"x":{"y":{"level":"b"}},"level":"a"}"#, 2, Some("a")),
            (
                r#"{"level":1,"x":[{"level":"no"}],"y":{"level":"c"}}"#,
                2,
                Some("c"),
            ),
            (r#"{"level":"a" broken"#, 2, Some("a")),
            (r#"{"a":1 broken,"level":"a"}"#, 2, None),
            (r#"{"a":"}","b":"\"","level":"d"}"#, 2, Some("d")),
            (r#"["level"]"#, 2, None),
            ("{", 2, None),
            ("", 2, None),
        ] {
            let expected = found.map(str::as_bytes);
            assert_eq!(
                first_text_of(line.as_bytes(), &names, depth_max),
                expected,
                "{line}"
            );
        }
    }

    #[test]
    fn values_at_paths() {
        let line = br#"{"traceID":"t\"1","trace":{"id": 7 ,"tags":["a",{}]},"org":true}"#;
        for (path, value) in [
            ("traceID", Some("t\"1")),
            ("trace.id", Some("7")),
            ("trace.tags", Some(r#"["a",{}]"#)),
            ("org", Some("true")),
            ("org.x", None),
            ("none", None),
        ] {
            assert_eq!(at_path(line, path).as_deref(), value, "{path}");
        }
    }

    #[test]
    fn depth_does_not_cost_stack() {
        let line = format!("{}{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
        assert_eq!(
            first_text_of(line.as_bytes(), &["level".to_owned()], 0),
            None
        );
    }
}
