//! The process kit: what every binary needs before and after its role does its work.
//!
//! It owns the configuration file ([`load`]), the process environment ([`Environment`]), listeners
//! ([`Listener`]), the tenant of a request ([`http::Tenants`]), telemetry ([`Telemetry`],
//! [`Metrics`]), health ([`Health`]), the limits of tenants ([`Overrides`]), the data directory's
//! lock ([`DataDir`]) and the life of a process ([`Modules`]).
//!
//! *Invariants.* A configuration that does not hold is refused before a port is bound. Only this
//! crate reads the process environment. Every listener bounds its connections, the time a client
//! may take for its headers and body, and the time it may stall while it is written to. Shutdown is
//! one order in one place: readiness off, then the modules in reverse of their start, each within
//! its own deadline. The log of a process never blocks it: lines that do not fit are dropped and
//! counted.
//!
//! Start reading at [`load`] for the beginning of a process and at [`Modules`] for its end.

pub mod admin;
mod config;
mod datadir;
mod grpc;
mod health;
pub mod http;
mod listen;
mod memory;
mod metrics;
mod modules;
mod overrides;
mod telemetry;
mod version;

pub use config::{
    Config, ConfigError, Environment, Loaded, Print, Unset, load, load_with, print,
    repeated_variables,
};
pub use datadir::{DataDir, DataDirError};
pub use grpc::grpc_router;
pub use health::{Component, Health, State};
pub use listen::{
    BindError, ClientCertificates, ConnectionLimits, ListenAddr, Listener, TlsConfig, TlsError,
};
pub use memory::{give_back_freed, tune_allocator};
pub use metrics::{Metrics, Registry, Summary};
pub use modules::{Module, ModuleError, Modules, StopReason, stop_signal};
pub use overrides::{LimitError, Overrides, OverridesError, RuntimeConfig};
pub use telemetry::{
    LineFile, LogConfig, LogFormat, LogLevel, RotatingFile, Telemetry, TelemetryError,
};
pub use tokio_rustls::TlsAcceptor;
pub use version::{REVISION, VERSION};

/// Makes ring the cryptography of every TLS connection of this process. Called first in every
/// `main`, and in tests that open TLS: rustls panics when two providers are compiled in and none
/// was chosen. Calling it again is harmless.
pub fn install_crypto_provider() {
    // The error only says that another call was earlier.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Allows this process as many open files as the system lets it have: connections, segments and
/// tailed files need more than the 1,024 that many systems begin with.
pub fn raise_open_files_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // A process that may not raise its limit runs with what it has.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// The name of this machine, as the kernel has it.
#[must_use]
pub fn hostname() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    if name.is_empty() {
        "localhost".to_owned()
    } else {
        name.into_owned()
    }
}
