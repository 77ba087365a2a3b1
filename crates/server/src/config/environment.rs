//! The process environment, read once, and the keys of a configuration that it sets.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::load::ConfigError;
use super::nulls::Nulls;
use super::overlay::{Over, Section, put};

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

/// Reads `document`, of which `config` was read before, with every key that `environment` names put
/// over it. The name of a key is its path in upper case, joined by underscores:
/// `server.http_listen` is `SKALD_SERVER_HTTP_LISTEN`.
pub(super) fn apply<T>(
    document: &str,
    config: T,
    environment: &Environment,
) -> Result<Applied<T>, ConfigError>
where
    T: Serialize + DeserializeOwned + Default,
{
    let mut applied = Applied {
        config,
        unknown: Vec::new(),
    };
    let ours = environment
        .0
        .iter()
        .filter(|(name, _)| name.starts_with(PREFIX));
    let mut ours = ours.peekable();
    if ours.peek().is_none() {
        return Ok(applied);
    }
    let now = to_tree(&applied.config)?;
    // A section that the file switched on is not in the defaults, so both say what keys there are.
    let mut paths = paths_by_name(&to_tree(&T::default())?);
    paths.extend(paths_by_name(&now));
    let mut overlay = Section::new();
    for (name, text) in ours {
        let Some(path) = paths.get(name) else {
            if !is_service_link(name) {
                applied.unknown.push(name.clone());
            }
            continue;
        };
        let (section, config) = set(document, &overlay, path, readings(at(&now, path), text))
            .map_err(|message| ConfigError::Environment {
                name: name.clone(),
                message,
            })?;
        overlay = section;
        applied.config = config;
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
fn paths_by_name(tree: &Value) -> BTreeMap<String, Vec<String>> {
    variables(tree).into_iter().collect()
}

/// Names of variables that two keys of `config` would share, so that a test can refuse them.
#[must_use]
pub fn repeated_variables<T: Serialize>(config: &T) -> Vec<String> {
    let tree = serde_json::to_value(config).unwrap_or_default();
    let mut names: Vec<String> = variables(&tree).into_iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    let twice = names
        .windows(2)
        .filter(|pair| matches!(pair, [a, b] if a == b));
    twice.flat_map(|pair| pair.first().cloned()).collect()
}

/// Every key below `tree`, sections too: the name of its variable and its path.
fn variables(tree: &Value) -> Vec<(String, Vec<String>)> {
    fn walk(tree: &Value, path: &mut Vec<String>, found: &mut Vec<(String, Vec<String>)>) {
        if !path.is_empty() {
            let name = path.join("_").to_uppercase().replace(['-', '.'], "_");
            found.push((format!("{PREFIX}{name}"), path.clone()));
        }
        if let Value::Object(map) = tree {
            for (key, below) in map {
                path.push(key.clone());
                walk(below, path, found);
                path.pop();
            }
        }
    }
    let mut found = Vec::new();
    walk(tree, &mut Vec::new(), &mut found);
    found
}

/// The overlay with the key at `path` too, and what `document` is under it: with whichever reading
/// the types accept first. If none, the message about the likeliest.
fn set<T: DeserializeOwned>(
    document: &str,
    overlay: &Section,
    path: &[String],
    readings: Vec<Value>,
) -> Result<(Section, T), String> {
    let mut first_error = None;
    for value in readings {
        let mut section = overlay.clone();
        put(&mut section, path, value);
        match read_over(document, &section) {
            Ok(config) => return Ok((section, config)),
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    Err(first_error.unwrap_or_default())
}

fn read_over<T: DeserializeOwned>(document: &str, section: &Section) -> Result<T, String> {
    let failure = RefCell::new(None);
    let read = serde_yaml::with_deserializer_from_str(document, |document| {
        T::deserialize(Over {
            document: Nulls(document),
            section,
            failure: &failure,
        })
    });
    read.map_err(|error| {
        let noted = failure.take();
        noted.unwrap_or_else(|| error.without_snippet().to_string())
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
        applied_to("{}", pairs)
    }

    fn applied_to(document: &str, pairs: &[(&str, &str)]) -> Result<Applied<Outer>, ConfigError> {
        let config = serde_yaml::from_str(document).unwrap();
        let environment = Environment::from_pairs(pairs.iter().copied());
        apply(document, config, &environment)
    }

    #[test]
    fn the_rest_of_the_document_stays_as_it_was_written() {
        let document = "name: 007\ninner:\n  note: 1\n  count: 3\n  enabled: yes\nhosts: [a]\n";
        let pairs = [("SKALD_INNER_COUNT", "4"), ("SKALD_HOSTS", "b")];
        let config = applied_to(document, &pairs).unwrap().config;
        assert_eq!(
            (config.name.as_str(), config.inner.note.as_deref()),
            ("007", Some("1"))
        );
        assert_eq!((config.inner.count, config.inner.enabled), (4, true));
        assert_eq!(config.hosts, ["b"]);
    }

    #[test]
    fn sections_can_be_missing_or_set_as_a_whole() {
        for document in ["", "# nothing", "inner: {}", "inner: {count: 1}"] {
            let set = applied_to(document, &[("SKALD_INNER_COUNT", "4")]);
            assert_eq!(set.unwrap().config.inner.count, 4, "{document:?}");
        }
        let pairs = [
            ("SKALD_INNER", "{count: 5, note: x}"),
            ("SKALD_INNER_NOTE", "y"),
        ];
        let config = applied_to("inner: {enabled: true}", &pairs).unwrap().config;
        assert_eq!(
            (config.inner.count, config.inner.note.as_deref()),
            (5, Some("y"))
        );
        assert!(!config.inner.enabled);
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
    fn keys_that_share_a_variable_are_found() {
        let tree = serde_json::json!({"a": {"b_c": 1}, "a_b": {"c": 2}, "d": 3});
        assert_eq!(repeated_variables(&tree), ["SKALD_A_B_C"]);
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
