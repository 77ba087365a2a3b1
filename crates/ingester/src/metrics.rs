//! What an ingester tells about itself: `skald_ingester_*`.

use std::fmt;
use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::outgoing::Failing;

/// Label values that are the names of a variant.
macro_rules! label_values {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum $name { $($variant,)* }

        impl $name {
            /// The name.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                encoder.write_str(self.as_str())
            }
        }
    };
}

label_values! {
    /// Why a row was not stored.
    Refused {
        OutOfOrder = "out_of_order",
        TooFarBehind = "too_far_behind",
        StreamLimit = "stream_limit",
        StreamMemory = "stream_memory",
        StreamRate = "stream_rate_limit",
    }
}

label_values! {
    /// Why a flush began.
    FlushReason {
        Age = "age",
        Size = "size",
        Idle = "idle",
        Request = "request",
        Shutdown = "shutdown",
        Replay = "replay",
    }
}

label_values! {
    /// How an attempt to store an object ended.
    Outcome {
        Ok = "ok",
        Error = "error",
    }
}

label_values! {
    /// What a query asks for.
    QueryKind {
        Logs = "logs",
        Samples = "samples",
        Patterns = "patterns",
        Series = "series",
        Tail = "tail",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    reason: Refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: FlushReason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: QueryKind,
}

/// Counters of an ingester. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) streams: Gauge,
    pub(crate) stream_bytes: Gauge,
    pub(crate) head_bytes: Gauge,
    pub(crate) newest_rows_bytes: Gauge,
    pub(crate) blocks: Gauge,
    pub(crate) block_bytes: Gauge,
    pub(crate) rows: Counter,
    pub(crate) row_bytes: Counter,
    pub(crate) duplicates: Counter,
    refused: Family<RefusedLabels, Counter>,
    pub(crate) push_waits: Counter,
    pub(crate) encoded_bytes: Counter,
    pub(crate) encoded_raw_bytes: Counter,
    pub(crate) encode_seconds: Histogram,
    pub(crate) encode_failures: Counter,
    flushes: Family<ReasonLabels, Counter>,
    pub(crate) flush_seconds: Histogram,
    flush_objects: Family<OutcomeLabels, Counter>,
    pub(crate) flushed_bytes: Counter,
    flush_failing: Gauge,
    flush_stuck: Gauge,
    queries: Family<KindLabels, Counter>,
    pub(crate) tails: Gauge,
    pub(crate) tail_bytes: Gauge,
    pub(crate) tail_dropped: Counter,
    pub(crate) wal: WalMetrics,
    pub(crate) replay: ReplayMetrics,
}

/// Counters of the write-ahead log.
#[derive(Clone, Debug)]
pub(crate) struct WalMetrics {
    pub(crate) bytes: Gauge,
    pub(crate) segments: Gauge,
    pub(crate) written_bytes: Counter,
    pub(crate) records: Counter,
    pub(crate) fsync_seconds: Histogram,
    pub(crate) failures: Counter,
    pub(crate) failing: Gauge,
}

/// Progress of a replay.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReplayMetrics {
    pub(crate) total_bytes: Gauge,
    pub(crate) read_bytes: Gauge,
    pub(crate) rows: Counter,
    pub(crate) skipped_rows: Counter,
    pub(crate) torn: Counter,
    pub(crate) damaged: Counter,
    pub(crate) damaged_bytes: Counter,
    pub(crate) lost_rows: Counter,
    pub(crate) lost_records: Counter,
    pub(crate) seconds: Gauge<f64, AtomicU64>,
}

impl Metrics {
    /// Counters that nobody reads.
    #[must_use]
    pub fn unregistered() -> Self {
        Self {
            streams: Gauge::default(),
            stream_bytes: Gauge::default(),
            head_bytes: Gauge::default(),
            newest_rows_bytes: Gauge::default(),
            blocks: Gauge::default(),
            block_bytes: Gauge::default(),
            rows: Counter::default(),
            row_bytes: Counter::default(),
            duplicates: Counter::default(),
            refused: Family::default(),
            push_waits: Counter::default(),
            encoded_bytes: Counter::default(),
            encoded_raw_bytes: Counter::default(),
            encode_seconds: Histogram::new(exponential_buckets(0.001, 2.5, 10)),
            encode_failures: Counter::default(),
            flushes: Family::default(),
            flush_seconds: Histogram::new(exponential_buckets(0.005, 2.5, 12)),
            flush_objects: Family::default(),
            flushed_bytes: Counter::default(),
            flush_failing: Gauge::default(),
            flush_stuck: Gauge::default(),
            queries: Family::default(),
            tails: Gauge::default(),
            tail_bytes: Gauge::default(),
            tail_dropped: Counter::default(),
            wal: WalMetrics::unregistered(),
            replay: ReplayMetrics::default(),
        }
    }

    /// Counters that appear in `registry` as `skald_ingester_*`.
    pub fn register(registry: &mut Registry) -> Self {
        let m = Self::unregistered();
        let r = registry.sub_registry_with_prefix("skald_ingester");
        r.register("streams", "Streams in memory", m.streams.clone());
        r.register(
            "stream_bytes",
            "Bytes of streams in memory: labels and what is known of each, without rows",
            m.stream_bytes.clone(),
        );
        r.register(
            "head_bytes",
            "Raw bytes that are not encoded yet",
            m.head_bytes.clone(),
        );
        r.register(
            "newest_rows_bytes",
            "Bytes that tell copies of rows with the newest time of their stream",
            m.newest_rows_bytes.clone(),
        );
        r.register(
            "blocks",
            "Encoded blocks that are not in the store yet",
            m.blocks.clone(),
        );
        r.register(
            "block_bytes",
            "Bytes of these blocks",
            m.block_bytes.clone(),
        );
        r.register("rows", "Rows stored", m.rows.clone());
        r.register("row_bytes", "Bytes of lines stored", m.row_bytes.clone());
        r.register(
            "rows_duplicate",
            "Rows dropped as copies of a retry",
            m.duplicates.clone(),
        );
        r.register("rows_refused", "Rows refused", m.refused.clone());
        r.register(
            "push_waits",
            "Pushes that waited for memory",
            m.push_waits.clone(),
        );
        r.register(
            "encoded_bytes",
            "Bytes of blocks encoded",
            m.encoded_bytes.clone(),
        );
        r.register(
            "encoded_raw_bytes",
            "Raw bytes encoded",
            m.encoded_raw_bytes.clone(),
        );
        r.register(
            "encode_seconds",
            "Time to encode a block",
            m.encode_seconds.clone(),
        );
        r.register(
            "encode_failures",
            "Blocks that could not be encoded; their rows stay in memory",
            m.encode_failures.clone(),
        );
        r.register("flushes", "Flushes begun, by reason", m.flushes.clone());
        r.register(
            "flush_seconds",
            "Time of a flush, its attempts included",
            m.flush_seconds.clone(),
        );
        r.register(
            "flush_objects",
            "Attempts to store and commit an object",
            m.flush_objects.clone(),
        );
        r.register(
            "flushed_bytes",
            "Bytes of objects committed",
            m.flushed_bytes.clone(),
        );
        r.register(
            "flush_failing",
            "Tenants' days whose flush failed and is tried again",
            m.flush_failing.clone(),
        );
        r.register(
            "flush_stuck",
            "Tenants' days whose flush failed so that trying again does not help",
            m.flush_stuck.clone(),
        );
        r.register("queries", "Queries answered from memory", m.queries.clone());
        r.register("tails", "Live tails", m.tails.clone());
        r.register(
            "tail_bytes",
            "Bytes of rows that wait for readers of tails",
            m.tail_bytes.clone(),
        );
        r.register(
            "tail_rows_dropped",
            "Rows that slow tails missed",
            m.tail_dropped.clone(),
        );
        m.wal.register(r);
        m.replay.register(r);
        m
    }

    pub(crate) fn refused(&self, reason: Refused, rows: u64) {
        self.refused
            .get_or_create(&RefusedLabels { reason })
            .inc_by(rows);
    }

    pub(crate) fn flush_began(&self, reason: FlushReason) {
        self.flushes.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Flushes begun for a reason.
    #[cfg(test)]
    pub(crate) fn flushes(&self, reason: FlushReason) -> u64 {
        self.flushes.get_or_create(&ReasonLabels { reason }).get()
    }

    pub(crate) fn flush_object(&self, outcome: Outcome) {
        self.flush_objects
            .get_or_create(&OutcomeLabels { outcome })
            .inc();
    }

    pub(crate) fn flushes_failing(&self, failing: Failing) {
        self.flush_failing.set(failing.retried as i64);
        self.flush_stuck.set(failing.stuck as i64);
    }

    pub(crate) fn query(&self, kind: QueryKind) {
        self.queries.get_or_create(&KindLabels { kind }).inc();
    }
}

impl WalMetrics {
    /// Counters that nobody reads.
    pub(crate) fn unregistered() -> Self {
        Self {
            bytes: Gauge::default(),
            segments: Gauge::default(),
            written_bytes: Counter::default(),
            records: Counter::default(),
            fsync_seconds: Histogram::new(exponential_buckets(0.0002, 2.5, 12)),
            failures: Counter::default(),
            failing: Gauge::default(),
        }
    }

    fn register(&self, r: &mut Registry) {
        r.register(
            "wal_bytes",
            "Bytes of all segments of the write-ahead log",
            self.bytes.clone(),
        );
        r.register(
            "wal_segments",
            "Segments of the write-ahead log",
            self.segments.clone(),
        );
        r.register(
            "wal_written_bytes",
            "Bytes written to the log",
            self.written_bytes.clone(),
        );
        r.register(
            "wal_records",
            "Records written to the log",
            self.records.clone(),
        );
        r.register(
            "wal_commit_seconds",
            "Time to write and sync what several pushes share",
            self.fsync_seconds.clone(),
        );
        r.register(
            "wal_failures",
            "Writes to the log that failed",
            self.failures.clone(),
        );
        r.register(
            "wal_failing",
            "1 while the log cannot be written",
            self.failing.clone(),
        );
    }
}

impl ReplayMetrics {
    fn register(&self, r: &mut Registry) {
        r.register(
            "replay_total_bytes",
            "Bytes to replay at the start",
            self.total_bytes.clone(),
        );
        r.register(
            "replay_read_bytes",
            "Bytes replayed so far",
            self.read_bytes.clone(),
        );
        r.register("replay_rows", "Rows replayed", self.rows.clone());
        r.register(
            "replay_rows_skipped",
            "Rows of the log that the store had already",
            self.skipped_rows.clone(),
        );
        r.register(
            "replay_torn_segments",
            "Segments that end in a torn record",
            self.torn.clone(),
        );
        r.register(
            "replay_damaged_segments",
            "Segments with damaged records",
            self.damaged.clone(),
        );
        r.register(
            "replay_damaged_bytes",
            "Bytes of damaged records, which are lost",
            self.damaged_bytes.clone(),
        );
        r.register(
            "replay_lost_rows",
            "Rows lost because the record that names their stream is damaged",
            self.lost_rows.clone(),
        );
        r.register(
            "replay_lost_records",
            "Records, each of a push or a part of one, that were written and are not there",
            self.lost_records.clone(),
        );
        r.register(
            "replay_seconds",
            "Time of the replay at the start",
            self.seconds.clone(),
        );
    }
}
