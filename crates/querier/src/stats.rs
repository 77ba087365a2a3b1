//! What a query cost, counted while it runs, and reported in the shape that Loki's clients read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

mod report;

pub use report::Report;
use report::{CacheUse, Caches, Chunk, Ingester, Querier, Store, Summary};

/// Counters of one query; its parts share them.
#[derive(Debug, Default)]
pub(crate) struct QueryStats {
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
    /// Runs, or several that overlap, of which is known what they amount to.
    pub results_reused: AtomicU64,
    /// Ingesters asked.
    pub ingesters_reached: AtomicU64,
    /// Nanoseconds waited for lines or samples of ingesters.
    pub ingester_wait_ns: AtomicU64,
    /// Pieces of answers that came from ingesters.
    pub ingester_batches: AtomicU64,
    /// Lines or samples that came from ingesters.
    pub ingester_lines: AtomicU64,
    /// Copies dropped.
    pub duplicates: AtomicU64,
}

impl QueryStats {
    /// Adds to a counter.
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    /// The report of a query that took `elapsed`, after waiting for `queued`.
    #[must_use]
    pub(crate) fn report(&self, elapsed: Duration, queued: Duration) -> Report {
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
            querier: Querier {
                querier_exec_time: elapsed.as_secs_f64(),
                store,
            },
            ingester: Ingester {
                recv_wait_time: Some(get(&self.ingester_wait_ns)).filter(|wait| *wait > 0),
                total_reached: get(&self.ingesters_reached),
                total_batches: get(&self.ingester_batches),
                total_lines_sent: get(&self.ingester_lines),
                ..Ingester::default()
            },
            cache: Caches {
                result: CacheUse {
                    entries_found: get(&self.results_reused),
                    ..CacheUse::default()
                },
                ..Caches::default()
            },
            ..Report::default()
        }
    }
}
