//! The configuration, in promtail's keys.
//!
//! Keys of promtail that the agent does not support are known by name, so that [`Config::validate`]
//! can refuse them with the job and the reason. Other keys are unknown and refused where the file
//! is read. Keys that promtail does not have are marked as the agent's own.

mod client;
mod discovery;
mod docker;
mod http;
mod receive;
mod scrape;
mod server;
mod tls;

use std::path::PathBuf;

use model::units::{ByteSize, DurationNs};
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::discover::Targets;
use crate::stages::{self, Pipeline};

pub use self::server::ServerConfig;
pub use client::{BackoffConfig, ClientConfig};
pub use discovery::{AttachMetadata, FileSd, KubernetesRole, KubernetesSd, Namespaces, Selector};
pub use docker::{DockerFilter, DockerSd};
pub use http::{Authorization, BasicAuth, OAuth2, TlsConfig};
pub use receive::{JournalConfig, PushApiConfig, SyslogConfig};
pub use scrape::{Decompression, ScrapeConfig, StaticConfig};
pub use tls::HttpTlsConfig;

/// A configuration that is well formed but does not hold. The text names the section or the job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// The agent's whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The agent's own HTTP server and log.
    pub server: ServerConfig,
    /// Where it is kept how far files were read.
    pub positions: PositionsConfig,
    /// Where lines are sent to; each client gets all lines, at its own pace.
    pub clients: Vec<ClientConfig>,
    /// One more client: the old form of `clients`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientConfig>,
    /// What is collected, job by job.
    pub scrape_configs: Vec<ScrapeConfig>,
    /// How files are looked for.
    pub target_config: TargetConfig,
    /// Bounds of lines, rates and memory.
    pub limits_config: LimitsConfig,
    /// What concerns all jobs.
    pub global: GlobalConfig,
    /// Promtail's write-ahead log. Not needed here: positions wait for the acknowledgement.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub wal: Value,
    /// Promtail's tracing of itself.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub tracing: Value,
    /// Promtail's options of old.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub options_config: Value,
    /// Whether entries are printed instead of sent, and positions are left as they are. Given as a
    /// flag, not in the file.
    #[serde(skip)]
    pub is_dry_run: bool,
    /// Whether it is told on standard error what each stage does to each line. Given as a flag.
    #[serde(skip)]
    pub is_inspecting: bool,
    /// Whether lines are read from standard input, and from nowhere else. Given as a flag.
    #[serde(skip)]
    pub is_reading_stdin: bool,
}

/// Where positions are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PositionsConfig {
    /// The file. A second generation lies next to it, with `.bak` at its end.
    pub filename: PathBuf,
    /// How long an acknowledged position may wait until it is saved. The agent saves earlier.
    pub sync_period: DurationNs,
    /// Promtail's: whether a broken file is no reason to stop. Here it never is.
    pub ignore_invalid_yaml: bool,
}

impl Default for PositionsConfig {
    fn default() -> Self {
        Self {
            filename: PathBuf::from("/var/log/positions.yaml"),
            sync_period: DurationNs::from_secs(10),
            ignore_invalid_yaml: false,
        }
    }
}

/// How files are looked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TargetConfig {
    /// How often the globs are looked at again when no notice of a change came.
    pub sync_period: DurationNs,
    /// Promtail's: read from standard input. Given as a flag, not here.
    pub stdin: bool,
    /// The agent's own: how long a deleted file is held open for what of it is not yet delivered.
    pub deleted_hold_max: DurationNs,
    /// The agent's own: how long what a packed file holds may be.
    pub unpacked_size_max: ByteSize,
}

impl Default for TargetConfig {
    fn default() -> Self {
        Self {
            sync_period: DurationNs::from_secs(10),
            stdin: false,
            deleted_hold_max: DurationNs::from_secs(6 * 3600),
            unpacked_size_max: ByteSize::mib(4096),
        }
    }
}

/// Bounds of lines, rates and memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Whether the rate of lines is bounded.
    pub readline_rate_enabled: bool,
    /// Lines per second of the process.
    pub readline_rate: f64,
    /// Lines at once above the rate.
    pub readline_burst: u64,
    /// Whether lines above the rate are dropped; else reading waits.
    pub readline_rate_drop: bool,
    /// Streams of one batch; lines of more are dropped. 0 is no bound.
    pub max_streams: usize,
    /// Bytes of a line after its stages; longer ones are dropped. 0 is no bound.
    pub max_line_size: ByteSize,
    /// Whether longer lines are cut instead.
    pub max_line_size_truncate: bool,
    /// The agent's own: bytes that one client may owe an acknowledgement for; then reading waits.
    pub unacknowledged_size_max: ByteSize,
    /// The agent's own: files that are tailed at once.
    pub tailed_files_max: usize,
    /// The agent's own: streams that one job may have within an hour; lines of more are dropped. 0 is
    /// no bound. That there are many is warned of in either case.
    pub job_streams_max: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            readline_rate_enabled: false,
            readline_rate: 10_000.0,
            readline_burst: 10_000,
            readline_rate_drop: true,
            max_streams: 0,
            max_line_size: ByteSize(0),
            max_line_size_truncate: false,
            unacknowledged_size_max: ByteSize::mib(8),
            tailed_files_max: 50_000,
            job_streams_max: 0,
        }
    }
}

/// What concerns all jobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GlobalConfig {
    /// How often files are looked at when no notice of a change came.
    pub file_watch_config: FileWatchConfig,
}

/// How often files are looked at when no notice of a change came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileWatchConfig {
    /// For a file that changed lately.
    pub min_poll_frequency: DurationNs,
    /// For a file that has not changed for long.
    pub max_poll_frequency: DurationNs,
}

impl Default for FileWatchConfig {
    fn default() -> Self {
        Self {
            min_poll_frequency: DurationNs::from_millis(250),
            max_poll_frequency: DurationNs::from_millis(250),
        }
    }
}

impl Config {
    /// A configuration that collects files of these globs, each job with its own, and no client:
    /// for a process that delivers to itself. Positions go to `positions`.
    #[must_use]
    pub fn for_paths(jobs: &[(&str, Vec<String>)], positions: PathBuf) -> Self {
        let group = |job: &str, path: &String| StaticConfig {
            targets: vec!["localhost".to_owned()],
            labels: [("job", job), ("__path__", path)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        };
        let scrape = |(job, paths): &(&str, Vec<String>)| ScrapeConfig {
            job_name: (*job).to_owned(),
            static_configs: paths.iter().map(|path| group(job, path)).collect(),
            ..ScrapeConfig::default()
        };
        Self {
            positions: PositionsConfig {
                filename: positions,
                ..PositionsConfig::default()
            },
            scrape_configs: jobs.iter().map(scrape).collect(),
            ..Self::default()
        }
    }

    /// All clients, also the one in the old form.
    pub fn all_clients(&self) -> impl Iterator<Item = &ClientConfig> {
        self.client.iter().chain(&self.clients)
    }

    /// Keys of promtail's that were given and that nothing here depends on.
    #[must_use]
    pub fn without_effect(&self) -> Vec<&'static str> {
        let (server, default) = (&self.server, ServerConfig::default());
        let is_tcp = ["", "tcp"].contains(&server.http_listen_network.as_str());
        let given = [
            ("server.http_listen_network", !is_tcp),
            (
                "server.http_server_idle_timeout",
                server.http_server_idle_timeout != default.http_server_idle_timeout,
            ),
            ("server.external_url", !server.external_url.is_empty()),
            (
                "docker_sd_configs.match_first_network",
                self.scrape_configs
                    .iter()
                    .flat_map(|job| &job.docker_sd_configs)
                    .any(|docker| !docker.match_first_network),
            ),
        ];
        let given = given.into_iter().filter(|(_, is_given)| *is_given);
        given.map(|(key, _)| key).collect()
    }

    /// Checks what the types do not say. That there is a client is not demanded, since a process
    /// may deliver to itself.
    ///
    /// # Errors
    /// With the first section or job that does not hold, and why.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let wrong = |text: String| Err(ConfigError(text));
        self.server.validate()?;
        if self.positions.filename.as_os_str().is_empty() {
            return wrong("positions.filename: must not be empty".to_owned());
        }
        for (key, value, why) in [
            (
                "wal",
                &self.wal,
                "positions wait for the acknowledgement, which makes it needless",
            ),
            ("tracing", &self.tracing, "the agent does not trace itself"),
        ] {
            if value.get("enabled").and_then(Value::as_bool) == Some(true) {
                return wrong(format!("{key}.enabled: not supported: {why}"));
            }
        }
        if self
            .options_config
            .as_object()
            .is_some_and(|options| !options.is_empty())
        {
            return wrong(
                "options_config: not supported: skald_agent_lag_seconds tells the lag by file"
                    .to_owned(),
            );
        }
        if self.target_config.stdin {
            return wrong("target_config.stdin: not supported in a file, use the flag".to_owned());
        }
        if self.limits_config.readline_rate_enabled && self.limits_config.readline_rate <= 0.0 {
            return wrong("limits_config.readline_rate: must be greater than 0".to_owned());
        }
        let mut names: Vec<String> = Vec::new();
        for client in self.all_clients() {
            client.validate()?;
            let name = client.name();
            if names.contains(&name) {
                return wrong(format!(
                    "clients: two are called {name:?}; give each a name"
                ));
            }
            names.push(name);
        }
        scrape::validate(&self.scrape_configs)?;
        // That a glob or a stage is wrong shows when it is made.
        Targets::of_config(&self.scrape_configs, "")?;
        let metrics = stages::Metrics::register(&mut Registry::default());
        for job in &self.scrape_configs {
            Pipeline::new(&job.pipeline_stages, &job.job_name, &metrics)
                .map_err(|error| ConfigError(error.to_string()))?;
        }
        Ok(())
    }
}
