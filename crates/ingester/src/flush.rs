//! Flushes: everything in memory goes to the store.
//!
//! A flush draws a line: rows before it have sequence numbers up to a *watermark* and an
//! [epoch](crate::epoch) up to its own, rows after it do not. It cuts and encodes all rows before
//! the line, and writes for each tenant and day one object, its index, and one manifest entry that
//! carries the watermark.
//! When all entries are committed, the log up to the watermark is removed. A crash anywhere between
//! is repaired by the replay: it asks each manifest for the watermark, and skips the rows that are
//! committed.
//!
//! Flushes follow each other. One that fails is tried again for ever; until it succeeds its rows
//! stay in memory and in the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use chunk::{ChunkError, FinishedObject, ObjectWriter};
use futures::StreamExt;
use model::{Code, CodedError};
use storage::{ManifestEntry, StorageError, key};
use tokio::sync::{mpsc, oneshot};

use crate::encode::EncodeError;
use crate::ingester::Inner;
use crate::metrics::{FlushReason, Outcome};
use crate::tenant::{Tenant, Waiting};

/// Objects written at once.
const OBJECTS_AT_ONCE: usize = 4;
/// The pause after the first failure.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
/// How often it is looked whether a flush is due.
const TICK: Duration = Duration::from_secs(1);
/// Requests for a flush that may wait.
pub(crate) const REQUESTS_MAX: usize = 64;

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
enum FlushError {
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error("an object cannot be built")]
    Object(#[from] ChunkError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the state of the write-ahead log cannot be written")]
    State(#[from] std::io::Error),
    #[error("a worker did not finish")]
    Worker,
}

/// What a flush takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    /// Rows of this epoch and before.
    epoch: u64,
    /// The highest sequence number of these rows, of which none is left out.
    watermark: u64,
}

/// An object on its way to the store.
struct Outgoing {
    tenant: Arc<Tenant>,
    day: i64,
    blocks: Vec<Waiting>,
}

/// Someone who waits for a flush.
pub(crate) type FlushRequest = oneshot::Sender<()>;

impl Inner {
    /// Flushes when it is time, until the process stops.
    pub(crate) async fn run_flusher(self: Arc<Self>, mut requests: mpsc::Receiver<FlushRequest>) {
        self.replayed.cancelled().await;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let flush_bytes = self.config.flush_bytes.as_usize();
        loop {
            let mut waiting = Vec::new();
            let due = tokio::select! {
                () = self.stop.cancelled() => return,
                _ = tick.tick() => self.tick(),
                () = self.memory.until(|memory| memory.encoded() >= flush_bytes) => Some(FlushReason::Size),
                request = requests.recv() => {
                    waiting.extend(request);
                    None
                }
            };
            while let Ok(request) = requests.try_recv() {
                waiting.push(request);
            }
            let asked = (!waiting.is_empty()).then_some(FlushReason::Request);
            if let Some(reason) = due.or(asked) {
                self.flush(reason).await;
                self.forget_idle();
            }
            for request in waiting {
                // Who does not wait any more needs no answer.
                let _ = request.send(());
            }
        }
    }

    /// What is to be done once in a while. Returns whether a flush is due.
    fn tick(&self) -> Option<FlushReason> {
        let is_empty = || self.oldest_ns.load(Ordering::Relaxed) == 0;
        self.epochs.renew_live(self.clock.now_ns(), is_empty);
        self.flush_reason()
    }

    /// Whether a flush is due.
    fn flush_reason(&self) -> Option<FlushReason> {
        let oldest_ns = self.oldest_ns.load(Ordering::Relaxed);
        if oldest_ns == 0 {
            return None;
        }
        let now_ns = self.clock.now_ns();
        let idle_ns = now_ns.saturating_sub(self.last_push_ns.load(Ordering::Relaxed));
        if self.memory.encoded() >= self.config.flush_bytes.as_usize() {
            Some(FlushReason::Size)
        } else if now_ns.saturating_sub(oldest_ns) >= self.config.flush_interval.0 {
            Some(FlushReason::Age)
        } else if self.config.flush_idle.0 > 0 && idle_ns >= self.config.flush_idle.0 {
            Some(FlushReason::Idle)
        } else {
            None
        }
    }

    /// Flushes all that was pushed before. Returns when it is in the store.
    pub(crate) async fn flush(&self, reason: FlushReason) {
        let _flush = self.flushing.lock().await;
        // Each epoch has an object of its own, and what was replayed is before what was pushed.
        let replayed = self.end_of_replay.lock().take();
        if let Some(line) = replayed {
            self.flush_line(line, reason).await;
        }
        let (epoch, watermark) = self.epochs.end_live(self.clock.now_ns(), || {
            self.oldest_ns.store(0, Ordering::Relaxed);
            self.wal.last_seq()
        });
        let line = Line { epoch, watermark };
        self.flush_line(line, reason).await;
    }

    /// Flushes what was replayed so far: rows of records up to `watermark`.
    pub(crate) async fn flush_replayed(&self, watermark: u64) {
        let _flush = self.flushing.lock().await;
        let epoch = self.epochs.end_replay(self.clock.now_ns());
        self.flush_line(Line { epoch, watermark }, FlushReason::Replay)
            .await;
    }

    /// Everything up to `watermark` is replayed; the next flush takes what no flush has taken yet.
    pub(crate) fn end_replay(&self, watermark: u64) {
        let epoch = self.epochs.end_replay(self.clock.now_ns());
        *self.end_of_replay.lock() = Some(Line { epoch, watermark });
    }

    #[tracing::instrument(name = "flush", skip_all, fields(watermark = line.watermark))]
    async fn flush_line(&self, line: Line, reason: FlushReason) {
        let started = Instant::now();
        self.metrics.flush_began(reason);
        if !self.memory.is_empty() {
            self.until_ok("encode", || async {
                Ok(self.encode_all(line.epoch).await?)
            })
            .await;
            let outgoing = self.outgoing(line);
            if !outgoing.is_empty() {
                self.until_ok("write down the flush", || self.intend(line.watermark))
                    .await;
                let stored = outgoing.into_iter().map(|object| self.store(object, line));
                futures::stream::iter(stored)
                    .buffer_unordered(OBJECTS_AT_ONCE)
                    .count()
                    .await;
            }
        }
        let (wal, watermark) = (Arc::clone(&self.wal), line.watermark);
        let written = tokio::task::spawn_blocking(move || wal.done(watermark)).await;
        if let Ok(Err(error)) = written {
            // Without it the next replay asks the store for what this process knows.
            tracing::warn!(%error, "the state of the write-ahead log cannot be written");
        }
        let seconds = started.elapsed().as_secs_f64();
        self.metrics.flush_seconds.observe(seconds);
        tracing::debug!(reason = reason.as_str(), seconds, "flushed");
    }

    fn outgoing(&self, line: Line) -> Vec<Outgoing> {
        let mut outgoing = Vec::new();
        for tenant in self.tenants.all() {
            for (day, blocks) in tenant.blocks_of(line.epoch) {
                outgoing.push(Outgoing {
                    tenant: Arc::clone(&tenant),
                    day,
                    blocks,
                });
            }
        }
        outgoing
    }

    async fn intend(&self, watermark: u64) -> Result<(), FlushError> {
        let wal = Arc::clone(&self.wal);
        let written = tokio::task::spawn_blocking(move || wal.intend(watermark)).await;
        written
            .map_err(|_| FlushError::Worker)?
            .map_err(FlushError::State)
    }

    /// Writes and commits an object, and lets go of its rows.
    async fn store(&self, outgoing: Outgoing, line: Line) {
        let Outgoing {
            tenant,
            day,
            blocks,
        } = outgoing;
        let now_ns = self.clock.now_ns();
        let id = self.epochs.object_id(line.epoch, &tenant.id, day);
        let mut entry = ManifestEntry::new(key::id_text(self.wal.owner()), now_ns);
        entry.watermark = Some(line.watermark);
        let object = self
            .until_ok("build an object", || build(id, &blocks))
            .await;
        let publish = || async {
            let published = self
                .catalog
                .publish(&tenant.id, day, &object, entry.clone())
                .await;
            let outcome = if published.is_ok() {
                Outcome::Ok
            } else {
                Outcome::Error
            };
            self.metrics.flush_object(outcome);
            Ok(published?)
        };
        let seq = self.until_ok("store an object", publish).await;
        tenant.commit(day, seq, &blocks, self.clock.now_ns());
        let bytes = blocks.iter().map(|waiting| waiting.block.bytes()).sum();
        self.memory.drop_blocks(bytes);
        self.metrics.blocks.dec_by(blocks.len() as i64);
        self.metrics.flushed_bytes.inc_by(object.len);
    }

    /// Tries until it works.
    async fn until_ok<T, F, Fut>(&self, what: &'static str, attempt: F) -> T
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, FlushError>>,
    {
        let mut pause = BACKOFF_MIN;
        loop {
            match attempt().await {
                Ok(value) => return value,
                Err(error) => {
                    let error = chain(&error);
                    tracing::error!(what, %error, ?pause, "a flush failed and is tried again");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2)
                .min(self.config.flush_backoff_max.as_std())
                .max(BACKOFF_MIN);
        }
    }

    /// Forgets streams that nobody pushes to any more, and tenants without streams.
    fn forget_idle(&self) {
        let now_ns = self.clock.now_ns();
        let since_ns = now_ns.saturating_sub(self.config.stream_idle.0);
        for tenant in self.tenants.all() {
            let forgotten = tenant.forget(since_ns);
            self.metrics.streams.dec_by(forgotten as i64);
        }
        self.tenants.forget(now_ns);
    }

    /// Asks the flusher for a flush and waits for it.
    pub(crate) async fn request_flush(&self) -> Result<(), CodedError> {
        let stopped = || CodedError::new(Code::Unavailable, "the ingester is stopping");
        let (sender, receiver) = oneshot::channel();
        self.flush_requests
            .send(sender)
            .await
            .map_err(|_| stopped())?;
        receiver.await.map_err(|_| stopped())
    }
}

/// An object of some blocks, those of a stream next to each other.
async fn build(id: u128, blocks: &[Waiting]) -> Result<FinishedObject, FlushError> {
    let mut encoded: Vec<_> = blocks
        .iter()
        .map(|waiting| waiting.block.encoded.clone())
        .collect();
    let work = move || {
        encoded.sort_by(|a, b| {
            let time = |block: &chunk::EncodedBlock| block.meta().min_ts_ns();
            (a.streams().first(), time(a)).cmp(&(b.streams().first(), time(b)))
        });
        let mut writer = ObjectWriter::new(id);
        for block in encoded {
            writer.add_block(block);
        }
        writer.finish()
    };
    let built = tokio::task::spawn_blocking(work).await;
    Ok(built.map_err(|_| FlushError::Worker)??)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
