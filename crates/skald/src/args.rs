//! What can be typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use server::ListenAddr;

use crate::agent_flags::KeyFlags;

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
    /// Ask a running agent
    Agent(AgentCommandArgs),
    /// Ask a running system
    #[command(flatten)]
    Client(Box<cli::Command>),
}

/// Arguments of `skald agent`.
#[derive(Debug, Args)]
pub(crate) struct AgentCommandArgs {
    /// What to ask.
    #[command(subcommand)]
    pub(crate) command: AgentCommand,
}

/// What can be asked of an agent.
#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// How far it is with each file, and what it owes to each client
    Status {
        /// Where the agent serves HTTP
        #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9080")]
        addr: String,
    },
}

/// Arguments of `skald serve`.
#[derive(Debug, Default, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
    /// Where to serve the image registry; port 0 lets the system choose
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) registry_listen: Option<ListenAddr>,
    /// Files to collect lines from; may be globs, and may be given several times
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub(crate) tail: Vec<String>,
}

/// The arguments of `skald-agent`: promtail's, also with one dash, and those of the other binaries.
#[derive(Clone, Debug, Default, Parser)]
#[command(
    after_help = "Keys of the file can be given as flags too, as promtail has them: \
    --server.http-listen-port=9080, --client.url=URL, --positions.file=FILE, --log.level=debug …"
)]
pub(crate) struct AgentArgs {
    /// Configuration file, YAML in promtail's keys
    #[arg(long, alias = "config.file", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Variables of the environment that are not set are nothing in the file; without this they stay
    /// as they are written. Those that are set are put in in either case
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
    /// Read lines from standard input, and exit when they are delivered
    #[arg(long)]
    pub(crate) stdin: bool,
    /// Tell on standard error what each stage does to each line
    #[arg(long)]
    pub(crate) inspect: bool,
    /// Accepted: the agent's log has its newest line last, as it has always
    #[arg(long, hide = true)]
    pub(crate) log_config_reverse_order: bool,
    /// Keys of the file that were given as flags
    #[arg(skip)]
    pub(crate) keys: KeyFlags,
}

impl AgentArgs {
    /// Puts what was typed over what was written.
    pub(crate) fn apply(&self, config: &mut agent::Config) -> Result<(), server::ConfigError> {
        self.keys.apply(config)?;
        config.is_dry_run = self.dry_run;
        config.is_inspecting = self.inspect;
        config.is_reading_stdin = self.stdin;
        if self.stdin {
            config.server.disable = true;
        }
        if let Some(addr) = self.http_listen {
            config.server.http_listen_address = addr.0.ip().to_string();
            if addr.0.is_ipv6() {
                config.server.http_listen_address = format!("[{}]", addr.0.ip());
            }
            config.server.http_listen_port = addr.0.port();
        }
        Ok(())
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

/// The arguments of `skald-registry`.
#[derive(Debug, Parser)]
pub(crate) struct RegistryArgs {
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
    /// Where clients push and pull; port 0 lets the system choose
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) registry_listen: Option<ListenAddr>,
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
        RegistryArgs::command().debug_assert();
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
