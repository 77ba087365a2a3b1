//! Memory that bodies are gathered in, and that is filled again once nobody has its bytes any more.
//!
//! What is to be written past the page cache must begin at a multiple of [`ALIGN_BYTES`] in memory
//! as it does in the file. Such buffers are cut from one piece of memory, which is all that there is
//! of them in the process: who finds none takes others, which go through the page cache.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

/// What a disk and its file system ask of addresses, in memory and in the file: no disk has larger
/// sectors.
pub(crate) const ALIGN_BYTES: usize = 4096;
/// Fewer bytes are not worth that the disk is waited for.
pub(crate) const DIRECT_BYTES_MIN: usize = 512 << 10;
/// Bytes of an aligned buffer: the disk is asked seldom, and is at work for about as long as the
/// hash of the next one takes.
pub(crate) const DIRECT_BYTES: usize = 1 << 20;

/// Buffers of one size, free to be taken. Cloning shares them.
#[derive(Clone, Debug)]
pub(crate) struct Buffers {
    free: Arc<Mutex<Vec<BytesMut>>>,
    buffer_bytes: usize,
}

impl Buffers {
    /// None yet: those that [`Buffers::make`] makes come here.
    pub(crate) fn new(buffer_bytes: usize) -> Self {
        Self {
            free: Arc::default(),
            buffer_bytes,
        }
    }

    /// Aligned ones, of so many bytes together. They take memory once they are filled.
    pub(crate) fn aligned(buffer_bytes: usize, bytes_max: u64) -> Self {
        let buffers = Self::new(buffer_bytes.next_multiple_of(ALIGN_BYTES).max(ALIGN_BYTES));
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let count = bytes_max / buffers.buffer_bytes;
        if count > 0 {
            let bytes = count.saturating_mul(buffers.buffer_bytes);
            let mut memory = BytesMut::with_capacity(bytes.saturating_add(ALIGN_BYTES));
            let before = memory.as_ptr().addr().wrapping_neg() % ALIGN_BYTES;
            memory = memory.split_off(before);
            let mut free = buffers.free.lock();
            for _ in 0..count {
                let rest = memory.split_off(buffers.buffer_bytes);
                free.push(std::mem::replace(&mut memory, rest));
            }
        }
        buffers
    }

    /// One that is free: the one that was used last.
    pub(crate) fn take(&self) -> Option<Buffer> {
        let bytes = self.free.lock().pop()?;
        Some(Buffer {
            bytes,
            full: self.buffer_bytes,
            home: self.clone(),
        })
    }

    /// One more, with memory for so many bytes at first.
    pub(crate) fn make(&self, bytes: usize) -> Buffer {
        Buffer {
            bytes: BytesMut::with_capacity(bytes.min(self.buffer_bytes)),
            full: self.buffer_bytes,
            home: self.clone(),
        }
    }
}

/// Memory that is being filled. It goes back to where it is from.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: BytesMut,
    /// Bytes that it is to have.
    full: usize,
    home: Buffers,
}

impl Buffer {
    /// Is full with so many bytes less.
    pub(crate) fn shorten(&mut self, by: usize) {
        self.full = self.full.saturating_sub(by);
    }

    /// Bytes that it is to have.
    pub(crate) fn full(&self) -> usize {
        self.full
    }

    /// Takes as much from the front of `bytes` as there is room for; says whether it is full.
    pub(crate) fn fill(&mut self, bytes: &mut Bytes) -> bool {
        let room = self.full.saturating_sub(self.bytes.len());
        let taken = bytes.split_to(room.min(bytes.len()));
        self.bytes.extend_from_slice(&taken);
        self.bytes.len() >= self.full
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What is in it. The memory is free when the last who has the bytes lets go of them.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        self.home.free.lock().push(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(mut buffer: Buffer, byte: u8) -> Bytes {
        let mut bytes = Bytes::from(vec![byte; 100_000]);
        assert!(buffer.fill(&mut bytes));
        assert_eq!(bytes.len(), 100_000 - buffer.full());
        buffer.freeze()
    }

    #[test]
    fn aligned_buffers_are_as_many_as_there_is_memory_for_and_go_round() {
        let buffers = Buffers::aligned(8192, 3 * 8192 + 8191);
        let mut first = Vec::new();
        for round in 0..3 {
            let taken: Vec<Buffer> = std::iter::from_fn(|| buffers.take()).collect();
            assert_eq!(taken.len(), 3);
            let bytes: Vec<Bytes> = taken.into_iter().map(|b| filled(b, round)).collect();
            let mut places: Vec<usize> = bytes.iter().map(|b| b.as_ptr().addr()).collect();
            places.sort_unstable();
            assert!(places.iter().all(|place| place % ALIGN_BYTES == 0));
            assert!(bytes.iter().all(|bytes| *bytes == vec![round; 8192]));
            if round == 0 {
                first.clone_from(&places);
            }
            assert_eq!(places, first, "it is the same memory");
            let kept = bytes[0].slice(5..7);
            drop(bytes);
            assert_eq!(buffers.free.lock().len(), 2, "somebody has bytes of it");
            drop(kept);
        }
    }

    #[test]
    fn without_memory_there_are_none() {
        assert!(Buffers::aligned(8192, 8191).take().is_none());
        assert!(Buffers::aligned(0, 0).take().is_none());
    }

    #[test]
    fn others_are_made_and_go_round() {
        let buffers = Buffers::new(1000);
        assert!(buffers.take().is_none());
        let first = filled(buffers.make(10), 1);
        assert_eq!(first.len(), 1000);
        drop(first);
        assert_eq!(filled(buffers.take().unwrap(), 2), vec![2; 1000]);
        assert_eq!(buffers.free.lock().len(), 1);
    }

    #[test]
    fn a_shorter_one_is_full_earlier_and_whole_again_when_it_comes_back() {
        let buffers = Buffers::aligned(4096, 4096);
        let mut buffer = buffers.take().unwrap();
        buffer.shorten(96);
        assert_eq!(filled(buffer, 1).len(), 4000);
        assert_eq!(filled(buffers.take().unwrap(), 1).len(), 4096);
    }
}
