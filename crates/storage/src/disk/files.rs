//! The two files of the cache.
//!
//! ```text
//! pages   := slot*                        one page each, PAGE_BYTES apart
//! records := record*                      one per slot, RECORD_BYTES apart
//! record  := id u128 | kind u8 | 0 u24 | page u32 | len u32 | crc of the page u32 | crc of this u32
//! ```
//! Little endian, CRC32C. A record is written after its page, so one that holds and a page that
//! agrees with it belong together, whatever was lost.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use rustix::fs::{FallocateFlags, fallocate, fstatvfs};

use super::table::Place;
use super::{FileId, FileKind, PAGE_BYTES, PageKey};

/// Removes the files of a cache that is not used any more.
pub(super) fn remove(directory: &Path) -> io::Result<()> {
    for name in [PAGES, RECORDS] {
        match std::fs::remove_file(directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The file of pages.
pub(super) const PAGES: &str = "pages";
const RECORDS: &str = "records";
const RECORD_BYTES: usize = 36;
/// Of a disk so much is left to others,
pub(super) const LEFT_BYTES: u64 = 2 << 30;
/// or, of a small one, one of so many parts.
const LEFT_PART: u64 = 10;

/// Per slot the page in it, and where it is.
pub(super) type Records = Vec<Option<(PageKey, Place)>>;

#[derive(Debug)]
pub(super) struct Files {
    pages: File,
    records: File,
    left_bytes: u64,
}

impl Files {
    /// Opens the files of a directory, and says what is in each slot.
    pub(super) fn open(
        directory: &Path,
        most: u32,
        left_bytes: u64,
    ) -> io::Result<(Self, Records)> {
        std::fs::create_dir_all(directory)?;
        let open = |name: &str| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            options.open(directory.join(name))
        };
        let files = Self {
            pages: open(PAGES)?,
            records: open(RECORDS)?,
            left_bytes,
        };
        // Another process would write into the same slots.
        files.records.try_lock()?;
        shorten(&files.pages, u64::from(most) * PAGE_BYTES)?;
        shorten(&files.records, u64::from(most) * RECORD_BYTES as u64)?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut &files.records, &mut bytes)?;
        let records = (0u32..).zip(bytes.chunks_exact(RECORD_BYTES));
        let records = records.map(|(slot, record)| parse(slot, record)).collect();
        Ok((files, records))
    }

    /// The page that should be in a slot; `None` if it is not.
    pub(super) fn page(&self, place: Place) -> io::Result<Option<Bytes>> {
        let mut page = vec![0; place.len as usize];
        match self.pages.read_exact_at(&mut page, offset(place.slot)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        Ok((crc32c::crc32c(&page) == place.crc).then(|| page.into()))
    }

    /// Writes a page to a slot.
    pub(super) fn write(&self, slot: u32, key: PageKey, page: &[u8]) -> io::Result<Place> {
        let place = Place {
            slot,
            len: page.len() as u32,
            crc: crc32c::crc32c(page),
        };
        self.pages.write_all_at(page, offset(slot))?;
        self.records
            .write_all_at(&record(key, place), record_offset(slot))?;
        Ok(place)
    }

    /// Leaves nothing of what is in a slot.
    pub(super) fn clear(&self, slot: u32) -> io::Result<()> {
        self.records
            .write_all_at(&[0; RECORD_BYTES], record_offset(slot))?;
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.pages, hole, offset(slot), PAGE_BYTES) {
            Ok(()) => Ok(()),
            Err(_) => self
                .pages
                .write_all_at(&[0; PAGE_BYTES as usize], offset(slot)),
        }
    }

    /// Whether the disk has room to spare.
    pub(super) fn has_room(&self) -> bool {
        let Ok(disk) = fstatvfs(&self.pages) else {
            return false;
        };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let all = disk.f_blocks.saturating_mul(disk.f_frsize);
        free >= self.left_bytes.min(all / LEFT_PART)
    }
}

fn offset(slot: u32) -> u64 {
    u64::from(slot) * PAGE_BYTES
}

fn record_offset(slot: u32) -> u64 {
    u64::from(slot) * RECORD_BYTES as u64
}

fn shorten(file: &File, most: u64) -> io::Result<()> {
    if file.metadata()?.len() > most {
        file.set_len(most)?;
    }
    Ok(())
}

fn record(key: PageKey, place: Place) -> Vec<u8> {
    let mut record = Vec::with_capacity(RECORD_BYTES);
    record.extend_from_slice(&key.file.id.to_le_bytes());
    record.extend_from_slice(&(key.file.kind as u32).to_le_bytes());
    for part in [key.number, place.len, place.crc] {
        record.extend_from_slice(&part.to_le_bytes());
    }
    let crc = crc32c::crc32c(&record);
    record.extend_from_slice(&crc.to_le_bytes());
    record
}

fn parse(slot: u32, record: &[u8]) -> Option<(PageKey, Place)> {
    let (fields, crc) = record.split_last_chunk::<4>()?;
    if crc32c::crc32c(fields) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (id, rest) = fields.split_first_chunk::<16>()?;
    let mut parts = rest
        .chunks_exact(4)
        .map(|part| part.try_into().map(u32::from_le_bytes).ok());
    let mut part = || parts.next().flatten();
    let kind = match part()? {
        1 => FileKind::Data,
        2 => FileKind::Index,
        _ => return None,
    };
    let (number, len, crc) = (part()?, part()?, part()?);
    let file = FileId {
        kind,
        id: u128::from_le_bytes(*id),
    };
    let is_page = u64::from(len) <= PAGE_BYTES;
    is_page.then_some((PageKey { file, number }, Place { slot, len, crc }))
}

/// Reads records, and any bytes as the fields of some. One that is read is written as it was.
pub(crate) fn fuzz(bytes: &[u8]) {
    for (slot, bytes) in (0u32..).zip(bytes.chunks(RECORD_BYTES)) {
        let _ = parse(slot, bytes);
        let fields = bytes.get(..RECORD_BYTES - 4).unwrap_or(bytes);
        let sealed = [fields, &crc32c::crc32c(fields).to_le_bytes()].concat();
        if let Some((key, place)) = parse(slot, &sealed) {
            assert_eq!(record(key, place), sealed, "a record is not what it was");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_come_back_and_others_are_refused(
            id: u128, number: u32, len in 0..=PAGE_BYTES as u32, crc: u32, slot: u32, flipped in 0..RECORD_BYTES * 8,
        ) {
            let file = FileId { kind: FileKind::Index, id };
            let (key, place) = (PageKey { file, number }, Place { slot, len, crc });
            let mut bytes = record(key, place);
            prop_assert_eq!(bytes.len(), RECORD_BYTES);
            prop_assert_eq!(parse(slot, &bytes), Some((key, place)));
            bytes[flipped / 8] ^= 1 << (flipped % 8);
            prop_assert_eq!(parse(slot, &bytes), None);
        }

        #[test]
        fn any_record_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2 * RECORD_BYTES)) {
            let _ = parse(0, &bytes);
        }
    }
}
