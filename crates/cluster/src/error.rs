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
