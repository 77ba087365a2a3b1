//! The directory where a process keeps what must survive it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The file whose lock says that the directory is taken.
const LOCK_FILE: &str = "LOCK";
/// The mode of a directory that is made: its owner's alone.
const PRIVATE: u32 = 0o700;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be made or written.
    #[error("cannot use the data directory {path}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process has it.
    #[error("the data directory {path} is in use by {holder}; stop it or choose another directory")]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other process, as it signed the lock.
        holder: String,
    },
}

/// A data directory that is this process's alone for as long as this value lives. The lock is the
/// kernel's (`flock`), so it ends with the process however that ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is not there, and takes it.
    ///
    /// # Errors
    /// If it cannot be written or another process has it.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let failed = |source: std::io::Error| DataDirError::Io {
            path: path.to_owned(),
            source,
        };
        // Lines of logs are for who may ask for them, and not for all users of the machine.
        let mut directory = DirBuilder::new();
        directory.recursive(true).mode(PRIVATE);
        directory.create(path).map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path.join(LOCK_FILE))
            .map_err(failed)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            // Only decoration of an error.
            let _ = lock.read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "another process".to_owned(),
                pid => format!("process {pid}"),
            };
            return Err(DataDirError::InUse { path, holder });
        }
        lock.set_len(0).map_err(failed)?;
        writeln!(lock, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { path, _lock: lock })
    }

    /// The directory, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn two_do_not_share_a_directory() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let first = DataDir::open(&path).unwrap();
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, PRIVATE);
        let error = DataDir::open(&path).unwrap_err().to_string();
        assert!(
            error.contains(&format!("process {}", std::process::id())),
            "{error}"
        );
        drop(first);
        DataDir::open(&path).unwrap();
    }
}
