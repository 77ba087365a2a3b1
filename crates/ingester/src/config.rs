//! What can be set.

use std::path::{Path, PathBuf};

use model::units::{ByteSize, DurationNs};
use serde::{Deserialize, Serialize};

/// The section `ingester` of a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The write-ahead log.
    pub wal: WalConfig,
    /// Raw bytes of a block. A stream's head is cut when it has as many.
    pub block_bytes: ByteSize,
    /// How blocks are compressed.
    pub codec: BlockCodec,
    /// Raw bytes of all heads together, and of what tells copies of rows with the newest time of
    /// their stream, above which the largest are cut. Pushes wait when there is an eighth more.
    pub head_memory_max: ByteSize,
    /// Bytes of heads and of blocks that are not in the store yet above which pushes wait.
    pub memory_max: ByteSize,
    /// The longest that a push waits for memory before it is refused.
    pub push_wait: DurationNs,
    /// Bytes of pushes under way, those that wait included; more are refused.
    pub push_memory_max: ByteSize,
    /// Blocks encoded at once; 0 is half of the cores, and all of them while the log is replayed.
    pub encode_workers: usize,
    /// The longest that a row waits for a flush. Every flush takes all there is, so this is also
    /// the age of the oldest row of a block.
    pub flush_interval: DurationNs,
    /// Bytes of encoded blocks that start a flush.
    pub flush_bytes: ByteSize,
    /// Flush when nothing was pushed for so long; 0 never does.
    pub flush_idle: DurationNs,
    /// The longest pause between attempts of a flush that fails.
    pub flush_backoff_max: DurationNs,
    /// Memory that streams may take, their rows aside: labels and what is known of each. What is
    /// pushed to a new stream is refused when there is more.
    pub stream_memory_max: ByteSize,
    /// Forget a stream that has nothing in memory when nothing was pushed to it for so long.
    pub stream_idle: DurationNs,
    /// Queries that scan at once; 0 is the number of cores.
    pub query_workers: usize,
    /// Whether filters and aggregations are carried out inside blocks where that gives the same
    /// answer. Without, queries are only slower.
    pub pushdown: bool,
    /// Bytes that all queries may hold for rows they decode.
    pub query_memory_max: ByteSize,
    /// Queries at once, of all tenants; what comes on top is refused.
    pub queries_max: usize,
    /// Live tails at once, of all tenants.
    pub tails_max: usize,
    /// Lines that may wait for a slow reader of a tail; what comes on top is dropped and counted.
    pub tail_rows_max: usize,
    /// Memory that all lines may hold that wait for readers of tails, of which one tail may have a
    /// quarter; what comes on top is dropped and counted.
    pub tail_memory_max: ByteSize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            wal: WalConfig::default(),
            block_bytes: ByteSize::mib(4),
            codec: BlockCodec::Zstd,
            head_memory_max: ByteSize::mib(72),
            memory_max: ByteSize::mib(512),
            push_wait: DurationNs::from_secs(5),
            push_memory_max: ByteSize::mib(256),
            encode_workers: 0,
            flush_interval: DurationNs::from_secs(300),
            flush_bytes: ByteSize::mib(16),
            flush_idle: DurationNs::from_secs(30),
            flush_backoff_max: DurationNs::from_secs(30),
            stream_memory_max: ByteSize::mib(1 << 10),
            stream_idle: DurationNs::from_secs(1800),
            query_workers: 0,
            pushdown: true,
            query_memory_max: ByteSize::mib(256),
            queries_max: 256,
            tails_max: 256,
            tail_rows_max: 10_000,
            tail_memory_max: ByteSize::mib(64),
        }
    }
}

/// The write-ahead log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WalConfig {
    /// Where its segments lie; empty means `wal` in the data directory.
    pub directory: PathBuf,
    /// A segment that has so many bytes is followed by the next.
    pub segment_bytes: ByteSize,
    /// How long a push waits for others to share its fsync.
    pub commit_delay: DurationNs,
    /// With so many bytes waiting the delay is cut short.
    pub commit_bytes: ByteSize,
    /// Whether a push is acknowledged only after its record is fsynced. Without, a crash of the
    /// machine (not of the process) loses what was acknowledged last.
    pub fsync: bool,
    /// Raw bytes of pushes that may be on their way to the log at once.
    pub queue_bytes_max: ByteSize,
    /// Bytes of all segments above which pushes are refused; 0 is no limit.
    pub bytes_max: ByteSize,
    /// The pause after a write that failed.
    pub retry: DurationNs,
}

impl Default for WalConfig {
    fn default() -> Self {
        Self {
            directory: PathBuf::new(),
            segment_bytes: ByteSize::mib(128),
            commit_delay: DurationNs::from_millis(2),
            commit_bytes: ByteSize::mib(1),
            fsync: true,
            queue_bytes_max: ByteSize::mib(64),
            bytes_max: ByteSize::mib(16 << 10),
            retry: DurationNs::from_secs(1),
        }
    }
}

impl WalConfig {
    /// Where the segments lie.
    #[must_use]
    pub fn directory(&self, data_dir: &Path) -> PathBuf {
        if self.directory.as_os_str().is_empty() {
            data_dir.join("wal")
        } else {
            self.directory.clone()
        }
    }
}

/// How blocks are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlockCodec {
    /// Zstandard, level 1; dictionaries and templates at level 5.
    #[default]
    Zstd,
    /// LZ4: larger, and quicker to read.
    Lz4,
    /// Not at all.
    None,
}

impl From<BlockCodec> for codec::Codec {
    fn from(codec: BlockCodec) -> Self {
        match codec {
            BlockCodec::Zstd => Self::Zstd,
            BlockCodec::Lz4 => Self::Lz4,
            BlockCodec::None => Self::Stored,
        }
    }
}
