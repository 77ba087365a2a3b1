//! How much is in memory, and who waits until it is less.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use model::{Code, CodedError};
use tokio::sync::Notify;

use crate::config::Config;
use crate::metrics::Metrics;

/// Bytes of rows that are not in the store yet.
#[derive(Debug)]
pub(crate) struct Memory {
    /// In heads, and cut but not encoded yet.
    raw: AtomicUsize,
    /// In encoded blocks.
    encoded: AtomicUsize,
    raw_max: usize,
    all_max: usize,
    push_wait: Duration,
    /// Something was freed.
    freed: Notify,
    metrics: Metrics,
}

impl Memory {
    /// Nothing yet.
    pub(crate) fn new(config: &Config, metrics: Metrics) -> Self {
        let raw_max = config.head_memory_max.as_usize();
        Self {
            raw: AtomicUsize::new(0),
            encoded: AtomicUsize::new(0),
            raw_max,
            all_max: config.memory_max.as_usize().max(raw_max),
            push_wait: config.push_wait.as_std(),
            freed: Notify::new(),
            metrics,
        }
    }

    /// Rows were added to heads.
    pub(crate) fn add_raw(&self, bytes: usize) {
        let raw = self.raw.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.metrics.head_bytes.set(raw as i64);
    }

    /// Raw rows have become blocks.
    pub(crate) fn encode(&self, raw_bytes: usize, block_bytes: usize) {
        let encoded = self.encoded.fetch_add(block_bytes, Ordering::Relaxed) + block_bytes;
        let raw = self.raw.fetch_sub(raw_bytes, Ordering::Relaxed) - raw_bytes;
        self.metrics.head_bytes.set(raw as i64);
        self.metrics.block_bytes.set(encoded as i64);
        self.freed.notify_waiters();
    }

    /// Blocks are in the store.
    pub(crate) fn drop_blocks(&self, bytes: usize) {
        let encoded = self.encoded.fetch_sub(bytes, Ordering::Relaxed) - bytes;
        self.metrics.block_bytes.set(encoded as i64);
        self.freed.notify_waiters();
    }

    /// Bytes in encoded blocks.
    pub(crate) fn encoded(&self) -> usize {
        self.encoded.load(Ordering::Relaxed)
    }

    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.raw.load(Ordering::Relaxed) == 0 && self.encoded() == 0
    }

    /// Raw bytes that should be cut now: above the limit, a third of it, so that cuts are not many
    /// and small.
    pub(crate) fn excess(&self) -> usize {
        let raw = self.raw.load(Ordering::Relaxed);
        if raw > self.raw_max {
            raw - self.raw_max + self.raw_max / 3
        } else {
            0
        }
    }

    /// Whether more rows may come.
    pub(crate) fn has_room(&self) -> bool {
        let raw = self.raw.load(Ordering::Relaxed);
        raw <= self.raw_max + self.raw_max / 4 && raw + self.encoded() <= self.all_max
    }

    /// Waits until there is room for more rows.
    pub(crate) async fn room(&self) {
        loop {
            let freed = self.freed.notified();
            if self.has_room() {
                return;
            }
            freed.await;
        }
    }

    /// Waits a little until there is room for a push.
    pub(crate) async fn room_for_push(&self) -> Result<(), CodedError> {
        if self.has_room() {
            return Ok(());
        }
        self.metrics.push_waits.inc();
        let waited = tokio::time::timeout(self.push_wait, self.room()).await;
        waited.map_err(|_| {
            let text = "the ingester has no memory for more rows until it has flushed some";
            CodedError::new(Code::Unavailable, text)
        })
    }
}
