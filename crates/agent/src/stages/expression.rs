//! Regular expressions of stages: RE2's syntax, over bytes, not anchored.

use std::sync::Arc;

use model::re2;
use regex::bytes::Regex;

/// Compiles what a configuration has.
pub(crate) fn compile(expression: &str) -> Result<Regex, String> {
    let translated = re2::translate(expression).map_err(|error| error.to_string())?;
    Regex::new(&translated.pattern).map_err(|error| error.to_string())
}

/// The named groups of an expression with their numbers.
pub(crate) fn groups(regex: &Regex) -> Vec<(usize, Arc<str>)> {
    let names = regex.capture_names().enumerate();
    names
        .filter_map(|(group, name)| Some((group, name?.into())))
        .collect()
}

/// An option that must have some text if it is given.
pub(crate) fn non_empty(option: Option<String>, name: &str) -> Result<Option<String>, String> {
    match option {
        Some(text) if text.is_empty() => Err(format!("{name} must not be empty")),
        option => Ok(option),
    }
}
