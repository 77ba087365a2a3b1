//! What can go wrong with a cluster.

/// Why a process cannot take part.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A setting that does not hold.
    #[error("cluster: {0}")]
    Config(String),
    /// An address that nobody can be reached at.
    #[error("address {address}: {reason}")]
    Address {
        /// As configured or announced.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Gossip did not start.
    #[error("gossip: {0}")]
    Gossip(String),
}

/// Why a member cannot be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForgetError {
    /// There is none of this name.
    #[error("no member has this name")]
    Unknown,
    /// It would be known again at once.
    #[error("the member is not dead: only dead members can be forgotten")]
    Alive,
    /// Only those that gossip told of can be forgotten.
    #[error(
        "members are listed in the configuration (cluster.members) and can be forgotten there only"
    )]
    Listed,
}
