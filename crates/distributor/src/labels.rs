//! Label sets written as text, `{a="x", b="y"}`: what protobuf pushes name their streams by.
//!
//! The syntax, its positions and its errors are those of Prometheus's parser, which clients of Loki
//! see through.

use model::units::quote;

/// Where and why a text is no label set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: parse error: {message}")]
pub(crate) struct LabelsError {
    line: usize,
    column: usize,
    message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Name(String),
    /// As written, and what it means.
    Text(String, String),
    Symbol(&'static str),
    End,
}

impl Token {
    fn describe(&self) -> String {
        match self {
            Self::Name(name) => format!("identifier {}", quote(name)),
            Self::Text(written, _) => format!("string {}", quote(written)),
            Self::Symbol(symbol @ ("=" | "," | "{" | "}")) => format!("\"{symbol}\""),
            Self::Symbol(operator) => format!("<op:{operator}>"),
            Self::End => "end of input".to_owned(),
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    in_braces: bool,
}

impl<'a> Lexer<'a> {
    fn error(&self, at: usize, message: impl Into<String>) -> LabelsError {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        LabelsError {
            line: before.matches('\n').count() + 1,
            column: at - line_start + 1,
            message: message.into(),
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next token and where it begins.
    fn next(&mut self) -> Result<(usize, Token), LabelsError> {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
        let (start, rest) = (self.at, self.rest());
        let Some(first) = rest.chars().next() else {
            return if self.in_braces {
                Err(self.error(start, "unexpected end of input inside braces"))
            } else {
                Ok((start, Token::End))
            };
        };
        let token = match first {
            'a'..='z' | 'A'..='Z' | '_' => self.name(rest, ""),
            ':' if !self.in_braces => self.name(rest, ":"),
            '"' | '\'' | '`' => self.quoted(first)?,
            _ => match ["=~", "!=", "!~", "=", ",", "{", "}"]
                .into_iter()
                .find(|symbol| rest.starts_with(symbol))
            {
                Some(symbol) => {
                    self.at += symbol.len();
                    Token::Symbol(symbol)
                }
                None if self.in_braces => {
                    let message = format!("unexpected character inside braces: '{first}'");
                    return Err(self.error(start, message));
                }
                None => {
                    return Err(self.error(start, format!("unexpected character: '{first}'")));
                }
            },
        };
        match token {
            Token::Symbol("{") => self.in_braces = true,
            Token::Symbol("}") => self.in_braces = false,
            _ => {}
        }
        Ok((start, token))
    }

    fn name(&mut self, rest: &str, also: &str) -> Token {
        let belongs = |c: char| c.is_ascii_alphanumeric() || c == '_' || also.contains(c);
        let len = rest.find(|c: char| !belongs(c)).unwrap_or(rest.len());
        self.at += len;
        Token::Name(rest.get(..len).unwrap_or_default().to_owned())
    }

    fn quoted(&mut self, quote_char: char) -> Result<Token, LabelsError> {
        let (start, rest) = (self.at, self.rest());
        let mut chars = rest.char_indices().skip(1);
        loop {
            match chars.next() {
                Some((at, c)) if c == quote_char => {
                    let inner = rest.get(1..at).unwrap_or_default();
                    self.at = start + at + 1;
                    let value = if quote_char == '`' {
                        inner.to_owned()
                    } else {
                        unescaped(inner).map_err(|message| self.error(start, message))?
                    };
                    let written = rest.get(..=at).unwrap_or_default().to_owned();
                    return Ok(Token::Text(written, value));
                }
                Some((_, '\\')) if quote_char != '`' => {
                    chars.next();
                }
                Some((_, '\n')) if quote_char != '`' => break,
                Some(_) => {}
                None => break,
            }
        }
        let kind = if quote_char == '`' { "raw" } else { "quoted" };
        Err(self.error(start, format!("unterminated {kind} string")))
    }
}

/// Resolves Go's escapes. Bytes that are no UTF-8 become the replacement character.
fn unescaped(text: &str) -> Result<String, String> {
    if !text.contains('\\') {
        return Ok(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let mut chars = escape.chars();
        let c = chars.next().ok_or("escape sequence not terminated")?;
        let simple = match c {
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'n' => Some(b'\n'),
            'r' => Some(b'\r'),
            't' => Some(b'\t'),
            'v' => Some(11),
            '\\' | '\'' | '"' => u8::try_from(c).ok(),
            _ => None,
        };
        rest = chars.as_str();
        if let Some(byte) = simple {
            bytes.push(byte);
            continue;
        }
        let (digits, radix, from) = match c {
            '0'..='7' => (3, 8, escape),
            'x' => (2, 16, rest),
            'u' => (4, 16, rest),
            'U' => (8, 16, rest),
            _ => {
                return Err(format!(
                    "unknown escape sequence U+{:04X} '{c}'",
                    u32::from(c)
                ));
            }
        };
        let number = from
            .get(..digits)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| u32::from_str_radix(digits, radix).ok())
            .ok_or("illegal character in escape sequence")?;
        if matches!(c, 'u' | 'U') {
            let c =
                char::from_u32(number).ok_or("escape sequence is an invalid Unicode code point")?;
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            bytes.push(u8::try_from(number).map_err(|_| "octal escape value > 255")?);
        }
        rest = from.get(digits..).unwrap_or_default();
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// The pairs of a label set as they are written. A name in front of the braces, or instead of
/// them, is the label `__name__`. Nothing at all is the empty set.
pub(crate) fn parse(text: &str) -> Result<Vec<(String, String)>, LabelsError> {
    let mut lexer = Lexer {
        text,
        at: 0,
        in_braces: false,
    };
    let mut pairs = Vec::new();
    let (mut at, mut token) = lexer.next()?;
    if let Token::Name(name) = token {
        pairs.push(("__name__".to_owned(), name));
        (at, token) = lexer.next()?;
    }
    if token == Token::Symbol("{") {
        parse_braces(&mut lexer, &mut pairs)?;
        (at, token) = lexer.next()?;
    }
    if token == Token::End {
        Ok(pairs)
    } else {
        Err(lexer.error(at, format!("unexpected {}", token.describe())))
    }
}

fn parse_braces(
    lexer: &mut Lexer<'_>,
    pairs: &mut Vec<(String, String)>,
) -> Result<(), LabelsError> {
    let unexpected = |lexer: &Lexer<'_>, at: usize, token: &Token, expected: &str| {
        let message = format!(
            "unexpected {} in label set, expected {expected}",
            token.describe()
        );
        Err(lexer.error(at, message))
    };
    loop {
        let (at, token) = lexer.next()?;
        let name = match token {
            Token::Symbol("}") => return Ok(()),
            Token::Name(name) | Token::Text(_, name) => name,
            other => return unexpected(lexer, at, &other, "identifier or \"}\""),
        };
        let (at, token) = lexer.next()?;
        if token != Token::Symbol("=") {
            return unexpected(lexer, at, &token, "\"=\"");
        }
        let (at, token) = lexer.next()?;
        let Token::Text(_, value) = token else {
            return unexpected(lexer, at, &token, "string");
        };
        pairs.push((name, value));
        match lexer.next()? {
            (_, Token::Symbol("}")) => return Ok(()),
            (_, Token::Symbol(",")) => {}
            (at, other) => return unexpected(lexer, at, &other, "\",\" or \"}\""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_sets_that_loki_accepts() {
        let of = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect()
        };
        for (text, pairs) in [
            ("", &[][..]),
            ("{}", &[]),
            (r#"{case="x",}"#, &[("case", "x")]),
            ("{case='x'}", &[("case", "x")]),
            ("{case=`a\\n`}", &[("case", "a\\n")]),
            (r#" { case = "x" } "#, &[("case", "x")]),
            (r#"{case="x", "a.b"="y"}"#, &[("case", "x"), ("a.b", "y")]),
            (
                r#"metric{case="x"}"#,
                &[("__name__", "metric"), ("case", "x")],
            ),
            (r#"{a="q\"\\\n\t\x41\u00e9\101"}"#, &[("a", "q\"\\\n\tAéA")]),
            (r#"{a="}{,="}"#, &[("a", "}{,=")]),
        ] {
            assert_eq!(parse(text), Ok(of(pairs)), "{text}");
        }
    }

    #[test]
    fn errors_are_worded_as_loki_words_them() {
        for (text, message) in [
            (r#"case="pl1""#, r#"1:5: parse error: unexpected "=""#),
            (
                "{case=pl2}",
                r#"1:7: parse error: unexpected identifier "pl2" in label set, expected string"#,
            ),
            (
                r#"{case="pl7", a-b="x"}"#,
                "1:15: parse error: unexpected character inside braces: '-'",
            ),
            (
                r#"{case=~"pl9"}"#,
                r#"1:6: parse error: unexpected <op:=~> in label set, expected "=""#,
            ),
            (
                r#"{case="pl10"} |= "x""#,
                "1:15: parse error: unexpected character: '|'",
            ),
            (
                r#"{case="lg2""#,
                "1:12: parse error: unexpected end of input inside braces",
            ),
            (
                r#"{case="ln", é="x"}"#,
                "1:13: parse error: unexpected character inside braces: 'é'",
            ),
            (r#"{a="x"#, "1:4: parse error: unterminated quoted string"),
            (
                r#"{a="x" b="y"}"#,
                r#"1:8: parse error: unexpected identifier "b" in label set, expected "," or "}""#,
            ),
            (
                r#"{="x"}"#,
                r#"1:2: parse error: unexpected "=" in label set, expected identifier or "}""#,
            ),
            (
                "{a=\"x\",\n b}",
                r#"2:3: parse error: unexpected "}" in label set, expected "=""#,
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), message, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in r#"[{}=,"'`\\ a-cxuU0-9é~!\n]{0,40}"#) {
            let _ = parse(&text);
        }

        #[test]
        fn quoted_values_come_back(value in "\\PC{0,30}") {
            let text = format!("{{a={}}}", quote(&value));
            proptest::prop_assert_eq!(parse(&text), Ok(vec![("a".to_owned(), value)]));
        }
    }
}
