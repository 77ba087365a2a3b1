//! What a file is known by: its device and inode, and the bytes that were read of it. The name says
//! nothing, since rotation changes it; the inode alone neither, since it is given away again.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use serde::{Deserialize, Serialize};

/// Bytes at the beginning of a file that tell it from others.
const HEAD_BYTES: usize = 1024;
/// Bytes before a position that tell whether the position is still what it was.
pub(crate) const WINDOW_BYTES: usize = 256;

/// A file as the file system knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct FileId {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
}

impl FileId {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
        }
    }
}

/// A position in a file with what the bytes before it looked like: the first ones and the last
/// ones. It holds in any file with these bytes, so in a copy too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) offset: u64,
    pub(crate) head_crc: u32,
    pub(crate) window_crc: u32,
}

/// How many bytes of head and window a mark at `offset` covers.
fn covered(offset: u64) -> (usize, usize) {
    let up_to = |max: usize| usize::try_from(offset).map_or(max, |offset| offset.min(max));
    (up_to(HEAD_BYTES), up_to(WINDOW_BYTES))
}

impl Mark {
    /// The mark at `offset` of a file. Nothing if the file is shorter.
    pub(crate) fn take(file: &File, offset: u64) -> io::Result<Option<Self>> {
        Ok(Trail::resume(file, offset)?.map(|trail| trail.mark()))
    }

    /// Whether the bytes before the position are still, or also here, what they were.
    pub(crate) fn holds_in(&self, file: &File) -> io::Result<bool> {
        Ok(Self::take(file, self.offset)? == Some(*self))
    }

    /// Whether a file begins as the marked one did, as far as it goes: it may be a copy that is
    /// still being written. An empty file begins like no other.
    pub(crate) fn begins_like(&self, original: &File, file: &File) -> io::Result<bool> {
        let (head, _) = covered(self.offset);
        let (mut ours, mut theirs) = (vec![0; head], vec![0; head]);
        let ours_len = read_at(original, &mut ours, 0)?;
        let theirs_len = read_at(file, &mut theirs, 0)?;
        let len = ours_len.min(theirs_len);
        Ok(len > 0 && ours.get(..len) == theirs.get(..len))
    }
}

/// The bytes that were read up to a position, as far as they tell it from others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trail {
    offset: u64,
    head_crc: u32,
    window: Vec<u8>,
}

impl Trail {
    /// The trail of who has read a file up to `offset`. Nothing if the file is shorter.
    pub(crate) fn resume(file: &File, offset: u64) -> io::Result<Option<Self>> {
        let (head_len, window_len) = covered(offset);
        let (mut head, mut window) = (vec![0; head_len], vec![0; window_len]);
        let whole = read_at(file, &mut head, 0)? == head_len
            && read_at(file, &mut window, offset - window_len as u64)? == window_len;
        Ok(whole.then(|| Self {
            offset,
            head_crc: crc32c::crc32c(&head),
            window,
        }))
    }

    /// The position.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The last bytes before it.
    pub(crate) fn window(&self) -> &[u8] {
        &self.window
    }

    /// Takes in bytes that follow the position.
    pub(crate) fn advance(&mut self, bytes: &[u8]) {
        let (head_len, _) = covered(self.offset);
        let of_head = bytes.len().min(HEAD_BYTES - head_len);
        let of_head = bytes.get(..of_head).unwrap_or_default();
        self.head_crc = crc32c::crc32c_append(self.head_crc, of_head);
        self.offset += bytes.len() as u64;
        if bytes.len() >= WINDOW_BYTES {
            self.window.clear();
        } else {
            let surplus = (self.window.len() + bytes.len()).saturating_sub(WINDOW_BYTES);
            self.window.drain(..surplus);
        }
        let last = bytes.len().saturating_sub(WINDOW_BYTES);
        self.window
            .extend_from_slice(bytes.get(last..).unwrap_or_default());
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark {
            offset: self.offset,
            head_crc: self.head_crc,
            window_crc: crc32c::crc32c(&self.window),
        }
    }
}

/// Reads until `buffer` is full or the file ends; how much.
pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn a_mark_holds_in_a_copy_and_not_in_other_bytes() {
        let bytes: Vec<u8> = (0..5000_u32).map(|i| (i % 251) as u8).collect();
        let file = file_of(&bytes);
        let mark = Mark::take(&file, 4000).unwrap().unwrap();
        assert!(mark.holds_in(&file_of(&bytes)).unwrap());
        assert!(!mark.holds_in(&file_of(&bytes[..3999])).unwrap());
        for at in [0, 1023, 3999] {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(!mark.holds_in(&file_of(&other)).unwrap(), "{at}");
        }
        assert_eq!(Mark::take(&file, 5001).unwrap(), None);
    }

    #[test]
    fn a_copy_under_way_begins_like_its_original() {
        let (file, part) = (file_of(b"one\ntwo\n"), file_of(b"one\n"));
        let mark = Mark::take(&file, 8).unwrap().unwrap();
        assert!(mark.begins_like(&file, &part).unwrap());
        assert!(!mark.begins_like(&file, &file_of(b"")).unwrap());
        assert!(!mark.begins_like(&file, &file_of(b"two\n")).unwrap());
    }

    proptest! {
        #[test]
        fn a_trail_is_the_same_however_it_came_about(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..700), 0..8),
        ) {
            let whole: Vec<u8> = pieces.concat();
            let mut trail = Trail::default();
            for piece in &pieces {
                trail.advance(piece);
            }
            let file = file_of(&whole);
            let resumed = Trail::resume(&file, whole.len() as u64).unwrap().unwrap();
            prop_assert_eq!(trail.mark(), resumed.mark());
            prop_assert_eq!(trail.window(), resumed.window());
        }
    }
}
