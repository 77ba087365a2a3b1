//! What may be wrong with a disk.

use std::io;

use http::header::RETRY_AFTER;

use crate::error::{Code, Error};

/// Seconds until it is worth trying again: somebody has to make room first.
const RETRY_SECONDS: &str = "60";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    Full,
    Broken,
}

impl Disk {
    /// What the system says of it, if it does.
    pub(crate) fn of(cause: &io::Error) -> Option<Self> {
        let broken = rustix::io::Errno::IO.raw_os_error();
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(Self::Full),
            io::ErrorKind::ReadOnlyFilesystem => Some(Self::Broken),
            _ if cause.raw_os_error() == Some(broken) => Some(Self::Broken),
            _ => None,
        }
    }

    /// What a client is told of the disk of `whose`.
    pub(crate) fn error(self, whose: &str) -> Error {
        let message = match self {
            Self::Full => format!("the disk of {whose} is full: it takes no changes"),
            Self::Broken => format!("the disk of {whose} cannot be read or written"),
        };
        Error::new(Code::Unavailable, message).with_header(RETRY_AFTER, RETRY_SECONDS)
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::store::StoreError;

    #[test]
    fn a_client_is_told_what_is_wrong_with_the_disk_of_the_store() {
        for (errno, told, retry) in [
            (
                Errno::NOSPC,
                "the disk of the registry's store is full",
                true,
            ),
            (
                Errno::DQUOT,
                "the disk of the registry's store is full",
                true,
            ),
            (Errno::IO, "the disk of the registry's store cannot", true),
            (Errno::ROFS, "the disk of the registry's store cannot", true),
            (
                Errno::MFILE,
                "the registry's store failed; try again",
                false,
            ),
        ] {
            let cause = io::Error::from(errno);
            let error = Error::from(StoreError::of_io("writing", "data/ab/c", &cause));
            assert!(error.message.starts_with(told), "{}", error.message);
            let waits = error.headers.iter().any(|(name, _)| *name == RETRY_AFTER);
            assert_eq!((error.code, waits), (Code::Unavailable, retry));
        }
    }
}
