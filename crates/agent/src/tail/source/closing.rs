//! The end of files: those that were rotated are closed when all of them is read and done with.

use std::time::Duration;

use super::{Desk, Generation, Source, lost, place, record_of};

/// How long a file that was rotated must not grow until its last line counts as whole.
const HALF_LINE_QUIET: Duration = Duration::from_secs(5);

impl Source {
    /// Closes files that were rotated and are done with; whether none is left.
    pub(crate) fn close_finished(&mut self, desk: &mut Desk, deleted_hold_max: Duration) -> bool {
        let mut at = 0;
        self.finish_pipeline(desk);
        while at < self.generations.len() {
            self.finish_half_line(at, desk);
            let is_held =
                |generation: &Generation| self.is_held_too_long(generation, desk, deleted_hold_max);
            let is_held = self.generations.get(at).is_some_and(is_held);
            if is_held || self.is_finished(at, desk.now.mono) {
                self.close(at, desk);
            } else {
                at += 1;
            }
        }
        self.generations.is_empty() && !self.is_listed && self.oldest_owed().is_none()
    }

    /// The last line of a file that was rotated and is quiet is whole, line end or not.
    fn finish_half_line(&mut self, at: usize, desk: &mut Desk) {
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

    /// Whether all of a file is done with, also as the beginning of blocks that go on after it.
    fn is_finished(&self, at: usize, now: Duration) -> bool {
        let Some(generation) = self.generations.get(at) else {
            return false;
        };
        let no = generation.no;
        let is_owed = self
            .oldest_owed()
            .is_some_and(|oldest| place(oldest).0 <= no);
        // What is over is not read again, so nothing needs it.
        let is_needed = !generation.is_over && (self.ties.needs(no) || !generation.is_quiet(now));
        if is_owed || is_needed {
            return false;
        }
        !self.pipeline.is_joining(&|origin| place(origin).0 == no)
    }

    /// Joins nothing that comes to lines of a file that is closed, as an agent after this one would
    /// not. Whether anything might have been.
    fn part_from(&mut self, generation: u64) -> bool {
        let is_in_it = |origin: u64| place(origin).0 == generation;
        let mut firsts = Vec::new();
        self.pipeline.joined_to(&mut firsts);
        let may_go_on = firsts.into_iter().any(is_in_it);
        if may_go_on {
            self.pipeline.part_from(&is_in_it);
        }
        may_go_on
    }

    /// Whether a deleted file takes room on the disk for longer than it may.
    fn is_held_too_long(
        &self,
        generation: &Generation,
        desk: &Desk,
        deleted_hold_max: Duration,
    ) -> bool {
        let is_too_long = generation.is_rotated
            && desk.now.mono >= generation.grown_at + deleted_hold_max
            && generation.is_deleted();
        if is_too_long {
            lost(
                generation,
                "deleted, and held open for as long as it may be",
                &desk.metrics,
            );
        }
        is_too_long
    }

    fn close(&mut self, at: usize, desk: &mut Desk) {
        let Some(generation) = self.generations.remove(at) else {
            return;
        };
        let has_parted = self.part_from(generation.no);
        self.stamps.forget(generation.no);
        self.ties.forget(generation.no);
        let bears_same = |other: &Generation| other.id == generation.id;
        if !self.generations.iter().any(bears_same) {
            desk.known.release(self.target.job, generation.id, self.id);
        }
        if generation.is_over {
            return;
        }
        let mut record = record_of(&generation, &self.path, &self.target, &desk.known);
        record.is_done = true;
        desk.known.book.put(record);
        if has_parted {
            self.needs_version = desk.known.book.version();
        }
    }
}
