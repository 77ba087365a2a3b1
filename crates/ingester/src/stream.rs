//! A stream: the order of its rows, and where in memory they are.
//!
//! A row is in exactly one place: in a head; in a part that was cut from a head, raw until its
//! block is encoded; in the block until its object is committed. All changes of a stream happen
//! under its lock, so that a query that takes it sees every row once.

mod lookup;
mod newest;
mod order;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use chunk::LinesMemory;
use model::{Entries, LabelSet, TimeRange};
use parking_lot::{Mutex, MutexGuard};

use crate::block::BlockRun;
use crate::head::{self, Head, Run};
use crate::memory::Counted;
use crate::metrics::Metrics;
use crate::wal::StreamRef;
use order::Order;
pub(crate) use order::{Accepted, Appended, Rules};

/// What a stream costs besides its labels: itself, what the log knows of it, its place in the map.
const STREAM_BYTES: usize = size_of::<Stream>() + size_of::<StreamRef>() + 128;

/// A stream of a tenant.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The stream as the log knows it, with its labels.
    pub(crate) key: Arc<StreamRef>,
    /// Hash of the labels.
    pub(crate) fingerprint: u64,
    lines: LinesMemory,
    state: Mutex<State>,
    _bytes: Counted,
}

/// What changes.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// No longer in the map of streams: rows must not be added.
    is_forgotten: bool,
    order: Order,
    live: Head,
    replayed: Head,
    parts: Vec<Part>,
    next_part: u64,
    last_push_ns: i64,
    /// Time of the newest row that this process has put into the store, if there is one.
    stored_until_ns: Option<i64>,
}

/// Rows cut from a head.
#[derive(Debug)]
pub(crate) struct Part {
    id: u64,
    epoch: u64,
    /// Bytes of the rows, as heads count them.
    bytes: usize,
    contents: Contents,
}

#[derive(Debug)]
enum Contents {
    Raw(Vec<Run>),
    Blocks(Vec<BlockRun>),
}

/// Rows that were cut and are to be encoded.
#[derive(Debug)]
pub(crate) struct Cut {
    /// Whose.
    pub(crate) stream: Arc<Stream>,
    /// The part that they are.
    pub(crate) part: u64,
    /// The flush that takes them.
    pub(crate) epoch: u64,
    /// The rows: sorted runs.
    pub(crate) runs: Vec<Run>,
    /// Their bytes, as heads count them.
    pub(crate) bytes: usize,
}

/// The stream was forgotten between finding and locking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forgotten;

/// Epochs and days of rows: they say in which objects the rows will be.
pub(crate) type EpochDays = BTreeSet<(u64, i64)>;

/// What a query takes of a stream.
#[derive(Clone, Debug)]
pub(crate) struct StreamSnapshot {
    /// The labels.
    pub(crate) labels: LabelSet,
    /// Hash of the labels.
    pub(crate) fingerprint: u64,
    /// Sorted runs of raw rows.
    pub(crate) runs: Vec<Run>,
    /// Runs of encoded blocks.
    pub(crate) blocks: Vec<BlockRun>,
    /// Time of the newest row that this process has put into the store. There may be newer ones, of
    /// another process or as pushed again.
    pub(crate) stored_until_ns: Option<i64>,
}

impl StreamSnapshot {
    /// How many rows there are, also outside of the range that was asked for.
    pub(crate) fn rows(&self) -> usize {
        let raw = self.runs.iter().map(|run| run.len());
        let encoded = self.blocks.iter().filter_map(BlockRun::meta);
        raw.chain(encoded.map(|run| run.rows as usize)).sum()
    }
}

impl Stream {
    /// A stream without rows.
    pub(crate) fn new(id: u64, labels: LabelSet, now_ns: i64, metrics: &Metrics) -> Self {
        let state = State {
            order: Order::new(metrics.newest_rows_bytes.clone()),
            last_push_ns: now_ns,
            ..State::default()
        };
        let mut bytes = Counted::new(metrics.stream_bytes.clone());
        bytes.set(STREAM_BYTES + head::set_bytes(&labels));
        Self {
            _bytes: bytes,
            fingerprint: labels.fingerprint(),
            key: Arc::new(StreamRef::new(id, labels)),
            lines: LinesMemory::default(),
            state: Mutex::new(state),
        }
    }

    /// How its lines are laid out best.
    pub(crate) fn lines(&self) -> &LinesMemory {
        &self.lines
    }

    /// The labels.
    pub(crate) fn labels(&self) -> &LabelSet {
        &self.key.labels
    }

    /// Adds the rows that the rules accept.
    pub(crate) fn append(&self, rows: &Entries, rules: &Rules) -> Result<Appended, Forgotten> {
        let mut state = self.lock();
        if state.is_forgotten {
            return Err(Forgotten);
        }
        state.last_push_ns = rules.now_ns;
        state.start_epoch(true, rules.epoch);
        Ok(state.append(rows, rules))
    }

    /// Adds rows of the log, which were accepted once. Returns the bytes added, and the bytes in
    /// the head.
    pub(crate) fn replay(&self, rows: &Entries, epoch: u64) -> Result<(usize, usize), Forgotten> {
        let mut state = self.lock();
        if state.is_forgotten {
            return Err(Forgotten);
        }
        state.start_epoch(false, epoch);
        Ok((state.replay(rows), state.replayed.bytes()))
    }

    /// Bytes of both heads, and of what tells copies of the newest rows.
    pub(crate) fn head_bytes(&self) -> usize {
        let state = self.lock();
        state.live.bytes() + state.replayed.bytes() + state.order.newest.bytes()
    }

    /// Forgets what tells copies of the newest rows, as memory is short. A head has each row once,
    /// so what comes from now on goes to another part than what is there: rows of several parts are
    /// compared by queries, and by the compactor.
    pub(crate) fn forget_newest(&self) {
        let mut state = self.lock();
        state.seal(true, u64::MAX);
        state.seal(false, u64::MAX);
        state.order.newest.forget();
    }

    /// Cuts the heads that belong to `epoch` or before. Their rows stay visible as parts.
    pub(crate) fn cut(self: &Arc<Self>, epoch: u64, cuts: &mut Vec<Cut>) {
        let mut state = self.lock();
        state.seal(true, epoch);
        state.seal(false, epoch);
        for part in &state.parts {
            let Contents::Raw(runs) = &part.contents else {
                continue;
            };
            if part.epoch <= epoch {
                cuts.push(Cut {
                    stream: Arc::clone(self),
                    part: part.id,
                    epoch: part.epoch,
                    bytes: part.bytes,
                    runs: runs.clone(),
                });
            }
        }
    }

    /// The rows of a part are in blocks now.
    pub(crate) fn encoded(&self, part: u64, runs: Vec<BlockRun>) {
        let mut state = self.lock();
        if let Some(part) = state.parts.iter_mut().find(|own| own.id == part) {
            part.contents = Contents::Blocks(runs);
        }
    }

    /// Drops the blocks that are committed.
    pub(crate) fn drop_committed(&self) {
        let mut state = self.lock();
        let committed = state.blocks().filter(|run| run.block.is_committed());
        let newest_ns = committed.filter_map(|run| Some(run.meta()?.max_ts_ns));
        state.stored_until_ns = newest_ns.chain(state.stored_until_ns).max();
        state.parts.retain_mut(|part| match &mut part.contents {
            Contents::Raw(_) => true,
            Contents::Blocks(runs) => {
                runs.retain(|run| !run.block.is_committed());
                !runs.is_empty()
            }
        });
        state.parts.shrink_to(4);
    }

    /// Whether there is a row in memory.
    pub(crate) fn has_rows(&self) -> bool {
        self.lock().has_rows()
    }

    /// Marks the stream as forgotten if it has nothing in memory and was not pushed to since.
    pub(crate) fn forget(&self, since_ns: i64) -> bool {
        let mut state = self.lock();
        let is_idle = !state.has_rows() && state.last_push_ns < since_ns;
        state.is_forgotten |= is_idle;
        is_idle
    }

    /// What a query of the range needs; `None` if there is nothing. Adds to `held` where the rows
    /// will be.
    pub(crate) fn snapshot(
        &self,
        range: TimeRange,
        held: &mut EpochDays,
    ) -> Option<StreamSnapshot> {
        let state = self.lock();
        let mut runs = Vec::new();
        for (epoch, run) in state.runs() {
            let rows = head::rows_within(run, range);
            if !rows.is_empty() {
                held.extend(head::days(run, rows).map(|(day, _)| (epoch, day)));
                runs.push(Arc::clone(run));
            }
        }
        let is_wanted = |run: &&BlockRun| {
            let overlaps = run
                .meta()
                .is_some_and(|meta| range.overlaps(meta.min_ts_ns, meta.max_ts_ns));
            overlaps && !run.block.is_committed()
        };
        let blocks: Vec<BlockRun> = state.blocks().filter(is_wanted).cloned().collect();
        held.extend(blocks.iter().map(|run| (run.block.epoch, run.block.day)));
        if runs.is_empty() && blocks.is_empty() {
            return None;
        }
        Some(StreamSnapshot {
            labels: self.labels().clone(),
            fingerprint: self.fingerprint,
            runs,
            blocks,
            stored_until_ns: state.stored_until_ns,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    fn has_rows(&self) -> bool {
        !(self.live.is_empty() && self.replayed.is_empty() && self.parts.is_empty())
    }

    /// All raw rows, with their epochs.
    fn runs(&self) -> impl Iterator<Item = (u64, &Run)> {
        let parts = self.parts.iter().filter_map(|part| match &part.contents {
            Contents::Raw(runs) => Some(runs.iter().map(|run| (part.epoch, run))),
            Contents::Blocks(_) => None,
        });
        let heads = [&self.live, &self.replayed].into_iter();
        heads
            .flat_map(|head| head.runs().map(|run| (head.epoch, run)))
            .chain(parts.flatten())
    }

    /// All encoded rows.
    fn blocks(&self) -> impl Iterator<Item = &BlockRun> {
        let parts = self.parts.iter().filter_map(|part| match &part.contents {
            Contents::Raw(_) => None,
            Contents::Blocks(runs) => Some(runs),
        });
        parts.flatten()
    }

    /// Rows of an epoch must not lie in one head with rows of another: a flush takes all of one or
    /// nothing.
    fn start_epoch(&mut self, live: bool, epoch: u64) {
        let before = self.head(live).epoch;
        if before < epoch {
            self.seal(live, before);
        }
        self.head(live).epoch = epoch;
    }

    fn head(&mut self, live: bool) -> &mut Head {
        if live {
            &mut self.live
        } else {
            &mut self.replayed
        }
    }

    fn seal(&mut self, live: bool, epoch: u64) {
        let head = self.head(live);
        if head.is_empty() || head.epoch > epoch {
            return;
        }
        let epoch = head.epoch;
        let (runs, bytes) = head.take();
        head.epoch = epoch;
        let contents = Contents::Raw(runs);
        self.parts.push(Part {
            id: self.next_part,
            epoch,
            bytes,
            contents,
        });
        self.next_part += 1;
    }
}
