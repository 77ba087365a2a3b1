//! A directory as an object store.
//!
//! Writes are staged beside their destination, fsynced, published by `rename` (or `link`, which
//! fails if the name is taken, for a conditional create), and the directory is fsynced before the
//! write is acknowledged: all that `object_store` does. Parts of objects are read here, all that
//! a query wants of one at once: it wants some kilobytes here and there.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use rustix::fs::{Advice, fadvise};
use rustix::io::Errno;

use crate::config::StorageConfig;
use crate::error::StorageError;
use crate::key;

/// What an interrupted write leaves behind may be removed after this long.
const STAGED_AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Below this a part of a file costs less to read than to ask for.
const GAP_BYTES: u64 = 32 << 10;

/// Reads parts of objects in a directory. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct LocalReads {
    files: Arc<LocalFileSystem>,
    /// What all keys begin with.
    prefix: Key,
}

/// Opens the configured directory, or that in `data_dir`, and sweeps it.
pub(super) fn open(
    config: &StorageConfig,
    data_dir: &Path,
) -> Result<Arc<LocalFileSystem>, StorageError> {
    let directory = if config.local.directory.as_os_str().is_empty() {
        data_dir.join("store")
    } else {
        config.local.directory.clone()
    };
    let failed = |error: io::Error| super::refused(format!("{}: {error}", directory.display()));
    std::fs::create_dir_all(&directory).map_err(failed)?;
    sweep_staged(&directory.join(&config.prefix), SystemTime::now());
    let store = LocalFileSystem::new_with_prefix(&directory).map_err(super::refused)?;
    Ok(Arc::new(store.with_fsync(true)))
}

impl LocalReads {
    pub(super) fn new(files: Arc<LocalFileSystem>, prefix: Key) -> Self {
        Self { files, prefix }
    }

    /// Ranges closer than this are better read as one.
    pub(crate) fn gap_bytes(&self) -> u64 {
        GAP_BYTES
    }

    /// Reads parts of an object; of those that go beyond its end, what there is.
    pub(crate) async fn read(
        &self,
        key: &Key,
        parts: Vec<Range<u64>>,
    ) -> object_store::Result<Vec<Bytes>> {
        let key: Key = self.prefix.parts().chain(key.parts()).collect();
        let path = self.files.path_to_filesystem(&key)?;
        let reading = tokio::task::spawn_blocking(move || read_parts(&path, &parts));
        let read = reading.await.map_err(|error| generic(error.into()))?;
        read.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => object_store::Error::NotFound {
                path: key.to_string(),
                source: error.into(),
            },
            io::ErrorKind::PermissionDenied => object_store::Error::PermissionDenied {
                path: key.to_string(),
                source: error.into(),
            },
            _ => generic(error.into()),
        })
    }
}

fn generic(source: Box<dyn std::error::Error + Send + Sync>) -> object_store::Error {
    object_store::Error::Generic {
        store: "LocalFileSystem",
        source,
    }
}

fn read_parts(path: &Path, parts: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    if meta.is_dir() {
        return Err(io::ErrorKind::NotFound.into());
    }
    if let [_, after @ ..] = parts {
        // The disk reads them while the first is read. A file system may not know how.
        for part in after {
            let len = NonZeroU64::new(part.end.saturating_sub(part.start));
            let _ = fadvise(&file, part.start, len, Advice::WillNeed);
        }
    }
    let parts = parts.iter();
    parts
        .map(|part| read_part(&file, meta.size(), part))
        .collect()
}

fn read_part(file: &File, size: u64, part: &Range<u64>) -> io::Result<Bytes> {
    let len = part.end.min(size).saturating_sub(part.start);
    let len = usize::try_from(len).map_err(io::Error::other)?;
    let mut read = Vec::with_capacity(len);
    while read.len() < len {
        let at = part.start + read.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut read), at) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    read.truncate(len);
    Ok(read.into())
}

/// Removes staged files (`name#1`) of writers that died. They are invisible to listings, so nobody
/// else would. Young ones may belong to another process that writes to the same directory, and what
/// has no name of ours to somebody else who does.
fn sweep_staged(directory: &Path, now: SystemTime) {
    let is_stale = |path: &PathBuf| {
        let below = path.strip_prefix(directory).ok();
        let below = below.and_then(|path| path.to_str());
        let staged = below.and_then(|path| path.rsplit_once('#'));
        let digits = staged.is_some_and(|(key, n)| {
            !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) && key::is_ours(key)
        });
        let modified = || path.metadata().and_then(|meta| meta.modified()).ok();
        digits
            && modified()
                .and_then(|at| now.duration_since(at).ok())
                .is_some_and(|age| age > STAGED_AGE_MAX)
    };
    let files = walkdir::WalkDir::new(directory).into_iter().flatten();
    for path in files.map(walkdir::DirEntry::into_path).filter(is_stale) {
        match std::fs::remove_file(&path) {
            Ok(()) => tracing::info!(path = %path.display(), "removed an unfinished write"),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot remove an unfinished write");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_writes_are_swept_when_old() {
        let dir = tempfile::tempdir().unwrap();
        let staged = dir.path().join("data/x.lgob#1");
        let others = ["data/x.lgob", "data/notes#1", "backup/x.lgob#1", "x.lgob#1"];
        let others = others.map(|name| dir.path().join(name));
        std::fs::create_dir_all(dir.path().join("data")).unwrap();
        std::fs::create_dir_all(dir.path().join("backup")).unwrap();
        std::fs::write(&staged, b"half").unwrap();
        for other in &others {
            std::fs::write(other, b"whole").unwrap();
        }
        let now = SystemTime::now();
        sweep_staged(dir.path(), now);
        assert!(staged.exists());
        sweep_staged(dir.path(), now + STAGED_AGE_MAX + Duration::from_secs(60));
        assert!(!staged.exists());
        for other in others {
            assert!(other.exists(), "{}", other.display());
        }
    }

    #[test]
    fn parts_are_read_as_far_as_the_file_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, b"0123456789").unwrap();
        let read = read_parts(&path, &[2..5, 8..u64::MAX, 10..12, 90..u64::MAX]).unwrap();
        assert_eq!(read, [&b"234"[..], b"89", b"", b""]);
        let first = std::slice::from_ref(&(0..1));
        for not_a_file in [dir.path(), &dir.path().join("y")] {
            let error = read_parts(not_a_file, first).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        }
    }
}
