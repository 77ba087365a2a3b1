//! Lines that come to the agent rather than lying in a file: from a push, from syslog, from the
//! journal, from standard input.
//!
//! Each client has a queue of its own, bounded in bytes. While there is room in none, whoever
//! brings lines waits, which holds up who sends them; a client that is full while another has room
//! loses them, which is counted, so that a dead one holds up nobody.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::config::ScrapeConfig;
use crate::discover::Labels;
use crate::entry::Entry;
use crate::metrics::{ClientMetrics, DropReason};
use crate::reader::drive::Inbox;
use crate::receive::Sights;
use crate::relabel::relabel;

/// Bytes of lines that wait for one client.
const QUEUE_BYTES_MAX: usize = 4 << 20;
/// What a line takes in memory besides its bytes.
const ENTRY_OVERHEAD_BYTES: usize = 256;

/// A line that came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// The place of its job in the configuration.
    pub(crate) job: usize,
    pub(crate) labels: Labels,
    /// Its own time; if it has none, that at which it is read.
    pub(crate) timestamp_ns: Option<i64>,
    pub(crate) line: Vec<u8>,
    pub(crate) metadata: Vec<(String, String)>,
    /// Where its source goes on after it.
    pub(crate) cursor: Option<Cursor>,
    /// Whether an agent before this one may have sent it.
    pub(crate) may_repeat: bool,
}

/// Where a source goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Which of its job's sources; empty if the job has one only.
    pub(crate) source: Arc<str>,
    pub(crate) at: Arc<str>,
}

/// Lines that wait for one client.
#[derive(Default)]
pub(crate) struct Feed {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Received>,
    bytes: usize,
}

/// Brings lines to all clients.
#[derive(Clone)]
pub(crate) struct Intake {
    clients: Arc<Vec<(Arc<Inbox>, ClientMetrics)>>,
    room: Arc<Notify>,
    /// Where the lines are from.
    pub(crate) sights: Arc<Sights>,
}

impl Received {
    fn memory_bytes(&self) -> usize {
        self.line.len() + ENTRY_OVERHEAD_BYTES
    }

    pub(crate) fn into_entry(self, stamp_ns: i64, origin: u64) -> Entry {
        Entry {
            labels: self.labels,
            timestamp_ns: self.timestamp_ns.unwrap_or(stamp_ns),
            read_ns: stamp_ns,
            line: self.line,
            metadata: self.metadata,
            origin,
            made: None,
        }
    }
}

impl Feed {
    /// The line that came first.
    pub(crate) fn pop(&self) -> Option<Received> {
        let mut queue = self.queue.lock();
        let received = queue.lines.pop_front()?;
        queue.bytes = queue.bytes.saturating_sub(received.memory_bytes());
        Some(received)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.lock().lines.is_empty()
    }

    fn has_room(&self) -> bool {
        self.queue.lock().bytes < QUEUE_BYTES_MAX
    }

    fn push(&self, received: Received) {
        let mut queue = self.queue.lock();
        queue.bytes += received.memory_bytes();
        queue.lines.push_back(received);
    }
}

impl Intake {
    pub(crate) fn new(clients: Vec<(Arc<Inbox>, ClientMetrics)>, room: Arc<Notify>) -> Self {
        Self {
            clients: Arc::new(clients),
            room,
            sights: Arc::default(),
        }
    }

    /// Gives lines to each client, once one has room.
    pub(crate) async fn give(&self, lines: Vec<Received>) {
        loop {
            let has_room = self.room.notified();
            if self.clients.iter().any(|(inbox, _)| inbox.feed.has_room()) {
                break;
            }
            has_room.await;
        }
        if let Some(line) = lines.last() {
            self.sights.saw(line);
        }
        for (inbox, metrics) in self.clients.iter() {
            if inbox.feed.has_room() {
                lines.iter().for_each(|line| inbox.feed.push(line.clone()));
                inbox.fed();
            } else {
                let bytes = lines.iter().map(|line| line.line.len()).sum();
                metrics.dropped(None, DropReason::QueueFull, lines.len(), bytes);
            }
        }
    }
}

/// The labels of a line after relabelling, without the internal ones but the tenant. Nothing if it
/// is dropped.
pub(crate) fn relabelled(job: &ScrapeConfig, labels: Labels) -> Option<Labels> {
    let mut labels = relabel(labels, &job.relabel_configs)?;
    labels.retain(|name, _| !name.starts_with("__") || name == crate::batch::TENANT_LABEL);
    Some(labels)
}
