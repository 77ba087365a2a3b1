//! What can be typed.

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
    Client(cli::Command),
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
