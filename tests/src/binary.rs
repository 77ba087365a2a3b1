//! Where the binaries are. `cargo test --workspace` has built them by the time a test runs; when
//! one suite is run alone they may be missing or older than the sources, and are built first: as a
//! test of the workspace, since any other selection of packages would mean other features of
//! dependencies, and so building these again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use anyhow::{Context, ensure};

/// The path of a binary of the workspace.
///
/// # Errors
/// If it cannot be built.
pub fn path(name: &str) -> anyhow::Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let directory = BUILT.get_or_init(|| directory().map_err(|error| format!("{error:#}")));
    match directory {
        Ok(directory) => Ok(directory.join(name)),
        Err(error) => anyhow::bail!("{error}"),
    }
}

fn directory() -> anyhow::Result<PathBuf> {
    // .../target/debug/deps/suite-0123456789abcdef
    let test = std::env::current_exe()?;
    let directory = test
        .parent()
        .and_then(Path::parent)
        .context("a test outside of target")?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("no workspace")?;
    let binary = directory.join("skald");
    let built = binary.metadata().and_then(|file| file.modified()).ok();
    if built.is_none_or(|built| newest_source(&workspace.join("crates")) > built) {
        let mut cargo = Command::new(env!("CARGO"));
        // What this test was told of its own package would make build scripts run again.
        for (name, _) in std::env::vars_os() {
            let name_text = name.to_string_lossy();
            if name_text.starts_with("CARGO_PKG_") || name_text.starts_with("CARGO_MANIFEST_") {
                cargo.env_remove(&name);
            }
        }
        let status = cargo
            .args(["test", "--workspace", "--no-run", "--test", "binaries"])
            .current_dir(workspace)
            .env(
                "CARGO_TARGET_DIR",
                directory.parent().context("no target directory")?,
            )
            .status()?;
        ensure!(status.success(), "the binaries cannot be built");
    }
    Ok(directory.to_owned())
}

fn newest_source(directory: &Path) -> SystemTime {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            newest = newest.max(newest_source(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            newest = newest.max(
                entry
                    .metadata()
                    .and_then(|file| file.modified())
                    .unwrap_or(SystemTime::UNIX_EPOCH),
            );
        }
    }
    newest
}
