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
//! Flushes follow each other. What fails of one waits in [`Departures`] and is tried again, each
//! tenant's day for itself, while other flushes go on; until it succeeds its rows stay in memory and
//! in the log. An error that does not pass by itself is not tried again but on request and at the
//! stop, and meanwhile its tenant's pushes are refused.

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
use crate::outgoing::{Departures, Fate, Line, Outgoing, Partition};
use crate::tenant::{Tenant, Waiting};

/// Objects written at once.
const OBJECTS_AT_ONCE: usize = 4;
/// The pause after the state of the log could not be written.
const STATE_AGAIN: Duration = Duration::from_secs(1);
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
    #[error("a worker did not finish")]
    Worker,
}

impl FlushError {
    /// Whether trying again as it is does not help.
    fn is_final(&self) -> bool {
        match self {
            Self::Encode(EncodeError::Worker) | Self::Worker => false,
            Self::Encode(EncodeError::Chunk(_)) | Self::Object(_) => true,
            Self::Storage(error) => error.is_lasting(),
        }
    }

    fn described(&self) -> (String, bool) {
        (chain(self), self.is_final())
    }
}

/// Someone who wants a flush and waits for it.
pub(crate) struct FlushRequest {
    reason: FlushReason,
    reply: oneshot::Sender<Result<(), CodedError>>,
}

impl Inner {
    /// Flushes when it is time, until the process stops.
    pub(crate) async fn run_flusher(self: Arc<Self>, mut requests: mpsc::Receiver<FlushRequest>) {
        self.replayed.cancelled().await;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let flush_bytes = self.config.flush_bytes.as_usize();
        // Who waits for rows up to which number.
        let mut waiting: Vec<(u64, FlushRequest)> = Vec::new();
        loop {
            let mut asked = Vec::new();
            let due = tokio::select! {
                () = self.stop.cancelled() => return,
                _ = tick.tick() => self.tick(),
                () = self.memory.until(|memory| memory.unsent() >= flush_bytes) => Some(FlushReason::Size),
                () = until_retry(&self.departures) => {
                    self.retry(false).await;
                    None
                }
                request = requests.recv() => {
                    asked.extend(request);
                    None
                }
            };
            while let Ok(request) = requests.try_recv() {
                asked.push(request);
            }
            if let Some(reason) = due.or(asked.first().map(|request| request.reason)) {
                if !asked.is_empty() {
                    self.retry(true).await;
                }
                let watermark = self.flush(reason).await;
                waiting.extend(asked.into_iter().map(|request| (watermark, request)));
                self.forget_idle();
            }
            waiting = self.answer(waiting);
        }
    }

    /// Tells those whose rows are in the store, or of whose rows the first attempt failed: a client
    /// cannot wait until a disk has room. Returns the others, and those who asked because the
    /// process stops: what is tried again may still succeed in the time that they have.
    fn answer(&self, waiting: Vec<(u64, FlushRequest)>) -> Vec<(u64, FlushRequest)> {
        let mut left = Vec::new();
        for (watermark, request) in waiting {
            let waits = request.reason == FlushReason::Shutdown;
            let failed = match self.departures.fate(watermark) {
                _ if request.reply.is_closed() => continue,
                Fate::Failing(text) if !waits => Some(format!(
                    "not everything is flushed yet, it is tried again: {text}"
                )),
                Fate::Pending | Fate::Failing(_) => {
                    left.push((watermark, request));
                    continue;
                }
                Fate::Stored => None,
                Fate::Stuck(text) => Some(format!("not everything can be flushed: {text}")),
            };
            let answer =
                failed.map_or(Ok(()), |text| Err(CodedError::new(Code::Unavailable, text)));
            // Who does not wait any more needs no answer.
            let _ = request.reply.send(answer);
        }
        left
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
        if self.memory.unsent() >= self.config.flush_bytes.as_usize() {
            Some(FlushReason::Size)
        } else if now_ns.saturating_sub(oldest_ns) >= self.config.flush_interval.0 {
            Some(FlushReason::Age)
        } else if self.config.flush_idle.0 > 0 && idle_ns >= self.config.flush_idle.0 {
            Some(FlushReason::Idle)
        } else {
            None
        }
    }

    /// Flushes all that was pushed before, once. Returns up to which number that was.
    pub(crate) async fn flush(&self, reason: FlushReason) -> u64 {
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
        let line = self.departures.draw(epoch, watermark);
        self.flush_line(line, reason).await;
        watermark
    }

    /// Flushes what was replayed so far: rows of records up to `watermark`.
    pub(crate) async fn flush_replayed(&self, watermark: u64) {
        let _flush = self.flushing.lock().await;
        let epoch = self.epochs.end_replay(self.clock.now_ns());
        let line = self.departures.draw(epoch, watermark);
        self.flush_line(line, FlushReason::Replay).await;
    }

    /// Everything up to `watermark` is replayed; the next flush takes what no flush has taken yet.
    pub(crate) fn end_replay(&self, watermark: u64) {
        let epoch = self.epochs.end_replay(self.clock.now_ns());
        *self.end_of_replay.lock() = Some(self.departures.draw(epoch, watermark));
    }

    /// Tries again what failed and is due, or all that failed.
    pub(crate) async fn retry(&self, all: bool) {
        let _flush = self.flushing.lock().await;
        for (tenant, lines) in self.departures.held(all) {
            self.depart(&tenant, lines).await;
        }
        self.send(self.departures.due(all)).await;
    }

    #[tracing::instrument(name = "flush", skip_all, fields(watermark = line.watermark))]
    async fn flush_line(&self, line: Line, reason: FlushReason) {
        let started = Instant::now();
        self.metrics.flush_began(reason);
        if !self.memory.is_empty() {
            self.intend(line.watermark).await;
            for tenant in self.tenants.all() {
                let lines = self.departures.lines(&tenant.id, line);
                self.depart(&tenant, lines).await;
            }
        }
        self.departures.taken(line);
        self.send(self.departures.due(false)).await;
        let seconds = started.elapsed().as_secs_f64();
        self.metrics.flush_seconds.observe(seconds);
        tracing::debug!(reason = reason.as_str(), seconds, "flushed");
    }

    /// Encodes a tenant's rows up to the last of these lines and makes objects of them.
    async fn depart(&self, tenant: &Arc<Tenant>, lines: Vec<Line>) {
        let Some(last) = lines.last() else {
            return;
        };
        if let Err(error) = self.encode_tenant(tenant, last.epoch).await {
            self.metrics.encode_failures.inc();
            let failure = FlushError::Encode(error).described();
            tracing::error!(tenant = %tenant.id, error = failure.0, "rows cannot be encoded");
            let pause_max = self.config.flush_backoff_max.as_std();
            self.departures.hold(tenant, lines, failure, pause_max);
            return;
        }
        let mut objects = Vec::new();
        for line in lines {
            for (day, blocks) in tenant.blocks_of(line.epoch) {
                let owner = key::id_text(self.wal.owner());
                let mut entry = ManifestEntry::new(owner, self.clock.now_ns());
                entry.watermark = Some(line.watermark);
                objects.push(Outgoing {
                    tenant: Arc::clone(tenant),
                    day,
                    line,
                    blocks: blocks.into(),
                    entry,
                });
            }
        }
        self.departures.depart(&tenant.id, objects);
    }

    /// Writes down that a flush begins. Without that a replay would not ask what it has stored.
    async fn intend(&self, watermark: u64) {
        loop {
            let wal = Arc::clone(&self.wal);
            let written = tokio::task::spawn_blocking(move || wal.intend(watermark)).await;
            match written {
                Ok(Ok(())) => return,
                Ok(Err(error)) => {
                    tracing::error!(%error, "the state of the write-ahead log cannot be written");
                }
                Err(error) => tracing::error!(%error, "a worker did not finish"),
            }
            tokio::time::sleep(STATE_AGAIN).await;
        }
    }

    /// Sends tenants' days to the store, and notes how far that came.
    async fn send(&self, partitions: Vec<Partition>) {
        let sent = partitions.into_iter().map(|p| self.send_partition(p));
        futures::stream::iter(sent)
            .buffer_unordered(OBJECTS_AT_ONCE)
            .count()
            .await;
        self.memory.set_parked(self.departures.bytes());
        self.metrics.flushes_failing(self.departures.failing());
        let (wal, (done, tried)) = (Arc::clone(&self.wal), self.departures.progress());
        let written = tokio::task::spawn_blocking(move || wal.done(done, tried)).await;
        if let Ok(Err(error)) = written {
            // Without it the next replay asks the store for what this process knows.
            tracing::warn!(%error, "the state of the write-ahead log cannot be written");
        }
    }

    /// Sends what a tenant's day has, in order, until something fails.
    async fn send_partition(&self, partition: Partition) {
        while let Some(outgoing) = self.departures.first(&partition) {
            let stored = self.store(&outgoing).await;
            self.metrics.flush_object(match stored {
                Ok(()) => Outcome::Ok,
                Err(_) => Outcome::Error,
            });
            let Err(error) = stored else {
                self.departures.arrived(&partition);
                continue;
            };
            let (text, is_final) = error.described();
            let (tenant, day) = (&partition.0, key::day_text(partition.1));
            if is_final {
                tracing::error!(%tenant, day, error = text, "a flush failed and trying again does not help: pushes of the tenant are refused, what it has stays in the log");
            } else {
                tracing::error!(%tenant, day, error = text, "a flush failed and is tried again");
            }
            let pause_max = self.config.flush_backoff_max.as_std();
            self.departures
                .failed(&partition, (text, is_final), pause_max);
            return;
        }
    }

    /// Writes and commits an object, and lets go of its rows.
    async fn store(&self, outgoing: &Outgoing) -> Result<(), FlushError> {
        let (tenant, day, blocks) = (&outgoing.tenant, outgoing.day, &outgoing.blocks);
        let id = self.epochs.object_id(outgoing.line.epoch, &tenant.id, day);
        let object = build(id, blocks).await?;
        let entry = outgoing.entry.clone();
        let seq = self
            .catalog
            .publish(&tenant.id, day, &object, entry)
            .await?;
        tenant.commit(day, seq, blocks, self.clock.now_ns());
        let bytes = blocks.iter().map(|waiting| waiting.block.bytes()).sum();
        self.memory.drop_blocks(bytes);
        self.metrics.blocks.dec_by(blocks.len() as i64);
        self.metrics.flushed_bytes.inc_by(object.len);
        Ok(())
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

    /// Asks the flusher for a flush and waits until all that was pushed before is in the store, or
    /// cannot be brought there; see [`Self::answer`].
    pub(crate) async fn request_flush(&self, reason: FlushReason) -> Result<(), CodedError> {
        let stopped = || CodedError::new(Code::Unavailable, "the ingester is stopping");
        let (reply, answer) = oneshot::channel();
        self.flush_requests
            .send(FlushRequest { reason, reply })
            .await
            .map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

/// Waits until something that failed is to be tried again.
async fn until_retry(departures: &Departures) {
    match departures.next_retry() {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
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
