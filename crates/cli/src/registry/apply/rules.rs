//! Rules that a file declares for a project: those and no others.

use model::units::DurationNs;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::asked::{self, Asked};
use super::Step;

/// A rule as a file has it, or the registry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    /// Its number, which no file needs to know.
    #[serde(default, skip_serializing)]
    id: Option<i64>,
    kind: Kind,
    #[serde(default = "all")]
    repositories: String,
    #[serde(default = "all")]
    tags: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    disabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repositories_except: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tags_except: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tags_extras: Option<String>,
    #[serde(
        default,
        rename = "latestPushedK",
        alias = "mostRecentlyPushedCount",
        skip_serializing_if = "Option::is_none"
    )]
    latest_pushed: Option<u64>,
    #[serde(
        default,
        rename = "latestPulledN",
        alias = "mostRecentlyPulledCount",
        skip_serializing_if = "Option::is_none"
    )]
    latest_pulled: Option<u64>,
    #[serde(
        default,
        rename = "latestActiveK",
        skip_serializing_if = "Option::is_none"
    )]
    latest_active: Option<u64>,
    #[serde(
        default,
        rename = "nDaysSinceLastPush",
        skip_serializing_if = "Option::is_none"
    )]
    days_since_push: Option<i64>,
    #[serde(
        default,
        rename = "nDaysSinceLastPull",
        skip_serializing_if = "Option::is_none"
    )]
    days_since_pull: Option<i64>,
    #[serde(
        default,
        rename = "pushedWithin",
        skip_serializing_if = "Option::is_none"
    )]
    pushed_within: Option<DurationNs>,
    #[serde(
        default,
        rename = "pulledWithin",
        skip_serializing_if = "Option::is_none"
    )]
    pulled_within: Option<DurationNs>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Immutable,
    Retention,
}

fn all() -> String {
    "**".to_owned()
}

impl Rule {
    /// A rule as the registry has it.
    pub(super) fn of_registry(rule: &Value) -> serde_json::Result<Self> {
        Self::deserialize(rule)
    }

    /// Why the registry would not have it, if that can be told from here.
    pub(super) fn wrong(&self) -> Option<&'static str> {
        let keeps = self.latest_pushed.is_some()
            || self.latest_pulled.is_some()
            || self.latest_active.is_some()
            || self.days_since_push.is_some()
            || self.days_since_pull.is_some()
            || self.pushed_within.is_some()
            || self.pulled_within.is_some();
        match self.kind {
            Kind::Retention if !keeps => Some("a retention says what it keeps"),
            Kind::Immutable if keeps => Some("an immutable rule keeps all its tags"),
            _ => None,
        }
    }

    /// Whether both say the same.
    fn is_like(&self, other: &Self) -> bool {
        let numbered = Self {
            id: self.id,
            ..other.clone()
        };
        *self == numbered
    }

    fn as_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// What gives a project the rules that it is to have.
pub(super) fn plan(name: &str, wanted: &[Rule], are: &[Rule]) -> Vec<Step> {
    let path = format!("{}/rules", asked::project(name));
    let is_in = |rule: &Rule, rules: &[Rule]| rules.iter().any(|other| rule.is_like(other));
    let new = wanted.iter().filter(|rule| !is_in(rule, are));
    let new = new.map(|rule| {
        let rule = rule.as_value();
        (format!("rule {rule}"), Asked::post(&path, rule))
    });
    let old = are.iter().filter(|rule| !is_in(rule, wanted));
    let old = old.map(|rule| {
        let id = rule.id.unwrap_or_default();
        let gone = Asked::delete(format!("{path}/{id}"));
        (format!("no rule {}", rule.as_value()), gone)
    });
    // New ones first, so that no tag is without the rule that holds it.
    new.chain(old).collect()
}
