//! Matchers: what selects label sets.

use std::fmt;

use regex::Regex;

use crate::{LabelSet, re2, units};

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// The operator as written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// A regular expression that does not compile, or is too large compiled.
#[derive(Debug, thiserror::Error)]
#[error("invalid regex {pattern:?}")]
pub struct MatcherError {
    /// The expression as given.
    pub pattern: String,
    /// Why the regex engine refuses it.
    #[source]
    pub source: Box<regex::Error>,
}

/// Compares one label with a value. A label that is absent has the empty value.
#[derive(Clone)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    regex: Option<Regex>,
}

impl Matcher {
    /// Builds a matcher. Regexes are RE2's, anchored at both ends, and `.` matches a newline too,
    /// as in Prometheus.
    ///
    /// # Errors
    /// If `op` is a regex operator and `value` does not compile.
    pub fn new(
        name: impl Into<String>,
        op: MatchOp,
        value: impl Into<String>,
    ) -> Result<Self, MatcherError> {
        let value = value.into();
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => {
                let refused = |source| MatcherError {
                    pattern: value.clone(),
                    source: Box::new(source),
                };
                let inside = re2::translate(&value)
                    .map_err(|error| refused(regex::Error::Syntax(error.to_string())))?;
                Some(Regex::new(&format!("^(?s:{})$", inside.pattern)).map_err(refused)?)
            }
        };
        Ok(Self {
            name: name.into(),
            op,
            value,
            regex,
        })
    }

    /// The label it looks at.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The comparison.
    #[must_use]
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// What it compares with, as written.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a label with this value passes.
    #[must_use]
    pub fn matches_value(&self, value: &str) -> bool {
        match (self.op, &self.regex) {
            (MatchOp::Equal, _) => value == self.value,
            (MatchOp::NotEqual, _) => value != self.value,
            (MatchOp::Regex, Some(regex)) => regex.is_match(value),
            (MatchOp::NotRegex, Some(regex)) => !regex.is_match(value),
            (MatchOp::Regex | MatchOp::NotRegex, None) => false,
        }
    }

    /// Whether the set passes.
    #[must_use]
    pub fn matches(&self, labels: &LabelSet) -> bool {
        self.matches_value(labels.get(&self.name).unwrap_or_default())
    }

    /// Whether an absent label passes.
    #[must_use]
    pub fn matches_empty(&self) -> bool {
        self.matches_value("")
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}{}",
            self.name,
            self.op.as_str(),
            units::quote(&self.value)
        )
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_label_is_an_empty_one() {
        let set = LabelSet::from_pairs([("app", "web\n1")]);
        let passes =
            |op, name: &str, value: &str| Matcher::new(name, op, value).unwrap().matches(&set);
        assert!(passes(MatchOp::Equal, "none", ""));
        assert!(passes(MatchOp::NotEqual, "none", "x"));
        assert!(
            passes(MatchOp::Regex, "app", "web.1"),
            "a dot matches a newline"
        );
        assert!(!passes(MatchOp::Regex, "app", "web"), "anchored");
        assert!(
            passes(MatchOp::Regex, "app", "x|web.*"),
            "alternation stays inside the anchors"
        );
        assert!(passes(MatchOp::NotRegex, "app", "web"));
    }

    #[test]
    fn a_bad_regex_names_itself() {
        let error = Matcher::new("a", MatchOp::Regex, "(").unwrap_err();
        assert!(error.to_string().contains("\"(\""));
    }
}
