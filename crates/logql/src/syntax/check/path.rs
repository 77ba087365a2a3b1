//! The expressions of `| json a="x.y[0]"` and `| logfmt a="b"`.

/// A step into a JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathSegment {
    /// A field of an object: `.name` or `["name"]`.
    Field(String),
    /// An element of an array: `[0]`.
    Index(usize),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Field(String),
    String(String),
    Index(usize),
    Open,
    Close,
    Dot,
    End,
    /// The character, if it is one that cannot stand anywhere.
    Bad(Option<char>),
}

impl Token {
    fn name(&self, field: &str) -> String {
        match self {
            Self::Field(_) => field.to_owned(),
            Self::String(_) => "STRING".to_owned(),
            Self::Index(_) => "INDEX".to_owned(),
            Self::Open => "LSB".to_owned(),
            Self::Close => "RSB".to_owned(),
            Self::Dot => "DOT".to_owned(),
            Self::End | Self::Bad(_) => "$end".to_owned(),
        }
    }
}

fn unexpected(token: &Token, field: &str, expecting: &str) -> String {
    format!("syntax error: unexpected {}{expecting}", token.name(field))
}

/// What separates tokens.
const BLANK: [char; 3] = [' ', '\t', '\n'];

/// Cuts a quoted string off the start of `text`. Nothing is escaped in it, and to the reference it
/// also ends at a bracket or with the text.
fn string(text: &str) -> (Token, &str) {
    let inside = text.get(1..).unwrap_or_default();
    let (value, rest) = inside.split_once(['"', ']']).unwrap_or((inside, ""));
    (Token::String(value.to_owned()), rest)
}

/// Cuts a name off the start of `text`.
fn name(text: &str) -> (Token, &str) {
    let is_name = |c: char| is_name_start(c) || c.is_ascii_digit();
    let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    (Token::Field(name.to_owned()), rest)
}

fn is_name_start(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn json_token(text: &str) -> (Token, &str) {
    let text = text.trim_start_matches(BLANK);
    let mut chars = text.chars();
    let Some(first) = chars.next() else {
        return (Token::End, "");
    };
    match first {
        '[' => (Token::Open, chars.as_str()),
        ']' => (Token::Close, chars.as_str()),
        '.' => (Token::Dot, chars.as_str()),
        '"' => string(text),
        c if c.is_ascii_digit() => {
            // An index ends at a bracket or blank; a number elsewhere is none.
            let end = text
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(text.len());
            let (digits, rest) = text.split_at_checked(end).unwrap_or((text, ""));
            match digits.parse() {
                Ok(index) if rest.starts_with(']') || rest.starts_with(BLANK) => {
                    (Token::Index(index), rest)
                }
                _ => (Token::Bad(None), ""),
            }
        }
        c if is_name_start(c) => name(text),
        c => (Token::Bad(Some(c)), ""),
    }
}

/// Parses the path of a `json` expression.
///
/// # Errors
/// With the reference's words if it is none.
pub fn parse_json_path(text: &str) -> Result<Vec<PathSegment>, String> {
    let mut path = Vec::new();
    let mut rest = text;
    loop {
        let (token, tail) = json_token(rest);
        rest = tail;
        match token {
            Token::Field(field) if path.is_empty() => path.push(PathSegment::Field(field)),
            Token::Open => {
                let (inside, tail) = json_token(rest);
                path.push(match inside {
                    Token::String(field) => PathSegment::Field(field),
                    Token::Index(index) => PathSegment::Index(index),
                    other => {
                        return Err(unexpected(&other, "FIELD", ", expecting STRING or INDEX"));
                    }
                });
                let (close, tail) = json_token(tail);
                if close != Token::Close {
                    return Err(unexpected(&close, "FIELD", ", expecting RSB"));
                }
                rest = tail;
            }
            Token::Dot if !path.is_empty() => {
                let (after, tail) = json_token(rest);
                let Token::Field(field) = after else {
                    return Err(unexpected(&after, "FIELD", ", expecting FIELD"));
                };
                path.push(PathSegment::Field(field));
                rest = tail;
            }
            Token::End if !path.is_empty() => return Ok(path),
            Token::Bad(Some(c)) if !path.is_empty() => return Err(format!("unexpected char {c}")),
            other if path.is_empty() => {
                return Err(unexpected(&other, "FIELD", ", expecting LSB or FIELD"));
            }
            other => return Err(unexpected(&other, "FIELD", "")),
        }
    }
}

/// Parses the key of a `logfmt` expression: one name, bare or quoted. Quoted ones behind it mean
/// nothing.
///
/// # Errors
/// With the reference's words if it is none.
pub fn parse_logfmt_key(text: &str) -> Result<String, String> {
    let token = |text: &str| -> (Token, String) {
        let text = text.trim_start_matches(BLANK);
        let (token, rest) = match text.chars().next() {
            None => (Token::End, ""),
            Some('"') => string(text),
            Some(c) if is_name_start(c) => name(text),
            Some(c) => (Token::Bad(Some(c)), ""),
        };
        (token, rest.to_owned())
    };
    let (first, mut rest) = token(text);
    let (Token::Field(key) | Token::String(key)) = first else {
        return Err(unexpected(&first, "KEY", ", expecting STRING or KEY"));
    };
    loop {
        let (next, behind) = token(&rest);
        rest = behind;
        match next {
            Token::End => return Ok(key),
            Token::String(_) => {}
            Token::Bad(Some(c)) => return Err(format!("unexpected char {c}")),
            other => return Err(unexpected(&other, "KEY", "")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_fields_and_indexes() {
        let field = |name: &str| PathSegment::Field(name.to_owned());
        assert_eq!(
            parse_json_path(r#"a.b[0]["c d"].e"#),
            Ok(vec![
                field("a"),
                field("b"),
                PathSegment::Index(0),
                field("c d"),
                field("e")
            ])
        );
        assert_eq!(parse_json_path("[2]"), Ok(vec![PathSegment::Index(2)]));
    }

    #[test]
    fn faults_have_lokis_words() {
        for (path, error) in [
            ("a!b", "unexpected char !"),
            ("a-b", "unexpected char -"),
            ("a\"b", "syntax error: unexpected STRING"),
            ("[\"a", "syntax error: unexpected $end, expecting RSB"),
            ("[1 2]", "syntax error: unexpected INDEX, expecting RSB"),
            ("ä", "syntax error: unexpected $end, expecting LSB or FIELD"),
            ("a b", "syntax error: unexpected FIELD"),
            ("a..b", "syntax error: unexpected DOT, expecting FIELD"),
            (
                "a[x]",
                "syntax error: unexpected FIELD, expecting STRING or INDEX",
            ),
            (
                "a[1.5]",
                "syntax error: unexpected $end, expecting STRING or INDEX",
            ),
            ("#", "syntax error: unexpected $end, expecting LSB or FIELD"),
            ("a.0", "syntax error: unexpected $end, expecting FIELD"),
        ] {
            assert_eq!(parse_json_path(path), Err(error.to_owned()), "{path}");
        }
        assert_eq!(parse_logfmt_key("a"), Ok("a".to_owned()));
        assert_eq!(parse_logfmt_key("\"a b\"\"c\""), Ok("a b".to_owned()));
        assert_eq!(
            parse_logfmt_key("a b"),
            Err("syntax error: unexpected KEY".to_owned())
        );
        assert_eq!(parse_logfmt_key("a.b"), Err("unexpected char .".to_owned()));
    }
}
