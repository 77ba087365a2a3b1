//! The thread that writes the log: many pushes share one fsync.
//!
//! A batch of items is written to the active segment and synced; then every item is told. If that
//! fails, the segment is abandoned at its last durable byte, those who wait are told that the log
//! cannot be written, and the items are kept to be written to the next segment when that works:
//! their rows are in memory and a client that pushes them again must find them durable then.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::disk::{Disk, DiskFile};
use super::queue::{Item, Queue};
use super::record;
use super::segment::{self, HEADER_LEN, Header};
use super::{Sealed, StateCell};
use crate::error::WalError;
use crate::metrics::WalMetrics;

/// Bytes collected before they are handed to the operating system.
const BUFFER_BYTES: usize = 1 << 20;

/// What the writer is made of.
pub(crate) struct Writer {
    pub(crate) queue: Arc<Queue>,
    pub(crate) state: Arc<StateCell>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) directory: PathBuf,
    pub(crate) settings: Settings,
    pub(crate) metrics: WalMetrics,
    pub(crate) next_number: u64,
    pub(crate) active: Option<Active>,
    pub(crate) sealed: Vec<Sealed>,
    /// Bytes of segments of earlier runs that are not replayed yet.
    pub(crate) left_bytes: u64,
    /// Taken from the queue and not durable yet.
    pub(crate) unwritten: Vec<Item>,
    pub(crate) buffer: Vec<u8>,
    /// The last segment of this run and where it ends.
    pub(crate) previous: (u64, u64),
}

/// The bounds of the writer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) segment_bytes: u64,
    pub(crate) delay: Duration,
    pub(crate) commit_bytes: usize,
    pub(crate) fsync: bool,
    pub(crate) retry: Duration,
}

/// The segment that is being written.
pub(crate) struct Active {
    number: u64,
    /// What checksums begin with.
    seed: u32,
    file: Box<dyn DiskFile>,
    /// Durable bytes.
    len: u64,
    /// Highest sequence number in them.
    max_seq: u64,
}

impl Writer {
    /// Works until the queue is closed.
    pub(crate) fn run(mut self) {
        loop {
            let retry = (!self.unwritten.is_empty()).then_some(self.settings.retry);
            let work = self
                .queue
                .take(self.settings.delay, self.settings.commit_bytes, retry);
            self.accept(work.items);
            for segment in work.replayed {
                self.left_bytes = self.left_bytes.saturating_sub(segment.bytes);
                self.sealed.push(segment);
            }
            if let Some(done) = work.truncate {
                self.truncate(done);
            }
            if !self.unwritten.is_empty() {
                self.commit();
            }
            self.publish_sizes();
            if work.is_closed {
                self.finish();
                return;
            }
        }
    }

    /// Takes items over. While the log cannot be written nobody is kept waiting.
    fn accept(&mut self, items: Vec<Item>) {
        let failing = self.queue.failure();
        for mut item in items {
            if let Some(error) = &failing {
                item.tell(Err(error.clone()));
            }
            self.unwritten.push(item);
        }
    }

    fn commit(&mut self) {
        let started = Instant::now();
        let written = self.write();
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES * 2);
        match written {
            Ok(()) => {
                self.metrics
                    .fsync_seconds
                    .observe(started.elapsed().as_secs_f64());
                self.metrics.failing.set(0);
                if self.queue.set_failure(None) {
                    tracing::info!("the write-ahead log can be written again");
                }
                for item in self.unwritten.drain(..) {
                    item.succeed();
                }
                let is_full = |active: &Active| active.len >= self.settings.segment_bytes;
                if self.active.as_ref().is_some_and(is_full) {
                    self.seal();
                }
            }
            Err(error) => self.fail(&error),
        }
    }

    /// Writes everything unwritten and makes it durable.
    fn write(&mut self) -> io::Result<()> {
        if self.unwritten.iter().all(|item| item.records.is_empty()) {
            return Ok(());
        }
        let mut active = match self.active.take() {
            Some(active) => active,
            None => self.open()?,
        };
        let written = self.append(&mut active);
        let result = written.map(|(len, max_seq)| {
            active.len += len;
            active.max_seq = active.max_seq.max(max_seq);
        });
        self.active = Some(active);
        result
    }

    /// Appends all records to the segment and syncs it. Gives their bytes and highest number.
    fn append(&mut self, active: &mut Active) -> io::Result<(u64, u64)> {
        let (mut len, mut max_seq, mut records) = (0, 0, 0);
        for item in &self.unwritten {
            if item.records.is_empty() {
                continue;
            }
            let new = item
                .streams
                .iter()
                .filter(|stream| stream.define_in(active.number));
            let mut new = new.map(|stream| (stream.id, &stream.labels)).peekable();
            if new.peek().is_some() {
                record::append_streams(new, active.seed, &mut self.buffer);
            }
            for record in &item.records {
                record.append(active.seed, &mut self.buffer);
                max_seq = max_seq.max(record.seq);
                records += 1;
                if self.buffer.len() >= BUFFER_BYTES {
                    len += self.buffer.len() as u64;
                    active.file.append(&self.buffer)?;
                    self.buffer.clear();
                }
            }
        }
        len += self.buffer.len() as u64;
        active.file.append(&self.buffer)?;
        if self.settings.fsync {
            active.file.sync()?;
        }
        self.metrics.written_bytes.inc_by(len);
        self.metrics.records.inc_by(records);
        Ok((len, max_seq))
    }

    fn open(&mut self) -> io::Result<Active> {
        self.state.ensure_written(&self.directory, &*self.disk)?;
        let number = self.next_number;
        self.next_number += 1;
        let (previous, previous_len) = self.previous;
        let owner = self.state.get().owner;
        let header = Header {
            version: segment::VERSION,
            owner,
            number,
            previous,
            previous_len,
        };
        let path = segment::path(&self.directory, number);
        let mut file = self.disk.create(&path)?;
        if let Err(error) = file.append(&header.to_bytes()) {
            drop(file);
            // An empty file is no harm, but there would be one per attempt.
            let _ = self.disk.remove(&path);
            return Err(error);
        }
        Ok(Active {
            number,
            seed: header.seed(),
            file,
            len: HEADER_LEN as u64,
            max_seq: 0,
        })
    }

    /// Nothing is known about what was written last: the next attempt is made in a new segment,
    /// whose header says where this one ends.
    fn fail(&mut self, error: &io::Error) {
        self.metrics.failures.inc();
        self.metrics.failing.set(1);
        let failure = WalError::Write(error.to_string().into());
        if !self.queue.set_failure(Some(failure.clone())) {
            tracing::error!(%error, "the write-ahead log cannot be written; pushes are refused");
        }
        for item in &mut self.unwritten {
            item.tell(Err(failure.clone()));
        }
        let Some(mut active) = self.active.take() else {
            return;
        };
        if let Err(error) = active.file.truncate(active.len) {
            tracing::warn!(%error, segment = active.number, "cannot cut the end of a segment");
        }
        self.retire(&active);
    }

    /// The active segment is full, or everything in it is in the store.
    fn seal(&mut self) {
        if let Some(active) = self.active.take() {
            self.retire(&active);
        }
    }

    fn retire(&mut self, active: &Active) {
        let (number, len, max_seq) = (active.number, active.len, active.max_seq);
        self.previous = (number, len);
        self.sealed.push(Sealed {
            number,
            max_seq,
            bytes: len,
            is_damaged: false,
        });
    }

    /// Removes the segments whose rows are all in the store.
    fn truncate(&mut self, done: u64) {
        for item in &mut self.unwritten {
            item.records.retain(|record| record.seq > done);
        }
        if self
            .active
            .as_ref()
            .is_some_and(|active| active.max_seq <= done)
        {
            self.seal();
        }
        let sealed = std::mem::take(&mut self.sealed);
        let (gone, kept): (Vec<_>, Vec<_>) = sealed
            .into_iter()
            .partition(|segment| segment.max_seq <= done);
        self.sealed = kept;
        for segment in gone {
            if let Err(error) = self.remove(&segment) {
                let number = segment.number;
                tracing::warn!(%error, segment = number, "cannot remove a segment");
                self.sealed.push(segment);
            }
        }
    }

    fn remove(&self, segment: &Sealed) -> io::Result<()> {
        let path = segment::path(&self.directory, segment.number);
        if segment.is_damaged {
            // What could not be read of it may still be worth something to somebody.
            return self.disk.rename(&path, &path.with_extension("damaged"));
        }
        self.disk.remove(&path)
    }

    fn publish_sizes(&self) {
        let active = self.active.as_ref().map_or(0, |active| active.len);
        let sealed: u64 = self.sealed.iter().map(|segment| segment.bytes).sum();
        let segments = self.sealed.len() + usize::from(self.active.is_some());
        let bytes = self.left_bytes + sealed + active;
        self.queue.set_bytes(bytes);
        self.metrics.bytes.set(bytes as i64);
        self.metrics.segments.set(segments as i64);
    }

    /// What could not be written was not acknowledged either.
    fn finish(&mut self) {
        for mut item in self.unwritten.drain(..) {
            item.tell(Err(WalError::Closed));
        }
    }
}
