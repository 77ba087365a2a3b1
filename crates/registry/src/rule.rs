//! Rules of a project: tags that must not move, and tags that may go.

pub(crate) mod companion;
mod globs;

use std::cmp::Reverse;
use std::collections::HashSet;

use model::units::DurationNs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::globs::Globs;
use self::globs::{GLOB_BYTES_MAX, Matchers};
use crate::error::{Code, Error};

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 3600 * 1000;

/// A rule, as it is given and kept. The names of what is retained are Harbor's templates and, for
/// moments, zot's; zot's names of counts are known too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) kind: Kind,
    /// Repositories, without the project: globs that they match, all of them. A star of a retention ends at a slash, as Harbor's do,
    /// and two do not; that of an immutable rule does not, so that it holds rather too much.
    #[serde(default = "Globs::all")]
    pub(crate) repositories: Globs,
    /// Tags: the same.
    #[serde(default = "Globs::all")]
    pub(crate) tags: Globs,
    /// Whether it is as if it were not there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) disabled: bool,
    /// Repositories that it is not for after all: those that match one of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) repositories_except: Option<Globs>,
    /// Tags that it is not for after all: the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tags_except: Option<Globs>,
    /// What Harbor's clients say of tags beside, for them only: what has no tag is garbage here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tags_extras: Option<String>,
    /// Of a retention: what is kept.
    #[serde(flatten)]
    pub(crate) keep: Keep,
}

/// What of its tags a retention keeps: all that one of these says. What is counted is artifacts, as by
/// Harbor, however many tags each has; and what is kept has all its tags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Keep {
    /// How many of the artifacts that were pushed last.
    #[serde(
        rename = "latestPushedK",
        alias = "mostRecentlyPushedCount",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) latest_pushed: Option<usize>,
    /// How many of the artifacts that were pulled last; those that never were come after all others.
    #[serde(
        rename = "latestPulledN",
        alias = "mostRecentlyPulledCount",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) latest_pulled: Option<usize>,
    /// How many of the artifacts that were pushed or pulled last.
    #[serde(rename = "latestActiveK", skip_serializing_if = "Option::is_none")]
    pub(crate) latest_active: Option<usize>,
    /// Tags for so many days since their push.
    #[serde(rename = "nDaysSinceLastPush", skip_serializing_if = "Option::is_none")]
    pub(crate) days_since_push: Option<i64>,
    /// Tags for so many days since their last pull, or since their push if they never were pulled.
    #[serde(rename = "nDaysSinceLastPull", skip_serializing_if = "Option::is_none")]
    pub(crate) days_since_pull: Option<i64>,
    /// Tags for so long since their push, such as `12h`.
    #[serde(rename = "pushedWithin", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub(crate) pushed_within: Option<DurationNs>,
    /// Tags for so long since their last pull, or since their push if they never were pulled.
    #[serde(rename = "pulledWithin", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub(crate) pulled_within: Option<DurationNs>,
}

fn wrong(message: impl Into<String>) -> Error {
    Error::new(Code::Unsupported, message).with_status(http::StatusCode::BAD_REQUEST)
}

/// What a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "RuleKind")]
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
    is_empty: bool,
    repositories: Matchers,
    repositories_except: Option<Matchers>,
    tags: Matchers,
    tags_except: Option<Matchers>,
}

impl Scope {
    /// Whether a tag of a repository, named without its project, is in it.
    pub(crate) fn has(&self, repository: &str, tag: &str) -> bool {
        let is_excepted = |except: &Option<Matchers>, name: &str| {
            except
                .as_ref()
                .is_some_and(|except| except.any_matches(name))
        };
        !self.is_empty
            && self.repositories.all_match(repository)
            && self.tags.all_match(tag)
            && !is_excepted(&self.repositories_except, repository)
            && !is_excepted(&self.tags_except, tag)
    }
}

impl Rule {
    /// Reads the globs.
    ///
    /// # Errors
    /// If one is none, or the rule says nothing or too much.
    pub(crate) fn scope(&self) -> Result<Scope, Error> {
        let keeps = self.keep != Keep::default();
        match self.kind {
            Kind::Retention if !keeps => {
                return Err(wrong(
                    "latestPushedK, latestPulledN, latestActiveK, nDaysSinceLastPush, \
                     nDaysSinceLastPull, pushedWithin or pulledWithin says what is kept",
                ));
            }
            Kind::Immutable if keeps => {
                return Err(wrong("an immutable rule keeps all its tags"));
            }
            _ => {}
        }
        let repositories = |globs: &Globs| globs.matchers(self.kind == Kind::Retention);
        let tags = |globs: &Globs| globs.matchers(false);
        if self
            .tags_extras
            .as_ref()
            .is_some_and(|text| text.len() > GLOB_BYTES_MAX)
        {
            return Err(wrong(format!("extras have at most {GLOB_BYTES_MAX} bytes")));
        }
        let (tags_except, repositories_except) = (&self.tags_except, &self.repositories_except);
        Ok(Scope {
            is_empty: self.disabled,
            repositories: repositories(&self.repositories)?,
            repositories_except: repositories_except.as_ref().map(repositories).transpose()?,
            tags: tags(&self.tags)?,
            tags_except: tags_except.as_ref().map(tags).transpose()?,
        })
    }
}

/// A tag that a retention looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) tag: String,
    /// Where it points.
    pub(crate) digest: String,
    pub(crate) pushed_ms: i64,
    /// Never, if none.
    pub(crate) pulled_ms: Option<i64>,
    /// Whether a cluster has said that it runs it.
    pub(crate) is_running: bool,
}

/// A moment of a tag's life, by which tags are put in order.
type Moment = fn(&Candidate) -> Option<i64>;

impl Candidate {
    fn pushed(&self) -> Option<i64> {
        Some(self.pushed_ms)
    }

    fn pulled(&self) -> Option<i64> {
        self.pulled_ms
    }

    fn active(&self) -> Option<i64> {
        self.pulled_ms.max(self.pushed())
    }

    fn pulled_or_pushed(&self) -> Option<i64> {
        self.pulled_ms.or(self.pushed())
    }
}

impl Keep {
    /// The digests of what a retention keeps, of the tags that it has in its scope.
    fn of<'t>(&self, mut tags: Vec<&'t Candidate>, now_ms: i64) -> HashSet<&'t str> {
        let mut kept = HashSet::new();
        let counts: [(Option<usize>, Moment); 3] = [
            (self.latest_pushed, Candidate::pushed),
            (self.latest_pulled, Candidate::pulled),
            (self.latest_active, Candidate::active),
        ];
        for (count, moment) in counts {
            let Some(count) = count else { continue };
            tags.sort_by_key(|tag| Reverse((moment(tag), tag.pushed_ms)));
            kept.extend(first_artifacts(&tags, count));
        }
        let days = |days: Option<i64>| Some(days?.saturating_mul(DAY_MS));
        let within = |within: Option<DurationNs>| Some(within?.0 / 1_000_000);
        let ages: [(Option<i64>, Moment); 4] = [
            (days(self.days_since_push), Candidate::pushed),
            (days(self.days_since_pull), Candidate::pulled_or_pushed),
            (within(self.pushed_within), Candidate::pushed),
            (within(self.pulled_within), Candidate::pulled_or_pushed),
        ];
        for (age_max_ms, moment) in ages {
            let Some(age_max_ms) = age_max_ms else {
                continue;
            };
            let is_young = |tag: &Candidate| {
                moment(tag).is_some_and(|at_ms| now_ms.saturating_sub(at_ms) < age_max_ms)
            };
            let young = tags.iter().filter(|tag| is_young(tag));
            kept.extend(young.map(|tag| tag.digest.as_str()));
        }
        kept
    }
}

/// The digests of the first so many artifacts that tags point to.
fn first_artifacts<'t>(tags: &[&'t Candidate], count: usize) -> HashSet<&'t str> {
    let mut artifacts = HashSet::new();
    for tag in tags {
        if artifacts.len() >= count {
            break;
        }
        artifacts.insert(tag.digest.as_str());
    }
    artifacts
}

/// The tags of one repository that go: those that a retention has in its scope and whose artifact none
/// keeps, if nobody runs it. Those that are about another artifact are not looked at; they follow it
/// ([`companion::followers`]).
pub(crate) fn expired<'t>(
    rules: &[(Rule, Scope)],
    repository: &str,
    tags: &'t [Candidate],
    now_ms: i64,
) -> Vec<&'t Candidate> {
    let (mut scoped, mut kept) = (HashSet::new(), HashSet::new());
    for (rule, scope) in rules {
        if rule.kind != Kind::Retention {
            continue;
        }
        let has = |tag: &&Candidate| {
            scope.has(repository, &tag.tag) && companion::subject(&tag.tag).is_none()
        };
        let mine: Vec<&Candidate> = tags.iter().filter(has).collect();
        scoped.extend(mine.iter().map(|tag| tag.tag.as_str()));
        kept.extend(rule.keep.of(mine, now_ms));
    }
    let goes = |candidate: &&Candidate| {
        let is_kept = kept.contains(candidate.digest.as_str());
        scoped.contains(candidate.tag.as_str()) && !is_kept && !candidate.is_running
    };
    tags.iter().filter(goes).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn rule(json: &str) -> (Rule, Scope) {
        let rule: Rule = serde_json::from_str(json).unwrap();
        let scope = rule.scope().unwrap();
        (rule, scope)
    }

    fn tags(ages_days: &[(&str, i64)]) -> Vec<Candidate> {
        let candidate = |(tag, age): &(&str, i64)| Candidate {
            tag: (*tag).to_owned(),
            digest: format!("digest of {tag}"),
            pushed_ms: (100 - age) * DAY_MS,
            pulled_ms: None,
            is_running: false,
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

        let mut tags = tags;
        tags[1].is_running = true;
        let gone = expired(&rules, "app", &tags, 100 * DAY_MS);
        let gone: Vec<&str> = gone.iter().map(|gone| gone.tag.as_str()).collect();
        assert_eq!(gone, ["v1", "v3"]);
    }

    /// As a build that is told in several ways.
    #[test]
    fn what_is_counted_has_as_many_tags_as_it_has() {
        let mut tags = tags(&[
            ("v1", 9),
            ("b-1", 9),
            ("v2", 5),
            ("b-2", 5),
            ("v3", 1),
            ("b-3", 1),
        ]);
        for tag in &mut tags {
            tag.digest = tag.tag.chars().last().into_iter().collect();
        }
        let all = r#"{"kind":"retention","latestPushedK":2}"#;
        let versions = r#"{"kind":"retention","tags":"v*","latestPushedK":2}"#;
        let builds = r#"{"kind":"retention","tags":"b-*","latestPushedK":1}"#;
        for (rules, gone) in [
            (vec![all], vec!["v1", "b-1"]),
            (vec![versions], vec!["v1"]),
            // The second build is a version that stays.
            (vec![versions, builds], vec!["v1", "b-1"]),
        ] {
            let rules: Vec<_> = rules.into_iter().map(rule).collect();
            let expired = expired(&rules, "app", &tags, 100 * DAY_MS);
            let expired: Vec<&str> = expired.iter().map(|tag| tag.tag.as_str()).collect();
            assert_eq!(expired, gone);
        }
    }

    #[test]
    fn a_star_of_a_retention_ends_at_a_slash() {
        for (glob, repository, retention, immutable) in [
            ("*", "app", true, true),
            ("*", "team/app", false, true),
            ("**", "app", true, true),
            ("**", "team/app", true, true),
            ("team/**", "team/a/app", true, true),
            ("{team/*,other}", "team/a/app", false, true),
            ("{team/**,other}", "team/a/app", true, true),
        ] {
            for (kind, keep, has) in [
                ("retention", r#","latestPushedK":1"#, retention),
                ("immutable", "", immutable),
            ] {
                let json = format!(r#"{{"kind":"{kind}","repositories":"{glob}"{keep}}}"#);
                let (_, scope) = rule(&json);
                assert_eq!(scope.has(repository, "v1"), has, "{json} {repository}");
            }
        }
    }

    #[test]
    fn pulls_keep_tags_too() {
        let mut tags = tags(&[("old", 90), ("used", 80), ("never", 20), ("new", 1)]);
        for (tag, age) in [(0, 85), (1, 2)] {
            tags[tag].pulled_ms = Some((100 - age) * DAY_MS);
        }
        for (keep, gone) in [
            (r#""latestPulledN":1"#, vec!["old", "never", "new"]),
            (r#""latestPulledN":3"#, vec!["never"]),
            (r#""latestActiveK":2"#, vec!["old", "never"]),
            (r#""nDaysSinceLastPull":7"#, vec!["old", "never"]),
            (
                r#""mostRecentlyPulledCount":1"#,
                vec!["old", "never", "new"],
            ),
            (r#""mostRecentlyPushedCount":3"#, vec!["old"]),
            (r#""pulledWithin":"168h""#, vec!["old", "never"]),
            (r#""pushedWithin":"30d""#, vec!["old", "used"]),
            (r#""nDaysSinceLastPull":7,"latestPushedK":2"#, vec!["old"]),
        ] {
            let rules = [rule(&format!(r#"{{"kind":"retention",{keep}}}"#))];
            let expired = expired(&rules, "app", &tags, 100 * DAY_MS);
            let expired: Vec<&str> = expired.iter().map(|tag| tag.tag.as_str()).collect();
            assert_eq!(expired, gone, "{keep}");
        }
    }

    #[test]
    fn a_rule_has_exceptions() {
        for (json, repository, tag, has) in [
            (r#""tags_except":"*-rc""#, "app", "v1", true),
            (r#""tags_except":"*-rc""#, "app", "v1-rc", false),
            (r#""repositories_except":"tmp/**""#, "app", "v1", true),
            (r#""repositories_except":"tmp/**""#, "tmp/app", "v1", false),
            (r#""tags":"v*","tags_except":"v1""#, "app", "latest", false),
            (r#""tags":["v*","*-rc"]"#, "app", "v1-rc", true),
            (r#""tags":["v*","*-rc"]"#, "app", "v1", false),
            (r#""tags":["v*","*-rc"]"#, "app", "w-rc", false),
            (r#""tags_except":["v*","*-rc"]"#, "app", "w", true),
            (r#""tags_except":["v*","*-rc"]"#, "app", "w-rc", false),
            (r#""repositories":["a/**","**/b"]"#, "a/b", "v1", true),
            (r#""repositories":["a/**","**/b"]"#, "a/c", "v1", false),
        ] {
            let (_, scope) = rule(&format!(r#"{{"kind":"immutable",{json}}}"#));
            assert_eq!(scope.has(repository, tag), has, "{json} {repository}:{tag}");
        }
    }

    #[test]
    fn a_glob_is_read_once() {
        let (_, one) = rule(r#"{"kind":"immutable","tags":"v*"}"#);
        let (_, other) = rule(r#"{"kind":"immutable","repositories":"v*"}"#);
        assert!(Arc::ptr_eq(&one.tags.0[0], &other.repositories.0[0]));
        assert!(one.has("app", "v1") && !one.has("app", "latest"));
    }

    #[test]
    fn rules_say_something() {
        for wrong in [
            r#"{"kind":"retention"}"#,
            r#"{"kind":"immutable","latestPushedK":1}"#,
            r#"{"kind":"immutable","tags":"[a"}"#,
            r#"{"kind":"immutable","tags_except":"[a"}"#,
            r#"{"kind":"retention","latestPushedK":1,"repositories_except":"[a"}"#,
        ] {
            let rule: Rule = serde_json::from_str(wrong).unwrap();
            assert!(rule.scope().is_err(), "{wrong}");
        }
        assert!(serde_json::from_str::<Rule>(r#"{"kind":"immutable","tag":"x"}"#).is_err());
    }
}
