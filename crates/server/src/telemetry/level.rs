//! What is logged.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tracing_subscriber::filter::{LevelFilter, Targets};

/// Libraries whose events below `info` are about their own insides. They follow a lower level only
/// when it is asked for by name.
const QUIET: [&str; 9] = [
    "h2",
    "hyper",
    "hyper_util",
    "tower",
    "tonic",
    "rustls",
    "reqwest",
    "tungstenite",
    "mio",
];

/// A level, and others for some targets: `info`, `info,querier=debug`.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLevel {
    default: LevelFilter,
    targets: Vec<(String, LevelFilter)>,
}

impl LogLevel {
    pub(super) fn targets(&self) -> Targets {
        let quiet = QUIET.map(|target| (target.to_owned(), self.default.min(LevelFilter::INFO)));
        Targets::new()
            .with_default(self.default)
            .with_targets(quiet)
            .with_targets(self.targets.iter().cloned())
    }
}

impl Default for LogLevel {
    fn default() -> Self {
        Self {
            default: LevelFilter::INFO,
            targets: Vec::new(),
        }
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut level = Self::default();
        for part in text.split(',') {
            match part.trim().split_once('=') {
                Some((target, of_target)) => {
                    level
                        .targets
                        .push((target.to_owned(), parse_level(of_target)?));
                }
                None => level.default = parse_level(part.trim())?,
            }
        }
        Ok(level)
    }
}

fn parse_level(text: &str) -> Result<LevelFilter, String> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "off" => LevelFilter::OFF,
        "error" => LevelFilter::ERROR,
        "warn" | "warning" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => {
            // As Loki words it.
            return Err(format!(
                "unrecognized log level {}",
                model::units::quote(text)
            ));
        }
    })
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.default)?;
        for (target, level) in &self.targets {
            write!(f, ",{target}={level}")?;
        }
        Ok(())
    }
}

impl Serialize for LogLevel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LogLevel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn levels_parse_print_and_filter() {
        for text in ["info", "warn,querier=debug", "off"] {
            assert_eq!(text.parse::<LogLevel>().unwrap().to_string(), text);
        }
        for wrong in ["", "loud", "info,querier", "info,querier=loud"] {
            assert!(wrong.parse::<LogLevel>().is_err(), "{wrong}");
        }
        let targets = "debug,h2=trace".parse::<LogLevel>().unwrap().targets();
        assert!(targets.would_enable("querier", &Level::DEBUG));
        assert!(targets.would_enable("h2::frame", &Level::TRACE));
        assert!(!targets.would_enable("hyper::proto", &Level::DEBUG));
    }
}
