//! The replay of the log at the start.
//!
//! Segments of earlier runs are read in order, a few records at a time, the next while those before
//! are added. Rows that are in the store
//! are skipped: those up to the last finished flush without asking, those of the last unfinished
//! one by the watermark in the manifest of their tenant and day. The others go to heads of their
//! own, with their own epoch, because a flush during the replay must not claim more than was
//! replayed. When memory is full the replay waits for the cutter, and flushes.
//!
//! What is damaged is left out, with the rows of streams that only damaged records name, and said:
//! in the log, and in answers that may lack it (`replay/missing.rs`).
//!
//! Of a long log the blocks have the plain layout, which takes a third of the time to encode: until
//! the replay is over answers are not complete.
//!
//! Queries see what was replayed so far. Pushes are accepted meanwhile: their rows go to the log of
//! this run and to the live heads. Order is not judged for replayed rows, which were accepted once;
//! a row that was pushed again meanwhile is stored once. A push that is older than a row not yet
//! replayed is accepted, which strict order would have refused: the only leniency.

mod definitions;
mod missing;

use std::collections::HashMap;
use std::fs::Metadata;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use model::{Entries, LabelSet, TenantId, TimeRange};
use storage::key;
use tokio::sync::mpsc;

use crate::ingester::Inner;
use crate::memory::Memory;
use crate::tenant::Tenant;
use crate::wal::segment::{self, Next, SegmentReader};
use crate::wal::{Left, LostRows, Record, Sealed};
use definitions::Definitions;
use missing::Missing;

/// Bytes of rows that are read before they are added.
const BATCH_BYTES: usize = 8 << 20;
/// A log that is longer is replayed into plain blocks: in a second or two it would not be done.
const LONG_BYTES: u64 = 64 << 20;
/// Batches that wait to be added.
const BATCHES_MAX: usize = 1;
/// The pause after the store did not say what it has.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long the cutter may do nothing before it is asked again.
const WAKE_AGAIN: Duration = Duration::from_secs(1);

/// A `rows` record, decoded.
struct Decoded {
    seq: u64,
    tenant: TenantId,
    parts: Vec<(u64, Entries)>,
}

/// What was read of a segment in one go.
#[derive(Default)]
struct Batch {
    streams: Vec<(u64, LabelSet)>,
    rows: Vec<Decoded>,
    /// Bytes in the segment.
    bytes: usize,
    /// Bytes decoded.
    raw_bytes: usize,
    /// Whether something could not be read, and its bytes as far as they are known.
    is_damaged: bool,
    damaged_bytes: u64,
    /// What damaged records say of their rows.
    lost: Vec<LostRows>,
    /// Whether the last record of rows, if there is one, comes before something damaged.
    ends_damaged: Option<bool>,
    /// Set with the last batch.
    end: Option<End>,
}

/// How a segment ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Torn,
}

/// How far manifests say that rows of this log are in the store.
type Watermarks = HashMap<(TenantId, i64), u64>;

struct Replay<'a> {
    inner: &'a Inner,
    left: &'a Left,
    watermarks: Watermarks,
    /// Read when a segment does not name a stream.
    definitions: Option<Definitions>,
    /// Rows of the segment whose streams nobody names.
    lost_rows: u64,
    missing: Missing,
    /// The highest number of which everything up to it was replayed.
    seq: u64,
    /// Rows that no flush has taken yet.
    unflushed: usize,
}

impl Inner {
    /// Replays what earlier runs left. Ends early, with the log untouched, when the process stops.
    pub(crate) async fn run_replay(self: Arc<Self>, left: Left) {
        let started = Instant::now();
        let stopped = self.stop.clone();
        let mut replay = Replay {
            inner: &self,
            left: &left,
            watermarks: Watermarks::new(),
            definitions: None,
            lost_rows: 0,
            missing: Missing::default(),
            seq: left.done,
            unflushed: 0,
        };
        self.metrics.replay.total_bytes.set(left.bytes as i64);
        let is_long = left.bytes > LONG_BYTES;
        self.is_long_replay.store(is_long, Ordering::Relaxed);
        if !left.segments.is_empty() {
            tracing::info!(
                segments = left.segments.len(),
                bytes = left.bytes,
                "replaying the log"
            );
        }
        for (number, len) in &left.segments {
            tokio::select! {
                () = stopped.cancelled() => return,
                () = replay.segment(*number, *len) => {}
            }
        }
        replay.end_run(u64::MAX);
        self.losses
            .doubt(|tenant| self.tenants.get(tenant).is_some());
        let seconds = started.elapsed().as_secs_f64();
        self.metrics.replay.seconds.set(seconds);
        if !left.segments.is_empty() {
            let rows = self.metrics.replay.rows.get();
            tracing::info!(seconds, rows, "replayed the log");
            if replay.unflushed == 0 {
                // There may be nothing whose flush would remove the log.
                self.flush_replayed(replay.seq).await;
            } else {
                self.end_replay(replay.seq);
            }
        }
        self.replayed.cancel();
    }
}

impl Replay<'_> {
    async fn segment(&mut self, number: u64, len: Option<u64>) {
        let directory = self.inner.wal.directory().to_owned();
        let opened = SegmentReader::open(&directory, number, len, self.inner.wal.owner());
        let file = segment::path(&directory, number).metadata();
        let mut sealed = Sealed {
            number,
            max_seq: 0,
            bytes: file.as_ref().map_or(0, Metadata::len),
            is_damaged: false,
        };
        let written = file.and_then(|file| file.modified());
        self.missing.begin(number, written.ok());
        let metrics = &self.inner.metrics.replay;
        match opened {
            Ok(reader) => self.records(reader, &mut sealed).await,
            // One that another follows had more in it.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && len.is_none() => {
                metrics.torn.inc();
                tracing::warn!(segment = number, "a segment of the log was just begun");
            }
            Err(error) => {
                metrics.damaged.inc();
                tracing::error!(segment = number, %error, "a segment of the log cannot be read");
                sealed.is_damaged = true;
                self.missing.is_open = true;
            }
        }
        // An unreadable segment goes with those before it.
        sealed.max_seq = sealed.max_seq.max(self.seq);
        self.inner.wal.replayed(sealed);
    }

    async fn records(&mut self, mut reader: SegmentReader, sealed: &mut Sealed) {
        let number = sealed.number;
        let (sender, mut batches) = mpsc::channel(BATCHES_MAX);
        let reading = tokio::task::spawn_blocking(move || {
            loop {
                let batch = read_batch(&mut reader, number);
                let is_last = batch.end.is_some();
                // Nobody waits for it if the process stops.
                if sender.blocking_send(batch).is_err() || is_last {
                    return;
                }
            }
        });
        let mut labels: HashMap<u64, LabelSet> = HashMap::new();
        while let Some(batch) = batches.recv().await {
            self.inner
                .metrics
                .replay
                .read_bytes
                .inc_by(batch.bytes as i64);
            labels.extend(batch.streams);
            self.missing.heads.extend(batch.lost);
            for record in batch.rows {
                sealed.max_seq = sealed.max_seq.max(record.seq);
                self.record(record, &mut labels).await;
            }
            self.make_room().await;
            self.missing.is_open = batch.ends_damaged.unwrap_or(self.missing.is_open);
            let metrics = &self.inner.metrics.replay;
            metrics.damaged_bytes.inc_by(batch.damaged_bytes);
            sealed.is_damaged |= batch.is_damaged;
            if batch.end == Some(End::Torn) {
                metrics.torn.inc();
            }
        }
        sealed.is_damaged |= reading.await.is_err();
        self.note_damage(sealed);
    }

    /// Says what is lost of a segment.
    fn note_damage(&mut self, sealed: &mut Sealed) {
        let metrics = &self.inner.metrics.replay;
        let rows = std::mem::take(&mut self.lost_rows);
        if rows > 0 {
            let segment = sealed.number;
            tracing::error!(
                segment,
                rows,
                "rows of the log are lost: the records that name their streams are damaged"
            );
            metrics.lost_rows.inc_by(rows);
            sealed.is_damaged = true;
        }
        if sealed.is_damaged {
            metrics.damaged.inc();
        }
    }

    async fn record(&mut self, record: Decoded, labels: &mut HashMap<u64, LabelSet>) {
        let Decoded { seq, tenant, parts } = record;
        self.note_missing(seq);
        if seq > self.left.done {
            let now_ns = self.inner.clock.now_ns();
            let owner = self.inner.tenants.get_or_add(&tenant, now_ns);
            for (stream, entries) in parts {
                let entries = self.not_stored(seq, &tenant, entries).await;
                if !labels.contains_key(&stream) {
                    labels.extend(self.definition(stream).await);
                }
                let Some(labels) = labels.get(&stream) else {
                    self.lose_unnamed(&tenant, &entries);
                    continue;
                };
                self.add(&owner, labels, &entries);
                self.unflushed += entries.len();
            }
        } else {
            let rows = parts.iter().map(|(_, entries)| entries.len() as u64).sum();
            self.inner.metrics.replay.skipped_rows.inc_by(rows);
        }
        self.seq = self.seq.max(seq);
    }

    /// A stream that its segment does not name before its rows: what did so is damaged. Every
    /// segment names the streams that it has rows of, so another may say which it is.
    async fn definition(&mut self, stream: u64) -> Option<(u64, LabelSet)> {
        if self.definitions.is_none() {
            let directory = self.inner.wal.directory().to_owned();
            let (segments, owner) = (self.left.segments.clone(), self.inner.wal.owner());
            let read = move || Definitions::read(&directory, &segments, owner);
            let read = tokio::task::spawn_blocking(read).await;
            self.definitions = Some(read.unwrap_or_default());
        }
        let labels = self.definitions.as_ref()?.get(stream)?;
        Some((stream, labels.clone()))
    }

    /// The rows that are not in the store.
    async fn not_stored(&mut self, seq: u64, tenant: &TenantId, entries: Entries) -> Entries {
        if seq > self.left.intended {
            return entries;
        }
        let day_of = |time: &i64| TimeRange::day_of(*time);
        let mut days: Vec<i64> = entries.timestamps_ns().iter().map(day_of).collect();
        days.dedup();
        days.sort_unstable();
        days.dedup();
        let mut stored = Vec::new();
        for day in days {
            if self.watermark(tenant, day).await >= seq {
                stored.push(day);
            }
        }
        if stored.is_empty() {
            return entries;
        }
        let is_kept = |time: &i64| stored.binary_search(&day_of(time)).is_err();
        let times = entries.timestamps_ns().iter().enumerate();
        let kept: Vec<usize> = times
            .filter(|(_, time)| is_kept(time))
            .map(|(i, _)| i)
            .collect();
        self.inner
            .metrics
            .replay
            .skipped_rows
            .inc_by((entries.len() - kept.len()) as u64);
        entries.select(kept)
    }

    /// Up to which number rows of this log and day are in the store. Asks until there is an answer:
    /// a guess would lose rows or store them twice. Where there can be none, rather twice.
    async fn watermark(&mut self, tenant: &TenantId, day: i64) -> u64 {
        let key = (tenant.clone(), day);
        if let Some(watermark) = self.watermarks.get(&key) {
            return *watermark;
        }
        let owner = key::id_text(self.inner.wal.owner());
        let watermark = loop {
            match self.inner.catalog.latest(tenant, day).await {
                Ok(state) => break state.watermarks.get(&owner).copied().unwrap_or(0),
                Err(error) if error.is_lasting() => {
                    tracing::error!(%tenant, day, %error, "all rows of the log are taken for new");
                    break 0;
                }
                Err(error) => {
                    tracing::warn!(%tenant, day, %error, "the replay waits for the store");
                    tokio::time::sleep(ASK_AGAIN).await;
                }
            }
        };
        self.watermarks.insert(key, watermark);
        watermark
    }

    fn add(&self, tenant: &Arc<Tenant>, labels: &LabelSet, entries: &Entries) {
        if entries.is_empty() {
            return;
        }
        let inner = self.inner;
        let epoch = inner.epochs.replay();
        let (bytes, head_bytes, stream) = loop {
            // Streams that were accepted once are not limited again.
            let Ok(stream) = inner.stream(tenant, labels, None) else {
                return;
            };
            if let Ok((bytes, head_bytes)) = stream.replay(entries, epoch) {
                break (bytes, head_bytes, stream);
            }
        };
        inner.memory.add_raw(bytes);
        inner.metrics.replay.rows.inc_by(entries.len() as u64);
        inner.note_oldest();
        let block_bytes = inner.config.block_bytes.as_usize();
        if head_bytes - bytes < block_bytes && block_bytes <= head_bytes {
            inner.cutter.is_full(tenant, &stream);
        }
    }

    /// Waits for the cutter if there is too much in memory, and flushes if that does not help.
    async fn make_room(&mut self) {
        let inner = self.inner;
        loop {
            if inner.memory.excess() > 0 {
                inner.cutter.wake();
            }
            let room = inner.memory.until(Memory::heads_have_room);
            if tokio::time::timeout(WAKE_AGAIN, room).await.is_ok() {
                break;
            }
        }
        // Rows of pushes cannot be flushed yet: they may fill memory, and then they wait.
        if inner.memory.unsent() >= inner.config.flush_bytes.as_usize() || !inner.memory.has_room()
        {
            inner.flush_replayed(self.seq).await;
            self.unflushed = 0;
        }
        while inner.memory.is_clogged() {
            tokio::time::sleep(ASK_AGAIN).await;
            inner.retry(false).await;
        }
    }
}

/// Reads some records of a segment and decodes them.
fn read_batch(reader: &mut SegmentReader, segment: u64) -> Batch {
    let mut batch = Batch::default();
    while batch.raw_bytes < BATCH_BYTES {
        let (record, len) = match reader.next() {
            Ok(Next::Record(record, len)) => (record, len),
            Ok(Next::End) => {
                batch.end = Some(End::Whole);
                break;
            }
            Ok(Next::Torn { left_out }) => {
                tracing::warn!(
                    segment,
                    left_out,
                    "the log ends in a record that was not finished"
                );
                batch.end = Some(End::Torn);
                break;
            }
            Ok(Next::Damaged {
                at,
                left_out,
                error,
                lost,
            }) => {
                tracing::error!(segment, at, left_out, %error, "a segment of the log is damaged; what is there is lost");
                batch.is_damaged = true;
                batch.ends_damaged = Some(true);
                batch.lost.extend(lost);
                batch.damaged_bytes += left_out;
                batch.bytes += left_out as usize;
                continue;
            }
            Err(error) => {
                tracing::error!(segment, %error, "a segment of the log cannot be read");
                batch.is_damaged = true;
                batch.ends_damaged = Some(true);
                batch.end = Some(End::Whole);
                break;
            }
        };
        batch.bytes += len;
        match record {
            Record::Streams(streams) => {
                batch.raw_bytes += len;
                batch.streams.extend(streams);
            }
            Record::Rows(rows) => match rows.decode() {
                Ok(entries) => {
                    batch.raw_bytes += entries.iter().map(Entries::heap_bytes).sum::<usize>();
                    batch.ends_damaged = Some(false);
                    let ids = rows.parts.iter().map(|(id, _)| *id);
                    let parts = ids.zip(entries).collect();
                    batch.rows.push(Decoded {
                        seq: rows.seq,
                        tenant: rows.tenant,
                        parts,
                    });
                }
                Err(error) => {
                    let seq = rows.seq;
                    tracing::error!(segment, seq, %error, "a record of the log is damaged");
                    batch.is_damaged = true;
                    batch.ends_damaged = Some(true);
                    batch.lost.push(rows.lost());
                    batch.damaged_bytes += len as u64;
                }
            },
        }
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::WalConfig;
    use crate::metrics::WalMetrics;
    use crate::wal::{Append, Body, OsDisk, Part, StreamRef, Wal};

    #[test]
    fn batches_are_bounded_by_what_they_become() {
        let dir = tempfile::tempdir().unwrap();
        let (config, metrics) = (WalConfig::default(), WalMetrics::unregistered());
        let (wal, _) = Wal::open(&config, dir.path(), Arc::new(OsDisk), 1, metrics).unwrap();
        let stream = Arc::new(StreamRef::new(1, LabelSet::from_pairs([("app", "web")])));
        let mut entries = Entries::default();
        entries.push(1, &vec![b'x'; 3 << 20], &LabelSet::default());
        for _ in 0..20 {
            let durable = wal.append(Append {
                tenant: TenantId::single(),
                records: vec![(vec![(1, 1)], Body::rows(&[Part::all(&entries)]))],
                streams: vec![Arc::clone(&stream)],
                on_durable: None,
                reservation: None,
            });
            durable.blocking_recv().unwrap().unwrap();
        }
        wal.close();
        let mut reader = SegmentReader::open(dir.path(), 1, None, 1).unwrap();
        let (mut rows, mut batches) = (0, 0);
        loop {
            let batch = read_batch(&mut reader, 1);
            assert!(batch.raw_bytes < BATCH_BYTES + (4 << 20));
            rows += batch.rows.len();
            batches += 1;
            if batch.end.is_some() {
                break;
            }
        }
        assert!(
            rows == 20 && batches >= 7,
            "{rows} rows in {batches} batches"
        );
    }
}
