//! A name under which lines are found, and the files that bear it one after the other.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::generation::{Buffer, Generation, Line, Progress, Unpacking};
use super::identity::FileId;
use super::known::Known;
use super::newline::{Newline, decoded};
use super::rotate;
use super::siblings::Listings;
use super::stamps::{LastStamp, Stamps};
use crate::batch::{BatchId, From, SourceId};
use crate::clock::Now;
use crate::discover::{Found, Target};
use crate::entry::Entry;
use crate::metrics::{FileMetrics, FileState, Metrics};
use crate::outbox::Outbox;
use crate::positions::Record;
use crate::stages::Pipeline;

/// How long a file that was rotated must not grow until its last line counts as whole.
pub(super) const HALF_LINE_QUIET: Duration = Duration::from_secs(5);

/// Bits of an origin that are the offset in a file; the others are the generation.
const OFFSET_BITS: u32 = 40;

/// Where a line begins: in which generation, at which offset. Later lines have greater origins.
pub(super) fn origin(generation: u64, offset: u64) -> u64 {
    (generation << OFFSET_BITS) | (offset & ((1 << OFFSET_BITS) - 1))
}

pub(super) fn place(origin: u64) -> (u64, u64) {
    (origin >> OFFSET_BITS, origin & ((1 << OFFSET_BITS) - 1))
}

/// A name under which lines are found.
pub(crate) struct Source {
    pub(crate) id: SourceId,
    pub(crate) path: PathBuf,
    pub(crate) target: Arc<Target>,
    shown_path: Arc<PathBuf>,
    labels: BTreeMap<String, String>,
    pipeline: Pipeline,
    pub(super) generations: VecDeque<Generation>,
    next_generation: u64,
    /// The smallest origin in each batch that is not acknowledged.
    owing: BTreeMap<BatchId, u64>,
    /// The times that lines were given.
    pub(super) stamps: Stamps,
    /// Lines before this origin may have been sent by an agent before this one.
    repeats_before: u64,
    /// The tenant of the last entry.
    tenant: Option<Arc<str>>,
    /// Whether a glob matches the path.
    pub(crate) is_listed: bool,
    /// Whether it waits to be read.
    pub(crate) is_queued: bool,
    /// When to look at the files again.
    pub(crate) next_look: Duration,
    metrics: FileMetrics,
    shown: FileState,
    behind_since: Option<Duration>,
}

/// What reading goes through, shared by all sources of a reader.
pub(crate) struct Desk<'r> {
    pub(crate) known: &'r mut Known,
    pub(crate) buffer: &'r mut Buffer,
    pub(crate) outbox: &'r mut Outbox,
    pub(crate) stamps: &'r mut LastStamp,
    pub(crate) metrics: &'r Metrics,
    pub(crate) unpacking: &'r Unpacking,
    pub(crate) listings: &'r mut Listings,
    pub(crate) now: Now,
}

impl Source {
    pub(crate) fn new(id: SourceId, found: &Found, pipeline: Pipeline, metrics: &Metrics) -> Self {
        let labels = labels_of(found);
        Self {
            id,
            path: found.path.clone(),
            target: found.target.clone(),
            shown_path: Arc::new(found.path.clone()),
            labels,
            pipeline,
            generations: VecDeque::new(),
            next_generation: 0,
            owing: BTreeMap::new(),
            stamps: Stamps::default(),
            repeats_before: 0,
            tenant: None,
            is_listed: true,
            is_queued: false,
            next_look: Duration::ZERO,
            metrics: metrics.file(&found.path),
            shown: FileState::default(),
            behind_since: None,
        }
    }

    /// Takes in that the target has other labels by now.
    pub(crate) fn retarget(&mut self, found: &Found) {
        let (old, new) = (&self.target, &found.target);
        if !Arc::ptr_eq(old, new) {
            if old.labels != new.labels {
                self.labels = labels_of(found);
            }
            self.target = new.clone();
        }
    }

    /// The number of the next generation.
    pub(super) fn number(&mut self) -> u64 {
        let no = self.next_generation;
        self.next_generation += 1;
        no
    }

    /// Adds a file that was read before after the others.
    pub(super) fn push_known(
        &mut self,
        generation: Generation,
        record: &Record,
        known: &mut Known,
    ) {
        let end = origin(generation.no, generation.end);
        self.repeats_before = self.repeats_before.max(end);
        self.stamps.restore(generation.no, &record.stamps);
        self.push(generation, known);
    }

    /// Adds a file after the others.
    pub(super) fn push(&mut self, mut generation: Generation, known: &mut Known) {
        generation.newline = Newline::of(self.target.encoding);
        known.claim(self.target.job, generation.id, self.id);
        self.generations.push_back(generation);
    }

    /// Looks at the name and at the files; whether there may be something to read.
    pub(crate) fn look(&mut self, desk: &mut Desk<'_>) -> bool {
        let now = desk.now.mono;
        if self.target.packing.is_some() {
            // It does not change.
            return self.may_have_more();
        }
        match fs::metadata(&self.path) {
            // What no target asks for any more ends as if it were rotated.
            Ok(metadata) if metadata.is_file() && self.is_listed => {
                let id = FileId::of(&metadata);
                match self.generations.back_mut() {
                    Some(last) if last.id == id => {
                        last.is_rotated = false;
                        last.observe(&metadata, now);
                    }
                    _ => rotate::to_new_file(self, id, desk),
                }
            }
            _ => {
                for generation in &mut self.generations {
                    generation.is_rotated = true;
                }
            }
        }
        for generation in self
            .generations
            .iter_mut()
            .filter(|generation| generation.is_rotated)
        {
            generation.look(now);
        }
        self.may_have_more()
    }

    /// Whether there may be lines that were not read.
    pub(crate) fn may_have_more(&self) -> bool {
        let may = |generation: &Generation| generation.may_have_more && !generation.is_over;
        self.generations.iter().any(may)
    }

    /// Whether it may be read now, as far as the bounds of what is owed go.
    pub(crate) fn may_read(&self, outbox: &Outbox, now: Now) -> bool {
        let paused_until = self.pipeline.paused_until_ns();
        outbox.has_room(&self.tenant)
            && self.stamps.has_room()
            && paused_until.is_none_or(|until| until <= now.wall_ns)
    }

    /// Reads one chunk of the oldest file that has more.
    pub(crate) fn read(&mut self, desk: &mut Desk<'_>) {
        let may = |generation: &Generation| generation.may_have_more && !generation.is_over;
        let Some(at) = self.generations.iter().position(may) else {
            return;
        };
        let progress = self.read_generation(at, desk, Generation::read);
        match progress {
            None | Some(Ok(Progress::Advanced)) => {}
            Some(Ok(Progress::AtEnd)) => self.finish_pipeline(desk),
            Some(Ok(Progress::Replaced)) => rotate::truncated(self, at, desk),
            Some(Err(error)) => self.give_up(at, &error, desk),
        }
    }

    /// Reads one generation by `how` and sends its lines through the pipeline.
    fn read_generation<R>(
        &mut self,
        at: usize,
        desk: &mut Desk<'_>,
        how: impl FnOnce(&mut Generation, &mut Buffer, &mut dyn FnMut(Line<'_>)) -> R,
    ) -> Option<R> {
        let generation = self.generations.get_mut(at)?;
        let (no, now_ns) = (generation.no, desk.now.wall_ns);
        let mut lines = 0;
        let mut out = Vec::new();
        let mut sink = Sink {
            source: self.id,
            path: &self.shown_path,
            owing: &mut self.owing,
            stamps: &mut self.stamps,
            tenant: &mut self.tenant,
            outbox: desk.outbox,
            now: desk.now.mono,
            repeats_before: self.repeats_before,
            has_stamped: false,
        };
        let (metadata, encoding) = (&self.target.metadata, self.target.encoding);
        let (labels, pipeline, last) = (&self.labels, &mut self.pipeline, &mut *desk.stamps);
        let mut take = |line: Line<'_>| {
            lines += 1;
            let origin = origin(no, line.offset);
            let entry = Entry {
                labels: labels.clone(),
                timestamp_ns: sink.stamps.stamp(origin, now_ns, last),
                line: match encoding {
                    Some(encoding) => decoded(encoding, line.bytes),
                    None => line.bytes.to_vec(),
                },
                metadata: metadata.clone(),
                origin,
            };
            pipeline.process(entry, now_ns, &mut out);
            sink.take_all(&mut out);
        };
        let read = how(generation, desk.buffer, &mut take);
        let has_stamped = sink.has_stamped;
        self.stamps.end(origin(no, generation.mark().offset));
        self.metrics.read(lines);
        if has_stamped {
            self.note(desk);
        }
        Some(read)
    }

    /// A file that cannot be read is left where it is until it changes.
    fn give_up(&mut self, at: usize, error: &io::Error, desk: &Desk<'_>) {
        if let Some(generation) = self.generations.get_mut(at) {
            generation.may_have_more = false;
            let file = generation.path.display();
            tracing::warn!(%file, %error, "cannot be read, trying again when it changes");
            desk.metrics.target_failed("read", 1);
        }
    }

    /// Lets go what the pipeline has held back for long enough.
    pub(crate) fn idle(&mut self, desk: &mut Desk<'_>) {
        let mut out = Vec::new();
        self.pipeline.idle(desk.now.wall_ns, &mut out);
        self.take_all(out, desk);
    }

    /// Lets go all that the pipeline holds back, if all files are gone and quiet, or the name is one
    /// that rotation gives: what it waits for will not come.
    fn finish_pipeline(&mut self, desk: &mut Desk<'_>) {
        if self.pipeline.oldest_held().is_none() {
            return;
        }
        let (now, job) = (desk.now, self.target.job);
        let is_quiet = |generation: &Generation| {
            generation.is_over
                || generation.is_quiet(now.mono)
                || (generation.was_written_long_ago(now.wall_ns)
                    && desk.known.is_rotated_name(job, &self.path))
        };
        if self.generations.iter().all(is_quiet) {
            let mut out = Vec::new();
            self.pipeline.finish(&mut out);
            self.take_all(out, desk);
        }
    }

    fn take_all(&mut self, mut entries: Vec<Entry>, desk: &mut Desk<'_>) {
        let mut sink = self.sink(desk);
        sink.take_all(&mut entries);
        if sink.has_stamped {
            self.note(desk);
        }
    }

    fn sink<'s>(&'s mut self, desk: &'s mut Desk<'_>) -> Sink<'s> {
        Sink {
            source: self.id,
            path: &self.shown_path,
            owing: &mut self.owing,
            stamps: &mut self.stamps,
            tenant: &mut self.tenant,
            outbox: desk.outbox,
            now: desk.now.mono,
            repeats_before: self.repeats_before,
            has_stamped: false,
        }
    }

    /// When the pipeline wants to let something go, or to be read again, in nanoseconds since 1970.
    pub(crate) fn deadline_ns(&self) -> Option<i64> {
        let paused = self.pipeline.paused_until_ns();
        [self.pipeline.next_deadline_ns(), paused]
            .into_iter()
            .flatten()
            .min()
    }

    /// Takes in that a batch is done with.
    pub(crate) fn acknowledge(&mut self, batch: BatchId) {
        self.owing.remove(&batch);
    }

    /// The first line that is not done with, among those that were read.
    fn oldest_owed(&self) -> Option<u64> {
        let owed = self.owing.values().min().copied();
        [owed, self.pipeline.oldest_held()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Where in a generation everything before is done with. While lines of an earlier file are not
    /// done with, later ones stay where they were: a line may have its beginning in one and its end
    /// in the next.
    fn done_up_to(&self, generation: &Generation) -> u64 {
        match self.oldest_owed().map(place) {
            Some((no, offset)) if no == generation.no => offset,
            Some((no, _)) if no < generation.no => generation.noted.offset,
            _ => generation.next_line(),
        }
    }

    /// Notes how far each file is done with, if nothing that was read waits for an acknowledgement:
    /// then no acknowledgement will come to note it at.
    pub(crate) fn note_if_nothing_is_owed(&mut self, desk: &Desk<'_>) {
        if self.owing.is_empty() {
            self.note(desk);
        }
    }

    /// Notes how far each file is done with.
    pub(crate) fn note(&mut self, desk: &Desk<'_>) {
        let offsets: Vec<u64> = self
            .generations
            .iter()
            .map(|generation| self.done_up_to(generation))
            .collect();
        for (generation, offset) in self.generations.iter_mut().zip(offsets) {
            if generation.is_over {
                continue;
            }
            // Bytes that are gone by now will be missed when the file is read next.
            if offset != generation.noted.offset
                && let Ok(Some(mark)) = generation.mark_at(offset)
            {
                generation.noted = mark;
                self.stamps.forget_before(generation.no, offset);
            }
            let mut record = record_of(generation, &self.path, &self.target, desk.known);
            record.stamps = self.stamps.used(generation.no);
            desk.known.book.put(record);
        }
    }

    /// Closes files that were rotated and are done with; whether none is left.
    pub(crate) fn close_finished(
        &mut self,
        desk: &mut Desk<'_>,
        deleted_hold_max: Duration,
    ) -> bool {
        let mut at = 0;
        self.finish_pipeline(desk);
        while at < self.generations.len() {
            self.finish_half_line(at, desk);
            let is_done = self.generations.get(at).is_some_and(|generation| {
                self.is_finished(generation, desk.now.mono)
                    || self.is_held_too_long(generation, desk, deleted_hold_max)
            });
            if is_done {
                self.close(at, desk);
            } else {
                at += 1;
            }
        }
        self.generations.is_empty() && !self.is_listed && self.oldest_owed().is_none()
    }

    /// The last line of a file that was rotated and is quiet is whole, line end or not.
    fn finish_half_line(&mut self, at: usize, desk: &mut Desk<'_>) {
        let is_half = self.generations.get(at).is_some_and(|generation| {
            generation.is_rotated
                && !generation.may_have_more
                && generation.unread() > 0
                && desk.now.mono >= generation.grown_at + HALF_LINE_QUIET
        });
        if is_half {
            let read = self.read_generation(at, desk, Generation::read_half_line);
            if let Some(Err(error)) = read {
                self.give_up(at, &error, desk);
            }
        }
    }

    fn is_finished(&self, generation: &Generation, now: Duration) -> bool {
        if generation.is_over {
            return self
                .oldest_owed()
                .is_none_or(|oldest| place(oldest).0 > generation.no);
        }
        generation.is_quiet(now)
            && self
                .oldest_owed()
                .is_none_or(|oldest| place(oldest).0 > generation.no)
    }

    /// Whether a deleted file takes room on the disk for longer than it may.
    fn is_held_too_long(
        &self,
        generation: &Generation,
        desk: &Desk<'_>,
        deleted_hold_max: Duration,
    ) -> bool {
        let is_too_long = generation.is_rotated
            && desk.now.mono >= generation.grown_at + deleted_hold_max
            && generation.is_deleted();
        if is_too_long {
            lost(
                generation,
                "deleted, and held open for as long as it may be",
                desk.metrics,
            );
        }
        is_too_long
    }

    fn close(&mut self, at: usize, desk: &mut Desk<'_>) {
        let Some(generation) = self.generations.remove(at) else {
            return;
        };
        self.stamps.forget(generation.no);
        let bears_same = |other: &Generation| other.id == generation.id;
        if !self.generations.iter().any(bears_same) {
            desk.known.release(self.target.job, generation.id, self.id);
        }
        if generation.is_over {
            return;
        }
        let mut record = record_of(&generation, &self.path, &self.target, desk.known);
        record.is_done = true;
        desk.known.book.put(record);
    }

    /// Shows how the files stand.
    pub(crate) fn show(&mut self, now: Duration) {
        let last = self.generations.back();
        let lag_bytes: u64 = self
            .generations
            .iter()
            .filter(|generation| !generation.is_over)
            .map(|generation| generation.end.saturating_sub(self.done_up_to(generation)))
            .sum();
        self.behind_since = match self.behind_since {
            _ if lag_bytes == 0 => None,
            None => Some(now),
            since => since,
        };
        let state = FileState {
            read_bytes: last.map_or(0, |last| last.mark().offset),
            file_bytes: last.map_or(0, |last| last.end),
            lag_bytes,
            lag: self
                .behind_since
                .map_or(Duration::ZERO, |since| now.saturating_sub(since)),
        };
        if state != self.shown {
            self.metrics.state(state);
            self.shown = state;
        }
    }

    /// How the files stand, as of the last look.
    pub(crate) fn state(&self) -> FileState {
        self.shown
    }

    /// Files that are open although they are deleted.
    pub(crate) fn deleted_open(&self) -> usize {
        let is_deleted =
            |generation: &&Generation| generation.is_rotated && generation.is_deleted();
        self.generations.iter().filter(is_deleted).count()
    }

    /// When a file last grew.
    pub(crate) fn grown_at(&self) -> Duration {
        self.generations
            .iter()
            .map(|generation| generation.grown_at)
            .max()
            .unwrap_or_default()
    }

    /// The newest file, if it bears the name now.
    pub(crate) fn current(&self) -> Option<&Generation> {
        self.generations.back().filter(|last| !last.is_rotated)
    }
}

/// The labels of lines of a file.
fn labels_of(found: &Found) -> BTreeMap<String, String> {
    let mut labels = found.target.labels.clone();
    labels.insert("filename".to_owned(), found.path.display().to_string());
    labels
}

/// Where entries go to from one source.
struct Sink<'s> {
    source: SourceId,
    path: &'s Arc<PathBuf>,
    owing: &'s mut BTreeMap<BatchId, u64>,
    stamps: &'s mut Stamps,
    tenant: &'s mut Option<Arc<str>>,
    outbox: &'s mut Outbox,
    now: Duration,
    /// Lines before this origin may have been sent by an agent before this one.
    repeats_before: u64,
    /// Whether an entry went out with a time that the agent gave it.
    has_stamped: bool,
}

impl Sink<'_> {
    fn take_all(&mut self, entries: &mut Vec<Entry>) {
        for entry in entries.drain(..) {
            let origin = entry.origin;
            let (generation, offset) = place(origin);
            let is_stamped = self.stamps.is_of(origin, entry.timestamp_ns);
            self.has_stamped |= is_stamped;
            let from = From {
                source: self.source,
                generation,
                offset,
                path: self.path,
                is_stamped,
                may_repeat: origin < self.repeats_before,
            };
            if let Some((batch, tenant)) = self.outbox.add(entry, from, self.now) {
                let oldest = self.owing.entry(batch).or_insert(origin);
                *oldest = (*oldest).min(origin);
                if *self.tenant != tenant {
                    *self.tenant = tenant;
                }
            }
        }
    }
}

fn record_of(generation: &Generation, path: &Path, target: &Target, known: &Known) -> Record {
    Record {
        client: known.client.to_string(),
        job: target.job_name.clone(),
        path: path.to_owned(),
        file: generation.path.clone(),
        id: generation.id,
        mark: generation.noted,
        mtime_ns: generation.mtime_ns,
        is_done: false,
        stamps: Vec::new(),
        cursor: None,
    }
}

/// Counts and tells that the rest of a file is gone.
pub(super) fn lost(generation: &Generation, why: &str, metrics: &Metrics) {
    let bytes = generation.unread();
    if bytes > 0 {
        metrics.files_lost.inc();
        metrics.bytes_lost.inc_by(bytes);
        tracing::error!(
            file = %generation.path.display(),
            from_offset = generation.next_line(),
            bytes,
            why,
            "the rest of a file is lost"
        );
    }
}
