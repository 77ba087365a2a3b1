//! The client commands of `skald`: ask any server that has Loki's API from a terminal.
//!
//! Names and flags are those of `logcli`, so that fingers and scripts keep their habits. Answers go
//! to standard output and nothing else does; what is for a person alone (the common labels, a
//! progress line) goes to standard error. Start at [`Command`].
//!
//! *Invariants.* Exit code 0 only if all that was asked for was printed. A reader that closes the
//! pipe ends the command quietly. Colours appear only where a terminal reads them.

mod answer;
mod args;
mod client;
mod error;
mod metadata;
mod output;
mod progress;
mod query;
mod tail;
mod time;

use std::io;
use std::process::ExitCode;

use clap::Subcommand;

pub use args::{
    ClientArgs, FmtArgs, InstantArgs, LabelsArgs, QueryArgs, SeriesArgs, StatsArgs, TailArgs,
};
pub use error::CliError;

/// What to ask.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run a LogQL query over a span of time
    Query(QueryArgs),
    /// Run a LogQL metric query at one time
    InstantQuery(InstantArgs),
    /// List label names, or the values of one label
    Labels(LabelsArgs),
    /// List streams
    Series(SeriesArgs),
    /// Say how much a selector matches: streams, chunks, bytes, lines
    Stats(StatsArgs),
    /// Print lines as they are pushed
    Tail(TailArgs),
    /// Format a LogQL query read from standard input
    Fmt(FmtArgs),
}

/// Runs a command and says on standard error why it failed.
pub async fn run(command: Command) -> ExitCode {
    // Somebody else in the process may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let result = match command {
        Command::Query(args) => query::range(args).await,
        Command::InstantQuery(args) => query::instant(args).await,
        Command::Labels(args) => metadata::labels(args).await,
        Command::Series(args) => metadata::series(args).await,
        Command::Stats(args) => metadata::stats(args).await,
        Command::Tail(args) => tail::tail(args).await,
        Command::Fmt(args) => metadata::format(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln_stderr(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn writeln_stderr(text: &str) -> io::Result<()> {
    use io::Write;
    writeln!(anstream::stderr(), "{text}")
}
