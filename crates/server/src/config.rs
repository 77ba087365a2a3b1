//! The `server` section of the configuration, and how a configuration comes into being: defaults,
//! then the file, then the environment, then flags.

mod environment;
mod expand;
mod load;
mod nulls;
mod overlay;
mod print;

use serde::{Deserialize, Serialize};

use model::units::{ByteSize, DurationNs};

use crate::listen::{ConnectionLimits, ListenAddr};
use crate::telemetry::LogConfig;

pub use environment::{Environment, repeated_variables};
pub use expand::Unset;
pub use load::{ConfigError, Loaded, load, load_with};
pub use print::{Print, print};

pub(crate) use load::{parse as parse_file, read as read_file};

/// Listeners, their bounds, and the process's own log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where HTTP is served: API, metrics, health.
    pub http_listen: ListenAddr,
    /// Where gRPC between roles is served.
    pub grpc_listen: ListenAddr,
    /// Connections of one listener at once; more wait in the kernel's backlog.
    pub connections_max: usize,
    /// How long a client may take for the headers of the first request of a connection.
    pub header_timeout: DurationNs,
    /// How long a connection may wait for the headers of its next request; longer than proxies keep
    /// theirs, so that none sends a request into a connection that closes.
    pub idle_timeout: DurationNs,
    /// How long a client may pause within a request's body.
    pub body_timeout: DurationNs,
    /// How long a client may leave an answer unread.
    pub write_timeout: DurationNs,
    /// Streams of one HTTP/2 connection at once.
    pub http2_streams_max: u32,
    /// The largest message that gRPC accepts.
    pub grpc_message_size_max: ByteSize,
    /// How long open requests may take to finish at shutdown.
    pub drain_timeout: DurationNs,
    /// How long to answer "not ready" before listeners close, so that load balancers notice.
    pub shutdown_delay: DurationNs,
    /// The process's own log.
    pub log: LogConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            http_listen: ListenAddr::localhost(3100),
            grpc_listen: ListenAddr::localhost(9095),
            connections_max: 10_000,
            header_timeout: DurationNs::from_secs(10),
            idle_timeout: DurationNs::from_secs(120),
            body_timeout: DurationNs::from_secs(30),
            write_timeout: DurationNs::from_secs(60),
            http2_streams_max: 1_000,
            grpc_message_size_max: ByteSize::mib(64),
            drain_timeout: DurationNs::from_secs(15),
            shutdown_delay: DurationNs(0),
            log: LogConfig::default(),
        }
    }
}

impl Config {
    /// The bounds of a listener.
    #[must_use]
    pub fn connection_limits(&self) -> ConnectionLimits {
        ConnectionLimits {
            connections_max: self.connections_max.max(1),
            header_timeout: self.header_timeout.as_std(),
            idle_timeout: self.idle_timeout.as_std(),
            write_timeout: self.write_timeout.as_std(),
            http2_streams_max: self.http2_streams_max.max(1),
            drain_timeout: self.drain_timeout.as_std(),
        }
    }
}
