//! JSON as `fromJson` reads it: numbers are floats, and what is no document is nil.
//!
//! An own reader because the details show: half a surrogate pair becomes a replacement character, a
//! number that no float holds becomes nil, and the rest of the document stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::value::Value;
use crate::go_number::parse_float;

/// The longest document that is read; its tree takes many times as much memory.
const BYTES_MAX: usize = 1 << 20;

/// How deep lists and maps may be nested. Bounds the stack of all that walks over values.
const DEPTH_MAX: usize = 256;

/// Reads a document.
///
/// # Errors
/// If it is longer or deeper than is read.
pub(super) fn read(text: &[u8]) -> Result<Value<'static>, String> {
    if text.len() > BYTES_MAX {
        return Err(format!("document is longer than {BYTES_MAX} bytes"));
    }
    let mut reader = Reader {
        text,
        at: 0,
        depth: 0,
    };
    let document = reader.value().and_then(|value| {
        reader.skip_space();
        reader.peek().map_or(Ok(value), |_| Err(Fault::Syntax))
    });
    match document {
        Ok(value) => Ok(value),
        Err(Fault::Syntax) => Ok(Value::Nil),
        Err(Fault::Depth) => Err(format!("document is nested deeper than {DEPTH_MAX}")),
    }
}

enum Fault {
    Syntax,
    Depth,
}

type Read<T> = Result<T, Fault>;

struct Reader<'t> {
    text: &'t [u8],
    at: usize,
    depth: usize,
}

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Read<u8> {
        let byte = self.peek().ok_or(Fault::Syntax)?;
        self.at += 1;
        Ok(byte)
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Read<()> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(Fault::Syntax)
        }
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Read<Value<'static>> {
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.nested(Self::map),
            Some(b'[') => self.nested(Self::list),
            Some(b'"') => Ok(Value::Str(self.string()?.into())),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.word(),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Read<Value<'static>>) -> Read<Value<'static>> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Fault::Depth);
        }
        self.at += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn list(&mut self) -> Read<Value<'static>> {
        let mut items = Vec::new();
        self.skip_space();
        if !self.take(b']') {
            loop {
                items.push(self.value()?);
                self.skip_space();
                if !self.take(b',') {
                    self.expect(b']')?;
                    break;
                }
            }
        }
        Ok(Value::List(Arc::new(items)))
    }

    fn map(&mut self) -> Read<Value<'static>> {
        let mut entries = BTreeMap::new();
        self.skip_space();
        if !self.take(b'}') {
            loop {
                self.skip_space();
                let name = self.string()?;
                self.skip_space();
                self.expect(b':')?;
                let value = self.value()?;
                // The last of equal names counts.
                entries.insert(String::from_utf8_lossy(&name).into_owned(), value);
                self.skip_space();
                if !self.take(b',') {
                    self.expect(b'}')?;
                    break;
                }
            }
        }
        Ok(Value::Map {
            entries: Arc::new(entries),
            strings: false,
        })
    }

    fn word(&mut self) -> Read<Value<'static>> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let words = [
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("null", Value::Nil),
        ];
        let found = words
            .into_iter()
            .find(|(word, _)| rest.starts_with(word.as_bytes()));
        let (word, value) = found.ok_or(Fault::Syntax)?;
        self.at += word.len();
        Ok(value)
    }

    fn digits(&mut self) -> Read<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start {
            return Err(Fault::Syntax);
        }
        Ok(())
    }

    fn number(&mut self) -> Read<Value<'static>> {
        let start = self.at;
        self.take(b'-');
        // No digit may follow a leading zero.
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        let number = std::str::from_utf8(text).ok().map(parse_float);
        Ok(match number {
            Some(Ok(number)) => Value::Float(number),
            _ => Value::Nil,
        })
    }

    /// A string with its quotes. Bytes that are not UTF-8 are replaced.
    fn string(&mut self) -> Read<Vec<u8>> {
        self.expect(b'"')?;
        let mut out = Vec::new();
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let end = memchr::memchr2(b'"', b'\\', rest).ok_or(Fault::Syntax)?;
            let plain = rest.get(..end).unwrap_or_default();
            if plain.iter().any(|byte| *byte < b' ') {
                return Err(Fault::Syntax);
            }
            push_utf8(plain, &mut out);
            self.at += end;
            if self.next()? == b'"' {
                return Ok(out);
            }
            self.escape(&mut out)?;
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Read<()> {
        out.push(match self.next()? {
            byte @ (b'"' | b'\\' | b'/') => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let unit = self.hex_unit()?;
                let c = self.character(unit);
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(Fault::Syntax),
        });
        Ok(())
    }

    fn hex_unit(&mut self) -> Read<u32> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = char::from(self.next()?).to_digit(16);
            unit = unit * 16 + digit.ok_or(Fault::Syntax)?;
        }
        Ok(unit)
    }

    /// The character that begins with a unit of UTF-16; half a pair is replaced.
    fn character(&mut self, unit: u32) -> char {
        if let Some(c) = char::from_u32(unit) {
            return c;
        }
        let after = self.at;
        if (0xd800..0xdc00).contains(&unit)
            && self.take(b'\\')
            && self.take(b'u')
            && let Ok(low @ 0xdc00..0xe000) = self.hex_unit()
            && let Some(c) = char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
        {
            return c;
        }
        self.at = after;
        char::REPLACEMENT_CHARACTER
    }
}

/// Appends the text with a replacement character for each byte that is not UTF-8.
fn push_utf8(text: &[u8], out: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        out.extend_from_slice(chunk.valid().as_bytes());
        for _ in chunk.invalid() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::template::gofmt::print_value;

    fn shown(text: &[u8]) -> String {
        let mut out = Vec::new();
        match read(text) {
            Ok(value) => print_value(&value, &mut out),
            Err(fault) => return fault,
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn documents() {
        for (text, value) in [
            (
                r#" {"b":[1, 2.50,-0],"a":{"x":null}} "#,
                "map[a:map[x:<nil>] b:[1 2.5 -0]]",
            ),
            (r#"{"a":1,"a":"two"}"#, "map[a:two]"),
            (r#""\u00e9\n\/\ud83d\ude00""#, "é\n/😀"),
            (
                r#"["\ud800","\ud800\n","\ude00","\ud800\u0041"]"#,
                "[\u{fffd} \u{fffd}\n \u{fffd} \u{fffd}A]",
            ),
            (r#"{"a":1e400,"b":2}"#, "map[a:<nil> b:2]"),
            ("[]", "[]"),
            ("{ }", "map[]"),
            ("123", "123"),
            ("1E3", "1000"),
            ("true", "true"),
        ] {
            assert_eq!(shown(text.as_bytes()), value, "{text}");
        }
        assert_eq!(shown(b"\"a\xff\xc3b\""), "a\u{fffd}\u{fffd}b");
    }

    #[test]
    fn what_is_no_document_is_nil() {
        for text in [
            "",
            "nope",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "{'a':1}",
            "{\"a\"}",
            "01",
            "1.",
            "-",
            ".5",
            "+1",
            "1e",
            "tru",
            "\"a",
            "\"\\q\"",
            "\"\\u12g4\"",
            "\"a\nb\"",
            "1 2",
            "{\"a\":1}}",
            "[1}",
            "NaN",
        ] {
            assert_eq!(shown(text.as_bytes()), "<nil>", "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(shown(deep(DEPTH_MAX).as_bytes()), deep(DEPTH_MAX));
        assert_eq!(
            shown(deep(100_000).as_bytes()),
            "document is nested deeper than 256"
        );
    }

    proptest! {
        #[test]
        fn agrees_with_another_reader(text in r#"[\[\]{}",:0-9eEtrue.\\nu -]{0,24}"#) {
            let ours = shown(text.as_bytes());
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            // The other one refuses large numbers and half pairs.
            if theirs.is_ok() {
                prop_assert_eq!(ours == "<nil>", theirs.unwrap().is_null());
            }
        }

        #[test]
        fn what_is_printed_is_read(items in prop::collection::vec(".{0,12}", 0..6)) {
            let text = serde_json::to_string(&items).unwrap();
            prop_assert_eq!(shown(text.as_bytes()), format!("[{}]", items.join(" ")));
        }
    }
}
