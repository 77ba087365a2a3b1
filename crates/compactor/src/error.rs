//! Why a partition was not compacted this time. It is as it was before.

use storage::StorageError;

/// Why a partition was not compacted this time.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// The store, or what lies in it.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A label index cannot be read.
    #[error("a label index is damaged")]
    Index(#[from] index::IndexError),
    /// A block cannot be read.
    #[error("{key}, block {block}, is damaged")]
    Block {
        /// The object.
        key: String,
        /// The block's ordinal.
        block: u32,
        /// What is wrong.
        #[source]
        source: chunk::ChunkError,
    },
    /// Rows cannot be merged.
    #[error("rows of {stream} cannot be merged")]
    Scan {
        /// Of which stream.
        stream: String,
        /// Why.
        #[source]
        source: scan::ScanError,
    },
    /// Rows cannot be encoded.
    #[error("rows cannot be encoded")]
    Encode(#[source] chunk::ChunkError),
    /// What was written is not what was read.
    #[error("what was written is not what was read: {0}")]
    Unequal(String),
    /// A delete request makes no sense to this version.
    #[error("{0}")]
    Deletion(String),
    /// A worker panicked or the process ends.
    #[error("a worker did not finish")]
    Worker,
}

impl CompactError {
    /// Whether somebody else was faster.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Storage(StorageError::Conflict { .. }))
    }
}
