//! A name under which lines are found, and the files that bear it one after the other.

mod closing;
mod sink;

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::desk::Desk;
use super::generation::{Buffer, Generation, Line, Progress};
use super::identity::FileId;
use super::known::Known;
use super::newline::{Newline, decoded};
use super::rotate;
use super::stamps::Stamps;
use super::ties::{Tied, Ties};
use crate::batch::{BatchId, SourceId};
use crate::clock::Now;
use crate::discover::{Found, Target};
use crate::entry::Entry;
use crate::metrics::{FileMetrics, FileState, Metrics};
use crate::outbox::Outbox;
use crate::positions::Record;
use crate::stages::Pipeline;
use sink::Sink;
pub(super) use sink::{origin, place};

/// How many bytes may be read of a file after a line that is held back.
const HELD_BYTES_MAX: u64 = 32 << 20;

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
    /// What else entries were made of than their lines.
    ties: Ties,
    /// The version of the book that must be saved before more is sent: it has that a file is closed
    /// in which blocks began that might have gone on.
    needs_version: u64,
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
            ties: Ties::default(),
            needs_version: 0,
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
        mut generation: Generation,
        record: &Record,
        known: &mut Known,
    ) {
        let (no, end) = (generation.no, generation.end);
        self.repeats_before = self.repeats_before.max(origin(no, end));
        self.stamps.restore(no, &record.stamps);
        let from = record.tied.from;
        if from.is_none_or(|from| generation.go_back(from)) {
            self.ties.restore(no, &record.tied, record.mark.offset);
        }
        generation.is_resumed = from.is_none() && record.mark.offset > 0;
        self.push(generation, known);
    }

    /// Adds a file after the others.
    pub(super) fn push(&mut self, mut generation: Generation, known: &mut Known) {
        generation.newline = Newline::of(self.target.encoding);
        known.claim(self.target.job, generation.id, self.id);
        self.generations.push_back(generation);
    }

    /// Looks at the name and at the files; whether there may be something to read.
    pub(crate) fn look(&mut self, desk: &mut Desk) -> bool {
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
            && (self.stamps.has_room() || self.owing.is_empty())
            && paused_until.is_none_or(|until| until <= now.wall_ns)
    }

    /// Reads one chunk of the oldest file that has more.
    pub(crate) fn read(&mut self, desk: &mut Desk) {
        let may = |generation: &Generation| generation.may_have_more && !generation.is_over;
        let Some(at) = self.generations.iter().position(may) else {
            return;
        };
        if let Some(generation) = self.generations.get_mut(at)
            && std::mem::take(&mut generation.is_resumed)
            && !self.ties.is_over_in(generation.no)
            && self.pipeline.oldest_held().is_some()
        {
            // Lines of the file before, whose rest in this one is done with.
            self.finish_all(desk);
        }
        let progress = self.read_generation(at, desk, Generation::read);
        match progress {
            None => {}
            Some(Ok(Progress::Advanced)) => self.let_go_what_is_held_for_long(at, desk),
            Some(Ok(Progress::AtEnd)) => self.finish_pipeline(desk),
            Some(Ok(Progress::Replaced)) => rotate::truncated(self, at, desk),
            Some(Err(error)) => self.give_up(at, &error, desk),
        }
    }

    /// Reads one generation by `how` and sends its lines through the pipeline.
    fn read_generation<R>(
        &mut self,
        at: usize,
        desk: &mut Desk,
        how: impl FnOnce(&mut Generation, &mut Buffer, &mut dyn FnMut(Line<'_>)) -> R,
    ) -> Option<R> {
        let generation = self.generations.get_mut(at)?;
        let (no, now_ns) = (generation.no, desk.now.wall_ns);
        let mut lines = 0;
        let mut out = Vec::new();
        let mut sink = Sink {
            job: self.target.job,
            source: self.id,
            path: &self.shown_path,
            owing: &mut self.owing,
            stamps: &mut self.stamps,
            ties: &mut self.ties,
            tenant: &mut self.tenant,
            outbox: &mut desk.outbox,
            now: desk.now.mono,
            repeats_before: self.repeats_before,
            needs_version: self.needs_version,
            has_offsets: self.target.has_offsets,
            has_stamped: false,
        };
        let (target, encoding) = (&*self.target, self.target.encoding);
        let (labels, pipeline, last) = (&self.labels, &mut self.pipeline, &mut desk.stamps);
        let mut take = |line: Line<'_>| {
            lines += 1;
            let origin = origin(no, line.offset);
            let stamp_ns = sink.stamps.stamp(origin, now_ns, last);
            let entry = Entry {
                labels: labels.clone(),
                timestamp_ns: stamp_ns,
                read_ns: stamp_ns,
                line: match encoding {
                    Some(encoding) => decoded(encoding, line.bytes),
                    None => line.bytes.to_vec(),
                },
                metadata: target.metadata.clone(),
                origin,
                made: sink.known(origin),
            };
            pipeline.process(entry, now_ns, &mut out);
            sink.take_all(&mut out);
        };
        let read = how(generation, &mut desk.buffer, &mut take);
        let has_stamped = sink.has_stamped;
        self.stamps.end(origin(no, generation.mark().offset));
        self.metrics.read(lines);
        if has_stamped {
            self.note(desk);
        }
        Some(read)
    }

    /// A file that cannot be read is left where it is until it changes.
    fn give_up(&mut self, at: usize, error: &io::Error, desk: &Desk) {
        if let Some(generation) = self.generations.get_mut(at) {
            generation.may_have_more = false;
            let file = generation.path.display();
            tracing::warn!(%file, %error, "cannot be read, trying again when it changes");
            desk.metrics.target_failed("read", 1);
        }
    }

    /// Lets go what the pipeline has held back for long enough, unless what it waits for may already
    /// be there and only could not be read yet.
    pub(crate) fn idle(&mut self, desk: &mut Desk) {
        if self.may_have_more() {
            return;
        }
        let mut out = Vec::new();
        self.pipeline.idle(desk.now.wall_ns, &mut out);
        self.take_all(out, desk);
    }

    /// Lets go all that the pipeline holds back if so much was read after it that its rest will not
    /// come. A part of a line whose writer is gone would hold the position back for ever.
    fn let_go_what_is_held_for_long(&mut self, at: usize, desk: &mut Desk) {
        let (Some(held), Some(generation)) =
            (self.pipeline.oldest_held(), self.generations.get(at))
        else {
            return;
        };
        let reached = origin(generation.no, generation.mark().offset);
        if place(held).0 == generation.no && reached.saturating_sub(held) > HELD_BYTES_MAX {
            self.finish_all(desk);
        }
    }

    fn finish_all(&mut self, desk: &mut Desk) {
        let mut out = Vec::new();
        self.pipeline.finish(&mut out);
        self.take_all(out, desk);
    }

    /// Lets go all that the pipeline holds back, if all files are gone and quiet, or the name is one
    /// that rotation gives: what it waits for will not come.
    fn finish_pipeline(&mut self, desk: &mut Desk) {
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
            self.finish_all(desk);
        }
    }

    fn take_all(&mut self, mut entries: Vec<Entry>, desk: &mut Desk) {
        let mut sink = self.sink(desk);
        sink.take_all(&mut entries);
        if sink.has_stamped {
            self.note(desk);
        }
    }

    fn sink<'s>(&'s mut self, desk: &'s mut Desk) -> Sink<'s> {
        Sink {
            job: self.target.job,
            source: self.id,
            path: &self.shown_path,
            owing: &mut self.owing,
            stamps: &mut self.stamps,
            ties: &mut self.ties,
            tenant: &mut self.tenant,
            outbox: &mut desk.outbox,
            now: desk.now.mono,
            repeats_before: self.repeats_before,
            needs_version: self.needs_version,
            has_offsets: self.target.has_offsets,
            has_stamped: false,
        }
    }

    /// When the pipeline wants to let something go, or to be read again, in nanoseconds since 1970.
    pub(crate) fn deadline_ns(&self) -> Option<i64> {
        let paused = self.pipeline.paused_until_ns();
        let deadline = self.pipeline.next_deadline_ns();
        [deadline.filter(|_| !self.may_have_more()), paused]
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
            // What is read again for lines after it was done with before.
            Some((no, offset)) if no == generation.no => offset.max(generation.noted.offset),
            Some((no, _)) if no < generation.no => generation.noted.offset,
            _ => generation.next_line().max(generation.noted.offset),
        }
    }

    /// Notes how far each file is done with, if nothing that was read waits for an acknowledgement:
    /// then no acknowledgement will come to note it at.
    pub(crate) fn note_if_nothing_is_owed(&mut self, desk: &Desk) {
        if self.owing.is_empty() {
            self.note(desk);
        }
    }

    /// Notes how far each file is done with.
    pub(crate) fn note(&mut self, desk: &Desk) {
        let mut firsts = Vec::new();
        self.pipeline.joined_to(&mut firsts);
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
            }
            let (no, noted) = (generation.no, generation.noted.offset);
            let read = generation.mark().offset;
            let mut record = record_of(generation, &self.path, &self.target, &desk.known);
            record.tied = self.ties.note(no, noted, read, &firsts);
            self.stamps
                .forget_before(no, record.tied.from.unwrap_or(noted));
            record.stamps = self.stamps.used(no);
            desk.known.book.put(record);
        }
    }

    /// Shows how the files stand: whether that has changed.
    pub(crate) fn show(&mut self, now: Duration) -> bool {
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
        let has_changed = state != self.shown;
        if has_changed {
            self.metrics.state(state);
            self.shown = state;
        }
        has_changed
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

fn record_of(generation: &Generation, path: &Path, target: &Target, known: &Known) -> Record {
    Record {
        client: known.client.to_string(),
        job: target.job_name.clone(),
        path: path.to_owned(),
        file: generation.path.clone(),
        id: generation.id,
        no: generation.no,
        mark: generation.noted,
        mtime_ns: generation.mtime_ns,
        is_done: false,
        stamps: Vec::new(),
        tied: Tied::default(),
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
