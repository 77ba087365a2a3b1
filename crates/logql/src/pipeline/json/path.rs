//! Paths into JSON: `a.b[0]["c d"]`.

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Step {
    /// The field of this key.
    Key(Box<[u8]>),
    /// The element of this number.
    Index(usize),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Open,
    Close,
    Dot,
    String(String),
    Index(usize),
    Field(String),
    End,
}

impl Token {
    fn name(&self) -> &'static str {
        match self {
            Self::Open => "LSB",
            Self::Close => "RSB",
            Self::Dot => "DOT",
            Self::String(_) => "STRING",
            Self::Index(_) => "INDEX",
            Self::Field(_) => "FIELD",
            Self::End => "$end",
        }
    }

    fn unexpected(&self, expecting: &str) -> String {
        format!("syntax error: unexpected {}{expecting}", self.name())
    }
}

/// Reads a path. The error is what clients of the reference see.
pub(crate) fn parse(path: &str) -> Result<Vec<Step>, String> {
    let mut lexer = Lexer {
        rest: path,
        fault: None,
    };
    let mut steps = Vec::new();
    let mut token = lexer.next();
    if !matches!(token, Token::Open | Token::Field(_)) {
        return Err(token.unexpected(", expecting LSB or FIELD"));
    }
    loop {
        match token {
            Token::Field(field) if steps.is_empty() => steps.push(key(&field)),
            Token::Dot if !steps.is_empty() => match lexer.next() {
                Token::Field(field) => steps.push(key(&field)),
                other => return Err(other.unexpected(", expecting FIELD")),
            },
            Token::Open => {
                steps.push(match lexer.next() {
                    Token::String(text) => key(&text),
                    Token::Index(index) => Step::Index(index),
                    other => return Err(other.unexpected(", expecting STRING or INDEX")),
                });
                let close = lexer.next();
                if close != Token::Close {
                    return Err(close.unexpected(", expecting RSB"));
                }
            }
            Token::End => return lexer.fault.map_or(Ok(steps), Err),
            other => return Err(other.unexpected("")),
        }
        token = lexer.next();
    }
}

fn key(text: &str) -> Step {
    Step::Key(text.as_bytes().into())
}

struct Lexer<'a> {
    rest: &'a str,
    /// What stopped the lexer; from then on it gives `End`.
    fault: Option<String>,
}

impl Lexer<'_> {
    fn next(&mut self) -> Token {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n']);
        let Some(c) = self.rest.chars().next() else {
            return Token::End;
        };
        let single = match c {
            '[' => Token::Open,
            ']' => Token::Close,
            '.' => Token::Dot,
            '0'..='9' => return self.index(),
            '"' => return self.string(),
            '_' | 'a'..='z' | 'A'..='Z' => return self.field(),
            other => return self.stop(format!("unexpected char {other}")),
        };
        self.take(1);
        single
    }

    fn take(&mut self, len: usize) -> &str {
        let (taken, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    fn stop(&mut self, fault: String) -> Token {
        self.rest = "";
        self.fault = Some(fault);
        Token::End
    }

    fn field(&mut self) -> Token {
        let is_end = |c: char| c != '_' && !c.is_ascii_alphanumeric();
        let len = self.rest.find(is_end).unwrap_or(self.rest.len());
        Token::Field(self.take(len).to_owned())
    }

    fn string(&mut self) -> Token {
        self.take(1);
        let len = self.rest.find('"').unwrap_or(self.rest.len());
        let text = self.take(len).to_owned();
        self.take(1);
        Token::String(text)
    }

    /// Digits up to a bracket, dot or space; a number that ends otherwise is none.
    fn index(&mut self) -> Token {
        let len = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let ends = self.rest.get(len..).is_some_and(|rest| rest.starts_with([']', ' ']));
        match self.take(len).parse() {
            Ok(index) if ends => Token::Index(index),
            _ => self.stop("non-integer value".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_steps() {
        let steps = parse(r#"a.b_1[0]["c d"] [ 12 ].e"#).unwrap();
        let expected = [
            key("a"),
            key("b_1"),
            Step::Index(0),
            key("c d"),
            Step::Index(12),
            key("e"),
        ];
        assert_eq!(steps, expected);
        assert_eq!(parse(r#"["a.b"]"#).unwrap(), [key("a.b")]);
    }

    #[test]
    fn wrong_paths_are_refused_in_known_words() {
        for (path, text) in [
            ("", "syntax error: unexpected $end, expecting LSB or FIELD"),
            ("1digit", "syntax error: unexpected $end, expecting LSB or FIELD"),
            ("-", "syntax error: unexpected $end, expecting LSB or FIELD"),
            ("a..b", "syntax error: unexpected DOT, expecting FIELD"),
            ("a.0", "syntax error: unexpected $end, expecting FIELD"),
            ("a[", "syntax error: unexpected $end, expecting STRING or INDEX"),
            ("a[x]", "syntax error: unexpected FIELD, expecting STRING or INDEX"),
            ("a[1.5]", "syntax error: unexpected $end, expecting STRING or INDEX"),
            ("a b", "syntax error: unexpected FIELD"),
            ("a!b", "unexpected char !"),
        ] {
            assert_eq!(parse(path).unwrap_err(), text, "{path}");
        }
    }
}
