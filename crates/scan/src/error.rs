//! Why a scan ends early.

use chunk::ChunkError;
use model::units::ByteSize;
use model::{BudgetError, Code, CodedError, TenantId};

/// Why a scan ends early.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScanError {
    /// A block is damaged, or not all that is needed of it was fetched.
    #[error("{error}")]
    Block {
        /// Which of the sources it is.
        number: usize,
        /// What is wrong with it.
        error: ChunkError,
    },
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

impl From<ChunkError> for ScanError {
    /// Of the first source, until [`Self::of_source`] says of which.
    fn from(error: ChunkError) -> Self {
        Self::Block { number: 0, error }
    }
}

impl ScanError {
    /// The same, where it is about a block, of this source.
    pub(crate) fn of_source(self, number: usize) -> Self {
        match self {
            Self::Block { error, .. } => Self::Block { number, error },
            other => other,
        }
    }
}

/// What a tenant is told whose query finds no memory, and holds `own_bytes` itself: to ask for less
/// if that and what it wants are too much, else to come again, as others hold the rest.
#[must_use]
pub fn out_of_memory(error: &BudgetError, tenant: &TenantId, own_bytes: u64) -> CodedError {
    let wanted = own_bytes.saturating_add(error.asked_bytes);
    let (code, advice) = match wanted > error.limit_bytes {
        true => (
            Code::InvalidArgument,
            "narrow the time range or the selector, lower the limit, or aggregate to fewer series"
                .to_owned(),
        ),
        false => {
            let others = ByteSize(error.used_bytes.saturating_sub(own_bytes));
            let text = format!(
                "other queries hold {others} of it at the moment; try again, or ask for less"
            );
            (Code::ResourceExhausted, text)
        }
    };
    let text = format!("the query of tenant {tenant} needs too much memory: {error}; {advice}");
    CodedError::new(code, text).beyond(error.name, &ByteSize(error.limit_bytes), tenant)
}

impl From<&ScanError> for Code {
    fn from(error: &ScanError) -> Self {
        match error {
            ScanError::Block { .. } => Self::Internal,
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
