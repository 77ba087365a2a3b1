//! The thread that turns a reader, and how news reaches it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, mpsc};

use super::{News, Reader, SourceStatus};
use crate::batch::Batch;
use crate::clock::Now;
use crate::deliver::Outcome;
use crate::discover::Scan;
use crate::feed::Feed;

/// Changed paths that wait to be looked at; with more, all are.
const CHANGED_MAX: usize = 10_000;
/// The longest time between two turns.
const REST_MAX: Duration = Duration::from_secs(1);
/// How long changes are collected before they are looked at.
const CHANGES_REST: Duration = Duration::from_millis(10);
/// How often the status is renewed while something happens.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// The same while nothing does.
const STATUS_INTERVAL_MAX: Duration = Duration::from_secs(10);

/// Where news for a reader is left, and its status.
#[derive(Default)]
pub(crate) struct Inbox {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    status: Mutex<Vec<SourceStatus>>,
    is_tailing: AtomicBool,
    owed_bytes: AtomicUsize,
    /// Lines that came.
    pub(crate) feed: Feed,
    /// Told when there is room for more of them.
    room: Arc<Notify>,
}

#[derive(Default)]
struct Waiting {
    news: News,
    is_stopped: bool,
    has_news: bool,
}

impl Inbox {
    /// An inbox that tells `room` when it has some.
    pub(crate) fn new(room: Arc<Notify>) -> Self {
        Self {
            room,
            ..Self::default()
        }
    }

    /// Says that lines came.
    pub(crate) fn fed(&self) {
        self.leave(|_| {});
    }

    fn leave(&self, put: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.waiting.lock();
        put(&mut waiting);
        waiting.has_news = true;
        self.wake.notify_one();
    }

    pub(crate) fn scanned(&self, scan: Arc<Scan>) {
        self.leave(|waiting| waiting.news.scan = Some(scan));
    }

    pub(crate) fn changed(&self, path: &Path) {
        self.leave(|waiting| {
            let news = &mut waiting.news;
            if news.changed.len() >= CHANGED_MAX {
                news.changed.clear();
                news.all_changed = true;
            }
            if !news.all_changed && !news.changed.contains(path) {
                news.changed.insert(path.to_owned());
            }
        });
    }

    pub(crate) fn all_changed(&self) {
        self.leave(|waiting| waiting.news.all_changed = true);
    }

    pub(crate) fn done(&self, outcome: Outcome) {
        self.leave(|waiting| waiting.news.outcomes.push(outcome));
    }

    pub(crate) fn stop(&self) {
        self.leave(|waiting| waiting.is_stopped = true);
    }

    pub(crate) fn status(&self) -> Vec<SourceStatus> {
        self.status.lock().clone()
    }

    pub(crate) fn is_tailing(&self) -> bool {
        self.is_tailing.load(Ordering::Relaxed)
    }

    /// Bytes that are read and not acknowledged.
    pub(crate) fn owed_bytes(&self) -> usize {
        self.owed_bytes.load(Ordering::Relaxed)
    }

    /// Waits for news, at most for `rest`. Nothing when it is time to stop.
    fn take(&self, rest: Duration) -> Option<News> {
        let mut waiting = self.waiting.lock();
        if !waiting.has_news && !rest.is_zero() {
            self.wake.wait_for(&mut waiting, rest);
        }
        waiting.has_news = false;
        (!waiting.is_stopped).then(|| std::mem::take(&mut waiting.news))
    }

    /// What is left of outcomes after the stop.
    pub(crate) fn take_outcomes(&self) -> Vec<Outcome> {
        std::mem::take(&mut self.waiting.lock().news.outcomes)
    }
}

/// A clock for readers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> Now {
        Now {
            mono: self.0.elapsed(),
            wall_ns: i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(0),
        }
    }
}

/// Turns a reader until it is told to stop, then gives it back. Runs on a thread of its own, since
/// reading files blocks.
pub(crate) fn drive(mut reader: Reader, inbox: &Inbox, batches: &mpsc::Sender<Batch>) -> Reader {
    let clock = Clock::start();
    let mut rest = Duration::ZERO;
    let (mut last_status, mut next_status) = (Duration::ZERO, Duration::ZERO);
    let mut changes = 0;
    let mut due = Vec::new();
    while let Some(mut news) = inbox.take(rest.min(REST_MAX)) {
        let only_changes = news.scan.is_none() && news.outcomes.is_empty();
        if only_changes && !news.changed.is_empty() && !rest.is_zero() {
            // Files that are written line by line change more often than they are worth reading.
            match inbox.take_after(CHANGES_REST) {
                Some(more) => news.add(more),
                None => break,
            }
        }
        let now = clock.now();
        if reader.take_fed(&inbox.feed, now) {
            inbox.room.notify_waiters();
        }
        rest = reader.turn(&news, now, &mut due);
        if !inbox.feed.is_empty() && reader.has_room() {
            rest = Duration::ZERO;
        }
        for batch in due.drain(..) {
            // Nobody takes batches any more only when the agent stops.
            if batches.blocking_send(batch).is_err() {
                return reader;
            }
        }
        inbox
            .is_tailing
            .store(reader.is_tailing(), Ordering::Relaxed);
        // Of thousands of files that rest the status takes longer than looking at them.
        let is_idle = std::mem::replace(&mut changes, reader.changes()) == reader.changes()
            && reader.owed_bytes() == 0
            && inbox.owed_bytes() == 0;
        if !is_idle {
            next_status = next_status.min(last_status + STATUS_INTERVAL);
        }
        if now.mono >= next_status {
            (last_status, next_status) = (now.mono, now.mono + STATUS_INTERVAL_MAX);
            *inbox.status.lock() = reader.status();
            inbox
                .owed_bytes
                .store(reader.owed_bytes(), Ordering::Relaxed);
        }
    }
    while reader.take_fed(&inbox.feed, clock.now()) {}
    for batch in reader.finish(clock.now()) {
        if batches.blocking_send(batch).is_err() {
            break;
        }
    }
    reader
}

impl Inbox {
    /// What comes in during `time`. Nothing when it is time to stop.
    fn take_after(&self, time: Duration) -> Option<News> {
        let until = Instant::now() + time;
        let mut waiting = self.waiting.lock();
        while !waiting.is_stopped && !self.wake.wait_until(&mut waiting, until).timed_out() {}
        waiting.has_news = false;
        (!waiting.is_stopped).then(|| std::mem::take(&mut waiting.news))
    }
}

impl News {
    fn add(&mut self, later: Self) {
        let changed: HashSet<PathBuf> = later.changed;
        self.changed.extend(changed);
        self.all_changed |= later.all_changed;
        self.outcomes.extend(later.outcomes);
        if later.scan.is_some() {
            self.scan = later.scan;
        }
    }
}
