//! `${NAME}` and `${NAME:-default}` in the text of a configuration file.

use super::Environment;

/// Why a text cannot be expanded.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// The variable has no value and the text gives no default.
    #[error(
        "line {line}: environment variable {name} is not set; write ${{{name}:-default}} to give a default, or $${{ for a literal ${{"
    )]
    Unset {
        /// The variable.
        name: String,
        /// One-based.
        line: usize,
    },
    /// The brace is not closed on its line.
    #[error("line {line}: ${{ is not closed")]
    Unclosed {
        /// One-based.
        line: usize,
    },
    /// The value would change the structure of the file.
    #[error("line {line}: environment variable {name} holds a line break")]
    LineBreak {
        /// The variable.
        name: String,
        /// One-based.
        line: usize,
    },
}

/// What becomes of `${NAME}` without a default where there is no such variable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unset {
    /// The file is refused.
    #[default]
    Refuse,
    /// Nothing is put in its place.
    Empty,
    /// It stays, as it may be meant for who reads the value.
    Keep,
}

/// Replaces `${NAME}` by the variable's value, `${NAME:-default}` by the default when the variable
/// is unset or empty, and `$$` by `$`. Braces around anything but a variable's name stay as they
/// are, so that `${1}` of a relabelling rule survives; so do lines that are comments. Lines stay
/// where they are, so that later errors point at the line of the file.
pub(super) fn expand(
    text: &str,
    environment: &Environment,
    unset: Unset,
) -> Result<String, ExpandError> {
    let mut expanded = String::with_capacity(text.len());
    for (at, line) in text.split_inclusive('\n').enumerate() {
        if line.trim_start().starts_with('#') || !line.contains('$') {
            expanded.push_str(line);
        } else {
            let variables = Variables { environment, unset };
            expand_line(line, at + 1, variables, &mut expanded)?;
        }
    }
    Ok(expanded)
}

/// What is put in the place of names.
#[derive(Clone, Copy)]
struct Variables<'e> {
    environment: &'e Environment,
    unset: Unset,
}

fn expand_line(
    text: &str,
    line: usize,
    variables: Variables<'_>,
    expanded: &mut String,
) -> Result<(), ExpandError> {
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
            continue;
        }
        let Some(inner) = after.strip_prefix('{') else {
            expanded.push('$');
            rest = after;
            continue;
        };
        let Some((inside, after_brace)) = inner.split_once('}') else {
            return Err(ExpandError::Unclosed { line });
        };
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if is_variable_name(name) {
            match variables.value_of(name, default, line)? {
                Some(value) => expanded.push_str(value),
                None => keep(inside, expanded),
            }
        } else {
            keep(inside, expanded);
        }
        rest = after_brace;
    }
    expanded.push_str(rest);
    Ok(())
}

fn keep(inside: &str, expanded: &mut String) {
    expanded.push_str("${");
    expanded.push_str(inside);
    expanded.push('}');
}

impl<'e> Variables<'e> {
    /// The value of a variable; nothing if the text stays as it is.
    fn value_of(
        self,
        name: &str,
        default: Option<&'e str>,
        line: usize,
    ) -> Result<Option<&'e str>, ExpandError> {
        let value = match (self.environment.get(name), default, self.unset) {
            (Some(value), None, _) => value,
            (Some(value), Some(_), _) if !value.is_empty() => value,
            (_, Some(default), _) => default,
            (None, None, Unset::Empty) => "",
            (None, None, Unset::Keep) => return Ok(None),
            (None, None, Unset::Refuse) => {
                return Err(ExpandError::Unset {
                    name: name.to_owned(),
                    line,
                });
            }
        };
        if value.contains(['\n', '\r']) {
            return Err(ExpandError::LineBreak {
                name: name.to_owned(),
                line,
            });
        }
        Ok(Some(value))
    }
}

/// Whether the text of a file asks for a variable, be it in a comment.
pub(super) fn asks_for(text: &str, name: &str) -> bool {
    let mut asked = text.split("${").skip(1);
    asked.any(|asked| {
        let rest = asked.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with('}') || rest.starts_with(":-"))
    })
}

fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment::from_pairs([("HOST", "db"), ("EMPTY", ""), ("LINES", "a\nb: c")])
    }

    #[test]
    fn variables_defaults_and_escapes() {
        for (text, expanded) in [
            ("a: ${HOST}:1", "a: db:1"),
            ("a: ${NONE:-x}${EMPTY:-y}", "a: xy"),
            ("a: '${EMPTY}'", "a: ''"),
            ("a: $${HOST} $$1", "a: ${HOST} $1"),
            ("replacement: ${1}-$2", "replacement: ${1}-$2"),
            ("expression: ^a$", "expression: ^a$"),
            ("# ${NONE}\n  # ${\nb: 1", "# ${NONE}\n  # ${\nb: 1"),
        ] {
            assert_eq!(
                expand(text, &environment(), Unset::Refuse).as_deref(),
                Ok(expanded),
                "{text}"
            );
        }
    }

    #[test]
    fn what_cannot_be_expanded_names_its_line() {
        let error = expand("a: 1\nb: ${NONE}", &environment(), Unset::Refuse).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("line 2: environment variable NONE is not set")
        );
        assert_eq!(
            expand("a: ${HOST", &environment(), Unset::Refuse),
            Err(ExpandError::Unclosed { line: 1 })
        );
        assert!(matches!(
            expand("a: ${LINES}", &environment(), Unset::Refuse),
            Err(ExpandError::LineBreak { .. })
        ));
    }

    #[test]
    fn what_is_not_set_may_be_nothing_or_stay() {
        for (unset, expanded) in [(Unset::Empty, "a: -x-db"), (Unset::Keep, "a: ${NONE}-x-db")] {
            let text = "a: ${NONE}-${NONE:-x}-${HOST}";
            let given = expand(text, &environment(), unset);
            assert_eq!(given.as_deref(), Ok(expanded));
        }
    }
}
