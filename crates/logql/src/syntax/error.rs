//! What is wrong with a query.

use std::fmt;

/// A query that cannot be parsed or makes no sense. Clients see the text: it is Loki's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Counted from 1; 0 if Loki gives none.
    pub line: u32,
    /// In characters, counted from 1; 0 if Loki gives none.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// Whether the query is fine but of the wrong kind for its place.
    pub wrong_kind: bool,
    /// The bound that the query is beyond, and its value, if that is what is wrong.
    pub bound: Option<(&'static str, u64)>,
}

impl ParseError {
    /// Wrong at a place in the text.
    pub(crate) fn at(line: u32, column: u32, message: impl Into<String>) -> Self {
        Self {
            line,
            column,
            message: message.into(),
            wrong_kind: false,
            bound: None,
        }
    }

    /// Wrong in meaning.
    pub(crate) fn semantic(message: impl Into<String>) -> Self {
        Self::at(0, 0, message)
    }

    /// The same, because the query is beyond a bound.
    pub(crate) fn beyond(self, name: &'static str, value: u64) -> Self {
        Self {
            bound: Some((name, value)),
            ..self
        }
    }

    /// Whether it is a fault of the text, and not of what the text means.
    pub(crate) fn has_place(&self) -> bool {
        self.line > 0 || self.column > 0
    }

    /// A log query where a selector is wanted, and the like.
    pub(crate) fn wrong_kind(message: impl Into<String>) -> Self {
        Self {
            wrong_kind: true,
            ..Self::semantic(message)
        }
    }

    /// Wrong in a stage of a pipeline, which is shown as it prints.
    pub(crate) fn stage(stage: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self::semantic(format!("stage '{stage}' : {reason}"))
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            _ if self.wrong_kind => f.write_str(&self.message),
            (0, 0) => write!(f, "parse error : {}", self.message),
            (line, column) => write!(
                f,
                "parse error at line {line}, col {column}: {}",
                self.message
            ),
        }
    }
}

impl std::error::Error for ParseError {}
