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
    /// Merges, and removes what is old.
    Compactor,
    /// Collects lines and pushes them.
    Agent,
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
