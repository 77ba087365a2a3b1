//! The `scrape_configs` section: what is collected, job by job.

use std::collections::BTreeMap;

use model::units::DurationNs;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    ConfigError, DockerSd, FileSd, JournalConfig, KubernetesSd, PushApiConfig, SyslogConfig,
};
use crate::relabel::RelabelConfig;
use crate::stages::StageConfig;
use crate::tail::unpack::Packing;

/// One job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScrapeConfig {
    /// Its name, of which there is no other.
    pub job_name: String,
    /// What is done to its lines.
    pub pipeline_stages: Vec<StageConfig>,
    /// What is done to the labels of its targets.
    pub relabel_configs: Vec<RelabelConfig>,
    /// Targets that are written down here.
    pub static_configs: Vec<StaticConfig>,
    /// Targets from files.
    pub file_sd_configs: Vec<FileSd>,
    /// The encoding of its files, by its IANA name; empty is UTF-8.
    pub encoding: String,
    /// Whether its files are packed.
    pub decompression: Decompression,
    /// The agent's own: whether the structured metadata `file_offset` says where in its file a line
    /// begins, by which lines are known again that a server has twice.
    pub offset_metadata: bool,
    /// Targets from Kubernetes.
    pub kubernetes_sd_configs: Vec<KubernetesSd>,
    /// The journal of systemd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal: Option<JournalConfig>,
    /// Messages of syslog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syslog: Option<SyslogConfig>,
    /// Pushes of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loki_push_api: Option<PushApiConfig>,
    /// Containers of Docker, whose logs are read.
    pub docker_sd_configs: Vec<DockerSd>,
    /// Not supported.
    pub gelf: Value,
    /// Not supported.
    pub kafka: Value,
    /// Not supported.
    pub azure_event_hubs: Value,
    /// Not supported.
    pub gcplog: Value,
    /// Not supported.
    pub cloudflare: Value,
    /// Not supported.
    pub heroku_drain: Value,
    /// Not supported.
    pub windows_events: Value,
    /// Not supported.
    pub consul_sd_configs: Value,
    /// Not supported.
    pub consulagent_sd_configs: Value,
    /// Not supported.
    pub dns_sd_configs: Value,
    /// Not supported.
    pub ec2_sd_configs: Value,
    /// Not supported.
    pub gce_sd_configs: Value,
    /// Not supported.
    pub azure_sd_configs: Value,
    /// Not supported.
    pub openstack_sd_configs: Value,
    /// Not supported.
    pub dockerswarm_sd_configs: Value,
    /// Not supported.
    pub digitalocean_sd_configs: Value,
    /// Not supported.
    pub marathon_sd_configs: Value,
    /// Not supported.
    pub nerve_sd_configs: Value,
    /// Not supported.
    pub serverset_sd_configs: Value,
    /// Not supported.
    pub triton_sd_configs: Value,
    /// Not supported.
    pub entry_parser: String,
}

/// Whether files are packed, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Decompression {
    /// Whether they are.
    pub enabled: bool,
    /// How long a file may still be written after it was made.
    pub initial_delay: DurationNs,
    /// `gz`, `z`, `bz2` or, the agent's own, `zst`.
    pub format: String,
}

/// Targets that share labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StaticConfig {
    /// Their addresses. Each becomes a target; none is as if `localhost` were there.
    pub targets: Vec<String>,
    /// Their labels. `__path__` is the glob of their files, `__path_exclude__` of those left out.
    pub labels: BTreeMap<String, String>,
}

impl ScrapeConfig {
    /// How its files are packed, if they are.
    pub(crate) fn packing(&self) -> Result<Option<Packing>, String> {
        let Decompression {
            enabled, format, ..
        } = &self.decompression;
        if !enabled {
            return Ok(None);
        }
        let packing = Packing::of_format(format);
        let wrong = || format!("decompression.format: {format:?} is none of gz, z, bz2, zst");
        packing.ok_or_else(wrong).map(Some)
    }

    /// Whether its lines come to the agent, rather than lying in files.
    pub(crate) fn receives(&self) -> bool {
        self.journal.is_some()
            || self.syslog.is_some()
            || self.loki_push_api.is_some()
            || !self.docker_sd_configs.is_empty()
    }

    /// What is given but not supported: the key and what to do instead.
    fn unsupported(&self) -> Option<(&'static str, &'static str)> {
        const NEVER: &str = "the agent does not collect from there; keep another collector for it";
        let values = [
            ("gelf", &self.gelf, NEVER),
            ("kafka", &self.kafka, NEVER),
            ("azure_event_hubs", &self.azure_event_hubs, NEVER),
            ("gcplog", &self.gcplog, NEVER),
            ("cloudflare", &self.cloudflare, NEVER),
            ("heroku_drain", &self.heroku_drain, NEVER),
            ("windows_events", &self.windows_events, NEVER),
            ("consul_sd_configs", &self.consul_sd_configs, NEVER),
            (
                "consulagent_sd_configs",
                &self.consulagent_sd_configs,
                NEVER,
            ),
            ("dns_sd_configs", &self.dns_sd_configs, NEVER),
            ("ec2_sd_configs", &self.ec2_sd_configs, NEVER),
            ("gce_sd_configs", &self.gce_sd_configs, NEVER),
            ("azure_sd_configs", &self.azure_sd_configs, NEVER),
            ("openstack_sd_configs", &self.openstack_sd_configs, NEVER),
            (
                "dockerswarm_sd_configs",
                &self.dockerswarm_sd_configs,
                NEVER,
            ),
            (
                "digitalocean_sd_configs",
                &self.digitalocean_sd_configs,
                NEVER,
            ),
            ("marathon_sd_configs", &self.marathon_sd_configs, NEVER),
            ("nerve_sd_configs", &self.nerve_sd_configs, NEVER),
            ("serverset_sd_configs", &self.serverset_sd_configs, NEVER),
            ("triton_sd_configs", &self.triton_sd_configs, NEVER),
        ];
        let texts = [("entry_parser", &self.entry_parser, "use pipeline_stages")];
        let given = values.iter().find(|(_, value, _)| !is_nothing(value));
        let value = given.map(|(key, _, why)| (*key, *why));
        let text = texts.iter().find(|(_, text, _)| !text.is_empty());
        value.or(text.map(|(key, _, why)| (*key, *why)))
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

pub(super) fn validate(jobs: &[ScrapeConfig]) -> Result<(), ConfigError> {
    let mut names: Vec<&str> = Vec::new();
    for job in jobs {
        let name = job.job_name.as_str();
        if name.is_empty() {
            return Err(ConfigError(
                "scrape_configs: a job has no job_name".to_owned(),
            ));
        }
        if names.contains(&name) {
            let text = format!("scrape_configs: two jobs are called {name:?}");
            return Err(ConfigError(text));
        }
        names.push(name);
        if let Some(fault) = job.syslog.as_ref().and_then(SyslogConfig::fault) {
            return Err(ConfigError(format!("job {name:?}: syslog: {fault}")));
        }
        if let Some(fault) = job.loki_push_api.as_ref().and_then(PushApiConfig::fault) {
            return Err(ConfigError(format!("job {name:?}: loki_push_api: {fault}")));
        }
        if let Some(fault) = job.docker_sd_configs.iter().find_map(DockerSd::fault) {
            return Err(ConfigError(format!(
                "job {name:?}: docker_sd_configs: {fault}"
            )));
        }
        if let Some((key, why)) = job.unsupported() {
            return Err(ConfigError(format!(
                "job {name:?}: {key}: not supported: {why}"
            )));
        }
    }
    Ok(())
}
