//! The write-ahead log: what is acknowledged is here until it is in the store.
//!
//! Segments ([`segment`]) hold records ([`record`]) of rows ([`body`], [`received`]). Pushes put their records
//! into a queue ([`queue`]) that gives them sequence numbers; one thread ([`writer`]) writes and
//! syncs them, many at once. A small file ([`state`]) says whose log it is and how far its rows are
//! in the store.
//!
//! What was damaged on the disk costs the records it hits, and the rows of streams that only these
//! name: the replay finds what is behind them ([`resync`]), says what it left out, and the segment
//! is kept as `.damaged` for who wants to look. What was not finished when the process died was not
//! acknowledged; it is left out without that.
//!
//! *Invariants.* A record is acknowledged only after it is synced. Numbers rise, also from one run
//! of the process to the next, and no number is used twice: the watermark in a manifest says which
//! rows are in the store for good. A segment is removed only when all its rows are. A run never
//! appends to a segment of another run.

mod body;
mod disk;
mod queue;
mod received;
pub(crate) mod record;
mod resync;
pub(crate) mod segment;
pub(crate) mod state;
#[cfg(test)]
mod tests;
mod writer;

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

pub(crate) use body::Part;
pub use disk::{Disk, DiskFile, OsDisk};
pub(crate) use queue::{Append, Reservation, StreamRef};
pub(crate) use received::ReceivedBody;
pub(crate) use record::{Body, LostRows, RECORD_RAW_TARGET, ROW_BYTES_MAX, Record};

use crate::config::WalConfig;
use crate::error::{StartError, WalError};
use crate::metrics::WalMetrics;
use queue::Queue;
use segment::{Next, SegmentReader};
use state::State;
use writer::{Settings, Writer};

/// Bits of a sequence number that count within a run: a run may write a million million records.
pub(crate) const RUN_SHIFT: u32 = 40;
/// The unit of the queue's bound.
const PERMIT_BYTES: usize = 1 << 10;

/// A segment that is not written any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// Its number.
    pub(crate) number: u64,
    /// The highest sequence number in it.
    pub(crate) max_seq: u64,
    /// Its bytes.
    pub(crate) bytes: u64,
    /// Whether a part of it could not be read.
    pub(crate) is_damaged: bool,
}

/// The write-ahead log of this ingester.
#[derive(Debug)]
pub(crate) struct Wal {
    queue: Arc<Queue>,
    state: Arc<StateCell>,
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    permits: Arc<Semaphore>,
    permits_max: usize,
    bytes_max: u64,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The lock is gone when the file is closed.
    lock: Mutex<Option<File>>,
}

/// What earlier runs left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// Rows of records up to this number are in the store.
    pub(crate) done: u64,
    /// No rows of records after this number are in the store.
    pub(crate) intended: u64,
    /// Whether there are segments of which nobody knows what was removed before them.
    pub(crate) is_state_lost: bool,
    /// The segments in order: number, and where it ends if that is known.
    pub(crate) segments: Vec<(u64, Option<u64>)>,
    /// Bytes of all of them.
    pub(crate) bytes: u64,
}

impl std::fmt::Debug for dyn Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Disk")
    }
}

impl Wal {
    /// Opens the log in `directory` and starts its writer. `fresh_owner` names the log if it is new.
    pub(crate) fn open(
        config: &WalConfig,
        directory: &Path,
        disk: Arc<dyn Disk>,
        fresh_owner: u128,
        metrics: WalMetrics,
    ) -> Result<(Self, Left), StartError> {
        let failed = |source| StartError::Wal {
            path: directory.to_owned(),
            source,
        };
        std::fs::create_dir_all(directory).map_err(failed)?;
        let lock = lock(directory)?;
        let (left, mut state) = left_behind(directory, fresh_owner).map_err(failed)?;
        state.run += 1;
        let cell = Arc::new(StateCell::new(state));
        if let Err(error) = cell.ensure_written(directory, &*disk) {
            tracing::error!(%error, "the state of the write-ahead log cannot be written");
        }
        let queue = Arc::new(Queue::new((state.run << RUN_SHIFT) + 1));
        queue.set_bytes(left.bytes);
        let writer = Writer {
            queue: Arc::clone(&queue),
            state: Arc::clone(&cell),
            disk: Arc::clone(&disk),
            directory: directory.to_owned(),
            settings: Settings {
                segment_bytes: config.segment_bytes.0,
                delay: config.commit_delay.as_std(),
                commit_bytes: config.commit_bytes.as_usize(),
                fsync: config.fsync,
                retry: config.retry.as_std(),
            },
            metrics,
            next_number: left.segments.last().map_or(1, |(number, _)| number + 1),
            active: None,
            sealed: Vec::new(),
            left_bytes: left.bytes,
            unwritten: Vec::new(),
            buffer: Vec::new(),
            previous: (0, 0),
        };
        let thread = std::thread::Builder::new().name("wal".to_owned());
        let thread = thread.spawn(|| writer.run()).map_err(StartError::Thread)?;
        let permits_max = (config.queue_bytes_max.as_usize() / PERMIT_BYTES).clamp(1, 1 << 28);
        let wal = Self {
            queue,
            state: cell,
            disk,
            directory: directory.to_owned(),
            permits: Arc::new(Semaphore::new(permits_max)),
            permits_max,
            bytes_max: config.bytes_max.0,
            thread: Mutex::new(Some(thread)),
            lock: Mutex::new(Some(lock)),
        };
        Ok((wal, left))
    }

    /// Where the segments lie.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The name under which flushes of this log stand in manifests.
    pub(crate) fn owner(&self) -> u128 {
        self.state.get().owner
    }

    /// A number that no stream of an earlier run has, to count streams from.
    pub(crate) fn first_stream(&self) -> u64 {
        self.state.get().run << RUN_SHIFT
    }

    /// Why the log cannot be written now, if it cannot.
    pub(crate) fn failure(&self) -> Option<WalError> {
        self.queue.failure()
    }

    /// Whether a push may come now.
    pub(crate) fn admit(&self) -> Result<(), WalError> {
        if let Some(failure) = self.queue.failure() {
            return Err(failure);
        }
        let bytes = self.queue.bytes();
        if self.bytes_max > 0 && bytes >= self.bytes_max {
            return Err(WalError::Full {
                bytes,
                limit_bytes: self.bytes_max,
            });
        }
        Ok(())
    }

    /// Waits for room in the queue for a push of so many raw bytes.
    pub(crate) async fn reserve(&self, raw_bytes: usize) -> Result<Reservation, WalError> {
        let permits = (raw_bytes / PERMIT_BYTES + 1).min(self.permits_max) as u32;
        let permit = Arc::clone(&self.permits).acquire_many_owned(permits).await;
        let permit = permit.map_err(|_| WalError::Closed)?;
        Ok(Reservation::new(permit, &self.queue))
    }

    /// Puts records into the queue. The receiver is told when they, and all before them, are
    /// durable.
    pub(crate) fn append(&self, append: Append) -> oneshot::Receiver<Result<(), WalError>> {
        self.queue.append(append)
    }

    /// The number of the last record in the queue or before.
    pub(crate) fn last_seq(&self) -> u64 {
        self.queue.last_seq()
    }

    /// Writes down that a flush of the rows up to `seq` begins.
    pub(crate) fn intend(&self, seq: u64) -> io::Result<()> {
        let set = |state: &mut State| state.intended = state.intended.max(seq);
        self.state.update(&self.directory, &*self.disk, set)
    }

    /// Writes down that rows up to `seq` are in the store, and that no flush beyond `tried` was
    /// tried, and removes what that makes useless.
    pub(crate) fn done(&self, seq: u64, tried: u64) -> io::Result<()> {
        let set = |state: &mut State| {
            state.done = state.done.max(seq);
            if seq >> RUN_SHIFT == state.run {
                // While an earlier run is replayed, its last flush may have been tried.
                state.intended = tried.max(seq);
            }
        };
        let written = self.state.update(&self.directory, &*self.disk, set);
        self.queue.truncate(seq);
        written
    }

    /// Hands over a segment of an earlier run that was replayed.
    pub(crate) fn replayed(&self, segment: Sealed) {
        self.queue.replayed(segment);
    }

    /// Writes what is in the queue, ends the writer and lets others use the directory.
    pub(crate) fn close(&self) {
        self.queue.close();
        self.permits.close();
        let thread = self.thread.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the write-ahead log panicked");
        }
        *self.lock.lock() = None;
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// The state in memory, and whether the file has it.
#[derive(Debug)]
pub(crate) struct StateCell(Mutex<(State, bool)>);

impl StateCell {
    fn new(state: State) -> Self {
        Self(Mutex::new((state, false)))
    }

    fn get(&self) -> State {
        self.0.lock().0
    }

    /// The run must be in the file before any of its numbers is used: the next run would use them
    /// again.
    fn ensure_written(&self, directory: &Path, disk: &dyn Disk) -> io::Result<()> {
        let mut cell = self.0.lock();
        if !cell.1 {
            cell.0.write(directory, disk)?;
            cell.1 = true;
        }
        Ok(())
    }

    fn update(
        &self,
        directory: &Path,
        disk: &dyn Disk,
        set: impl FnOnce(&mut State),
    ) -> io::Result<()> {
        let mut cell = self.0.lock();
        let before = cell.0;
        set(&mut cell.0);
        if cell.0 == before && cell.1 {
            return Ok(());
        }
        cell.1 = false;
        cell.0.write(directory, disk)?;
        cell.1 = true;
        Ok(())
    }
}

fn lock(directory: &Path) -> Result<File, StartError> {
    let path = directory.join("lock");
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    let file = file.map_err(|source| StartError::Wal {
        path: path.clone(),
        source,
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::InUse {
            path: directory.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(StartError::Wal { path, source }),
    }
}

/// Looks at what earlier runs left.
fn left_behind(directory: &Path, fresh_owner: u128) -> io::Result<(Left, State)> {
    let numbers = segment::list(directory)?;
    let headers: Vec<_> = numbers
        .iter()
        .filter_map(|number| segment::read_header(directory, *number).ok())
        .collect();
    let state = State::read(directory)?;
    let is_state_lost = state.is_none() && !numbers.is_empty();
    let state = match state {
        Some(state) => state,
        None if numbers.is_empty() => State::new(fresh_owner),
        None => {
            tracing::error!("the state of the write-ahead log is lost; it is made from segments");
            let owner = headers.last().map_or(fresh_owner, |header| header.owner);
            let run = last_run(directory, &numbers, owner)?;
            let mut state = State::new(owner);
            state.run = run;
            // Any of them may have been flushed.
            state.intended = u64::MAX;
            state
        }
    };
    let end_of = |number: u64| {
        let successor = headers.iter().find(|header| header.previous == number);
        successor.map(|header| header.previous_len)
    };
    let len = |number: &u64| {
        segment::path(directory, *number)
            .metadata()
            .map_or(0, |meta| meta.len())
    };
    let left = Left {
        done: state.done,
        intended: state.intended,
        is_state_lost,
        bytes: numbers.iter().map(len).sum(),
        segments: numbers
            .iter()
            .map(|number| (*number, end_of(*number)))
            .collect(),
    };
    Ok((left, state))
}

/// The highest run of which there are records.
fn last_run(directory: &Path, numbers: &[u64], owner: u128) -> io::Result<u64> {
    let mut run = 0;
    for number in numbers {
        let Ok(mut reader) = SegmentReader::open(directory, *number, None, owner) else {
            continue;
        };
        loop {
            match reader.next()? {
                Next::Record(Record::Rows(rows), _) => run = run.max(rows.seq >> RUN_SHIFT),
                Next::Record(Record::Streams(_), _) | Next::Damaged { .. } => {}
                Next::End | Next::Torn { .. } => break,
            }
        }
    }
    Ok(run)
}
