//! What can go wrong between us and the store.

use std::time::Duration;

use model::{Code, CodedError};

use crate::metrics::Operation;

/// An error of the store or of what lies in it. Every variant about an object names its key.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// There is no such object.
    #[error("{key} is not in the store")]
    NotFound {
        /// What was asked for.
        key: String,
    },
    /// A conditional create found an object under the key.
    #[error("{key} exists already")]
    AlreadyExists {
        /// What was to be created.
        key: String,
    },
    /// The object is there, but its bytes are not what was written.
    #[error("{key} is damaged: {reason}")]
    Corrupt {
        /// The object.
        key: String,
        /// What does not hold.
        reason: String,
    },
    /// Credentials or permissions are wrong; trying again does not help.
    #[error("the store denies {operation} of {key}")]
    Denied {
        /// What was tried.
        operation: Operation,
        /// On what.
        key: String,
        /// What the store says.
        #[source]
        source: Box<object_store::Error>,
    },
    /// No answer in time.
    #[error("{operation} of {key} took longer than {after:?}")]
    Timeout {
        /// What was tried.
        operation: Operation,
        /// On what.
        key: String,
        /// The deadline.
        after: Duration,
    },
    /// The store failed, also when asked again. A write may or may not have happened.
    #[error("{operation} of {key} failed")]
    Failed {
        /// What was tried.
        operation: Operation,
        /// On what.
        key: String,
        /// What the store says.
        #[source]
        source: Box<object_store::Error>,
    },
    /// A commit wants to remove what another commit has removed, or to add what is there. Nothing
    /// was committed.
    #[error("conflict in {partition}: {reason}")]
    Conflict {
        /// Tenant and day.
        partition: String,
        /// Which precondition does not hold.
        reason: String,
    },
    /// The caller asks for something that the formats do not allow.
    #[error("{0}")]
    Invalid(String),
    /// The configuration does not give a store.
    #[error("storage configuration: {0}")]
    Config(String),
}

impl StorageError {
    /// The kind of error a client sees.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } => Code::NotFound,
            Self::AlreadyExists { .. } | Self::Conflict { .. } => Code::Unavailable,
            Self::Corrupt { .. } | Self::Config(_) => Code::Internal,
            Self::Invalid(_) => Code::InvalidArgument,
            Self::Denied { .. } | Self::Failed { .. } => Code::Unavailable,
            Self::Timeout { .. } => Code::DeadlineExceeded,
        }
    }

    /// Whether it says that there is no such object.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether it does not pass by itself, however often the same is tried.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::Corrupt { .. } | Self::Invalid(_) | Self::Config(_)
        )
    }

    pub(crate) fn corrupt(key: &str, reason: impl std::fmt::Display) -> Self {
        Self::Corrupt {
            key: key.to_owned(),
            reason: reason.to_string(),
        }
    }
}

impl From<StorageError> for CodedError {
    fn from(error: StorageError) -> Self {
        let mut message = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::new(error.code(), message)
    }
}
