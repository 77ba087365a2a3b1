//! Why a partition was not compacted this time. It is as it was before.

use model::BudgetError;
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
    /// Rows do not fit into memory, however few at a time.
    #[error("rows cannot be merged in the memory that there is")]
    Memory(#[from] BudgetError),
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
    /// A worker panicked or the process ends.
    #[error("a worker did not finish")]
    Worker,
}

impl CompactError {
    /// Whether it is the rows of some objects that cannot be merged: trying again is of no use.
    pub(crate) fn is_of_rows(&self) -> bool {
        matches!(
            self,
            Self::Memory(_) | Self::Scan { .. } | Self::Encode(_) | Self::Unequal(_)
        )
    }

    /// Whether after this error of a commit it is sure that nothing was committed.
    pub(crate) fn is_refusal(&self) -> bool {
        self.is_conflict() || matches!(self, Self::Storage(StorageError::Invalid(_)))
    }

    /// Whether somebody else was faster.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Storage(StorageError::Conflict { .. }))
    }
}
