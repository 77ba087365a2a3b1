//! What `deploy/` has: manifests that are well formed and belong together, charts that give the same,
//! configurations that the binaries accept, an image that has what containers need.

mod image;
mod manifests;
mod render;
mod units;

use std::path::{Path, PathBuf};

use anyhow::Context;

/// The directory `deploy`.
fn deploy() -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    Ok(root.context("no workspace")?.join("deploy"))
}

/// The text of a file in it.
fn read(path: &str) -> anyhow::Result<String> {
    let path = deploy()?.join(path);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}
