//! What can be typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use server::ListenAddr;

/// Arguments of `skald`.
#[derive(Debug, Parser)]
#[command(arg_required_else_help = true)]
pub(crate) struct SkaldArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What `skald` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the whole system in this process
    Serve(ServeArgs),
    /// Ask a running system
    #[command(flatten)]
    Client(Box<cli::Command>),
}

/// Arguments of `skald serve`.
#[derive(Debug, Default, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
    /// Where the image registry would be served; this build has none yet and says so
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) registry_listen: Option<ListenAddr>,
    /// Files to collect lines from; may be globs, and may be given several times
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub(crate) tail: Vec<String>,
}

/// The arguments of `skald-agent`: promtail's, also with one dash, and those of the other binaries.
#[derive(Debug, Default, Parser)]
pub(crate) struct AgentArgs {
    /// Configuration file, YAML in promtail's keys
    #[arg(long, alias = "config.file", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Accepted: the environment is always expanded in the file
    #[arg(long = "config.expand-env", num_args = 0..=1, default_missing_value = "true", hide = true)]
    pub(crate) expand_env: Option<bool>,
    /// Check the configuration and exit
    #[arg(long)]
    pub(crate) check_config: bool,
    /// The same, in promtail's words
    #[arg(long)]
    pub(crate) check_syntax: bool,
    /// Print the configuration in force as YAML, without secrets, and exit
    #[arg(long)]
    pub(crate) print_config: bool,
    /// Print the configuration in force to standard error, and go on
    #[arg(long)]
    pub(crate) print_config_stderr: bool,
    /// Print entries instead of sending them, and leave positions as they are
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Where to serve HTTP; port 0 lets the system choose
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) http_listen: Option<ListenAddr>,
    /// Accepted as by the other binaries: the agent serves no gRPC
    #[arg(long, value_name = "ADDR:PORT", hide = true)]
    pub(crate) grpc_listen: Option<ListenAddr>,
    /// Port of HTTP
    #[arg(long = "server.http-listen-port", value_name = "PORT")]
    pub(crate) http_listen_port: Option<u16>,
    /// Address of HTTP
    #[arg(long = "server.http-listen-address", value_name = "ADDR")]
    pub(crate) http_listen_address: Option<String>,
    /// Where lines are sent to, besides the clients of the file; may be repeated
    #[arg(long = "client.url", value_name = "URL")]
    pub(crate) client_urls: Vec<String>,
    /// Where positions are kept
    #[arg(long = "positions.file", value_name = "FILE")]
    pub(crate) positions_file: Option<PathBuf>,
    /// How much is logged
    #[arg(long = "log.level", value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
}

impl AgentArgs {
    /// Puts what was typed over what was written.
    pub(crate) fn apply(&self, config: &mut agent::Config) {
        config.is_dry_run = self.dry_run;
        if let Some(addr) = self.http_listen {
            config.server.http_listen_address = addr.0.ip().to_string();
            if addr.0.is_ipv6() {
                config.server.http_listen_address = format!("[{}]", addr.0.ip());
            }
            config.server.http_listen_port = addr.0.port();
        }
        if let Some(port) = self.http_listen_port {
            config.server.http_listen_port = port;
        }
        if let Some(address) = &self.http_listen_address {
            config.server.http_listen_address.clone_from(address);
        }
        config.clients.extend(self.client_urls.iter().map(|url| {
            let url = url.clone();
            agent::config::ClientConfig {
                url,
                ..Default::default()
            }
        }));
        if let Some(file) = &self.positions_file {
            config.positions.filename.clone_from(file);
        }
        if let Some(level) = &self.log_level {
            config.server.log_level.clone_from(level);
        }
    }

    /// Promtail's flags have one dash; clap's have two.
    pub(crate) fn with_two_dashes(argument: OsString) -> OsString {
        match argument.to_str() {
            Some(text) if text.len() > 2 && text.starts_with('-') && !text.starts_with("--") => {
                format!("-{text}").into()
            }
            _ => argument,
        }
    }
}

/// The arguments of a process with one role.
#[derive(Debug, Parser)]
pub(crate) struct RoleArgs {
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
}

/// Arguments of every process that serves.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ProcessArgs {
    /// Configuration file, YAML; every key can also be set by the environment, as
    /// SKALD_<SECTION>_<KEY>
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where to keep what must survive a restart
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where to serve HTTP; port 0 lets the system choose
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) http_listen: Option<ListenAddr>,
    /// Where to serve gRPC; port 0 lets the system choose
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) grpc_listen: Option<ListenAddr>,
    /// Check the configuration and exit
    #[arg(long)]
    pub(crate) check_config: bool,
    /// Print the configuration in force as YAML, without secrets, and exit
    #[arg(long)]
    pub(crate) print_config: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_hold_together() {
        SkaldArgs::command().debug_assert();
        RoleArgs::command().debug_assert();
        let args = SkaldArgs::try_parse_from([
            "skald",
            "serve",
            "--tail",
            "/a",
            "/b",
            "--tail",
            "/c/*.log",
            "--http-listen",
            ":1",
        ]);
        let Command::Serve(args) = args.unwrap().command else {
            unreachable!("`serve` was asked for");
        };
        assert_eq!(args.tail, ["/a", "/b", "/c/*.log"]);
        assert!(SkaldArgs::try_parse_from(["skald", "serve", "--http-listen", "x"]).is_err());
    }
}
