//! Patterns of `| pattern` and of the line filters `|>` and `!>`: literals and `<captures>`.

use super::ParseError;

/// A part of a pattern.
#[derive(Debug, PartialEq)]
enum Part<'a> {
    Literal,
    /// The name; `_` is nobody's.
    Capture(&'a str),
}

/// Splits a pattern. Anything in angle brackets that is no name is literal.
fn parts(pattern: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let capture = rest.strip_prefix('<').and_then(|tail| {
            let (name, tail) = tail.split_once('>')?;
            model::is_valid_label_name(name).then_some((name, tail))
        });
        if let Some((name, tail)) = capture {
            parts.push(Part::Capture(name));
            rest = tail;
        } else {
            if parts.last() != Some(&Part::Literal) {
                parts.push(Part::Literal);
            }
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
    }
    parts
}

fn consecutive(parts: &[Part<'_>]) -> Result<(), String> {
    let pair = parts.windows(2).find_map(|pair| match pair {
        [Part::Capture(a), Part::Capture(b)] => Some((a, b)),
        _ => None,
    });
    match pair {
        Some((a, b)) => Err(format!(
            "found consecutive capture '<{a}><{b}>': invalid expression"
        )),
        None => Ok(()),
    }
}

/// Checks the pattern of a line filter.
pub(super) fn line_pattern(pattern: &str) -> Result<(), String> {
    let parts = parts(pattern);
    consecutive(&parts)?;
    let named = parts.iter().find_map(|part| match part {
        Part::Capture(name) if *name != "_" => Some(name),
        _ => None,
    });
    match named {
        Some(name) => Err(format!("named captures are not allowed: found '<{name}>'")),
        None => Ok(()),
    }
}

/// Checks the expression of `| pattern`.
pub(crate) fn capture_pattern(pattern: &str) -> Result<(), ParseError> {
    let check = || {
        if pattern.is_empty() {
            return Err(
                "parse error at line 1, col 1: syntax error: unexpected $end, expecting \
                        IDENTIFIER or LITERAL"
                    .to_owned(),
            );
        }
        let parts = parts(pattern);
        let mut names: Vec<&str> = Vec::new();
        for part in &parts {
            if let Part::Capture(name) = part
                && *name != "_"
            {
                names.push(name);
            }
        }
        if names.is_empty() {
            return Err("at least one capture is required".to_owned());
        }
        consecutive(&parts)?;
        let repeated = names
            .iter()
            .enumerate()
            .find(|(i, name)| names.iter().take(*i).any(|before| before == *name));
        match repeated {
            Some((_, name)) => Err(format!(
                "duplicate capture name ({name}): invalid expression"
            )),
            None => Ok(()),
        }
    };
    check()
        .map_err(|fault: String| ParseError::semantic(format!("invalid pattern parser: {fault}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_in_brackets_are_captures() {
        use Part::{Capture, Literal};
        assert_eq!(parts("<a> <1b><_>"), [Capture("a"), Literal, Capture("_")]);
        assert_eq!(parts("<<a>"), [Literal, Capture("a")]);
    }

    #[test]
    fn faults_have_lokis_words() {
        let fault = |pattern| capture_pattern(pattern).unwrap_err().message;
        assert_eq!(
            fault("<_> x"),
            "invalid pattern parser: at least one capture is required"
        );
        assert!(
            fault("<a><b>").ends_with("found consecutive capture '<a><b>': invalid expression")
        );
        assert!(fault("<a> <a>").ends_with("duplicate capture name (a): invalid expression"));
        assert_eq!(line_pattern(""), Ok(()));
        assert!(line_pattern("<name> x").is_err());
    }
}
