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
mod delete;
mod error;
mod explain;
mod metadata;
mod output;
mod progress;
mod query;
mod registry;
mod tail;
mod time;
mod tls;
mod volumes;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Subcommand;

pub use args::{
    ClientArgs, DeleteCommand, FieldsArgs, FmtArgs, InstantArgs, LabelsArgs, QueryArgs, SeriesArgs,
    StatsArgs, TailArgs, VolumeArgs, VolumeRangeArgs,
};
pub use error::CliError;
pub use registry::{
    AccountCommand, Action, ApplyArgs, ContentCommand, GroupCommand, Kept, ListArgs, PolicyCommand,
    ProjectCommand, REGISTRY_VARIABLES, Reach, RegistryArgs, RegistryCommand, Role, Switch,
    SystemCommand, UpstreamCommand, Visibility,
};

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
    /// Say how many bytes there are of each series or label
    Volume(VolumeArgs),
    /// Say how many bytes there are of each series or label, step by step
    #[command(name = "volume_range", alias = "volume-range")]
    VolumeRange(VolumeRangeArgs),
    /// List the fields of lines, or the values of one field
    DetectedFields(FieldsArgs),
    /// Look after requests to delete lines
    #[command(subcommand)]
    Delete(DeleteCommand),
    /// Print lines as they are pushed
    Tail(TailArgs),
    /// Format a LogQL query read from standard input
    Fmt(FmtArgs),
    /// Look after an image registry
    Registry(RegistryArgs),
}

/// Runs a command and says on standard error why it failed.
pub async fn run(command: Command) -> ExitCode {
    let stdout = io::stdout();
    // `NO_COLOR`, `CLICOLOR` and a dumb terminal are respected.
    let wanted = anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never;
    let colours = stdout.is_terminal() && wanted;
    let mut out = io::BufWriter::new(stdout);
    match execute(command, &mut out, colours).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln_stderr(&format!("error: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

/// Runs a command that prints to `out`, on which colours mean something or not.
async fn execute(
    command: Command,
    out: &mut (dyn Write + Send),
    colours: bool,
) -> Result<(), CliError> {
    // Somebody else in the process may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match command {
        Command::Query(args) => query::range(args, out, colours).await?,
        Command::InstantQuery(args) => query::instant(args, out).await?,
        Command::Labels(args) => metadata::labels(args, out).await?,
        Command::Series(args) => metadata::series(args, out).await?,
        Command::Stats(args) => metadata::stats(args, out).await?,
        Command::Volume(args) => volumes::volume(args, out).await?,
        Command::VolumeRange(args) => volumes::volume_range(args, out).await?,
        Command::DetectedFields(args) => volumes::detected_fields(args, out).await?,
        Command::Delete(command) => delete::run(command, out).await?,
        Command::Tail(args) => tail::tail(args, out, colours).await?,
        Command::Fmt(args) => metadata::format(&args, out)?,
        Command::Registry(args) => registry::run(args, out).await?,
    }
    out.flush()?;
    Ok(())
}

fn writeln_stderr(text: &str) -> io::Result<()> {
    writeln!(anstream::stderr(), "{text}")
}

#[cfg(test)]
mod tests;
