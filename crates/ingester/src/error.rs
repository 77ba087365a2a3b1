//! What can go wrong inside an ingester.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use model::{Code, CodedError};

/// Why the write-ahead log did not take a record, for the clients whose pushes wait for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalError {
    /// The disk is full or broken. Nothing that was acknowledged is lost; the log goes on by itself
    /// when it can.
    #[error("the write-ahead log cannot be written: {0}")]
    Write(Arc<str>),
    /// All segments together have reached their limit because flushes do not succeed.
    #[error("the write-ahead log has reached {bytes} bytes, the limit is {limit_bytes}")]
    Full {
        /// Bytes of all segments.
        bytes: u64,
        /// `wal.bytes_max`.
        limit_bytes: u64,
    },
    /// The ingester stops.
    #[error("the ingester is stopping")]
    Closed,
}

impl From<WalError> for CodedError {
    fn from(error: WalError) -> Self {
        Self::new(Code::Unavailable, error.to_string())
    }
}

/// Why an ingester does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory of the write-ahead log cannot be made or read.
    #[error("write-ahead log in {path}", path = path.display())]
    Wal {
        /// The directory or file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// Two ingesters would destroy each other's log.
    #[error("another process uses the write-ahead log in {path}", path = path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The thread that writes the log.
    #[error("cannot start the thread of the write-ahead log")]
    Thread(#[source] io::Error),
}
