//! `skald serve`, everything in one process; and the client commands.

use std::process::ExitCode;

fn main() -> ExitCode {
    skald::app::run(skald::Target::All)
}
