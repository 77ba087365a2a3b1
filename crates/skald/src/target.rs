//! What a process does.

use std::fmt;

/// Which roles a process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// All of them: `skald serve`.
    All,
    /// Takes pushes.
    Distributor,
    /// Holds recent lines.
    Ingester,
    /// Answers queries.
    Querier,
    /// Merges, expires and deletes what is stored.
    Compactor,
    /// Collects lines and pushes them.
    Agent,
    /// Keeps images.
    Registry,
}

impl Target {
    /// The name of the binary.
    #[must_use]
    pub fn binary(self) -> &'static str {
        match self {
            Self::All => "skald",
            Self::Distributor => "skald-distributor",
            Self::Ingester => "skald-ingester",
            Self::Querier => "skald-querier",
            Self::Compactor => "skald-compactor",
            Self::Agent => "skald-agent",
            Self::Registry => "skald-registry",
        }
    }

    /// What the help of the binary opens with.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::All => "A log system that speaks Loki's language: one command, or a cluster",
            Self::Distributor => "Takes pushes and spreads them over ingesters",
            Self::Ingester => "Makes lines durable, holds the recent ones, moves them to storage",
            Self::Querier => "Answers queries from ingesters and storage",
            Self::Compactor => "Merges small objects, drops what is too old or asked to be deleted",
            Self::Agent => "Collects lines from files and pushes them",
            Self::Registry => "Keeps container images and other OCI artifacts",
        }
    }

    /// Whether the process has the role that `role` alone would have.
    #[must_use]
    pub fn has(self, role: Self) -> bool {
        self == role || self == Self::All
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.binary())
    }
}
