//! Promtail's flags for keys of its file, such as `-client.batch-wait=2s`.

use std::collections::BTreeMap;
use std::ffi::OsString;

use agent::Config;
use agent::config::ClientConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use server::ConfigError;

/// Flags whose names are not those of their keys: the flag, the key.
const RENAMED: [(&str, &str); 20] = [
    (
        "server.grpc-max-recv-msg-size-bytes",
        "server.grpc_server_max_recv_msg_size",
    ),
    (
        "server.grpc-max-send-msg-size-bytes",
        "server.grpc_server_max_send_msg_size",
    ),
    (
        "server.grpc-max-concurrent-streams",
        "server.grpc_server_max_concurrent_streams",
    ),
    (
        "server.http-read-timeout",
        "server.http_server_read_timeout",
    ),
    (
        "server.http-write-timeout",
        "server.http_server_write_timeout",
    ),
    (
        "server.http-idle-timeout",
        "server.http_server_idle_timeout",
    ),
    ("server.path-prefix", "server.http_path_prefix"),
    ("server.http-conn-limit", "server.http_listen_conn_limit"),
    ("server.grpc-conn-limit", "server.grpc_listen_conn_limit"),
    ("log.level", "server.log_level"),
    ("log.format", "server.log_format"),
    ("positions.file", "positions.filename"),
    ("client.batch-size-bytes", "client.batchsize"),
    ("client.batch-wait", "client.batchwait"),
    ("client.min-backoff", "client.backoff_config.min_period"),
    ("client.max-backoff", "client.backoff_config.max_period"),
    ("client.max-retries", "client.backoff_config.max_retries"),
    ("max-streams", "limits_config.max_streams"),
    ("max-line-size", "limits_config.max_line_size"),
    (
        "max-line-size-truncate",
        "limits_config.max_line_size_truncate",
    ),
];
/// Beginnings of flags whose names are those of their keys but for the dashes, and of the keys.
const SECTIONS: [(&str, &str); 5] = [
    ("server.", "server."),
    ("positions.", "positions."),
    ("client.", "client."),
    ("target.", "target_config."),
    ("limit.", "limits_config."),
];
/// Flags that need no value.
const SWITCHES: [&str; 9] = [
    "server.disable",
    "server.enable-runtime-reload",
    "server.health-check-target",
    "server.profiling-enabled",
    "server.register-instrumentation",
    "positions.ignore-invalid-yaml",
    "client.drop-rate-limited-batches",
    "limit.readline-rate-drop",
    "max-line-size-truncate",
];

/// Keys that were given as flags, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct KeyFlags(Vec<(String, String)>);

impl KeyFlags {
    /// Takes the flags for keys out of the arguments; the rest.
    pub(crate) fn take(arguments: impl Iterator<Item = OsString>) -> (Self, Vec<OsString>) {
        let (mut flags, mut rest) = (Self::default(), Vec::new());
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            let text = argument.to_str().unwrap_or_default();
            let named = text.strip_prefix("--").or(text.strip_prefix('-'));
            let (name, value) = match named.and_then(|named| named.split_once('=')) {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (named.unwrap_or_default(), None),
            };
            let Some(key) = key_of(name) else {
                rest.push(argument);
                continue;
            };
            let value = value.or_else(|| {
                if SWITCHES.contains(&name) {
                    return Some("true".to_owned());
                }
                arguments.next()?.into_string().ok()
            });
            flags.0.push((key, value.unwrap_or_default()));
        }
        (flags, rest)
    }

    /// Puts what was typed over what was written. Each `client.url` is one more client, with what
    /// else is said of clients; external labels count for all, under those that are written.
    pub(crate) fn apply(&self, config: &mut Config) -> Result<(), ConfigError> {
        let of_clients = |(key, _): &&(String, String)| key.starts_with("client.");
        for (key, value) in self.0.iter().filter(|flag| !of_clients(flag)) {
            *config = with_key(config, key, value)?;
        }
        let mut client = ClientConfig::default();
        let mut urls = Vec::new();
        let mut labels = BTreeMap::new();
        let mut needs_url = None;
        for (key, value) in self.0.iter().filter(of_clients) {
            match key.as_str() {
                "client.url" => urls.push(value.clone()),
                "client.external_labels" => labels.extend(pairs(value)?),
                _ => {
                    let inside = key.trim_start_matches("client.");
                    client = with_key(&client, inside, value)?;
                    needs_url = Some(key);
                }
            }
        }
        if let Some(key) = needs_url.filter(|_| urls.is_empty()) {
            let text = format!("--{key}: needs --client.url; in a file each client has its own");
            return Err(ConfigError::Invalid(text));
        }
        config
            .clients
            .extend(urls.into_iter().map(|url| ClientConfig {
                url,
                ..client.clone()
            }));
        for client in config.client.iter_mut().chain(&mut config.clients) {
            for (name, value) in &labels {
                let written = client.external_labels.entry(name.clone());
                written.or_insert_with(|| value.clone());
            }
        }
        Ok(())
    }
}

/// The key of a flag, if it is one of these.
fn key_of(flag: &str) -> Option<String> {
    if let Some((_, key)) = RENAMED.iter().find(|(name, _)| *name == flag) {
        return Some((*key).to_owned());
    }
    let (name, key) = SECTIONS.iter().find(|(name, _)| flag.starts_with(name))?;
    let rest = flag.strip_prefix(name)?;
    Some(format!("{key}{}", rest.replace('-', "_")))
}

/// `a=b,c=d`.
fn pairs(text: &str) -> Result<Vec<(String, String)>, ConfigError> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    };
    let pairs = text.split(',').map(pair).collect::<Option<Vec<_>>>();
    pairs.ok_or_else(|| {
        ConfigError::Invalid(format!("--client.external-labels: {text:?} is not a=b,c=d"))
    })
}

/// The configuration with one key set.
fn with_key<T: Serialize + DeserializeOwned>(
    config: &T,
    key: &str,
    text: &str,
) -> Result<T, ConfigError> {
    let wrong = |error: serde_json::Error| ConfigError::Invalid(format!("--{key}: {error}"));
    let written = serde_json::to_value(config).map_err(wrong)?;
    let attempt = |value: Value| -> Result<T, serde_json::Error> {
        let mut document = written.clone();
        put(&mut document, key, value);
        serde_json::from_value(document)
    };
    let as_text = attempt(Value::String(text.to_owned()));
    match serde_json::from_str::<Value>(text) {
        Ok(value) if !value.is_string() => attempt(value).or(as_text),
        _ => as_text,
    }
    .map_err(wrong)
}

fn put(document: &mut Value, key: &str, value: Value) {
    let mut place = document;
    for part in key.split('.') {
        if !place.is_object() {
            return;
        }
        place = &mut place[part];
    }
    *place = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(arguments: &[&str]) -> (KeyFlags, Vec<OsString>) {
        KeyFlags::take(arguments.iter().map(OsString::from))
    }

    #[test]
    fn flags_set_keys() {
        let (flags, rest) = taken(&[
            "agent",
            "-config.file=x",
            "-server.http-listen-port=0",
            "--server.enable-runtime-reload",
            "-positions.file",
            "/p",
            "-target.sync-period=3s",
            "-limit.readline-rate=5",
            "-max-line-size=1kb",
            "-client.url=http://a",
            "--client.batch-wait=2s",
            "-client.tenant-id=12",
            "-client.max-retries=3",
            "-client.external-labels=a=1,b=2",
            "-log.level=debug",
            "--dry-run",
        ]);
        assert_eq!(rest, ["agent", "-config.file=x", "--dry-run"]);
        let mut config = Config::default();
        let written = ClientConfig {
            url: "http://b".to_owned(),
            external_labels: [("a".to_owned(), "file".to_owned())].into(),
            ..ClientConfig::default()
        };
        config.clients.push(written);
        flags.apply(&mut config).unwrap();
        assert_eq!(config.server.http_listen_port, 0);
        assert!(config.server.enable_runtime_reload);
        assert_eq!(config.server.log_level, "debug");
        assert_eq!(config.positions.filename.to_str(), Some("/p"));
        assert_eq!(config.target_config.sync_period.as_std().as_secs(), 3);
        assert!((config.limits_config.readline_rate - 5.0).abs() < 1e-9);
        assert_eq!(config.limits_config.max_line_size.0, 1024);
        let [file, flag] = config.clients.as_slice() else {
            unreachable!("one client is written, one typed");
        };
        assert_eq!(
            (flag.url.as_str(), flag.tenant_id.as_str()),
            ("http://a", "12")
        );
        assert_eq!(flag.batchwait.as_std().as_secs(), 2);
        assert_eq!(flag.backoff_config.max_retries, 3);
        assert_eq!(flag.external_labels["a"], "1");
        assert_eq!(file.external_labels["a"], "file");
        assert_eq!(file.external_labels["b"], "2");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for arguments in [
            ["-server.nothing=1"],
            ["-server.http-listen-port=x"],
            ["-client.batch-wait=2s"],
            ["-client.external-labels=a"],
        ] {
            let (flags, rest) = taken(&arguments);
            assert!(rest.is_empty(), "{arguments:?}");
            assert!(
                flags.apply(&mut Config::default()).is_err(),
                "{arguments:?}"
            );
        }
    }
}
