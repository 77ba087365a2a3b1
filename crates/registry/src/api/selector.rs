//! Which repositories and tags a rule is for, as Harbor's clients say it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::wrong;
use crate::error::Error;
use crate::rule::{Globs, Rule};

/// Repositories of a rule.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(super) struct ScopeSelectors {
    #[serde(default)]
    pub(super) repository: Vec<Selector>,
}

/// A glob, and what is to be done with what it matches.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RuleSelector")]
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
    /// What is selected: what matches all of these.
    pub(super) globs: Globs,
    /// What of it is not: what matches one of these.
    pub(super) except: Option<Globs>,
    pub(super) extras: Option<String>,
}

impl Selected {
    /// The same, for who would read the first of several only: that would be another rule.
    pub(super) fn single(self) -> Result<Self, Error> {
        let except = self.except.as_ref().map_or(0, Globs::count);
        match self.globs.count().max(except) {
            0 | 1 => Ok(self),
            count => Err(wrong(format!(
                "{count} selectors of one decoration: here a rule has one of each; {{a,b}} is a or b"
            ))),
        }
    }
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
    /// What selectors say: what all of them select, and all if none says what.
    fn read(self, selectors: &[Selector]) -> Result<Selected, Error> {
        let Self { matches, excludes } = self;
        let (mut globs, mut except, mut extras) = (Vec::new(), Vec::new(), None);
        for selector in selectors {
            let patterns = match selector.decoration.as_str() {
                decoration if decoration == matches => &mut globs,
                decoration if decoration == excludes => &mut except,
                other => {
                    let message = format!("decoration {other}: it is {matches} or {excludes}");
                    return Err(wrong(message));
                }
            };
            if selector.kind != "doublestar" {
                let message = format!("kind {}: a selector is a doublestar", selector.kind);
                return Err(wrong(message));
            }
            patterns.push(selector.pattern.clone());
            let said = selector.extras.clone().filter(|extras| !extras.is_empty());
            extras = extras.or(said);
        }
        Ok(Selected {
            globs: match globs.is_empty() {
                true => Globs::all(),
                false => globs.into_iter().collect(),
            },
            except: (!except.is_empty()).then(|| except.into_iter().collect()),
            extras,
        })
    }

    /// Selectors that say this.
    fn write(self, globs: &Globs, except: Option<&Globs>, extras: Option<&str>) -> Vec<Selector> {
        let selector = |decoration: &str, pattern: &str| Selector {
            kind: "doublestar".to_owned(),
            decoration: decoration.to_owned(),
            pattern: pattern.to_owned(),
            extras: extras.map(str::to_owned),
        };
        let is_all_but = *globs == Globs::all() && except.is_some();
        let globs = globs.iter().filter(|_| !is_all_but);
        let globs = globs.map(|glob| selector(self.matches, glob));
        let except = except.into_iter().flat_map(Globs::iter);
        let except = except.map(|glob| selector(self.excludes, glob));
        globs.chain(except).collect()
    }
}

impl ScopeSelectors {
    /// The repositories of a rule.
    pub(super) fn of(rule: &Rule) -> Self {
        let except = rule.repositories_except.as_ref();
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
    let (except, extras) = (rule.tags_except.as_ref(), rule.tags_extras.as_deref());
    TAGS.write(&rule.tags, except, extras)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
        for (said, globs, except) in [
            (vec![("matches", "v*")], json!("v*"), json!(null)),
            (vec![("excludes", "v*")], json!("**"), json!("v*")),
            (
                vec![("matches", "v*"), ("excludes", "v1")],
                json!("v*"),
                json!("v1"),
            ),
            (
                vec![("matches", "v*"), ("matches", "*-rc")],
                json!(["v*", "*-rc"]),
                json!(null),
            ),
            (
                vec![("excludes", "v*"), ("excludes", "*-rc")],
                json!("**"),
                json!(["v*", "*-rc"]),
            ),
        ] {
            let selectors: Vec<Selector> =
                said.iter().map(|(how, glob)| selector(how, glob)).collect();
            let read = tags(&selectors).unwrap();
            assert_eq!((json!(read.globs), json!(read.except)), (globs, except));
            let told = TAGS.write(&read.globs, read.except.as_ref(), None);
            let told: Vec<(&str, &str)> = told
                .iter()
                .map(|one| (one.decoration.as_str(), one.pattern.as_str()))
                .collect();
            assert_eq!(told, said);
        }
        assert_eq!(tags(&[]).unwrap().globs, Globs::all());
        assert!(tags(&[selector("repoMatches", "a")]).is_err());
        let two = |how: &str| tags(&[selector(how, "a"), selector(how, "b")]).unwrap();
        assert!(two("matches").single().is_err());
        assert!(two("excludes").single().is_err());
        let each = [selector("matches", "a"), selector("excludes", "b")];
        assert!(tags(&each).unwrap().single().is_ok());
    }
}
