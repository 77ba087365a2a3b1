//! Parts of files of the store on a local disk, so that what memory has no room for, or forgot with
//! a restart, is not asked of the store again.
//!
//! Data objects and index files never change, so a part of one is good for ever. They are kept in
//! pages of [`PAGE_BYTES`]: what a query wants is read from the store page by page, and pages that
//! are here are not. A page is taken on trust of a checksum only. Nothing is fsynced: what a crash
//! leaves half written is not believed.
//!
//! Pages are written by a thread, from a short queue; what comes while it is full is not kept, so a
//! slow disk never makes a query wait. The file grows up to the configured size, and never takes the
//! last of the disk. Which page makes room is found as a clock does it: the first that was not used
//! since the hand came by.

mod files;
mod table;

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::error::StorageError;
use crate::metrics::{CacheName, Metrics};
use crate::range::SPAN_BYTES_MAX;
use files::Files;
pub(crate) use files::fuzz as fuzz_records;
use table::Table;

/// Bytes of a page: about what a search reads of a block.
const PAGE_BYTES: u64 = 64 << 10;
/// Of a larger part no pages are made.
const PART_BYTES_MAX: u64 = 1 << 30;
/// Pages that wait to be written.
const QUEUE_PAGES: usize = 64;

/// A kind of file that never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FileKind {
    /// A data object.
    Data = 1,
    /// A label index file.
    Index = 2,
}

/// A file of the store: data objects and the index files written with them have the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    pub(crate) kind: FileKind,
    pub(crate) id: u128,
}

/// A page of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct PageKey {
    file: FileId,
    number: u32,
}

/// The cache. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct DiskCache {
    shared: Arc<Shared>,
    queue: Sender<(PageKey, Bytes)>,
}

#[derive(Debug)]
struct Shared {
    files: Files,
    table: Mutex<Table>,
    metrics: Metrics,
}

impl DiskCache {
    /// Opens what is in a directory, or makes it.
    ///
    /// # Errors
    /// If its files cannot be opened, or the thread cannot be started.
    pub(crate) fn open(
        directory: &Path,
        bytes: u64,
        metrics: Metrics,
    ) -> Result<Self, StorageError> {
        Self::open_leaving(files::LEFT_BYTES, directory, bytes, metrics)
    }

    fn open_leaving(
        left_bytes: u64,
        directory: &Path,
        bytes: u64,
        metrics: Metrics,
    ) -> Result<Self, StorageError> {
        let failed = |error: std::io::Error| {
            StorageError::Config(format!(
                "storage.cache.disk: {}: {error}",
                directory.display()
            ))
        };
        let most = u32::try_from(bytes / PAGE_BYTES).unwrap_or(u32::MAX);
        let (files, records) = Files::open(directory, most, left_bytes).map_err(failed)?;
        let shared = Arc::new(Shared {
            files,
            table: Mutex::new(Table::new(records, most)),
            metrics,
        });
        shared.count();
        let (queue, pages) = channel(QUEUE_PAGES);
        let writing = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("disk-cache".to_owned())
            .spawn(move || writing.write_all(pages))
            .map_err(failed)?;
        Ok(Self { shared, queue })
    }

    /// Removes what is in a directory of a cache that is not used any more.
    pub(crate) fn remove(directory: &Path) {
        if let Err(error) = files::remove(directory) {
            tracing::warn!(directory = %directory.display(), %error, "cannot remove the disk cache");
        }
    }

    /// What is here of the pages that some parts of a file lie in. The file is `len` bytes long.
    pub(crate) async fn pages(&self, file: FileId, len: u64, wanted: &[Range<u64>]) -> Pages {
        let mut numbers: Vec<u32> = wanted.iter().flat_map(numbers).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut pages: BTreeMap<u32, Option<Bytes>> =
            numbers.iter().map(|number| (*number, None)).collect();
        let shared = Arc::clone(&self.shared);
        let reading = tokio::task::spawn_blocking(move || {
            let pages = numbers.into_iter().map(|number| {
                let key = PageKey { file, number };
                (number, shared.read(key, page_range(number, len)))
            });
            pages.collect::<Vec<_>>()
        });
        pages.extend(reading.await.unwrap_or_default());
        let hits = pages.values().filter(|page| page.is_some()).count();
        let misses = pages.len() - hits;
        let metrics = &self.shared.metrics;
        metrics.cache_looked_up(CacheName::Disk, hits as u64, misses as u64);
        Pages { file, len, pages }
    }

    /// Keeps what was read for pages that were not here.
    pub(crate) fn keep(&self, pages: &mut Pages, read: Vec<(Range<u64>, Bytes)>) {
        for (range, bytes) in read {
            for number in numbers(&range) {
                let page = page_range(number, pages.len);
                let part =
                    page.start.saturating_sub(range.start)..page.end.saturating_sub(range.start);
                let Some(part) = slice(&bytes, &part) else {
                    continue;
                };
                let key = PageKey {
                    file: pages.file,
                    number,
                };
                if let Ok(place) = self.queue.try_reserve() {
                    // A copy: a slice would keep all that was read with it in memory.
                    place.send((key, Bytes::copy_from_slice(&part)));
                }
                pages.pages.insert(number, Some(part));
            }
        }
    }

    /// The files that there are pages of.
    pub(crate) fn files(&self) -> HashSet<FileId> {
        self.shared.table.lock().files()
    }

    /// Drops all pages of files that are no more.
    pub(crate) async fn forget(&self, files: Vec<FileId>) {
        let shared = Arc::clone(&self.shared);
        let forgetting = tokio::task::spawn_blocking(move || shared.forget(&files));
        if forgetting.await.is_err() {
            tracing::warn!("dropping pages of removed files ended abnormally");
        }
    }
}

/// Whether parts of a file of `len` bytes lie in it and are of a size to be kept.
pub(crate) fn are_kept(parts: &[Range<u64>], len: u64) -> bool {
    let bytes = parts.iter().map(|part| part.end.saturating_sub(part.start));
    parts.iter().all(|part| part.end <= len) && bytes.sum::<u64>() <= PART_BYTES_MAX
}

/// The pages of a file that some parts of it lie in, those that are there.
#[derive(Debug)]
pub(crate) struct Pages {
    file: FileId,
    len: u64,
    pages: BTreeMap<u32, Option<Bytes>>,
}

impl Pages {
    /// What has to be read of the file: pages that are not here, neighbours as one range.
    pub(crate) fn absent(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for (number, _) in self.pages.iter().filter(|(_, page)| page.is_none()) {
            let page = page_range(*number, self.len);
            match ranges.last_mut() {
                Some(last) if last.end == page.start && page.end - last.start <= SPAN_BYTES_MAX => {
                    last.end = page.end;
                }
                _ => ranges.push(page),
            }
        }
        ranges
    }

    /// A part of the file, in memory of its own; `None` if a page of it is not there.
    pub(crate) fn part(&self, range: &Range<u64>) -> Option<Bytes> {
        let mut parts = numbers(range).map(|number| {
            let page = self.pages.get(&number)?.as_ref()?;
            let first = page_range(number, self.len).start;
            let part = range.start.max(first) - first..range.end.min(first + PAGE_BYTES) - first;
            slice(page, &part)
        });
        let Some(first) = parts.next() else {
            return Some(Bytes::new());
        };
        let mut all = BytesMut::with_capacity(usize::try_from(range.end - range.start).ok()?);
        all.extend_from_slice(&first?);
        for part in parts {
            all.extend_from_slice(&part?);
        }
        Some(all.freeze())
    }
}

/// The numbers of the pages that a range lies in.
fn numbers(range: &Range<u64>) -> Range<u32> {
    if range.is_empty() {
        return 0..0;
    }
    let number = |page: u64| u32::try_from(page).unwrap_or(u32::MAX);
    number(range.start / PAGE_BYTES)..number(range.end.div_ceil(PAGE_BYTES))
}

/// The bytes of a page of a file of `len` bytes.
fn page_range(number: u32, len: u64) -> Range<u64> {
    let start = u64::from(number) * PAGE_BYTES;
    start..(start + PAGE_BYTES).min(len).max(start)
}

fn slice(bytes: &Bytes, range: &Range<u64>) -> Option<Bytes> {
    let (start, end) = (
        usize::try_from(range.start).ok()?,
        usize::try_from(range.end).ok()?,
    );
    (start <= end && end <= bytes.len()).then(|| bytes.slice(start..end))
}

impl Shared {
    fn read(&self, key: PageKey, range: Range<u64>) -> Option<Bytes> {
        let place = self.table.lock().look_up(key)?;
        let expected = range.end - range.start;
        let page = if u64::from(place.len) == expected {
            self.files.page(place).unwrap_or_else(|error| {
                tracing::warn!(%error, "cannot read a page of the disk cache");
                None
            })
        } else {
            None
        };
        if page.is_none() {
            // It is asked of the store, and then kept anew.
            self.table.lock().drop_page(key, place);
        }
        page
    }

    fn write_all(&self, mut pages: Receiver<(PageKey, Bytes)>) {
        while let Some((key, page)) = pages.blocking_recv() {
            let has_room = self.files.has_room();
            let slot = self.table.lock().take_slot(key, has_room);
            let Some(slot) = slot else {
                continue;
            };
            match self.files.write(slot, key, &page) {
                Ok(place) => {
                    if !self.table.lock().fill(key, place) {
                        self.clear(slot);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot write a page of the disk cache");
                    self.clear(slot);
                }
            }
            self.count();
        }
    }

    fn forget(&self, files: &[FileId]) {
        let slots = self.table.lock().forget(files);
        slots.into_iter().for_each(|slot| self.clear(slot));
        self.count();
    }

    /// Leaves nothing in a taken slot, and frees it.
    fn clear(&self, slot: u32) {
        if let Err(error) = self.files.clear(slot) {
            tracing::warn!(%error, "cannot clear a page of the disk cache");
        }
        self.table.lock().release(slot);
    }

    fn count(&self) {
        let pages = self.table.lock().len() as u64;
        self.metrics
            .cache_holds(CacheName::Disk, pages.saturating_mul(PAGE_BYTES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: FileId = FileId {
        kind: FileKind::Data,
        id: 7,
    };

    fn open(dir: &Path, pages: u64) -> DiskCache {
        // Whoever closed it before may still be about to.
        let opened = (0..1_000_000).find_map(|_| {
            std::thread::yield_now();
            DiskCache::open_leaving(0, dir, pages * PAGE_BYTES, Metrics::unregistered()).ok()
        });
        opened.unwrap()
    }

    fn content(len: u64) -> Vec<u8> {
        (0..len).map(|at| (at / 3 % 251) as u8).collect()
    }

    /// Reads as a store does that has `file`; returns the parts and how much was asked of it.
    async fn read(
        cache: &DiskCache,
        id: FileId,
        file: &[u8],
        wanted: &[Range<u64>],
    ) -> (Vec<Bytes>, u64) {
        let mut pages = cache.pages(id, file.len() as u64, wanted).await;
        let absent = pages.absent();
        let asked = absent.iter().map(|range| range.end - range.start).sum();
        let read = absent.into_iter().map(|range| {
            let bytes = Bytes::copy_from_slice(&file[range.start as usize..range.end as usize]);
            (range, bytes)
        });
        cache.keep(&mut pages, read.collect());
        let parts = wanted.iter().map(|range| pages.part(range).unwrap());
        (parts.collect(), asked)
    }

    /// Waits until the queue is written.
    async fn settle(cache: &DiskCache, pages: usize) {
        while cache.shared.table.lock().len() < pages {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn what_was_read_is_here_also_after_a_restart_unless_it_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let file = content(5 * PAGE_BYTES / 2);
        let wanted = [
            10..20,
            PAGE_BYTES - 5..PAGE_BYTES + 5,
            2 * PAGE_BYTES..file.len() as u64,
        ];
        let whole: Vec<&[u8]> = wanted
            .iter()
            .map(|r| &file[r.start as usize..r.end as usize])
            .collect();
        let cache = open(dir.path(), 8);
        assert_eq!(
            read(&cache, FILE, &file, &wanted).await,
            (
                whole.iter().map(|w| Bytes::copy_from_slice(w)).collect(),
                file.len() as u64
            )
        );
        settle(&cache, 3).await;
        assert_eq!(read(&cache, FILE, &file, &wanted).await.1, 0);
        let index = FileId {
            kind: FileKind::Index,
            ..FILE
        };
        assert_eq!(read(&cache, index, &file, &wanted[..1]).await.1, PAGE_BYTES);
        settle(&cache, 4).await;
        drop(cache);
        let cache = open(dir.path(), 8);
        let (parts, asked) = read(&cache, FILE, &file, &wanted).await;
        assert_eq!(
            (parts, asked),
            (whole.iter().map(|w| Bytes::copy_from_slice(w)).collect(), 0)
        );
        drop(cache);
        let pages = dir.path().join(files::PAGES);
        let mut bytes = std::fs::read(&pages).unwrap();
        bytes[100] ^= 1;
        std::fs::write(&pages, bytes).unwrap();
        let cache = open(dir.path(), 8);
        let (parts, asked) = read(&cache, FILE, &file, &wanted).await;
        assert_eq!(parts[0], whole[0]);
        assert_eq!(asked, PAGE_BYTES);
        settle(&cache, 4).await;
        assert_eq!(
            read(&cache, FILE, &file, &wanted).await.1,
            0,
            "it is kept anew"
        );
    }

    #[tokio::test]
    async fn the_size_is_a_bound_and_a_file_that_is_gone_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let file = content(20 * PAGE_BYTES);
        let cache = open(dir.path(), 4);
        for page in 0..20 {
            let at = page * PAGE_BYTES;
            read(&cache, FILE, &file, std::slice::from_ref(&(at..at + 1))).await;
            settle(&cache, (page as usize + 1).min(4)).await;
        }
        let stored = std::fs::metadata(dir.path().join(files::PAGES)).unwrap();
        assert_eq!(stored.len(), 4 * PAGE_BYTES);
        cache.forget(vec![FILE]).await;
        assert_eq!(cache.shared.table.lock().len(), 0);
        assert!(
            std::fs::read(dir.path().join(files::PAGES))
                .unwrap()
                .iter()
                .all(|byte| *byte == 0)
        );
        drop(cache);
        // A smaller one keeps to its size.
        let cache = open(dir.path(), 2);
        read(
            &cache,
            FILE,
            &file,
            std::slice::from_ref(&(0..3 * PAGE_BYTES)),
        )
        .await;
        settle(&cache, 2).await;
        let stored = std::fs::metadata(dir.path().join(files::PAGES)).unwrap();
        assert!(stored.len() <= 2 * PAGE_BYTES);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn parts_are_those_of_the_file(
            len in 1..6 * PAGE_BYTES,
            asked in proptest::collection::vec(proptest::collection::vec((0.0..1.0f64, 0.0..1.0f64), 1..4), 1..6),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let dir = tempfile::tempdir().unwrap();
            let cache = open(dir.path(), 3);
            let file = content(len);
            for ranges in asked {
                let ranges: Vec<Range<u64>> = ranges
                    .iter()
                    .map(|(a, b)| {
                        let (a, b) = ((a * len as f64) as u64, (b * len as f64) as u64);
                        a.min(b)..a.max(b)
                    })
                    .collect();
                let (parts, _) = runtime.block_on(read(&cache, FILE, &file, &ranges));
                for (part, range) in parts.iter().zip(&ranges) {
                    prop_assert_eq!(&part[..], &file[range.start as usize..range.end as usize]);
                }
            }
        }
    }
}
