//! The seams between roles: traits that hide whether the other side is local or remote.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use model::{
    CodedError, Direction, LabelSet, Parts, RowLabels, Shard, StreamBatch, TenantId, TimeRange,
};

/// The write side of an ingester.
#[async_trait]
pub trait Ingest: Send + Sync {
    /// Stores rows. Returns when every accepted row is durable, with the rows that were refused.
    ///
    /// # Errors
    /// If none of the rows can be stored now; the caller may retry where the code says so.
    async fn push(&self, tenant: &TenantId, push: Push) -> Result<Vec<Refusal>, CodedError>;
}

/// Rows to store.
#[derive(Clone, Debug, Default)]
pub struct Push {
    /// The rows, by stream.
    pub streams: Vec<Arc<StreamBatch>>,
    /// The body that all of them came in, where who takes them is in the process that received it.
    pub received: Option<Arc<Received>>,
}

impl From<Vec<Arc<StreamBatch>>> for Push {
    fn from(streams: Vec<Arc<StreamBatch>>) -> Self {
        Self {
            streams,
            received: None,
        }
    }
}

/// The body of a push as it was received, and where in it the lines are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// One block of snappy.
    pub snappy: Bytes,
    /// Bytes that it decompresses to.
    pub raw_len: usize,
    /// For each stream of the push, where in the decompressed body each line begins.
    pub line_starts: Vec<Vec<u32>>,
}

/// One row that an ingester did not store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Index into the pushed streams.
    pub stream: u32,
    /// Row of that stream.
    pub row: u32,
    /// Why.
    pub reason: RefusalReason,
}

/// Why an ingester refuses a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// Older than the stream's newest row, and the tenant has no window.
    OutOfOrder {
        /// Time of the stream's newest row.
        newest_ns: i64,
    },
    /// Further behind the stream's newest row than the tenant's window.
    TooFarBehind {
        /// Time of the stream's newest row.
        newest_ns: i64,
    },
    /// The stream is new and the tenant has as many as it may.
    StreamLimit {
        /// The limit.
        limit: u64,
    },
    /// The stream is new and the ingester has no memory for more.
    StreamMemory,
    /// The stream has more bytes per second than one stream may.
    StreamRateLimit {
        /// The limit in bytes per second.
        limit: u64,
    },
}

/// The read side of an ingester: rows that are not in object storage yet.
#[async_trait]
pub trait Select: Send + Sync {
    /// Lines after the query's pipeline.
    ///
    /// # Errors
    /// If the query is wrong, or the ingester cannot answer.
    async fn select_logs(&self, request: SelectLogs) -> Result<Selected<LogRows>, CodedError>;

    /// Samples of a range aggregation, before it aggregates.
    ///
    /// # Errors
    /// If the query is wrong, or the ingester cannot answer.
    async fn select_samples(
        &self,
        request: SelectSamples,
    ) -> Result<Selected<SampleRows>, CodedError>;

    /// Patterns of lines, and how many there are over time.
    ///
    /// # Errors
    /// If the selector is wrong, or the ingester cannot answer.
    async fn select_patterns(
        &self,
        request: SelectPatterns,
    ) -> Result<Selected<StreamPatterns>, CodedError>;

    /// Streams and their sizes.
    ///
    /// # Errors
    /// If a selector is wrong, or the ingester cannot answer.
    async fn select_series(
        &self,
        request: SelectSeries,
    ) -> Result<(Coverage, Vec<SeriesStats>), CodedError>;

    /// Lines as they are pushed, until the answer is dropped.
    ///
    /// # Errors
    /// If the query is wrong, or there are too many tails.
    async fn tail(&self, request: TailRequest) -> Result<Tailing, CodedError>;
}

/// Lines as they are pushed.
pub type Tailing = BoxStream<'static, Result<TailBatch, CodedError>>;

/// An answer in pieces, and what it covers.
pub struct Selected<T> {
    /// What the answer contains and what it does not; taken at the same moment as the rows.
    pub coverage: Coverage,
    /// The rows. Dropping it ends the work.
    pub batches: BoxStream<'static, Result<Vec<T>, CodedError>>,
}

/// What an ingester's answer does and does not contain, so that a reader of storage can leave out
/// what it has already and miss nothing (see README, "No gaps, no duplicates").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Objects whose rows are in the answer, although they may have reached storage by now.
    pub holding: Vec<u128>,
    /// Manifest entries, as (day, sequence), that a reader of storage must have seen.
    pub committed: Vec<(i64, u64)>,
    /// Who answers.
    pub ingester: String,
    /// What was acknowledged and may be missing in the answer, because it was lost.
    pub lost: Vec<LostRows>,
}

/// Rows that an ingester has lost with a part of its write-ahead log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostRows {
    /// The segment that had them.
    pub segment: u64,
    /// How many, as far as that is known.
    pub rows: u64,
    /// Records, each of a push or a part of one, of which it is not known how many they had.
    pub records: u64,
}

/// Rows that a tenant has asked to delete. Answers are as if they were not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Which, in LogQL; the selector may be one of all streams.
    pub query: String,
    /// When they were logged.
    pub range: TimeRange,
    /// When it was asked for.
    pub created_ns: i64,
}

/// Asks for lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectLogs {
    /// Whose.
    pub tenant: TenantId,
    /// Selector and pipeline, in LogQL.
    pub query: String,
    /// When.
    pub range: TimeRange,
    /// Lines wanted after the pipeline, over all streams; 0 means all.
    pub limit: u32,
    /// Which end of the range comes first.
    pub direction: Direction,
    /// Rows to leave out.
    pub deletions: Vec<Deletion>,
    /// Which of the streams.
    pub shard: Shard,
}

/// Lines of one stream after the pipeline, in the order asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRows {
    /// Fingerprint of the stream's own labels, before the pipeline.
    pub stream_fingerprint: u64,
    /// The lines.
    pub rows: Vec<LogRow>,
}

/// One line after the pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRow {
    /// When it was logged.
    pub timestamp_ns: i64,
    /// The line after the pipeline.
    pub line: Bytes,
    /// The labels after the pipeline.
    pub labels: Arc<RowLabels>,
    /// [`model::row_hash`] of the row as stored.
    pub row_hash: u64,
}

/// Asks for samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectSamples {
    /// Whose.
    pub tenant: TenantId,
    /// A LogQL metric query with exactly one range aggregation; only what concerns single rows is
    /// applied: selector, pipeline, unwrap and groupings.
    pub query: String,
    /// When.
    pub range: TimeRange,
    /// Rows to leave out.
    pub deletions: Vec<Deletion>,
    /// Which of the streams.
    pub shard: Shard,
    /// Which samples may come added up, if not all are wanted one by one.
    pub add_up: Option<AddUp>,
}

/// Samples may come without hashes of their rows, and added up as long as they count for the same
/// points in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddUp {
    /// Only those of rows that are later: others may have these, too.
    pub after_ns: i64,
    /// The first point in time at which the aggregation is evaluated.
    pub start_ns: i64,
    /// No point lies behind.
    pub end_ns: i64,
    /// Between two points; 0 if there is one.
    pub step_ns: i64,
}

/// Samples of one series that come from one stream.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleRows {
    /// Fingerprint of the stream's own labels.
    pub stream_fingerprint: u64,
    /// Labels of the series, before any vector aggregation.
    pub labels: LabelSet,
    /// When.
    pub timestamps_ns: Vec<i64>,
    /// How much.
    pub values: Vec<f64>,
    /// [`model::row_hash`] of the rows as stored; none if samples may be added up.
    pub row_hashes: Vec<u64>,
    /// If there are no hashes: when all rows of the stream are whose samples come so.
    pub without_hashes: Option<TimeRange>,
}

/// Asks for patterns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectPatterns {
    /// Whose.
    pub tenant: TenantId,
    /// A stream selector in LogQL.
    pub selector: String,
    /// When.
    pub range: TimeRange,
    /// Rows to leave out.
    pub deletions: Vec<Deletion>,
    /// Which of the streams.
    pub shard: Shard,
    /// Rows count for the beginning of their step.
    pub step_ns: i64,
    /// Lines that may be looked at one by one, the newest of each stream.
    pub lines_max: u64,
    /// Whether each row comes with its time and hash.
    pub hashes: bool,
}

/// Patterns of the lines of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamPatterns {
    /// Fingerprint of the stream's own labels.
    pub stream_fingerprint: u64,
    /// Those that there are; one may come several times.
    pub patterns: Vec<PatternRows>,
    /// Lines that were not looked at.
    pub left_out: u64,
}

/// Rows of one pattern and level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatternRows {
    /// The pattern, in which byte 1 stands for a word that differs.
    pub pattern: Bytes,
    /// The level that was detected; empty if none was.
    pub level: String,
    /// Beginnings of steps, or times of rows that come with their hashes.
    pub timestamps_ns: Vec<i64>,
    /// How many of each.
    pub rows: Vec<u64>,
    /// [`model::row_hash`] of the rows as stored; none if they were not asked for.
    pub row_hashes: Vec<u64>,
}

/// Asks for streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectSeries {
    /// Whose.
    pub tenant: TenantId,
    /// Stream selectors in LogQL, one of which must match; none means all streams.
    pub selectors: Vec<String>,
    /// When, and in which parts rows are counted.
    pub parts: Parts,
    /// Rows to leave out.
    pub deletions: Vec<Deletion>,
    /// Which of the streams.
    pub shard: Shard,
}

/// A stream, and what of it lies in the range asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesStats {
    /// The stream.
    pub labels: LabelSet,
    /// The parts of the range that have rows.
    pub parts: Vec<PartStats>,
}

/// What of a stream lies in a part of a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartStats {
    /// Which part, see [`Parts`].
    pub number: u32,
    /// Rows.
    pub rows: u64,
    /// Bytes of lines and metadata.
    pub bytes: u64,
    /// Heads and blocks.
    pub chunks: u64,
}

/// Asks for lines as they come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailRequest {
    /// Whose.
    pub tenant: TenantId,
    /// Selector and pipeline, in LogQL.
    pub query: String,
    /// Only rows of this time and later.
    pub start_ns: i64,
    /// Rows to leave out.
    pub deletions: Vec<Deletion>,
}

/// Lines of a tail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TailBatch {
    /// The lines, by stream.
    pub streams: Vec<LogRows>,
    /// Rows lost since the last batch because the reader is slow.
    pub dropped: u64,
}
