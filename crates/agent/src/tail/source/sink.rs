//! Where the entries of a source go, and how the place of their lines goes with them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::batch::{BatchId, From, SourceId};
use crate::entry::{Entry, Made};
use crate::outbox::Outbox;
use crate::tail::stamps::Stamps;
use crate::tail::ties::Ties;

/// The structured metadata that says where in its file an entry begins.
const OFFSET: &str = "file_offset";
/// Bits of an origin that are the offset in a file; the others are the generation.
const OFFSET_BITS: u32 = 40;

/// Where a line begins: in which generation, at which offset. Later lines have greater origins.
pub(in crate::tail) fn origin(generation: u64, offset: u64) -> u64 {
    (generation << OFFSET_BITS) | (offset & ((1 << OFFSET_BITS) - 1))
}

pub(in crate::tail) fn place(origin: u64) -> (u64, u64) {
    (origin >> OFFSET_BITS, origin & ((1 << OFFSET_BITS) - 1))
}

/// Where entries go to from one source.
pub(super) struct Sink<'s> {
    pub(super) job: usize,
    pub(super) source: SourceId,
    pub(super) path: &'s Arc<PathBuf>,
    pub(super) owing: &'s mut BTreeMap<BatchId, u64>,
    pub(super) stamps: &'s mut Stamps,
    pub(super) ties: &'s mut Ties,
    pub(super) tenant: &'s mut Option<Arc<str>>,
    pub(super) outbox: &'s mut Outbox,
    pub(super) now: Duration,
    /// Lines before this origin may have been sent by an agent before this one.
    pub(super) repeats_before: u64,
    /// The version of the book that must be saved before this is sent.
    pub(super) needs_version: u64,
    /// Whether entries tell where in their file they begin.
    pub(super) has_offsets: bool,
    /// Whether an entry went out that is made of more than its lines, which is to be noted.
    pub(super) has_stamped: bool,
}

impl Sink<'_> {
    /// What was noted of a line, if it may have been read before.
    pub(super) fn known(&self, origin: u64) -> Option<Box<Made>> {
        (origin < self.repeats_before)
            .then(|| self.ties.known(origin))
            .flatten()
    }

    pub(super) fn take_all(&mut self, entries: &mut Vec<Entry>) {
        for mut entry in entries.drain(..) {
            let origin = entry.origin;
            let (made, timestamp_ns) = (entry.made.take(), entry.timestamp_ns);
            let last = made.as_ref().and_then(|made| made.last);
            if self.ties.is_sent(origin, last.unwrap_or(origin)) {
                continue;
            }
            let (generation, offset) = place(origin);
            if self.has_offsets {
                let at = (OFFSET.to_owned(), offset.to_string());
                entry.metadata.push(at);
            }
            let is_tied = made.is_some_and(|made| self.ties.take(origin, timestamp_ns, &made));
            let is_stamped = self.stamps.is_of(origin, timestamp_ns) || is_tied;
            self.has_stamped |= is_stamped;
            let from = From {
                job: self.job,
                source: self.source,
                generation,
                offset,
                path: self.path,
                is_stamped,
                needs_version: self.needs_version,
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
