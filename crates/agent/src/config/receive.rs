//! Sources that are no files: the journal, syslog, pushes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use model::units::DurationNs;
use serde::{Deserialize, Serialize};

use super::{ServerConfig, TlsConfig};

/// The journal of systemd.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JournalConfig {
    /// Whether a line is all fields of a record as JSON, rather than its message.
    pub json: bool,
    /// How old a record may be at the first start.
    pub max_age: DurationNs,
    /// Labels of all lines.
    pub labels: BTreeMap<String, String>,
    /// The directory of the journal; empty is that of the system.
    pub path: PathBuf,
    /// Which records, as `journalctl` takes them: `FIELD=value`, with spaces between.
    pub matches: String,
    /// The agent's own: the program that reads the journal.
    pub journalctl: PathBuf,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            json: false,
            max_age: DurationNs::from_secs(7 * 3600),
            labels: BTreeMap::new(),
            path: PathBuf::new(),
            matches: String::new(),
            journalctl: PathBuf::from("journalctl"),
        }
    }
}

/// Messages of syslog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyslogConfig {
    /// Address and port.
    pub listen_address: String,
    /// `tcp` or `udp`.
    pub listen_protocol: String,
    /// How long a connection may be silent.
    pub idle_timeout: DurationNs,
    /// Whether structured data become labels.
    pub label_structured_data: bool,
    /// Labels of all lines.
    pub labels: BTreeMap<String, String>,
    /// Whether the time of the message is that of the line.
    pub use_incoming_timestamp: bool,
    /// Whether the line is the whole message rather than its text.
    pub use_rfc5424_message: bool,
    /// Bytes of a message.
    pub max_message_length: usize,
    /// `rfc5424` or `rfc3164`.
    pub syslog_format: String,
    /// The certificate of the listener, in files; with `ca_file`, clients need one of those.
    pub tls_config: TlsConfig,
}

impl Default for SyslogConfig {
    fn default() -> Self {
        Self {
            listen_address: String::new(),
            listen_protocol: "tcp".to_owned(),
            idle_timeout: DurationNs::from_secs(120),
            label_structured_data: false,
            labels: BTreeMap::new(),
            use_incoming_timestamp: false,
            use_rfc5424_message: false,
            max_message_length: 8192,
            syslog_format: "rfc5424".to_owned(),
            tls_config: TlsConfig::default(),
        }
    }
}

impl SyslogConfig {
    pub(super) fn fault(&self) -> Option<&'static str> {
        if self.listen_address.is_empty() {
            return Some("listen_address: is missing");
        }
        if let Some(fault) = self.tls_config.listener_fault() {
            return Some(fault);
        }
        if self.tls_config != TlsConfig::default() && self.listen_protocol != "tcp" {
            return Some("tls_config: only with listen_protocol: tcp");
        }
        if !["tcp", "udp"].contains(&self.listen_protocol.as_str()) {
            return Some("listen_protocol: is neither tcp nor udp");
        }
        if !["rfc5424", "rfc3164"].contains(&self.syslog_format.as_str()) {
            return Some("syslog_format: is neither rfc5424 nor rfc3164");
        }
        None
    }
}

impl PushApiConfig {
    pub(super) fn fault(&self) -> Option<String> {
        let fault = self.server.http_tls_config.fault();
        fault.map(|fault| format!("server.http_tls_config: {fault}"))
    }
}

/// A server of the agent's own that others push to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PushApiConfig {
    /// Where it listens, and with which certificate; what else is in it has no effect.
    pub server: ServerConfig,
    /// Labels of all lines.
    pub labels: BTreeMap<String, String>,
    /// Whether lines keep the time they come with.
    pub use_incoming_timestamp: bool,
}
