//! Finds the next record behind damage.
//!
//! Every offset is asked whether a record may begin there: whether its length fits, and whether its
//! kind and what comes first are possible. Nearly none are, and of those the checksum decides,
//! which begins with what only this segment has.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::record::{self, FRAME_LEN, HEAD_LEN, RECORD_BYTES_MAX};

/// Bytes of a segment of which checksums are made, at most. Bytes that are made to look like the
/// beginnings of many long records must not make the start take for ever.
pub(crate) const CHECKED_BYTES_MAX: u64 = 4 << 30;
/// Bytes that are looked at together: few at first, because the next record is mostly near.
const WINDOW_BYTES: usize = 4 << 10;
const WINDOW_BYTES_MAX: usize = 1 << 20;

/// A search in one segment.
pub(crate) struct Search<'a> {
    pub(crate) file: &'a File,
    /// Where the segment ends.
    pub(crate) end: u64,
    /// What checksums begin with.
    pub(crate) seed: u32,
    /// The highest number of a record before.
    pub(crate) after: u64,
    /// Bytes of which checksums may be made.
    pub(crate) bytes_left: &'a mut u64,
}

impl Search<'_> {
    /// Where the first record at `from` or behind begins.
    pub(crate) fn record_from(&mut self, from: u64) -> io::Result<Option<u64>> {
        let (mut start, mut window_bytes) = (from, WINDOW_BYTES);
        let mut window = Vec::new();
        while start < self.end {
            // The heads of the last offsets reach into the next window, or behind the end.
            window.clear();
            window.resize(window_bytes + HEAD_LEN, 0);
            let len = read_at(self.file, &mut window, start)?;
            if len == 0 {
                break;
            }
            let heads = window.array_windows::<HEAD_LEN>();
            for (at, head) in (start..).zip(heads.take(len.min(window_bytes))) {
                if self.may_begin(head, at) && self.is_whole(head, at)? {
                    return Ok(Some(at));
                }
            }
            start += window_bytes as u64;
            window_bytes = (window_bytes * 2).min(WINDOW_BYTES_MAX);
        }
        Ok(None)
    }

    fn may_begin(&self, head: &[u8; HEAD_LEN], at: u64) -> bool {
        let (len, _, first) = record::split_head(head);
        (1..=RECORD_BYTES_MAX).contains(&len)
            && at + (FRAME_LEN + len) as u64 <= self.end
            && record::may_begin(first, self.after)
    }

    /// Whether the checksum is right.
    fn is_whole(&mut self, head: &[u8; HEAD_LEN], at: u64) -> io::Result<bool> {
        let (len, crc, _) = record::split_head(head);
        match self.bytes_left.checked_sub(len as u64) {
            Some(left) => *self.bytes_left = left,
            None => return Ok(false),
        }
        let mut piece = vec![0; len.min(WINDOW_BYTES_MAX)];
        let (mut found, mut left) = (self.seed, len);
        let mut at = at + FRAME_LEN as u64;
        while left > 0 {
            piece.truncate(left);
            let read = read_at(self.file, &mut piece, at)?;
            if read < piece.len() {
                return Ok(false);
            }
            found = crc32c::crc32c_append(found, &piece);
            left -= read;
            at += read as u64;
        }
        Ok(found == crc)
    }
}

/// Reads so many bytes, or those that there are.
pub(super) fn read_at(file: &File, mut bytes: &mut [u8], mut at: u64) -> io::Result<usize> {
    let mut len = 0;
    while !bytes.is_empty() {
        match file.read_at(bytes, at) {
            Ok(0) => break,
            Ok(read) => {
                len += read;
                at += read as u64;
                bytes = bytes.split_at_mut(read).1;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}
