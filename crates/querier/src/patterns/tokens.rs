//! Lines as tokens, and tokens as text again.

/// Tokens of a line that count; the rest of a longer line is one variable.
pub(super) const TOKENS_MAX: usize = 128;

/// A part of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// The same in all lines of a kind.
    Fixed(String),
    /// Different from line to line.
    Variable,
}

/// Splits a line into words and what separates them. Words with a digit are variables from the
/// start: numbers, times, addresses and ids are what differs first.
pub(super) fn tokens(line: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        if tokens.len() == TOKENS_MAX {
            tokens.push(Token::Variable);
            break;
        }
        let is_word = !is_separator(first);
        let end = rest
            .find(|c| is_separator(c) == is_word)
            .unwrap_or(rest.len());
        let (part, tail) = rest.split_at(end);
        rest = tail;
        if is_word && part.bytes().any(|byte| byte.is_ascii_digit()) {
            // `<_>` next to `<_>` is no pattern: what differs in a row is one variable.
            if tokens.last() != Some(&Token::Variable) {
                tokens.push(Token::Variable);
            }
        } else {
            tokens.push(Token::Fixed(part.to_owned()));
        }
    }
    tokens
}

fn is_separator(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '=' | ',' | '"' | '\'' | '[' | ']' | '(' | ')' | '{' | '}' | ';' | '|'
        )
}

/// The pattern of some tokens.
pub(super) fn pattern(tokens: &[Token]) -> String {
    let mut out = String::new();
    let mut is_variable = false;
    for token in tokens {
        match token {
            Token::Fixed(text) => {
                out.push_str(text);
                is_variable = false;
            }
            Token::Variable => {
                if !is_variable {
                    out.push_str("<_>");
                }
                is_variable = true;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_digits_are_variables() {
        for (line, expected) in [
            ("GET /a/17 took 5ms", "GET <_> took <_>"),
            ("level=info user=\"bob\"", "level=info user=\"bob\""),
            ("", ""),
            ("2026-01-01T00:00:00Z x", "<_> x"),
        ] {
            assert_eq!(pattern(&tokens(line)), expected);
        }
        let long = "a ".repeat(1000);
        assert_eq!(tokens(&long).len(), TOKENS_MAX + 1);
    }
}
