//! Why bytes cannot be read.

/// What is wrong with some bytes. Who reads them says where they are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end early.
    #[error("truncated")]
    Truncated,
    /// The bytes were changed since they were written.
    #[error("checksum mismatch")]
    Checksum,
    /// A number is above what the format allows.
    #[error("{what} is {value}, the limit is {limit}")]
    TooLarge {
        /// What the number counts.
        what: &'static str,
        /// The number read.
        value: u64,
        /// The cap of the format.
        limit: u64,
    },
    /// The bytes contradict themselves.
    #[error("{0}")]
    Invalid(&'static str),
    /// Written by a newer version.
    #[error("version {0} is not supported")]
    UnsupportedVersion(u16),
    /// There is no such section.
    #[error("missing")]
    Missing,
}

impl CodecError {
    /// `value` as a length, if it is at most `limit`.
    ///
    /// # Errors
    /// [`CodecError::TooLarge`].
    pub fn cap(what: &'static str, value: u64, limit: usize) -> Result<usize, Self> {
        match usize::try_from(value) {
            Ok(len) if len <= limit => Ok(len),
            _ => Err(Self::TooLarge {
                what,
                value,
                limit: limit as u64,
            }),
        }
    }
}
