//! Tails: rows as they are pushed, to whoever listens.
//!
//! The writer of the log hands over what it has made durable, in the order in which it was pushed.
//! Each tail has a bounded queue of batches; the pipeline runs when the reader asks for more. A
//! reader that is too slow loses rows and is told how many of the streams it selected. What waits is
//! taken from memory that all tails share, of which no tail may have more than a quarter.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::{Budget, Matcher, Reservation, StreamBatch, TenantId};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::config::Config;
use crate::head::size_of;
use crate::ingester::Inner;
use crate::metrics::Metrics;
use crate::stream::Stream;
use crate::tenant::Tenant;

/// The most that one tail may have of the memory of all.
const SHARE_OF_ONE: u64 = 4;
/// Bytes after which a reader gets no more batches at a time.
const TAKEN_BYTES: usize = 1 << 20;

/// All live tails.
#[derive(Debug)]
pub(crate) struct Tails {
    by_tenant: RwLock<HashMap<TenantId, Vec<Arc<Tail>>>>,
    count: AtomicUsize,
    tails_max: usize,
    rows_max: usize,
    memory: Arc<Budget>,
    metrics: Metrics,
}

/// A live tail.
#[derive(Debug)]
pub(crate) struct Tail {
    matchers: Vec<Matcher>,
    start_ns: i64,
    queue: Mutex<TailQueue>,
    ready: Notify,
}

#[derive(Debug)]
struct TailQueue {
    batches: VecDeque<Arc<StreamBatch>>,
    rows: usize,
    /// For the batches.
    memory: Reservation,
    dropped: u64,
    is_closed: bool,
}

/// What a tail has for its reader.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Rows in push order.
    pub(crate) batches: Vec<Arc<StreamBatch>>,
    /// Rows lost since the last time.
    pub(crate) dropped: u64,
}

/// There are as many tails as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyTails;

impl Tails {
    /// No tails.
    pub(crate) fn new(config: &Config, metrics: Metrics) -> Self {
        Self {
            by_tenant: RwLock::default(),
            count: AtomicUsize::new(0),
            tails_max: config.tails_max,
            rows_max: config.tail_rows_max.max(1),
            memory: Budget::new("tail_memory_max", config.tail_memory_max.0),
            metrics,
        }
    }

    /// Starts a tail.
    pub(crate) fn open(
        self: &Arc<Self>,
        tenant: &TenantId,
        matchers: Vec<Matcher>,
        start_ns: i64,
    ) -> Result<TailReader, TooManyTails> {
        let order = Ordering::Relaxed;
        let more = |count: usize| (count < self.tails_max).then_some(count + 1);
        self.count
            .fetch_update(order, order, more)
            .map_err(|_| TooManyTails)?;
        self.metrics.tails.inc();
        let share_bytes = self.memory.limit_bytes() / SHARE_OF_ONE;
        let memory = self
            .memory
            .child("a tail's share of tail_memory_max", share_bytes);
        let queue = TailQueue {
            batches: VecDeque::new(),
            rows: 0,
            memory: memory.reservation(),
            dropped: 0,
            is_closed: false,
        };
        let tail = Arc::new(Tail {
            matchers,
            start_ns,
            queue: Mutex::new(queue),
            ready: Notify::new(),
        });
        self.by_tenant
            .write()
            .entry(tenant.clone())
            .or_default()
            .push(Arc::clone(&tail));
        Ok(TailReader {
            tails: Arc::clone(self),
            tenant: tenant.clone(),
            tail,
        })
    }

    /// Whether anybody listens to a tenant.
    fn has(&self, tenant: &TenantId) -> bool {
        self.count.load(Ordering::Relaxed) > 0 && self.by_tenant.read().contains_key(tenant)
    }

    /// Hands over rows that are durable.
    fn publish(&self, tenant: &TenantId, batches: &[Arc<StreamBatch>]) {
        let tails = self.by_tenant.read();
        for tail in tails.get(tenant).into_iter().flatten() {
            let dropped = tail.offer(batches, self.rows_max);
            self.metrics.tail_dropped.inc_by(dropped);
        }
        self.publish_bytes();
    }

    fn publish_bytes(&self) {
        let bytes = self.memory.used_bytes();
        self.metrics.tail_bytes.set(bytes as i64);
    }

    /// Ends all tails when their readers have what is queued.
    pub(crate) fn close(&self) {
        for tail in self.by_tenant.read().values().flatten() {
            tail.queue.lock().is_closed = true;
            tail.ready.notify_one();
        }
    }
}

impl Tail {
    /// Queues the batches of selected streams; returns how many rows had no room.
    fn offer(&self, batches: &[Arc<StreamBatch>], rows_max: usize) -> u64 {
        let mut dropped = 0;
        for batch in batches {
            let is_new = |time: &i64| *time >= self.start_ns;
            let selects = |matcher: &Matcher| matcher.matches(&batch.labels);
            let rows = batch
                .entries
                .timestamps_ns()
                .iter()
                .filter(|time| is_new(time))
                .count();
            if rows == 0 || !self.matchers.iter().all(selects) {
                continue;
            }
            let mut queue = self.queue.lock();
            // A batch of more rows than the queue may have is let into an empty one.
            let is_full = queue.rows > 0 && queue.rows + batch.entries.len() > rows_max;
            if is_full || queue.memory.grow(size_of(&batch.entries) as u64).is_err() {
                dropped += rows as u64;
                queue.dropped += rows as u64;
            } else {
                queue.rows += batch.entries.len();
                queue.batches.push_back(Arc::clone(batch));
            }
        }
        self.ready.notify_one();
        dropped
    }
}

/// The reading end of a tail; dropping it ends the tail.
#[derive(Debug)]
pub(crate) struct TailReader {
    tails: Arc<Tails>,
    tenant: TenantId,
    tail: Arc<Tail>,
}

impl TailReader {
    /// Only rows of this time and later are wanted.
    pub(crate) fn start_ns(&self) -> i64 {
        self.tail.start_ns
    }

    /// Some of what has come since the last call, waiting for something; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Taken> {
        loop {
            {
                let mut queue = self.tail.queue.lock();
                if !queue.batches.is_empty() || queue.dropped > 0 {
                    let taken = queue.take();
                    drop(queue);
                    self.tails.publish_bytes();
                    return Some(taken);
                }
                if queue.is_closed {
                    return None;
                }
            }
            self.tail.ready.notified().await;
        }
    }
}

impl TailQueue {
    /// Nobody reads any more. Who publishes may have the tail for a moment longer.
    fn clear(&mut self) {
        self.batches.clear();
        self.memory.shrink(u64::MAX);
        self.rows = 0;
    }

    /// The first batches, and how many rows were dropped. What is taken is on its way: it counts no
    /// more, and is little.
    fn take(&mut self) -> Taken {
        let mut taken = Taken {
            batches: Vec::new(),
            dropped: std::mem::take(&mut self.dropped),
        };
        let mut bytes = 0;
        while bytes < TAKEN_BYTES
            && let Some(batch) = self.batches.pop_front()
        {
            let of_batch = size_of(&batch.entries);
            bytes += of_batch;
            self.rows -= batch.entries.len();
            self.memory.shrink(of_batch as u64);
            taken.batches.push(batch);
        }
        taken
    }
}

impl Drop for TailReader {
    fn drop(&mut self) {
        let mut by_tenant = self.tails.by_tenant.write();
        if let Some(tails) = by_tenant.get_mut(&self.tenant) {
            tails.retain(|tail| !Arc::ptr_eq(tail, &self.tail));
            if tails.is_empty() {
                by_tenant.remove(&self.tenant);
            }
        }
        drop(by_tenant);
        self.tail.queue.lock().clear();
        self.tails.publish_bytes();
        self.tails.count.fetch_sub(1, Ordering::Relaxed);
        self.tails.metrics.tails.dec();
    }
}

impl Inner {
    /// What the writer of the log does when the rows of a push are durable, if anybody listens.
    pub(crate) fn feed_tails(
        &self,
        tenant: &Tenant,
        streams: &[Arc<StreamBatch>],
        accepted: &[(usize, Arc<Stream>, Option<model::Entries>)],
    ) -> Option<Box<dyn FnOnce() + Send>> {
        if accepted.is_empty() || !self.tails.has(&tenant.id) {
            return None;
        }
        let batch = |(number, _, some): &(usize, Arc<Stream>, Option<model::Entries>)| {
            let batch = streams.get(*number)?;
            Some(match some {
                None => Arc::clone(batch),
                Some(entries) => Arc::new(StreamBatch {
                    labels: batch.labels.clone(),
                    entries: entries.clone(),
                }),
            })
        };
        let batches: Vec<_> = accepted.iter().filter_map(batch).collect();
        let (tails, tenant) = (Arc::clone(&self.tails), tenant.id.clone());
        Some(Box::new(move || tails.publish(&tenant, &batches)))
    }
}

#[cfg(test)]
mod tests {
    use model::{Entries, LabelSet, MatchOp};

    use super::*;

    fn batch(app: &'static str, times: std::ops::Range<i64>) -> Arc<StreamBatch> {
        let mut entries = Entries::default();
        for time in times {
            entries.push(time, b"x", &LabelSet::default());
        }
        Arc::new(StreamBatch {
            labels: LabelSet::from_pairs([("app", app)]),
            entries,
        })
    }

    fn tails(tails_max: usize, tail_rows_max: usize) -> Arc<Tails> {
        let config = Config {
            tails_max,
            tail_rows_max,
            ..Config::default()
        };
        Arc::new(Tails::new(&config, Metrics::unregistered()))
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_what_it_missed() {
        let (tails, tenant) = (tails(1, 10), TenantId::single());
        let matcher = Matcher::new("app", MatchOp::Equal, "web").unwrap();
        let mut reader = tails.open(&tenant, vec![matcher], 3).unwrap();
        assert_eq!(
            tails.open(&tenant, Vec::new(), 0).unwrap_err(),
            TooManyTails
        );
        tails.publish(
            &tenant,
            &[batch("web", 0..3), batch("db", 3..9), batch("web", 3..11)],
        );
        tails.publish(&tenant, &[batch("web", 0..5)]);
        let taken = reader.next().await.unwrap();
        assert_eq!((taken.batches.len(), taken.dropped), (1, 2));
        tails.publish(&tenant, &[batch("web", 11..12)]);
        tails.close();
        assert_eq!(reader.next().await.unwrap().batches.len(), 1);
        assert!(reader.next().await.is_none());
        drop(reader);
        assert!(!tails.has(&tenant));
    }

    #[tokio::test]
    async fn what_waits_for_readers_is_bounded_in_bytes() {
        let metrics = Metrics::unregistered();
        let bytes = || metrics.tail_bytes.get();
        let config = Config {
            tail_memory_max: model::units::ByteSize::kib(16),
            ..Config::default()
        };
        let tails = Arc::new(Tails::new(&config, metrics.clone()));
        let tenant = TenantId::single();
        let open = || tails.open(&tenant, Vec::new(), 0).unwrap();
        let mut readers: Vec<_> = (0..5).map(|_| open()).collect();
        // 1,700 bytes each: two are in a quarter.
        for from in [0, 100, 200, 300] {
            tails.publish(&tenant, &[batch("web", from..from + 100)]);
        }
        assert_eq!(
            (bytes(), metrics.tail_dropped.get()),
            (9 * 1_700, (20 - 9) * 100)
        );
        let taken = readers[0].next().await.unwrap();
        assert_eq!((taken.batches.len(), taken.dropped), (2, 200));
        assert_eq!(bytes(), 7 * 1_700);
        drop(readers);
        assert_eq!(bytes(), 0);
        tails.publish(&tenant, &[batch("web", 0..1)]);
        assert_eq!(bytes(), 0);
    }
}
