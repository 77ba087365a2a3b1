//! The registry as a whole.

use std::io::Read;

use clap::Subcommand;
use reqwest::Method;
use serde_json::json;

use super::asked::Asked;
use crate::error::CliError;

/// Bytes of the longest list of images.
const INPUT_BYTES_MAX: u64 = 8 << 20;

/// What can be done with the registry as a whole.
#[derive(Clone, Debug, Subcommand)]
pub enum SystemCommand {
    /// Say what waits for garbage collection
    Gc,
    /// Collect garbage now
    RunGc {
        /// Say what would be removed if all graces were over, and remove nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// List the clusters that said what they run
    Running,
    /// Say what a cluster runs, which retention then leaves alone for a day: an image with its digest
    /// in each line of standard input
    SetRunning {
        /// The cluster
        cluster: String,
    },
    /// Compare database and store while the registry goes on; fails if something is not as it
    /// should be
    Fsck {
        /// Read all bytes and compare them with their digests
        #[arg(long)]
        read_bytes: bool,
        /// Remove bytes that no row names, and correct the sums of quotas
        #[arg(long)]
        repair: bool,
    },
    /// List the keys that sign tokens
    Keys,
    /// Sign tokens with a new key from now on; those that were given hold on
    RotateKey,
}

impl SystemCommand {
    pub(super) fn asked(self) -> Result<Asked, CliError> {
        Ok(match self {
            Self::Gc => Asked::get("/system/gc"),
            Self::RunGc { dry_run } => Asked::post("/system/gc", json!({"dry_run": dry_run})),
            Self::Fsck { read_bytes, repair } => Asked::post(
                "/system/fsck",
                json!({"read_bytes": read_bytes, "repair": repair}),
            ),
            Self::Keys => Asked::get("/system/keys"),
            Self::RotateKey => Asked::of(Method::POST, "/system/keys", None),
            Self::Running => Asked::get("/running"),
            Self::SetRunning { cluster } => set_running(&cluster, &read_lines()?),
        })
    }
}

fn read_lines() -> Result<String, CliError> {
    let mut lines = String::new();
    let stdin = std::io::stdin().take(INPUT_BYTES_MAX);
    std::io::BufReader::new(stdin).read_to_string(&mut lines)?;
    Ok(lines)
}

/// Containers that have not begun yet have no image.
fn set_running(cluster: &str, lines: &str) -> Asked {
    let lines = lines.lines().map(str::trim);
    let images: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    Asked::put(format!("/running/{cluster}"), json!({"images": images}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_images() {
        let asked = set_running("prod", "a@sha256:1\n\n  b@sha256:2\n");
        assert_eq!(asked.path, "/running/prod");
        assert_eq!(
            asked.body,
            Some(json!({"images": ["a@sha256:1", "b@sha256:2"]}))
        );
    }
}
