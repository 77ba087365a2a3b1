//! The bytes of a file on their way out.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::Stream;

use super::blocking;
use crate::store::StoreError;

/// Bytes that are read at once: as many as a connection takes before it writes, so that one buffer
/// is enough.
const READ_BYTES: u64 = 256 << 10;

/// A part of a file that is being read.
pub(super) struct Reading {
    key: String,
    file: Arc<File>,
    left: Range<u64>,
    /// What was given last. Its memory is filled again if nobody has it any more.
    given: Option<Bytes>,
}

impl Reading {
    pub(super) fn new(key: &str, file: File, range: Range<u64>) -> Self {
        Self {
            key: key.to_owned(),
            file: Arc::new(file),
            left: range,
            given: None,
        }
    }

    pub(super) fn bodies(self) -> impl Stream<Item = Result<Bytes, StoreError>> + Send {
        futures::stream::try_unfold(self, Self::next)
    }

    async fn next(mut self) -> Result<Option<(Bytes, Self)>, StoreError> {
        let length = self.left.end.saturating_sub(self.left.start);
        if length == 0 {
            return Ok(None);
        }
        let length = usize::try_from(length.min(READ_BYTES)).unwrap_or(usize::MAX);
        let given = self.given.take().map(Bytes::try_into_mut);
        let mut buffer = given.and_then(Result::ok).unwrap_or_default();
        buffer.resize(length, 0);
        let at = self.left.start;
        let (mut buffer, count) = match read_cached(&self.file, &mut buffer, at) {
            Ok(count) if count > 0 => (buffer, count),
            _ => self.read_blocking(buffer, at).await?,
        };
        if count == 0 {
            return Err(StoreError::Lost { key: self.key });
        }
        buffer.truncate(count);
        let bytes = buffer.freeze();
        self.given = Some(bytes.clone());
        self.left.start += count as u64;
        Ok(Some((bytes, self)))
    }

    /// Reads what is on the disk.
    async fn read_blocking(
        &self,
        mut buffer: BytesMut,
        at: u64,
    ) -> Result<(BytesMut, usize), StoreError> {
        let file = Arc::clone(&self.file);
        let read = move || {
            let count = file.read_at(&mut buffer, at)?;
            Ok((buffer, count))
        };
        blocking("reading", &self.key, read).await
    }
}

/// Reads what is in memory, which takes no longer than copying it: no thread need wait for it.
#[cfg(target_os = "linux")]
fn read_cached(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    use rustix::io::{ReadWriteFlags, preadv2};
    let mut buffers = [io::IoSliceMut::new(buffer)];
    Ok(preadv2(file, &mut buffers, at, ReadWriteFlags::NOWAIT)?)
}

#[cfg(not(target_os = "linux"))]
fn read_cached(_: &File, _: &mut [u8], _: u64) -> io::Result<usize> {
    Err(io::ErrorKind::WouldBlock.into())
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, TryStreamExt};

    use super::*;

    #[tokio::test]
    async fn a_buffer_is_filled_again_unless_somebody_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let bodies = || Reading::new("file", File::open(&path).unwrap(), 5..999_999).bodies();

        let kept: Vec<Bytes> = bodies().try_collect().await.unwrap();
        assert!(kept.concat() == bytes[5..999_999]);

        let mut buffers: Vec<*const u8> = bodies()
            .map(|bytes| bytes.unwrap().as_ptr())
            .collect()
            .await;
        buffers.dedup();
        assert_eq!(buffers.len(), 1);
    }

    #[tokio::test]
    async fn a_file_that_is_too_short_is_no_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, b"abc").unwrap();
        let bodies = Reading::new("file", File::open(&path).unwrap(), 0..5).bodies();
        let read: Vec<Result<Bytes, StoreError>> = bodies.collect().await;
        assert_eq!(read.len(), 2);
        assert!(matches!(read[1], Err(StoreError::Lost { .. })));
    }
}
