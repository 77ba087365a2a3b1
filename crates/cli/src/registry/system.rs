//! The registry as a whole.

use clap::Subcommand;
use reqwest::Method;
use serde_json::json;

use super::asked::Asked;

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
    pub(super) fn asked(self) -> Asked {
        match self {
            Self::Gc => Asked::get("/system/gc"),
            Self::RunGc { dry_run } => Asked::post("/system/gc", json!({"dry_run": dry_run})),
            Self::Fsck { read_bytes, repair } => Asked::post(
                "/system/fsck",
                json!({"read_bytes": read_bytes, "repair": repair}),
            ),
            Self::Keys => Asked::get("/system/keys"),
            Self::RotateKey => Asked::of(Method::POST, "/system/keys", None),
        }
    }
}
