//! From a file and the environment to a typed configuration.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::environment::{Environment, apply};
use super::expand::{ExpandError, Unset, asks_for, expand};
use super::nulls::Nulls;

/// The largest configuration file.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Why a configuration is refused. A process that meets one exits with [`ConfigError::EXIT_CODE`].
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is too large to be a configuration.
    #[error("{path} is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A variable in the file cannot be replaced.
    #[error("{path}: {source}")]
    Expand {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ExpandError,
    },
    /// The file is not what it should be. The message has the line and a snippet.
    #[error("{path}: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What, and where.
        message: String,
    },
    /// A variable does not fit its key.
    #[error("environment variable {name}: {message}")]
    Environment {
        /// The variable.
        name: String,
        /// Why.
        message: String,
    },
    /// Each key is well formed but the whole does not hold.
    #[error("{0}")]
    Invalid(String),
}

impl ConfigError {
    /// `EX_USAGE` of sysexits.h.
    pub const EXIT_CODE: u8 = 64;
}

/// A configuration and what there is to say about how it came to be.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The configuration, before flags.
    pub config: T,
    /// Variables that begin with `SKALD_` but name no key, and that the file does not ask for; worth a
    /// warning once there is a log.
    pub unknown_environment: Vec<String>,
}

/// Defaults, then the file if there is one, then the environment.
///
/// # Errors
/// If the file cannot be read or a key is unknown or wrong.
pub fn load<T>(file: Option<&Path>, environment: &Environment) -> Result<Loaded<T>, ConfigError>
where
    T: Serialize + DeserializeOwned + Default,
{
    load_with(file, environment, Unset::Refuse)
}

/// As [`load`], where variables without a value are what `unset` says.
///
/// # Errors
/// As [`load`].
pub fn load_with<T>(
    file: Option<&Path>,
    environment: &Environment,
    unset: Unset,
) -> Result<Loaded<T>, ConfigError>
where
    T: Serialize + DeserializeOwned + Default,
{
    let (text, document, config) = match file {
        Some(path) => {
            let text = read(path)?;
            let document = expanded(path, &text, environment, unset)?;
            let config = parse_expanded(path, &document)?;
            (text, document, config)
        }
        None => (String::new(), String::new(), T::default()),
    };
    let applied = apply(&document, config, environment)?;
    let unknown = applied.unknown.into_iter();
    Ok(Loaded {
        config: applied.config,
        unknown_environment: unknown.filter(|name| !asks_for(&text, name)).collect(),
    })
}

pub(crate) fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(text)
}

pub(crate) fn parse<T: DeserializeOwned>(
    path: &Path,
    text: &str,
    environment: &Environment,
) -> Result<T, ConfigError> {
    parse_expanded(path, &expanded(path, text, environment, Unset::Refuse)?)
}

fn expanded(
    path: &Path,
    text: &str,
    environment: &Environment,
    unset: Unset,
) -> Result<String, ConfigError> {
    expand(text, environment, unset).map_err(|source| ConfigError::Expand {
        path: path.to_owned(),
        source,
    })
}

fn parse_expanded<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    let read =
        serde_yaml::with_deserializer_from_str(text, |document| T::deserialize(Nulls(document)));
    read.map_err(|error| ConfigError::Parse {
        path: path.to_owned(),
        message: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn load_text(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let environment = Environment::from_pairs(environment.iter().copied());
        load(Some(file.path()), &environment).map(|loaded| loaded.config)
    }

    #[test]
    fn an_empty_file_gives_the_defaults() {
        assert_eq!(load_text("", &[]).unwrap(), Config::default());
        assert_eq!(load_text("# nothing\n", &[]).unwrap(), Config::default());
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let config = load_text(
            "http_listen: ${HOST:-127.0.0.1}:4000\ndrain_timeout: 1m",
            &[
                ("SKALD_HTTP_LISTEN", "127.0.0.1:5000"),
                ("SKALD_LOG_LEVEL", "debug"),
            ],
        )
        .unwrap();
        assert_eq!(config.http_listen.to_string(), "127.0.0.1:5000");
        assert_eq!(
            config.drain_timeout,
            model::units::DurationNs::from_secs(60)
        );
        assert_eq!(config.log.level.to_string(), "debug");
    }

    #[test]
    fn variables_that_set_no_key_are_told_unless_the_file_asks_for_them() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "http_listen: ${SKALD_HOST:-127.0.0.1}:4000\n# ${SKALD_LATER}\n";
        std::fs::write(file.path(), text).unwrap();
        let names = ["SKALD_HOST", "SKALD_LATER", "SKALD_HOS", "SKALD_HTTP_LISTE"];
        let environment = Environment::from_pairs(names.map(|name| (name, "127.0.0.2")));
        let loaded: Loaded<Config> = load(Some(file.path()), &environment).unwrap();
        assert_eq!(
            loaded.unknown_environment,
            ["SKALD_HOS", "SKALD_HTTP_LISTE"]
        );
        let loaded: Loaded<Config> = load(None, &environment).unwrap();
        assert_eq!(loaded.unknown_environment.len(), names.len());
    }

    #[test]
    fn an_unknown_key_is_shown_with_its_line() {
        let error = load_text("header_timeout: 1s\nhttp_lisen: 127.0.0.1:1\n", &[])
            .unwrap_err()
            .to_string();
        for part in ["http_lisen", "line 2", "http_listen"] {
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
    }

    #[test]
    fn a_wrong_value_is_shown_with_its_line() {
        let error = load_text("\n\nheader_timeout: soon\n", &[])
            .unwrap_err()
            .to_string();
        for part in ["line 3", "soon"] {
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load::<Config>(Some(Path::new("/nowhere/x.yaml")), &Environment::default());
        assert!(error.unwrap_err().to_string().contains("/nowhere/x.yaml"));
    }
}
