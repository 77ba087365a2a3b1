//! The image registry as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    skald::app::run_registry()
}
