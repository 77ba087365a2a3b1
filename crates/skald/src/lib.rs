//! Joins roles into processes.
//!
//! [`app::run`] is the whole of every binary: arguments, [`Config`], telemetry, then a [`Process`]
//! of the roles that its [`Target`] names, until a signal ends it. [`Process`] is also how a test
//! runs a cluster within itself.
//!
//! *Invariants.* A wrong configuration ends with exit code 64 before a port is bound. Roles meet only
//! here: they know each other by the traits of `proto::role`.

mod agent_flags;
mod agent_process;
mod agent_reload;
mod agent_status;
pub mod app;
mod args;
mod config;
mod process;
mod target;

pub use config::Config;
pub use process::Process;
pub use target::Target;
