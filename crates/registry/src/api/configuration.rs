//! What holds here, under the names of Harbor's settings, and changing some of it while the registry
//! runs. What the configuration's file says is not changed here, and neither is what never varies.

use std::collections::BTreeMap;

use axum::Json;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Admin, Body, Operations, Outcome, answer, wrong};
use crate::auth::ROBOT_PREFIX;
use crate::config::Config;
use crate::error::{Code, Error};
use crate::meta::{ChangeSettings, UNLIMITED};
use crate::registry::Registry;
use crate::settings::{self, Settings};

/// Nanoseconds of a minute.
const MINUTE_NS: i64 = 60 * 1_000_000_000;
/// The most days that a robot has.
const ROBOT_DAYS_MAX: i64 = i32::MAX as i64;

/// What can be done with the configuration.
pub(super) fn operations(all: Operations) -> Operations {
    let configurations = "/configurations";
    let what =
        "What holds here, under the names of Harbor's settings, and what of it can be changed";
    let how = "Change some of it, all or nothing; null is as if nothing had been said";
    all.about("configure")
        .get(configurations, "getConfigurations", what, show)
        .put(configurations, "updateConfigurations", how, change)
}

/// A setting.
struct Setting {
    name: &'static str,
    value: Value,
    /// Why it cannot be changed, if it cannot.
    fixed: Option<String>,
    /// What it may be.
    may_be: MayBe,
}

/// What a setting that can be changed may be.
enum MayBe {
    Flag,
    Word(&'static [&'static str]),
    /// From the one to the other, or this number.
    Number(i64, i64, Option<i64>),
}

impl MayBe {
    /// A value that is one of these. Some of Harbor's clients write all of them as texts.
    fn read(&self, value: &Value) -> Result<Value, String> {
        let text = value.as_str();
        match self {
            Self::Flag => {
                let flag = value.as_bool().or(text.and_then(|text| text.parse().ok()));
                flag.map(Value::from)
                    .ok_or_else(|| "true or false".to_owned())
            }
            Self::Word(words) => {
                let word = text.filter(|text| words.contains(text));
                word.map(Value::from).ok_or_else(|| words.join(" or "))
            }
            Self::Number(least, most, other) => {
                let number = value.as_i64().or(text.and_then(|text| text.parse().ok()));
                let may =
                    |number: &i64| (*least..=*most).contains(number) || Some(*number) == *other;
                let or = other.map_or(String::new(), |other| format!(" or {other}"));
                let number = number.filter(may).map(Value::from);
                number.ok_or_else(|| format!("a number from {least} to {most}{or}"))
            }
        }
    }
}

/// All settings that there are.
fn all(registry: &Registry, said: &Settings) -> Vec<Setting> {
    let config = registry.config();
    let mut all = changeable(config, said);
    let fixed = [
        (
            "auth_mode",
            json!("db_auth"),
            "accounts are the registry's own",
        ),
        (
            "self_registration",
            json!(false),
            "administrators make accounts",
        ),
        (
            "robot_name_prefix",
            json!(ROBOT_PREFIX),
            "it tells robots from people",
        ),
        (
            "quota_per_project_enable",
            json!(true),
            "quotas are always kept",
        ),
        (
            "pull_audit_log_disable",
            json!(true),
            "pulls are in the access log",
        ),
        (
            "skip_audit_log_database",
            json!(config.audit.records_max == 0),
            "registry.audit.records_max says so",
        ),
    ];
    all.extend(fixed.map(|(name, value, why)| Setting {
        name,
        value,
        fixed: Some(why.to_owned()),
        may_be: MayBe::Word(&[]),
    }));
    all.sort_by_key(|setting| setting.name);
    all
}

fn changeable(config: &Config, said: &Settings) -> Vec<Setting> {
    let in_file = |is_said: bool, key: &str| {
        is_said.then(|| format!("the configuration says {key}; change it there"))
    };
    let quota = i64::try_from(config.projects.quota.0).unwrap_or(i64::MAX);
    let has_quota = settings::has_quota(config);
    let quota = match said.storage_per_project {
        _ if has_quota => quota,
        said => said.unwrap_or(UNLIMITED),
    };
    let refresh_minutes = (config.refresh_lifetime.0 / MINUTE_NS).max(1);
    let has_lifetime = settings::has_token_lifetime(config);
    let minutes = said.token_lifetime(config).0 / MINUTE_NS;
    vec![
        Setting {
            name: "project_creation_restriction",
            value: json!(said.creators()),
            fixed: None,
            may_be: MayBe::Word(&["adminonly", "everyone"]),
        },
        Setting {
            name: "read_only",
            value: json!(said.is_read_only()),
            fixed: None,
            may_be: MayBe::Flag,
        },
        Setting {
            name: "robot_token_duration",
            value: json!(said.robot_days()),
            fixed: None,
            may_be: MayBe::Number(1, ROBOT_DAYS_MAX, None),
        },
        Setting {
            name: "storage_per_project",
            value: json!(quota),
            fixed: in_file(has_quota, "registry.projects.quota"),
            may_be: MayBe::Number(1, i64::MAX, Some(UNLIMITED)),
        },
        Setting {
            name: "token_expiration",
            value: json!(minutes),
            fixed: in_file(has_lifetime, "registry.token_lifetime"),
            may_be: MayBe::Number(1, refresh_minutes, None),
        },
    ]
}

/// A setting as it is shown.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ConfigItem")]
struct Shown {
    /// A text, a number, or true or false.
    value: Value,
    editable: bool,
}

async fn show(admin: Admin) -> Outcome<Json<BTreeMap<&'static str, Shown>>> {
    let shown = admin.require_admin().map(|()| {
        let settings = all(&admin.registry, &admin.registry.settings());
        let shown = settings.into_iter().map(|setting| {
            let shown = Shown {
                value: setting.value,
                editable: setting.fixed.is_none(),
            };
            (setting.name, shown)
        });
        Json(shown.collect())
    });
    admin.outcome(shown)
}

/// A value that is written as what `show` gives, or plainly.
fn said(value: &Value) -> &Value {
    value.get("value").unwrap_or(value)
}

/// Whether a value, or nothing, is asked for in place of itself; a text is what it says.
fn is_same(asked: &Value, held: &Value) -> bool {
    let plain = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    asked.is_null() || plain(asked) == plain(held)
}

/// What a request is to change, if it may.
fn asked(all: &[Setting], request: &Map<String, Value>) -> Result<Map<String, Value>, Error> {
    let mut changes = Map::new();
    for (name, value) in request {
        let value = said(value);
        let setting = all.iter().find(|setting| setting.name == name);
        let setting = setting.ok_or_else(|| {
            let known: Vec<&str> = all.iter().map(|setting| setting.name).collect();
            wrong(format!(
                "there is no setting {name}; there are {}",
                known.join(", ")
            ))
        })?;
        match &setting.fixed {
            // Some clients send all that they were shown.
            Some(_) if is_same(value, &setting.value) => {}
            Some(why) => {
                let message = format!("{name} cannot be changed here: {why}");
                return Err(Error::new(Code::Denied, message));
            }
            None if value.is_null() => {
                changes.insert(name.clone(), Value::Null);
            }
            None => {
                let read = setting.may_be.read(value);
                let read = read.map_err(|is| wrong(format!("{name}={value}: it is {is}")))?;
                changes.insert(name.clone(), read);
            }
        }
    }
    Ok(changes)
}

async fn change(admin: Admin, Body(request): Body<Map<String, Value>>) -> Outcome<()> {
    answer(&admin, async {
        admin.require_admin()?;
        let registry = &admin.registry;
        let values = asked(&all(registry, &registry.settings()), &request)?;
        if !values.is_empty() {
            let who = admin.who();
            let settings = registry.meta().change(ChangeSettings { who, values });
            registry.set_settings(settings.await?);
        }
        Ok(())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_or_refused() {
        let number = MayBe::Number(1, 9, Some(-1));
        for (may_be, value, read) in [
            (&MayBe::Flag, json!(true), Some(json!(true))),
            (&MayBe::Flag, json!("false"), Some(json!(false))),
            (&MayBe::Flag, json!(1), None),
            (&MayBe::Word(&["a", "b"]), json!("b"), Some(json!("b"))),
            (&MayBe::Word(&["a", "b"]), json!("c"), None),
            (&number, json!(9), Some(json!(9))),
            (&number, json!("-1"), Some(json!(-1))),
            (&number, json!(0), None),
            (&number, json!(10), None),
            (&number, json!(1.5), None),
        ] {
            assert_eq!(may_be.read(&value).ok(), read, "{value}");
        }
    }

    #[test]
    fn what_the_file_says_is_not_changed_here() {
        let mut config = Config::default();
        config.projects.quota.0 = 1000;
        let settings = changeable(&config, &Settings::default());
        let ask = |name: &str, value: Value| {
            asked(&settings, &Map::from_iter([(name.to_owned(), value)]))
        };
        let refused = ask("storage_per_project", json!(2000)).unwrap_err();
        assert_eq!(refused.code, Code::Denied);
        assert!(refused.message.contains("registry.projects.quota"));
        // The same again, as who sends back what was shown.
        let same = json!({"value": 1000, "editable": false});
        for same in [json!(1000), json!("1000"), Value::Null, same] {
            let asked = ask("storage_per_project", same.clone()).unwrap();
            assert_eq!(asked.len(), 0, "{same}");
        }
        assert_eq!(ask("read_only", json!("true")).unwrap()["read_only"], true);
        assert_eq!(
            ask("read_only", Value::Null).unwrap()["read_only"],
            Value::Null
        );
        let unknown = ask("colour", json!(1)).unwrap_err();
        assert_eq!(unknown.status, http::StatusCode::BAD_REQUEST);
    }
}
