//! Which repositories and tags a rule is for, as Harbor's clients say it.

use serde::{Deserialize, Serialize};

use super::wrong;
use crate::error::Error;
use crate::rule::Rule;

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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    extras: Option<String>,
}

/// What some selectors say together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selected {
    /// What is selected: a glob.
    pub(super) glob: String,
    /// What of it is not: a glob.
    pub(super) except: Option<String>,
    pub(super) extras: Option<String>,
}

/// What matches is selected, or what does not.
#[derive(Clone, Copy)]
struct Decorations {
    matches: &'static str,
    excludes: &'static str,
}

const REPOSITORIES: Decorations = Decorations {
    matches: "repoMatches",
    excludes: "repoExcludes",
};
const TAGS: Decorations = Decorations {
    matches: "matches",
    excludes: "excludes",
};

impl Decorations {
    /// What selectors say: at most one of each kind, and all if none says what.
    fn read(self, selectors: &[Selector]) -> Result<Selected, Error> {
        let Self { matches, excludes } = self;
        let (mut glob, mut except, mut extras) = (None, None, None);
        for selector in selectors {
            let place = match selector.decoration.as_str() {
                decoration if decoration == matches => &mut glob,
                decoration if decoration == excludes => &mut except,
                other => {
                    let message = format!("decoration {other}: it is {matches} or {excludes}");
                    return Err(wrong(message));
                }
            };
            if selector.kind != "doublestar" || place.is_some() {
                return Err(wrong(format!(
                    "a rule has at most one selector that {matches} and one that {excludes}, of the \
                     kind doublestar; {{a,b}} is a or b"
                )));
            }
            *place = Some(selector.pattern.clone());
            let said = selector.extras.clone().filter(|extras| !extras.is_empty());
            extras = extras.or(said);
        }
        Ok(Selected {
            glob: glob.unwrap_or_else(|| "**".to_owned()),
            except,
            extras,
        })
    }

    /// Selectors that say this.
    fn write(self, glob: &str, except: Option<&str>, extras: Option<&str>) -> Vec<Selector> {
        let selector = |decoration: &str, pattern: &str| Selector {
            kind: "doublestar".to_owned(),
            decoration: decoration.to_owned(),
            pattern: pattern.to_owned(),
            extras: extras.map(str::to_owned),
        };
        let is_all_but = glob == "**" && except.is_some();
        let glob = (!is_all_but).then(|| selector(self.matches, glob));
        let except = except.map(|except| selector(self.excludes, except));
        glob.into_iter().chain(except).collect()
    }
}

impl ScopeSelectors {
    /// The repositories of a rule.
    pub(super) fn of(rule: &Rule) -> Self {
        let except = rule.repositories_except.as_deref();
        Self {
            repository: REPOSITORIES.write(&rule.repositories, except, None),
        }
    }

    /// What they select.
    pub(super) fn read(&self) -> Result<Selected, Error> {
        REPOSITORIES.read(&self.repository)
    }
}

/// What selectors of tags select.
pub(super) fn tags(selectors: &[Selector]) -> Result<Selected, Error> {
    TAGS.read(selectors)
}

/// The tags of a rule.
pub(super) fn of_tags(rule: &Rule) -> Vec<Selector> {
    let (except, extras) = (rule.tags_except.as_deref(), rule.tags_extras.as_deref());
    TAGS.write(&rule.tags, except, extras)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(decoration: &str, pattern: &str) -> Selector {
        Selector {
            kind: "doublestar".to_owned(),
            decoration: decoration.to_owned(),
            pattern: pattern.to_owned(),
            extras: None,
        }
    }

    #[test]
    fn what_is_selected_is_told_as_it_was_said() {
        for (said, glob, except) in [
            (vec![("matches", "v*")], "v*", None),
            (vec![("excludes", "v*")], "**", Some("v*")),
            (
                vec![("matches", "v*"), ("excludes", "v1")],
                "v*",
                Some("v1"),
            ),
        ] {
            let selectors: Vec<Selector> =
                said.iter().map(|(how, glob)| selector(how, glob)).collect();
            let read = tags(&selectors).unwrap();
            assert_eq!((read.glob.as_str(), read.except.as_deref()), (glob, except));
            let told = TAGS.write(&read.glob, read.except.as_deref(), None);
            let told: Vec<(&str, &str)> = told
                .iter()
                .map(|one| (one.decoration.as_str(), one.pattern.as_str()))
                .collect();
            assert_eq!(told, said);
        }
        assert_eq!(tags(&[]).unwrap().glob, "**");
        for wrong in [
            vec![selector("matches", "a"), selector("matches", "b")],
            vec![selector("repoMatches", "a")],
        ] {
            assert!(tags(&wrong).is_err());
        }
    }
}
