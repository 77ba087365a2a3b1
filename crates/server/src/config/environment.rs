//! The process environment, read once, and the keys of a configuration that it sets.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::load::ConfigError;

/// What variables that set keys of the configuration begin with.
const PREFIX: &str = "SKALD_";

/// The variables of a process, as they were when they were read.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The environment of this process. Variables that are not UTF-8 are left out.
    #[must_use]
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).collect())
    }

    /// An environment of these variables.
    #[must_use]
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self(pairs.into_iter().map(owned).collect())
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// What the environment did to a configuration.
pub(super) struct Applied<T> {
    pub(super) config: T,
    /// Variables with our prefix that name no key.
    pub(super) unknown: Vec<String>,
}

/// Sets every key of `config` that `environment` names. The name of a key is its path in upper
/// case, joined by underscores: `server.http_listen` is `SKALD_SERVER_HTTP_LISTEN`.
pub(super) fn apply<T>(config: T, environment: &Environment) -> Result<Applied<T>, ConfigError>
where
    T: Serialize + DeserializeOwned + Default,
{
    let ours: Vec<(&str, &str)> = environment
        .0
        .iter()
        .filter(|(name, _)| name.starts_with(PREFIX))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let mut applied = Applied {
        config,
        unknown: Vec::new(),
    };
    if ours.is_empty() {
        return Ok(applied);
    }
    // A section that the file switched on is not in the defaults, so both say what keys there are.
    let mut paths = paths_by_name(&to_tree(&T::default())?);
    paths.extend(paths_by_name(&to_tree(&applied.config)?));
    for (name, text) in ours {
        let Some(path) = paths.get(name) else {
            if !is_service_link(name) {
                applied.unknown.push(name.to_owned());
            }
            continue;
        };
        applied.config = set(&applied.config, path, name, text)?;
    }
    Ok(applied)
}

/// Kubernetes puts addresses of services into the environment of every pod, and a service called
/// `skald-querier` yields names with our prefix.
fn is_service_link(name: &str) -> bool {
    name.contains("_SERVICE_") || name.contains("_PORT")
}

fn to_tree<T: Serialize>(config: &T) -> Result<Value, ConfigError> {
    serde_json::to_value(config).map_err(|error| ConfigError::Invalid(error.to_string()))
}

/// The paths of all keys, sections too, by the names of their variables.
pub(super) fn paths_by_name(tree: &Value) -> BTreeMap<String, Vec<String>> {
    fn walk(tree: &Value, path: &mut Vec<String>, paths: &mut BTreeMap<String, Vec<String>>) {
        if !path.is_empty() {
            let name = path.join("_").to_uppercase().replace(['-', '.'], "_");
            paths.insert(format!("{PREFIX}{name}"), path.clone());
        }
        if let Value::Object(map) = tree {
            for (key, below) in map {
                path.push(key.clone());
                walk(below, path, paths);
                path.pop();
            }
        }
    }
    let mut paths = BTreeMap::new();
    walk(tree, &mut Vec::new(), &mut paths);
    paths
}

/// `config` with the key at `path` set to what `text` means there: whichever reading the types
/// accept first.
fn set<T>(config: &T, path: &[String], name: &str, text: &str) -> Result<T, ConfigError>
where
    T: Serialize + DeserializeOwned,
{
    let tree = to_tree(config)?;
    let mut first_error = None;
    for value in readings(at(&tree, path), text) {
        let mut changed = tree.clone();
        put(&mut changed, path, value);
        match serde_json::from_value(changed) {
            Ok(config) => return Ok(config),
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    Err(ConfigError::Environment {
        name: name.to_owned(),
        message: first_error.map_or_else(|| "no value".to_owned(), |error| error.to_string()),
    })
}

/// What a text may mean, likeliest first: a text where a text stands now, else YAML, a list with
/// commas, and at last the bare text.
fn readings(now: Option<&Value>, text: &str) -> Vec<Value> {
    let bare = Value::String(text.to_owned());
    let yaml = serde_yaml::from_str::<Value>(text).ok();
    let list = || {
        let item = |item: &str| Value::String(item.trim().to_owned());
        Value::Array(
            text.split(',')
                .filter(|item| !item.trim().is_empty())
                .map(item)
                .collect(),
        )
    };
    match now {
        Some(Value::String(_)) => [Some(bare), yaml].into_iter().flatten().collect(),
        Some(Value::Array(_)) => [yaml, Some(list()), Some(bare)]
            .into_iter()
            .flatten()
            .collect(),
        Some(Value::Null) | None => [Some(bare), yaml, Some(list())]
            .into_iter()
            .flatten()
            .collect(),
        Some(_) => [yaml, Some(bare)].into_iter().flatten().collect(),
    }
}

fn at<'a>(tree: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(tree, |tree, key| tree.get(key))
}

fn put(tree: &mut Value, path: &[String], value: Value) {
    let Some((key, below)) = path.split_first() else {
        *tree = value;
        return;
    };
    if !tree.is_object() {
        *tree = Value::Object(Map::new());
    }
    if let Value::Object(map) = tree {
        put(map.entry(key.clone()).or_insert(Value::Null), below, value);
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Outer {
        name: String,
        inner: Inner,
        hosts: Vec<String>,
        extra: BTreeMap<String, String>,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Inner {
        enabled: bool,
        count: u32,
        size: model::units::ByteSize,
        note: Option<String>,
        ratio: Option<f64>,
    }

    fn applied(pairs: &[(&str, &str)]) -> Result<Applied<Outer>, ConfigError> {
        apply(
            Outer::default(),
            &Environment::from_pairs(pairs.iter().copied()),
        )
    }

    #[test]
    fn every_kind_of_key_can_be_set() {
        let config = applied(&[
            ("SKALD_NAME", "007"),
            ("SKALD_INNER_ENABLED", "true"),
            ("SKALD_INNER_COUNT", "12"),
            ("SKALD_INNER_SIZE", "4MB"),
            ("SKALD_INNER_NOTE", "5"),
            ("SKALD_INNER_RATIO", "0.5"),
            ("SKALD_HOSTS", "a:1, b:2"),
            ("SKALD_EXTRA", "{k: v}"),
            ("PATH", "/bin"),
        ])
        .unwrap()
        .config;
        assert_eq!(
            config,
            Outer {
                name: "007".to_owned(),
                inner: Inner {
                    enabled: true,
                    count: 12,
                    size: model::units::ByteSize::mib(4),
                    note: Some("5".to_owned()),
                    ratio: Some(0.5),
                },
                hosts: vec!["a:1".to_owned(), "b:2".to_owned()],
                extra: [("k".to_owned(), "v".to_owned())].into(),
            }
        );
    }

    #[test]
    fn errors_name_the_variable() {
        let error = applied(&[("SKALD_INNER_COUNT", "many")])
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.starts_with("environment variable SKALD_INNER_COUNT: "),
            "{error}"
        );
    }

    #[test]
    fn names_without_a_key_are_reported_unless_kubernetes_made_them() {
        let unknown = applied(&[
            ("SKALD_INNER_COUNTS", "1"),
            ("SKALD_QUERIER_SERVICE_HOST", "10.0.0.1"),
            ("SKALD_QUERIER_PORT_3100_TCP", "tcp://10.0.0.1:3100"),
        ])
        .unwrap()
        .unknown;
        assert_eq!(unknown, ["SKALD_INNER_COUNTS"]);
    }
}
