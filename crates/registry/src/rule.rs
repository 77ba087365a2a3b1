//! Rules of a project: tags that must not move, and tags that may go.

use globset::{Glob, GlobMatcher};
use serde::{Deserialize, Serialize};

use crate::error::{Code, Error};

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 3600 * 1000;
/// Bytes of a glob.
const GLOB_BYTES_MAX: usize = 256;

/// A rule, as it is given and kept. The names of what is retained are Harbor's templates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) kind: Kind,
    /// Repositories, without the project: a glob.
    #[serde(default = "all")]
    pub(crate) repositories: String,
    /// Tags: a glob.
    #[serde(default = "all")]
    pub(crate) tags: String,
    /// Of a retention: how many of the tags that were pushed last are kept.
    #[serde(
        default,
        rename = "latestPushedK",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) latest: Option<usize>,
    /// Of a retention: for how many days since their push tags are kept.
    #[serde(
        default,
        rename = "nDaysSinceLastPush",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) days: Option<i64>,
}

fn all() -> String {
    "**".to_owned()
}

/// What a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Its tags are neither moved nor removed.
    Immutable,
    /// Of its tags, those go that no retention of the project keeps.
    Retention,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Immutable => "immutable",
            Self::Retention => "retention",
        }
    }
}

/// A rule whose globs were read.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    repositories: GlobMatcher,
    tags: GlobMatcher,
}

impl Scope {
    /// Whether a tag of a repository, named without its project, is in it.
    pub(crate) fn has(&self, repository: &str, tag: &str) -> bool {
        self.repositories.is_match(repository) && self.tags.is_match(tag)
    }
}

impl Rule {
    /// Reads the globs.
    ///
    /// # Errors
    /// If one is none, or the rule says nothing or too much.
    pub(crate) fn scope(&self) -> Result<Scope, Error> {
        let wrong = |message: String| {
            Error::new(Code::Unsupported, message).with_status(http::StatusCode::BAD_REQUEST)
        };
        let glob = |text: &str| {
            if text.len() > GLOB_BYTES_MAX {
                return Err(wrong(format!("a glob has at most {GLOB_BYTES_MAX} bytes")));
            }
            let glob = Glob::new(text).map_err(|error| wrong(error.to_string()))?;
            Ok(glob.compile_matcher())
        };
        let keeps = self.latest.is_some() || self.days.is_some();
        match self.kind {
            Kind::Retention if !keeps => {
                return Err(wrong(
                    "latestPushedK or nDaysSinceLastPush says what is kept".into(),
                ));
            }
            Kind::Immutable if keeps => {
                return Err(wrong("an immutable rule keeps all its tags".into()));
            }
            _ => {}
        }
        Ok(Scope {
            repositories: glob(&self.repositories)?,
            tags: glob(&self.tags)?,
        })
    }
}

/// A tag that a retention looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) tag: String,
    pub(crate) updated_ms: i64,
}

/// The tags of one repository that go: those that a retention has in its scope and none keeps.
pub(crate) fn expired<'t>(
    rules: &[(Rule, Scope)],
    repository: &str,
    tags: &'t [Candidate],
    now_ms: i64,
) -> Vec<&'t Candidate> {
    let mut in_scope = vec![false; tags.len()];
    let mut kept = vec![false; tags.len()];
    for (rule, scope) in rules
        .iter()
        .filter(|(rule, _)| rule.kind == Kind::Retention)
    {
        let mut mine: Vec<(usize, &Candidate)> = tags
            .iter()
            .enumerate()
            .filter(|(_, candidate)| scope.has(repository, &candidate.tag))
            .collect();
        mine.sort_by_key(|(_, candidate)| std::cmp::Reverse(candidate.updated_ms));
        for (rank, (at, candidate)) in mine.into_iter().enumerate() {
            let is_latest = rule.latest.is_some_and(|latest| rank < latest);
            let age_ms = now_ms.saturating_sub(candidate.updated_ms);
            let is_young = rule
                .days
                .is_some_and(|days| age_ms < days.saturating_mul(DAY_MS));
            if let (Some(scoped), Some(kept)) = (in_scope.get_mut(at), kept.get_mut(at)) {
                *scoped = true;
                *kept |= is_latest || is_young;
            }
        }
    }
    let goes = in_scope
        .iter()
        .zip(&kept)
        .map(|(scoped, kept)| *scoped && !*kept);
    let zipped = tags.iter().zip(goes);
    zipped
        .filter(|(_, goes)| *goes)
        .map(|(candidate, _)| candidate)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(json: &str) -> (Rule, Scope) {
        let rule: Rule = serde_json::from_str(json).unwrap();
        let scope = rule.scope().unwrap();
        (rule, scope)
    }

    fn tags(ages_days: &[(&str, i64)]) -> Vec<Candidate> {
        let candidate = |(tag, age): &(&str, i64)| Candidate {
            tag: (*tag).to_owned(),
            updated_ms: (100 - age) * DAY_MS,
        };
        ages_days.iter().map(candidate).collect()
    }

    #[test]
    fn what_no_rule_keeps_goes_and_what_none_looks_at_stays() {
        let rules = [
            rule(r#"{"kind":"retention","tags":"v*","latestPushedK":2}"#),
            rule(r#"{"kind":"retention","tags":"v*","nDaysSinceLastPush":7}"#),
        ];
        let tags = tags(&[
            ("v1", 50),
            ("v2", 40),
            ("v3", 30),
            ("v4", 6),
            ("v5", 5),
            ("v6", 4),
            ("latest", 90),
        ]);
        let gone: Vec<&str> = expired(&rules, "app", &tags, 100 * DAY_MS)
            .iter()
            .map(|gone| gone.tag.as_str())
            .collect();
        assert_eq!(gone, ["v1", "v2", "v3"]);
        let elsewhere = [rule(
            r#"{"kind":"retention","repositories":"other/**","latestPushedK":0}"#,
        )];
        assert!(expired(&elsewhere, "app", &tags, 0).is_empty());
    }

    #[test]
    fn rules_say_something() {
        for wrong in [
            r#"{"kind":"retention"}"#,
            r#"{"kind":"immutable","latestPushedK":1}"#,
            r#"{"kind":"immutable","tags":"[a"}"#,
        ] {
            let rule: Rule = serde_json::from_str(wrong).unwrap();
            assert!(rule.scope().is_err(), "{wrong}");
        }
        assert!(serde_json::from_str::<Rule>(r#"{"kind":"immutable","tag":"x"}"#).is_err());
    }
}
