//! Tokens of an expression.

use serde_json::Value;

use super::Comparison;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// `name` or `"quoted name"`; only the former may be a function.
    Name {
        text: String,
        quoted: bool,
    },
    Number(i64),
    /// `'text'` or JSON in backquotes.
    Literal(Value),
    Dot,
    Star,
    /// `[]`
    Flatten,
    /// `[?`
    Filter,
    Open,
    Close,
    OpenBrace,
    CloseBrace,
    OpenParen,
    CloseParen,
    Comma,
    Colon,
    Pipe,
    Or,
    And,
    Not,
    Current,
    Reference,
    Compare(Comparison),
}

/// What is wrong, and where.
pub(super) type Fault = (usize, String);

/// Cuts an expression into tokens with their positions.
pub(super) fn tokens(expression: &str) -> Result<Vec<(usize, Token)>, Fault> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = expression.get(at..).and_then(|rest| rest.chars().next()) {
        if matches!(c, ' ' | '\t' | '\n' | '\r') {
            at += 1;
            continue;
        }
        let rest = expression.get(at..).unwrap_or_default();
        let (token, len) = token(c, rest).map_err(|reason| (at, reason))?;
        tokens.push((at, token));
        at += len;
    }
    Ok(tokens)
}

/// The token at the start of `rest`, which begins with `c`, and its length.
fn token(c: char, rest: &str) -> Result<(Token, usize), String> {
    let pair = rest.as_bytes().get(1).copied();
    let one_or_two = |second: u8, two: Token, one: Token| {
        if pair == Some(second) {
            (two, 2)
        } else {
            (one, 1)
        }
    };
    let comparison = |alone: Comparison, with_equal: Comparison| {
        one_or_two(b'=', Token::Compare(with_equal), Token::Compare(alone))
    };
    Ok(match c {
        'a'..='z' | 'A'..='Z' | '_' => {
            let is_end = |c: char| c != '_' && !c.is_ascii_alphanumeric();
            let len = rest.find(is_end).unwrap_or(rest.len());
            let text = rest.get(..len).unwrap_or_default().to_owned();
            (
                Token::Name {
                    text,
                    quoted: false,
                },
                len,
            )
        }
        '0'..='9' | '-' => number(rest)?,
        '"' => {
            let len = quoted_len(rest, '"').ok_or("a name that does not end")?;
            let json = rest.get(..len).unwrap_or_default();
            let text = serde_json::from_str(json).map_err(|_| "a name that is not JSON's")?;
            (Token::Name { text, quoted: true }, len)
        }
        '\'' => {
            let len = quoted_len(rest, '\'').ok_or("a text that does not end")?;
            let inside = rest.get(1..len - 1).unwrap_or_default();
            let text = inside.replace("\\'", "'").replace("\\\\", "\\");
            (Token::Literal(Value::String(text)), len)
        }
        '`' => {
            let len = quoted_len(rest, '`').ok_or("a literal that does not end")?;
            let inside = rest.get(1..len - 1).unwrap_or_default().replace("\\`", "`");
            let value = serde_json::from_str(&inside)
                .map_err(|error| format!("a literal that is not JSON ({error})"))?;
            (Token::Literal(value), len)
        }
        '[' if pair == Some(b'?') => (Token::Filter, 2),
        '[' => one_or_two(b']', Token::Flatten, Token::Open),
        '|' => one_or_two(b'|', Token::Or, Token::Pipe),
        '&' => one_or_two(b'&', Token::And, Token::Reference),
        '!' => one_or_two(b'=', Token::Compare(Comparison::NotEqual), Token::Not),
        '<' => comparison(Comparison::Less, Comparison::LessOrEqual),
        '>' => comparison(Comparison::Greater, Comparison::GreaterOrEqual),
        '=' if pair == Some(b'=') => (Token::Compare(Comparison::Equal), 2),
        '.' => (Token::Dot, 1),
        '*' => (Token::Star, 1),
        ']' => (Token::Close, 1),
        '{' => (Token::OpenBrace, 1),
        '}' => (Token::CloseBrace, 1),
        '(' => (Token::OpenParen, 1),
        ')' => (Token::CloseParen, 1),
        ',' => (Token::Comma, 1),
        ':' => (Token::Colon, 1),
        '@' => (Token::Current, 1),
        _ => return Err(format!("unexpected {c:?}")),
    })
}

fn number(rest: &str) -> Result<(Token, usize), String> {
    let digits = rest.strip_prefix('-').unwrap_or(rest);
    let sign = rest.len() - digits.len();
    let len = sign + digits.bytes().take_while(u8::is_ascii_digit).count();
    let text = rest.get(..len).unwrap_or_default();
    match text.parse() {
        Ok(number) => Ok((Token::Number(number), len)),
        Err(_) => Err(format!("{text:?} is no number that fits")),
    }
}

/// The length of a quoted text with its quotes; a backslash takes the next character along.
fn quoted_len(text: &str, quote: char) -> Option<usize> {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == quote {
            return Some(at + 1);
        }
    }
    None
}
