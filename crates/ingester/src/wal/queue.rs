//! Between pushes and the writer: a bounded queue in the order of sequence numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use model::{LabelSet, TenantId};
use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::Sealed;
use super::record::{Body, RowsRecord};
use crate::error::WalError;

/// A stream as the log knows it.
#[derive(Debug)]
pub(crate) struct StreamRef {
    /// What stands for it in records.
    pub(crate) id: u64,
    /// Its labels.
    pub(crate) labels: LabelSet,
    defined_in: AtomicU64,
}

impl StreamRef {
    /// A stream that no segment of this run knows yet.
    pub(crate) fn new(id: u64, labels: LabelSet) -> Self {
        Self {
            id,
            labels,
            defined_in: AtomicU64::new(0),
        }
    }

    /// Whether the segment does not know the stream yet; from now on it does.
    pub(crate) fn define_in(&self, segment: u64) -> bool {
        self.defined_in.swap(segment, Ordering::Relaxed) != segment
    }
}

/// Records of one push that become durable together; without records, a barrier: it is told when
/// everything before it is durable.
pub(crate) struct Item {
    pub(crate) records: Vec<RowsRecord>,
    /// The streams that the records name.
    pub(crate) streams: Vec<Arc<StreamRef>>,
    waiter: Option<oneshot::Sender<Result<(), WalError>>>,
    on_durable: Option<Box<dyn FnOnce() + Send>>,
    /// Room in the queue, given back when the item is gone.
    _reservation: Option<Reservation>,
}

impl Item {
    /// Tells who waits, once.
    pub(crate) fn tell(&mut self, result: Result<(), WalError>) {
        if let Some(waiter) = self.waiter.take() {
            // Who does not wait any more needs no answer.
            let _ = waiter.send(result);
        }
    }

    /// The records are durable.
    pub(crate) fn succeed(mut self) {
        self.tell(Ok(()));
        if let Some(on_durable) = self.on_durable.take() {
            on_durable();
        }
    }
}

/// Room in the queue for a push that is being prepared.
#[derive(Debug)]
pub(crate) struct Reservation {
    pub(crate) _permit: OwnedSemaphorePermit,
    queue: Arc<Queue>,
    is_coming: bool,
}

impl Reservation {
    /// Tells the queue that a push is on its way.
    pub(crate) fn new(permit: OwnedSemaphorePermit, queue: &Arc<Queue>) -> Self {
        queue.coming.fetch_add(1, Ordering::Relaxed);
        Self {
            _permit: permit,
            queue: Arc::clone(queue),
            is_coming: true,
        }
    }

    fn arrive(&mut self) {
        if std::mem::take(&mut self.is_coming) {
            self.queue.coming.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.arrive();
    }
}

/// What a push gives to the log.
pub(crate) struct Append {
    /// Whose rows.
    pub(crate) tenant: TenantId,
    /// Per record (ref, rows) of its parts, and its body. None makes a barrier.
    pub(crate) records: Vec<(Vec<(u64, usize)>, Body)>,
    /// The streams that the records name.
    pub(crate) streams: Vec<Arc<StreamRef>>,
    /// Called by the writer, in order, when the rows are durable.
    pub(crate) on_durable: Option<Box<dyn FnOnce() + Send>>,
    /// Room in the queue.
    pub(crate) reservation: Option<Reservation>,
}

/// What the writer has to do.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) items: Vec<Item>,
    /// Segments of earlier runs that were replayed.
    pub(crate) replayed: Vec<Sealed>,
    /// Rows up to this number are in the store.
    pub(crate) truncate: Option<u64>,
    /// Nothing more comes.
    pub(crate) is_closed: bool,
}

/// The queue. Its bound is the number of bytes that reservations give out.
#[derive(Debug)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    wake: Condvar,
    failure: Mutex<Option<WalError>>,
    bytes: AtomicU64,
    coming: AtomicUsize,
}

struct Inner {
    work: Work,
    record_bytes: usize,
    next_seq: u64,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Inner({} items)", self.work.items.len())
    }
}

impl Queue {
    /// An empty queue whose first record gets the number `next_seq`.
    pub(crate) fn new(next_seq: u64) -> Self {
        Self {
            inner: Mutex::new(Inner {
                work: Work::default(),
                record_bytes: 0,
                next_seq,
            }),
            wake: Condvar::new(),
            failure: Mutex::new(None),
            bytes: AtomicU64::new(0),
            coming: AtomicUsize::new(0),
        }
    }

    /// Adds records, giving them numbers.
    pub(crate) fn append(&self, append: Append) -> oneshot::Receiver<Result<(), WalError>> {
        let (sender, receiver) = oneshot::channel();
        let mut item = Item {
            records: Vec::with_capacity(append.records.len()),
            streams: append.streams,
            waiter: Some(sender),
            on_durable: append.on_durable,
            _reservation: append.reservation,
        };
        let mut inner = self.inner.lock();
        if inner.work.is_closed {
            drop(inner);
            item.tell(Err(WalError::Closed));
            return receiver;
        }
        for (parts, body) in append.records {
            let record = RowsRecord::new(inner.next_seq, &append.tenant, &parts, body);
            inner.next_seq += 1;
            inner.record_bytes += record.len();
            item.records.push(record);
        }
        if let Some(reservation) = &mut item._reservation {
            reservation.arrive();
        }
        inner.work.items.push(item);
        drop(inner);
        self.wake.notify_one();
        receiver
    }

    /// The number of the last record.
    pub(crate) fn last_seq(&self) -> u64 {
        self.inner.lock().next_seq - 1
    }

    /// Rows of records up to `done` are in the store.
    pub(crate) fn truncate(&self, done: u64) {
        let mut inner = self.inner.lock();
        let newest = inner.work.truncate.map_or(done, |before| before.max(done));
        inner.work.truncate = Some(newest);
        drop(inner);
        self.wake.notify_one();
    }

    /// A segment of an earlier run was replayed.
    pub(crate) fn replayed(&self, segment: Sealed) {
        self.inner.lock().work.replayed.push(segment);
        self.wake.notify_one();
    }

    /// Nothing more comes.
    pub(crate) fn close(&self) {
        self.inner.lock().work.is_closed = true;
        self.wake.notify_one();
    }

    /// Waits for work; for items, a little longer so that others can share their fsync, unless
    /// nobody else is coming. Returns without work after `retry`.
    pub(crate) fn take(
        &self,
        delay: Duration,
        enough_bytes: usize,
        retry: Option<Duration>,
    ) -> Work {
        let mut inner = self.inner.lock();
        let until = retry.map(|retry| Instant::now() + retry);
        while !inner.work.is_any() {
            match until {
                None => self.wake.wait(&mut inner),
                Some(until) => {
                    if self.wake.wait_until(&mut inner, until).timed_out() {
                        break;
                    }
                }
            }
        }
        if !inner.work.items.is_empty() && retry.is_none() {
            let until = Instant::now() + delay;
            while inner.record_bytes < enough_bytes
                && !inner.work.is_closed
                && self.coming.load(Ordering::Relaxed) > 0
                && !self.wake.wait_until(&mut inner, until).timed_out()
            {}
        }
        inner.record_bytes = 0;
        let is_closed = inner.work.is_closed;
        Work {
            is_closed,
            ..std::mem::replace(
                &mut inner.work,
                Work {
                    is_closed,
                    ..Work::default()
                },
            )
        }
    }

    /// Why the log cannot be written now, if it cannot.
    pub(crate) fn failure(&self) -> Option<WalError> {
        self.failure.lock().clone()
    }

    /// Sets or clears the failure; whether there was one before.
    pub(crate) fn set_failure(&self, failure: Option<WalError>) -> bool {
        std::mem::replace(&mut *self.failure.lock(), failure).is_some()
    }

    /// Bytes of all segments, as far as the writer has told.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Tells the bytes of all segments.
    pub(crate) fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }
}

impl Work {
    fn is_any(&self) -> bool {
        !self.items.is_empty()
            || !self.replayed.is_empty()
            || self.truncate.is_some()
            || self.is_closed
    }
}
