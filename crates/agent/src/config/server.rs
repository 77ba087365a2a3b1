//! The `server` section: promtail's keys of its own HTTP server.

use model::units::DurationNs;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ConfigError, HttpTlsConfig};

/// The agent's own HTTP server and log. What concerns gRPC is read and has no effect: the agent
/// serves none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Address of the HTTP server; empty is all of this machine.
    pub http_listen_address: String,
    /// Port of the HTTP server; 0 lets the system choose.
    pub http_listen_port: u16,
    /// Has no effect.
    pub http_listen_network: String,
    /// Connections at once; 0 is as many as other processes of Skald take.
    pub http_listen_conn_limit: u64,
    /// How long a client may take for its request.
    pub http_server_read_timeout: DurationNs,
    /// How long a client may take to read the answer.
    pub http_server_write_timeout: DurationNs,
    /// How long a connection may idle.
    pub http_server_idle_timeout: DurationNs,
    /// What all routes begin with.
    pub http_path_prefix: String,
    /// The address that others see.
    pub external_url: String,
    /// Has no effect.
    pub grpc_listen_address: String,
    /// Has no effect.
    pub grpc_listen_port: u16,
    /// Has no effect.
    pub grpc_listen_network: String,
    /// Has no effect.
    pub grpc_listen_conn_limit: u64,
    /// Has no effect.
    pub grpc_server_max_recv_msg_size: u64,
    /// Has no effect.
    pub grpc_server_max_send_msg_size: u64,
    /// Has no effect.
    pub grpc_server_max_concurrent_streams: u64,
    /// How long open requests may take at shutdown.
    pub graceful_shutdown_timeout: DurationNs,
    /// `debug`, `info`, `warn` or `error`.
    pub log_level: String,
    /// `logfmt` or `json`.
    pub log_format: String,
    /// Whether `/ready` waits for a file that is tailed.
    pub health_check_target: bool,
    /// Whether there is no HTTP server at all.
    pub disable: bool,
    /// Has no effect: profiles cost nothing while nobody asks for one.
    pub profiling_enabled: bool,
    /// Whether profiles are served; metrics always are.
    pub register_instrumentation: bool,
    /// Whether `/reload` and SIGHUP read the configuration again.
    pub enable_runtime_reload: bool,
    /// The certificate of the HTTP server.
    pub http_tls_config: HttpTlsConfig,
    /// Has no effect.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub grpc_tls_config: Value,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            http_listen_address: String::new(),
            http_listen_port: 80,
            http_listen_network: String::new(),
            http_listen_conn_limit: 0,
            http_server_read_timeout: DurationNs::from_secs(30),
            http_server_write_timeout: DurationNs::from_secs(30),
            http_server_idle_timeout: DurationNs::from_secs(120),
            http_path_prefix: String::new(),
            external_url: String::new(),
            grpc_listen_address: String::new(),
            grpc_listen_port: 0,
            grpc_listen_network: String::new(),
            grpc_listen_conn_limit: 0,
            grpc_server_max_recv_msg_size: 0,
            grpc_server_max_send_msg_size: 0,
            grpc_server_max_concurrent_streams: 0,
            graceful_shutdown_timeout: DurationNs::from_secs(30),
            log_level: "info".to_owned(),
            log_format: "logfmt".to_owned(),
            health_check_target: true,
            disable: false,
            profiling_enabled: false,
            register_instrumentation: true,
            enable_runtime_reload: false,
            http_tls_config: HttpTlsConfig::default(),
            grpc_tls_config: Value::Null,
        }
    }
}

impl ServerConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if let Some(fault) = self.http_tls_config.fault() {
            return Err(ConfigError(format!("server.http_tls_config: {fault}")));
        }
        if !["logfmt", "json"].contains(&self.log_format.as_str()) {
            let text = format!(
                "server.log_format: {:?} is neither logfmt nor json",
                self.log_format
            );
            return Err(ConfigError(text));
        }
        Ok(())
    }
}
