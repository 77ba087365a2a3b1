//! What a query cost, counted while it runs, and reported in the shape that Loki's clients read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// Counters of one query; its parts share them.
#[derive(Debug, Default)]
pub struct QueryStats {
    /// Bytes of lines looked at.
    pub bytes_processed: AtomicU64,
    /// Lines looked at.
    pub lines_processed: AtomicU64,
    /// Lines or samples that passed the pipeline.
    pub lines_passed: AtomicU64,
    /// Lines or samples returned to the client.
    pub entries_returned: AtomicU64,
    /// Blocks in storage that the index named.
    pub blocks_matched: AtomicU64,
    /// Blocks read from storage.
    pub blocks_read: AtomicU64,
    /// Bytes of blocks as they are stored.
    pub compressed_bytes: AtomicU64,
    /// Ingesters asked.
    pub ingesters_reached: AtomicU64,
    /// Pieces of answers that came from ingesters.
    pub ingester_batches: AtomicU64,
    /// Lines or samples that came from ingesters.
    pub ingester_lines: AtomicU64,
    /// Copies dropped.
    pub duplicates: AtomicU64,
}

impl QueryStats {
    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    /// The report of a query that took `elapsed`, after waiting for `queued`.
    #[must_use]
    pub fn report(&self, elapsed: Duration, queued: Duration) -> Report {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let seconds = elapsed.as_secs_f64().max(1e-9);
        let (bytes, lines) = (get(&self.bytes_processed), get(&self.lines_processed));
        let store = Store {
            total_chunks_ref: get(&self.blocks_matched),
            total_chunks_downloaded: get(&self.blocks_read),
            chunk: Chunk {
                decompressed_bytes: bytes,
                decompressed_lines: lines,
                compressed_bytes: get(&self.compressed_bytes),
                total_duplicates: get(&self.duplicates),
                post_filter_lines: get(&self.lines_passed),
                ..Chunk::default()
            },
            ..Store::default()
        };
        Report {
            summary: Summary {
                bytes_processed_per_second: (bytes as f64 / seconds) as u64,
                lines_processed_per_second: (lines as f64 / seconds) as u64,
                total_bytes_processed: bytes,
                total_lines_processed: lines,
                exec_time: elapsed.as_secs_f64(),
                queue_time: queued.as_secs_f64(),
                total_entries_returned: get(&self.entries_returned),
                total_post_filter_lines: get(&self.lines_passed),
                ..Summary::default()
            },
            querier: Querier { store },
            ingester: Ingester {
                total_reached: get(&self.ingesters_reached),
                total_batches: get(&self.ingester_batches),
                total_lines_sent: get(&self.ingester_lines),
                ..Ingester::default()
            },
        }
    }
}

/// `data.stats` of an answer.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The totals that Grafana shows.
    pub summary: Summary,
    /// What was read from storage.
    pub querier: Querier,
    /// What came from ingesters.
    pub ingester: Ingester,
}

/// Totals.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "named by the API")]
pub struct Summary {
    pub bytes_processed_per_second: u64,
    pub lines_processed_per_second: u64,
    pub total_bytes_processed: u64,
    pub total_lines_processed: u64,
    pub exec_time: f64,
    pub queue_time: f64,
    pub subqueries: u64,
    pub total_entries_returned: u64,
    pub splits: u64,
    pub shards: u64,
    pub total_post_filter_lines: u64,
    pub total_structured_metadata_bytes_processed: u64,
}

/// Storage.
#[derive(Clone, Debug, Default, Serialize)]
#[allow(missing_docs, reason = "named by the API")]
pub struct Querier {
    pub store: Store,
}

/// Blocks of storage or of ingesters.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "named by the API")]
pub struct Store {
    pub total_chunks_ref: u64,
    pub total_chunks_downloaded: u64,
    pub chunks_download_time: u64,
    pub query_referenced_structured_metadata: bool,
    pub chunk: Chunk,
    pub chunk_refs_fetch_time: u64,
    pub congestion_control_latency: u64,
    pub pipeline_wrapper_filtered_lines: u64,
}

/// Contents of blocks.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "named by the API")]
pub struct Chunk {
    pub head_chunk_bytes: u64,
    pub head_chunk_lines: u64,
    pub decompressed_bytes: u64,
    pub decompressed_lines: u64,
    pub compressed_bytes: u64,
    pub total_duplicates: u64,
    pub post_filter_lines: u64,
    pub head_chunk_structured_metadata_bytes: u64,
    pub decompressed_structured_metadata_bytes: u64,
}

/// Ingesters.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "named by the API")]
pub struct Ingester {
    pub total_reached: u64,
    pub total_chunks_matched: u64,
    pub total_batches: u64,
    pub total_lines_sent: u64,
    pub store: Store,
}
