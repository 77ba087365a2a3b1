//! A configuration as YAML, without its secrets.

use serde::Serialize;
use serde_json::{Map, Value};

/// Which keys to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Print {
    /// All keys as they are in force.
    Effective,
    /// All keys as they would be without file, environment and flags.
    Defaults,
    /// The keys in force that differ from the defaults.
    Diff,
}

/// `config` as YAML. Values of keys that hold secrets are replaced.
#[must_use]
pub fn print<T: Serialize + Default>(config: &T, what: Print) -> String {
    let tree = |config: &T| serde_json::to_value(config).unwrap_or_default();
    let mut tree = match what {
        Print::Effective => tree(config),
        Print::Defaults => tree(&T::default()),
        Print::Diff => {
            difference(&tree(config), &tree(&T::default())).unwrap_or(Value::Object(Map::new()))
        }
    };
    redact(&mut tree);
    serde_yaml::to_string(&tree).unwrap_or_else(|error| format!("# cannot be printed: {error}\n"))
}

/// What of `tree` is not in `base`.
fn difference(tree: &Value, base: &Value) -> Option<Value> {
    match (tree, base) {
        (Value::Object(tree), Value::Object(base)) => {
            let changed: Map<String, Value> = tree
                .iter()
                .filter_map(|(key, value)| {
                    let changed = match base.get(key) {
                        Some(base) => difference(value, base)?,
                        None => value.clone(),
                    };
                    Some((key.clone(), changed))
                })
                .collect();
            (!changed.is_empty()).then_some(Value::Object(changed))
        }
        _ => (tree != base).then(|| tree.clone()),
    }
}

/// Ends of names whose values nobody should read off a status page.
const SECRET_ENDINGS: [&str; 8] = [
    "password",
    "secret",
    "secret_access_key",
    "secret_key",
    "access_key",
    "account_key",
    "token",
    "credentials",
];

fn redact(tree: &mut Value) {
    match tree {
        Value::Object(map) => {
            for (key, value) in map {
                let key = key.to_lowercase();
                let secret = SECRET_ENDINGS.iter().any(|ending| key.ends_with(ending));
                match value {
                    Value::String(text) if secret && !text.is_empty() => {
                        "<secret>".clone_into(text);
                    }
                    value => redact(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::String(text) => redact_url(text),
        _ => {}
    }
}

/// `https://user:password@host` without the password.
fn redact_url(text: &mut String) {
    let Some((scheme, rest)) = text.split_once("://") else {
        return;
    };
    let authority = rest.split('/').next().unwrap_or(rest);
    if let Some((user_info, _)) = authority.rsplit_once('@')
        && let Some((user, _)) = user_info.split_once(':')
    {
        let after = &rest[user_info.len()..];
        *text = format!("{scheme}://{user}:<secret>{after}");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let mut tree = json!({"s3": {"secret_access_key": "x", "bucket": "b"},
            "clients": [{"url": "https://me:pw@host/path@x", "bearer_token": "t"}]});
        redact(&mut tree);
        assert_eq!(
            tree,
            json!({"s3": {"secret_access_key": "<secret>", "bucket": "b"},
                "clients": [{"url": "https://me:<secret>@host/path@x", "bearer_token": "<secret>"}]})
        );
    }

    #[test]
    fn only_differences() {
        let base = json!({"a": 1, "b": {"c": 2, "d": [1]}});
        let tree = json!({"a": 1, "b": {"c": 3, "d": [1]}});
        assert_eq!(difference(&tree, &base), Some(json!({"b": {"c": 3}})));
        assert_eq!(difference(&base, &base), None);
    }

    #[test]
    fn what_is_printed_can_be_loaded() {
        let config = crate::Config::default();
        let text = print(&config, Print::Effective);
        assert_eq!(
            serde_yaml::from_str::<crate::Config>(&text).unwrap(),
            config
        );
    }
}
