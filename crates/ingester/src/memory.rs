//! How much is in memory, and who waits until it is less.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use model::{Code, CodedError};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

use crate::config::Config;
use crate::metrics::Metrics;

/// Bytes of rows that are not in the store yet.
///
/// Rows are counted a moment after they are added to heads, and may be encoded before that: the
/// counts are signed.
#[derive(Debug)]
pub(crate) struct Memory {
    /// In heads, and cut but not encoded yet.
    raw: AtomicI64,
    /// In encoded blocks.
    encoded: AtomicI64,
    /// Of these, in blocks whose flush failed: another flush does not make them less.
    parked: AtomicI64,
    raw_max: usize,
    all_max: usize,
    push_wait: Duration,
    /// Something was encoded or freed.
    changed: Notify,
    metrics: Metrics,
}

impl Memory {
    /// Nothing yet.
    pub(crate) fn new(config: &Config, metrics: Metrics) -> Self {
        let raw_max = config.head_memory_max.as_usize();
        Self {
            raw: AtomicI64::new(0),
            encoded: AtomicI64::new(0),
            parked: AtomicI64::new(0),
            raw_max,
            all_max: config.memory_max.as_usize().max(raw_max),
            push_wait: config.push_wait.as_std(),
            changed: Notify::new(),
            metrics,
        }
    }

    /// Rows were added to heads.
    pub(crate) fn add_raw(&self, bytes: usize) {
        let raw = add(&self.raw, bytes as i64);
        self.metrics.head_bytes.set(raw);
    }

    /// Raw rows have become blocks.
    pub(crate) fn encode(&self, raw_bytes: usize, block_bytes: usize) {
        self.metrics
            .block_bytes
            .set(add(&self.encoded, block_bytes as i64));
        self.metrics
            .head_bytes
            .set(add(&self.raw, -(raw_bytes as i64)));
        self.changed.notify_waiters();
    }

    /// Blocks are in the store.
    pub(crate) fn drop_blocks(&self, bytes: usize) {
        let encoded = add(&self.encoded, -(bytes as i64));
        self.metrics.block_bytes.set(encoded);
        self.changed.notify_waiters();
    }

    /// Something else than rows was freed.
    pub(crate) fn freed(&self) {
        self.changed.notify_waiters();
    }

    /// Bytes in encoded blocks.
    fn encoded(&self) -> usize {
        usize::try_from(self.encoded.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Says how many bytes are in blocks whose flush failed.
    pub(crate) fn set_parked(&self, bytes: usize) {
        self.parked.store(bytes as i64, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// Bytes in encoded blocks that no flush has tried to store.
    pub(crate) fn unsent(&self) -> usize {
        let parked = self.parked.load(Ordering::Relaxed);
        let unsent = self.encoded.load(Ordering::Relaxed).saturating_sub(parked);
        usize::try_from(unsent).unwrap_or(0)
    }

    /// Whether blocks whose flush failed take half of what there may be.
    pub(crate) fn is_clogged(&self) -> bool {
        let parked = usize::try_from(self.parked.load(Ordering::Relaxed)).unwrap_or(0);
        parked > self.all_max / 2
    }

    /// Bytes that are not encoded yet, and those that tell copies of streams' newest rows.
    fn raw(&self) -> usize {
        let newest = self.metrics.newest_rows_bytes.get();
        usize::try_from(self.raw.load(Ordering::Relaxed) + newest).unwrap_or(0)
    }

    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        let is_zero = |count: &AtomicI64| count.load(Ordering::Relaxed) == 0;
        is_zero(&self.raw) && is_zero(&self.encoded)
    }

    /// Raw bytes that should be cut now: above the limit, a third of it, so that cuts are not many
    /// and small.
    pub(crate) fn excess(&self) -> usize {
        let raw = self.raw();
        if raw > self.raw_max {
            raw - self.raw_max + self.raw_max / 3
        } else {
            0
        }
    }

    /// Whether heads have room for more rows.
    pub(crate) fn heads_have_room(&self) -> bool {
        self.raw() <= self.raw_max + self.raw_max / 8
    }

    /// Whether more rows may come.
    pub(crate) fn has_room(&self) -> bool {
        self.heads_have_room() && self.raw() + self.encoded() <= self.all_max
    }

    /// Waits for a change of what is in memory until `is_enough`.
    pub(crate) async fn until(&self, is_enough: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            if is_enough(self) {
                return;
            }
            changed.await;
        }
    }

    /// Waits a little until there is room for a push.
    pub(crate) async fn room_for_push(&self) -> Result<(), CodedError> {
        if self.has_room() {
            return Ok(());
        }
        self.metrics.push_waits.inc();
        let room = self.until(Self::has_room);
        let waited = tokio::time::timeout(self.push_wait, room).await;
        waited.map_err(|_| {
            let text = "the ingester has no memory for more rows until it has flushed some";
            CodedError::new(Code::Unavailable, text)
        })
    }
}

/// Bytes that a gauge counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    all: Gauge,
    bytes: usize,
}

impl Counted {
    /// None yet.
    pub(crate) fn new(all: Gauge) -> Self {
        Self { all, bytes: 0 }
    }

    /// How many there are.
    pub(crate) fn get(&self) -> usize {
        self.bytes
    }

    /// How many there are now.
    pub(crate) fn set(&mut self, bytes: usize) {
        if bytes != self.bytes {
            self.all.inc_by(bytes as i64 - self.bytes as i64);
            self.bytes = bytes;
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Adds to a count; the sum.
fn add(count: &AtomicI64, bytes: i64) -> i64 {
    count.fetch_add(bytes, Ordering::Relaxed) + bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_may_be_encoded_before_they_are_counted() {
        let memory = Memory::new(&Config::default(), Metrics::unregistered());
        memory.encode(100, 10);
        assert!(memory.has_room() && memory.excess() == 0 && !memory.is_empty());
        memory.add_raw(100);
        memory.drop_blocks(10);
        assert!(memory.is_empty());
    }
}
