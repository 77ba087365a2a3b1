//! Lines that came to the agent, on their way through the stages of their job.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Reader;
use crate::batch::{BatchId, From, SourceId};
use crate::clock::Now;
use crate::entry::Entry;
use crate::feed::{Cursor, Feed, Received};
use crate::outbox::Outbox;
use crate::positions::Record;
use crate::stages::Pipeline;
use crate::tail::stamps::LastStamp;

/// Lines that came which are taken in one turn.
const FED_LINES_PER_TURN: usize = 4096;
/// Places after lines that are not done with, of one job; with more, no lines are taken.
const CURSORS_MAX: usize = 65_536;

/// All lines that came for one job. The place of a line is its number.
pub(crate) struct Fed {
    pub(crate) id: SourceId,
    /// The place of the job in the configuration.
    job: usize,
    path: Arc<PathBuf>,
    pipeline: Pipeline,
    /// The smallest number in each batch that is not acknowledged.
    owing: BTreeMap<BatchId, u64>,
    next: u64,
    /// Lines before this one may have been sent by an agent before this one.
    repeats_before: u64,
    /// Where the source goes on after lines that are not acknowledged.
    cursors: VecDeque<(u64, Cursor)>,
}

impl Fed {
    pub(crate) fn new(id: SourceId, job: usize, name: &str, pipeline: Pipeline) -> Self {
        Self {
            id,
            job,
            path: Arc::new(PathBuf::from(format!("job {name}"))),
            pipeline,
            owing: BTreeMap::new(),
            next: 0,
            repeats_before: 0,
            cursors: VecDeque::new(),
        }
    }

    pub(crate) fn take(
        &mut self,
        received: Received,
        outbox: &mut Outbox,
        stamps: &mut LastStamp,
        now: Now,
    ) {
        if self.cursors.len() >= CURSORS_MAX && self.pipeline.oldest_held().is_some() {
            // So much came after it that its rest will not.
            self.finish(outbox, now.mono);
        }
        let number = self.next;
        self.next += 1;
        if let Some(cursor) = &received.cursor {
            self.cursors.push_back((number, cursor.clone()));
        }
        if received.may_repeat {
            self.repeats_before = self.next;
        }
        let entry = received.into_entry(stamps.next(now.wall_ns), number);
        let mut out = Vec::new();
        self.pipeline.process(entry, now.wall_ns, &mut out);
        self.send(out, outbox, now.mono);
    }

    /// Lets go what the pipeline has held back for long enough.
    pub(crate) fn idle(&mut self, outbox: &mut Outbox, now: Now) {
        let mut out = Vec::new();
        self.pipeline.idle(now.wall_ns, &mut out);
        self.send(out, outbox, now.mono);
    }

    /// Lets go all that the pipeline holds back: it will not come again.
    pub(crate) fn finish(&mut self, outbox: &mut Outbox, now: Duration) {
        let mut out = Vec::new();
        self.pipeline.finish(&mut out);
        self.send(out, outbox, now);
    }

    fn send(&mut self, entries: Vec<Entry>, outbox: &mut Outbox, now: Duration) {
        for entry in entries {
            let number = entry.origin;
            let from = From {
                job: self.job,
                source: self.id,
                generation: 0,
                offset: number,
                path: &self.path,
                is_stamped: false,
                needs_version: 0,
                may_repeat: number < self.repeats_before,
            };
            if let Some((batch, _)) = outbox.add(entry, from, now) {
                let oldest = self.owing.entry(batch).or_insert(number);
                *oldest = (*oldest).min(number);
            }
        }
    }

    /// Takes in that a batch is done with; where the sources go on that are further than before.
    pub(crate) fn acknowledge(&mut self, batch: BatchId) -> Vec<Cursor> {
        self.owing.remove(&batch);
        self.reached()
    }

    /// Where the sources go on that are further than before, if no batch is under way: stages may
    /// drop all lines, and then no acknowledgement comes.
    pub(crate) fn reached_without_batch(&mut self) -> Vec<Cursor> {
        if self.owing.is_empty() {
            self.reached()
        } else {
            Vec::new()
        }
    }

    /// Whether more lines may be taken while others are not done with.
    fn has_room(&self) -> bool {
        self.cursors.len() < CURSORS_MAX || self.owing.is_empty()
    }

    fn reached(&mut self) -> Vec<Cursor> {
        let owed = self.owing.values().min().copied();
        let held = self.pipeline.oldest_held();
        let first = [owed, held].into_iter().flatten().min();
        let first = first.unwrap_or(self.next);
        let mut last: BTreeMap<Arc<str>, Cursor> = BTreeMap::new();
        while let Some((_, cursor)) = self.cursors.pop_front_if(|(number, _)| *number < first) {
            last.insert(cursor.source.clone(), cursor);
        }
        last.into_values().collect()
    }

    /// When the pipeline wants to let something go, in nanoseconds since 1970.
    pub(crate) fn deadline_ns(&self) -> Option<i64> {
        self.pipeline.next_deadline_ns()
    }
}

impl Reader {
    /// Takes lines that came, as many as there is room for; whether there were any.
    pub(crate) fn take_fed(&mut self, feed: &Feed, now: Now) -> bool {
        let mut lines = 0;
        while lines < FED_LINES_PER_TURN
            && self.has_room()
            && self.fed.values().all(Fed::has_room)
            && let Some(received) = feed.pop()
        {
            lines += 1;
            let job = received.job;
            let (Some(pipeline), Some(name)) =
                (self.pipelines.get(job), self.config.job_names.get(job))
            else {
                continue;
            };
            let next_id = &mut self.next_id;
            let fed = self.fed.entry(job).or_insert_with(|| {
                *next_id += 1;
                Fed::new(*next_id - 1, job, name, pipeline.fork())
            });
            fed.take(received, &mut self.desk.outbox, &mut self.desk.stamps, now);
        }
        self.has_untaken = !feed.is_empty();
        self.note_fed();
        lines > 0
    }

    /// Notes where sources go on of which no batch is under way.
    fn note_fed(&mut self) {
        for (job, fed) in &mut self.fed {
            let Some(name) = self.config.job_names.get(*job) else {
                continue;
            };
            for cursor in fed.reached_without_batch() {
                let record = Record::of_cursor(&self.config.client, name, &cursor);
                self.desk.known.book.put(record);
            }
        }
    }

    /// Whether lines that come may be taken.
    pub(crate) fn has_room(&self) -> bool {
        self.desk.outbox.has_room(&None) && self.desk.outbox.paused_until().is_none()
    }
}
