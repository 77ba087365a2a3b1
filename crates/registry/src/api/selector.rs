//! Which repositories and tags a rule is for, as Harbor's clients say it.

use serde::{Deserialize, Serialize};

use super::wrong;
use crate::error::Error;

/// Repositories of a rule.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct ScopeSelectors {
    #[serde(default)]
    pub(super) repository: Vec<Selector>,
}

/// A glob, and what is to be done with what it matches.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Selector {
    kind: String,
    decoration: String,
    pattern: String,
}

impl Selector {
    /// The tags that a glob matches.
    pub(super) fn tags(pattern: &str) -> Vec<Self> {
        vec![Self::of("matches", pattern)]
    }

    fn of(decoration: &str, pattern: &str) -> Self {
        Self {
            kind: "doublestar".to_owned(),
            decoration: decoration.to_owned(),
            pattern: pattern.to_owned(),
        }
    }
}

impl ScopeSelectors {
    /// The repositories that a glob matches.
    pub(super) fn of(pattern: &str) -> Self {
        Self {
            repository: vec![Selector::of("repoMatches", pattern)],
        }
    }

    /// Their glob.
    pub(super) fn glob(&self) -> Result<String, Error> {
        glob(&self.repository, "repoMatches")
    }
}

/// The glob of the tags that are selected.
pub(super) fn tags(selectors: &[Selector]) -> Result<String, Error> {
    glob(selectors, "matches")
}

/// The one glob of some selectors; all if there is none.
fn glob(selectors: &[Selector], decoration: &str) -> Result<String, Error> {
    match selectors {
        [] => Ok("**".to_owned()),
        [one] if one.kind == "doublestar" && one.decoration == decoration => {
            Ok(one.pattern.clone())
        }
        _ => Err(wrong(format!(
            "a rule has one selector of the kind doublestar that {decoration}"
        ))),
    }
}
