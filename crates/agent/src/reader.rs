//! Reads all sources for one client: which when, and what is then to be sent.
//!
//! A reader does no more than [`Reader::turn`] at a time and takes the time as an argument; a
//! thread ([`drive`](drive::drive)) turns it. Each client has a reader of its own, with its own
//! positions, so that one that is held up holds up no other.

pub(crate) mod drive;
mod fed;
mod forget;
mod meet;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::batch::{Batch, SourceId};
use crate::clock::Now;
use crate::deliver::Outcome;
use crate::discover::Scan;
use crate::metrics::{FileState, Metrics};
use crate::outbox::Outbox;
use crate::positions::{Book, Record, RecordKey};
use crate::stages::Pipeline;
use crate::tail::desk::Desk;
use crate::tail::generation::{Buffer, Unpacking};
use crate::tail::known::Known;
use crate::tail::restore::Names;
use crate::tail::siblings::Listings;
use crate::tail::source::Source;
use crate::tail::stamps::LastStamp;
use fed::Fed;

/// Chunks that are read in one turn.
const CHUNKS_PER_TURN: usize = 16;
/// A file that did not change for so long is looked at less often.
const IDLE_AFTER: Duration = Duration::from_secs(60);

/// How a reader goes about it.
#[derive(Debug)]
pub(crate) struct ReaderConfig {
    pub(crate) client: Arc<str>,
    pub(crate) names: Names,
    /// The names of the jobs in their order.
    pub(crate) job_names: Vec<String>,
    /// A time, in nanoseconds since 1970, at which names of which nothing is known were not there, or
    /// nobody had asked for them.
    pub(crate) absent_at_ns: i64,
    /// Bytes of a line that are kept when it is read.
    pub(crate) line_bytes_max: usize,
    /// How often a file is looked at that changed lately.
    pub(crate) poll_min: Duration,
    /// How often a file is looked at that did not.
    pub(crate) poll_max: Duration,
    pub(crate) deleted_hold_max: Duration,
    pub(crate) unpacking: Unpacking,
}

/// What came in since the last turn.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// What the globs match now.
    pub(crate) scan: Option<Arc<Scan>>,
    /// Paths that changed.
    pub(crate) changed: HashSet<PathBuf>,
    /// Whether any path may have changed.
    pub(crate) all_changed: bool,
    /// Batches that are done with.
    pub(crate) outcomes: Vec<Outcome>,
}

/// How a source stands, for people.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct SourceStatus {
    pub(crate) job: String,
    pub(crate) path: PathBuf,
    pub(crate) read_bytes: u64,
    pub(crate) file_bytes: u64,
    pub(crate) lag_bytes: u64,
    pub(crate) lag_seconds: f64,
}

/// Reads all sources for one client.
pub(crate) struct Reader {
    config: ReaderConfig,
    /// The stages of each job.
    pipelines: Vec<Pipeline>,
    sources: HashMap<SourceId, Source>,
    by_path: HashMap<(usize, PathBuf), SourceId>,
    /// Sources by the paths under which changes of their files are told.
    by_notice: HashMap<PathBuf, Vec<SourceId>>,
    ready: VecDeque<SourceId>,
    /// Sources whose pipelines wait for a time.
    waiting: HashSet<SourceId>,
    /// Lines that came, by job.
    fed: BTreeMap<usize, Fed>,
    /// Whether more lines have come than were taken.
    has_untaken: bool,
    desk: Desk,
    next_id: SourceId,
    next_sweep: Duration,
    /// Files that may be copies under way, and since when.
    suspects: HashMap<(usize, PathBuf), Duration>,
    /// Files of the book that are not there, and since when.
    missing: HashMap<RecordKey, Duration>,
    /// A time before the last look at the globs, in nanoseconds since 1970.
    scanned_at_ns: Option<i64>,
    /// Counts changes of how sources stand.
    changes: u64,
}

impl Reader {
    pub(crate) fn new(
        config: ReaderConfig,
        pipelines: Vec<Pipeline>,
        book: Arc<Book>,
        outbox: Outbox,
        metrics: Metrics,
    ) -> Self {
        let desk = Desk {
            known: Known::new(config.client.clone(), book),
            buffer: Buffer::new(config.line_bytes_max),
            outbox,
            stamps: LastStamp::default(),
            metrics,
            unpacking: config.unpacking.clone(),
            listings: Listings::default(),
            now: Now::default(),
        };
        Self {
            desk,
            config,
            pipelines,
            sources: HashMap::new(),
            by_path: HashMap::new(),
            by_notice: HashMap::new(),
            ready: VecDeque::new(),
            waiting: HashSet::new(),
            fed: BTreeMap::new(),
            has_untaken: false,
            next_id: 1,
            next_sweep: Duration::ZERO,
            suspects: HashMap::new(),
            missing: HashMap::new(),
            scanned_at_ns: None,
            changes: 0,
        }
    }

    /// Takes in the news, reads for a while, and gives the batches to send. How long nothing has to
    /// be done unless there is news.
    pub(crate) fn turn(&mut self, news: &News, now: Now, send: &mut Vec<Batch>) -> Duration {
        self.desk.outbox.refill(now.mono);
        self.take_outcomes(&news.outcomes, now);
        if let Some(scan) = &news.scan {
            self.take_scan(scan, now);
        }
        self.take_changes(news, now);
        self.sweep(now);
        self.read_some(now);
        self.let_go(now);
        let due = self.desk.outbox.due(now.mono);
        send.extend(self.with_versions(due));
        self.idle_time(now)
    }

    /// Stops reading: the batches that are left. What pipelines hold back of files will be read
    /// again.
    pub(crate) fn finish(&mut self, now: Now) -> Vec<Batch> {
        for fed in self.fed.values_mut() {
            fed.finish(&mut self.desk.outbox, now.mono);
        }
        let rest = self.desk.outbox.finish();
        self.with_versions(rest)
    }

    /// Says of each batch what of the book must be saved before it is sent.
    fn with_versions(&self, mut batches: Vec<Batch>) -> Vec<Batch> {
        for batch in batches.iter_mut().filter(|batch| batch.is_stamped) {
            batch.needs_version = self.desk.known.book.version();
        }
        batches
    }

    /// Takes in that batches are done with, and notes it.
    pub(crate) fn take_outcomes(&mut self, outcomes: &[Outcome], now: Now) {
        let mut touched = HashSet::new();
        for outcome in outcomes {
            for id in self.desk.outbox.done(*outcome) {
                if let Some(source) = self.sources.get_mut(&id) {
                    source.acknowledge(outcome.batch);
                    touched.insert(id);
                }
                let fed = self.fed.iter_mut().find(|(_, fed)| fed.id == id);
                if let Some((job, fed)) = fed
                    && let Some(name) = self.config.job_names.get(*job)
                {
                    for cursor in fed.acknowledge(outcome.batch) {
                        let record = Record::of_cursor(&self.config.client, name, &cursor);
                        self.desk.known.book.put(record);
                    }
                }
            }
        }
        for id in touched {
            self.with(id, now, |source, desk| source.note(desk));
        }
    }

    fn with<R>(
        &mut self,
        id: SourceId,
        now: Now,
        act: impl FnOnce(&mut Source, &mut Desk) -> R,
    ) -> Option<R> {
        let source = self.sources.get_mut(&id)?;
        self.desk.now = now;
        Some(act(source, &mut self.desk))
    }

    fn take_changes(&mut self, news: &News, now: Now) {
        let ids: Vec<SourceId> = if news.all_changed {
            self.sources.keys().copied().collect()
        } else {
            let changed = news
                .changed
                .iter()
                .filter_map(|path| self.by_notice.get(path));
            changed.flatten().copied().collect()
        };
        for id in ids {
            self.look(id, now);
        }
    }

    fn look(&mut self, id: SourceId, now: Now) {
        let (poll_min, poll_max) = (self.config.poll_min, self.config.poll_max);
        let may_have_more = self.with(id, now, |source, desk| {
            let may_have_more = source.look(desk);
            let is_idle = now.mono > source.grown_at() + IDLE_AFTER;
            source.next_look = now.mono + if is_idle { poll_max } else { poll_min };
            may_have_more
        });
        if may_have_more == Some(true) {
            self.queue(id);
        }
    }

    fn queue(&mut self, id: SourceId) {
        if let Some(source) = self.sources.get_mut(&id)
            && !source.is_queued
        {
            source.is_queued = true;
            self.ready.push_back(id);
        }
    }

    /// Looks at files that were not looked at for long, closes those that are done with.
    fn sweep(&mut self, now: Now) {
        if now.mono < self.next_sweep {
            return;
        }
        self.next_sweep = now.mono + self.config.poll_min;
        let due: Vec<SourceId> = self
            .sources
            .values()
            .filter(|source| now.mono >= source.next_look)
            .map(|source| source.id)
            .collect();
        let hold_max = self.config.deleted_hold_max;
        for id in due {
            self.look(id, now);
            let looked = self.with(id, now, |source, desk| {
                let is_finished = source.close_finished(desk, hold_max);
                source.note(desk);
                (is_finished, source.show(now.mono))
            });
            let (is_finished, has_changed) = looked.unwrap_or_default();
            self.changes += u64::from(has_changed);
            if is_finished {
                self.remove(id);
            }
        }
        let deleted: usize = self.sources.values().map(Source::deleted_open).sum();
        self.desk
            .metrics
            .files_deleted_open
            .set(i64::try_from(deleted).unwrap_or(i64::MAX));
        self.desk
            .metrics
            .files_active
            .set(i64::try_from(self.sources.len()).unwrap_or(i64::MAX));
    }

    fn remove(&mut self, id: SourceId) {
        let Some(source) = self.sources.remove(&id) else {
            return;
        };
        self.by_path
            .remove(&(source.target.job, source.path.clone()));
        self.by_notice.retain(|_, ids| {
            ids.retain(|other| *other != id);
            !ids.is_empty()
        });
        self.waiting.remove(&id);
        self.changes += 1;
    }

    /// Reads what is ready, one chunk of each in turn.
    fn read_some(&mut self, now: Now) {
        let mut left = self.ready.len().clamp(1, CHUNKS_PER_TURN);
        let mut looked_at = 0;
        let ready = self.ready.len();
        while left > 0
            && looked_at < ready.max(CHUNKS_PER_TURN)
            && self.desk.outbox.paused_until().is_none()
        {
            let Some(id) = self.ready.pop_front() else {
                break;
            };
            looked_at += 1;
            let read = self.with(id, now, |source, desk| {
                let may_read = source.may_read(&desk.outbox, now);
                if may_read {
                    source.read(desk);
                    source.note_if_nothing_is_owed(desk);
                }
                source.is_queued = source.may_have_more();
                (may_read, source.is_queued, source.deadline_ns().is_some())
            });
            let Some((has_read, has_more, waits)) = read else {
                continue;
            };
            if has_more {
                self.ready.push_back(id);
            }
            if waits {
                self.waiting.insert(id);
            }
            left -= usize::from(has_read);
        }
    }

    /// Lets pipelines let go what they have held back for long enough.
    fn let_go(&mut self, now: Now) {
        for fed in self.fed.values_mut() {
            // What is waited for may be among the lines that were not taken.
            let is_due = fed.deadline_ns().is_some_and(|at| at <= now.wall_ns);
            if is_due && !self.has_untaken {
                fed.idle(&mut self.desk.outbox, now);
            }
        }
        let due: Vec<SourceId> = self
            .waiting
            .iter()
            .copied()
            .filter(|id| {
                let source = self.sources.get(id);
                source.is_none_or(|source| source.deadline_ns().is_none_or(|at| at <= now.wall_ns))
            })
            .collect();
        for id in due {
            self.waiting.remove(&id);
            let waits = self.with(id, now, |source, desk| {
                source.idle(desk);
                source.deadline_ns().is_some_and(|at| at > now.wall_ns)
            });
            if waits == Some(true) {
                self.waiting.insert(id);
            }
        }
    }

    fn idle_time(&self, now: Now) -> Duration {
        let mut wait = self.next_sweep.saturating_sub(now.mono);
        if let Some(due) = self.desk.outbox.next_due() {
            wait = wait.min(due.saturating_sub(now.mono));
        }
        let sources = self.waiting.iter().filter_map(|id| self.sources.get(id));
        let deadlines = sources.filter_map(Source::deadline_ns);
        let fed = self.fed.values().filter(|_| !self.has_untaken);
        for at in deadlines.chain(fed.filter_map(Fed::deadline_ns)) {
            let ns = u64::try_from(at.saturating_sub(now.wall_ns)).unwrap_or(0);
            wait = wait.min(Duration::from_nanos(ns));
        }
        let mut ready = self.ready.iter().filter_map(|id| self.sources.get(id));
        let may_read = ready.any(|source| source.may_read(&self.desk.outbox, now));
        if may_read {
            wait = match self.desk.outbox.paused_until() {
                Some(until) => wait.min(until.saturating_sub(now.mono)),
                None => Duration::ZERO,
            };
        }
        wait
    }

    /// Whether a file is tailed.
    pub(crate) fn is_tailing(&self) -> bool {
        !self.sources.is_empty()
    }

    /// Bytes that are read and not acknowledged.
    pub(crate) fn owed_bytes(&self) -> usize {
        self.desk.outbox.owed_bytes()
    }

    /// How often it has changed how sources stand.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// How all sources stand.
    pub(crate) fn status(&self) -> Vec<SourceStatus> {
        let status = |source: &Source| {
            let FileState {
                read_bytes,
                file_bytes,
                lag_bytes,
                lag,
            } = source.state();
            SourceStatus {
                job: source.target.job_name.clone(),
                path: source.path.clone(),
                read_bytes,
                file_bytes,
                lag_bytes,
                lag_seconds: lag.as_secs_f64(),
            }
        };
        let mut all: Vec<SourceStatus> = self.sources.values().map(status).collect();
        all.sort_by(|a, b| (&a.job, &a.path).cmp(&(&b.job, &b.path)));
        all
    }
}

#[cfg(test)]
mod tests;
