//! Why a scan ends early.

use chunk::ChunkError;
use model::{BudgetError, Code, CodedError};

/// Why a scan ends early.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScanError {
    /// A block is damaged, or not all that is needed of it was fetched.
    #[error(transparent)]
    Block(#[from] ChunkError),
    /// The query has no memory left.
    #[error(transparent)]
    Memory(#[from] BudgetError),
    /// The caller does not want the answer any more.
    #[error("the query was cancelled")]
    Cancelled,
    /// A sample has no value; the query fails with this text.
    #[error("{0}")]
    Sample(String),
}

impl From<&ScanError> for Code {
    fn from(error: &ScanError) -> Self {
        match error {
            ScanError::Block(_) => Self::Internal,
            ScanError::Memory(_) => Self::ResourceExhausted,
            ScanError::Cancelled => Self::Cancelled,
            ScanError::Sample(_) => Self::InvalidArgument,
        }
    }
}

impl From<ScanError> for CodedError {
    fn from(error: ScanError) -> Self {
        Self::new(Code::from(&error), error.to_string())
    }
}
