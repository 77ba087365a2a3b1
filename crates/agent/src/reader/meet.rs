//! How a reader meets the files that a look at the globs has found: which names are new, and where
//! reading begins under each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Reader;
use crate::clock::Now;
use crate::discover::{Found, Scan, Target};
use crate::tail::desk::Desk;
use crate::tail::generation::{mtime_ns, open_regular};
use crate::tail::identity::FileId;
use crate::tail::restore::{
    Meeting, Memory, earlier_name, from_the_book, in_place, of_no_file, under_earlier_name,
};
use crate::tail::siblings::{Listings, may_come_from};
use crate::tail::source::Source;

/// How long a file that begins like another may be its copy under way, and is left alone.
const COPY_WAIT: Duration = Duration::from_secs(15);

impl Reader {
    /// Takes in what the globs match now.
    pub(super) fn take_scan(&mut self, scan: &Scan, now: Now) {
        self.desk
            .known
            .set_listed(scan.files.keys().cloned().collect());
        let mut new = Vec::new();
        for source in self.sources.values_mut() {
            let found = scan.files.get(&(source.target.job, source.path.clone()));
            source.is_listed = found.is_some();
            if let Some(found) = found {
                source.retarget(found);
            }
        }
        for (key, found) in &scan.files {
            if !self.by_path.contains_key(key) {
                new.push(found);
            }
        }
        let is_first = self.scanned_at_ns.is_none();
        if !new.is_empty() || (is_first && !scan.absent.is_empty()) {
            self.meet(&new, scan, now);
        }
        self.suspects.retain(|key, _| scan.files.contains_key(key));
        self.forget_done(now.mono);
        self.scanned_at_ns = Some(scan.before_ns);
        self.desk.listings = Listings::default();
    }

    /// Begins to read files that were not there before: first those that are where the book has
    /// them, so that the others are not taken for what they are not; then those that the book has
    /// under other names, under these; then the others.
    fn meet(&mut self, new: &[&Found], scan: &Scan, now: Now) {
        let records = self.desk.known.book.records();
        let mut memory = Memory::new(records, &self.config.client, &self.config.names);
        let mut rest = Vec::new();
        for found in new {
            memory.see(&found.path);
            if self.is_spoken_for(found) || !self.begin(found, &memory, now, in_place) {
                rest.push(*found);
            }
        }
        for found in self.earlier_names(&rest, scan, &memory) {
            self.begin(&found, &memory, now, under_earlier_name);
        }
        for found in rest {
            let is_begun = self.is_begun(found.target.job, &found.path);
            if is_begun || self.is_spoken_for(found) || self.is_copy_under_way(found, now) {
                continue;
            }
            self.begin(found, &memory, now, from_the_book);
        }
        if self.scanned_at_ns.is_none() {
            // While one looks, names are followed over their rotations.
            for found in &scan.absent {
                if !self.is_begun(found.target.job, &found.path) {
                    self.begin(found, &memory, now, of_no_file);
                }
            }
        }
    }

    /// Names that these files had and under which they are read to their end.
    fn earlier_names(&self, rest: &[&Found], scan: &Scan, memory: &Memory) -> Vec<Found> {
        let meeting = Meeting {
            memory,
            names: &self.config.names,
            absent_at_ns: self.config.absent_at_ns,
        };
        let mut earlier = BTreeMap::new();
        for found in rest {
            let job = found.target.job;
            if let Some(path) = earlier_name(found, &meeting)
                && !self.is_begun(job, &path)
            {
                let key = (job, path.clone());
                let listed = scan.files.get(&key).cloned();
                let target = found.target.clone();
                earlier.insert(key, listed.unwrap_or(Found { path, target }));
            }
        }
        earlier.into_values().collect()
    }

    fn is_begun(&self, job: usize, path: &Path) -> bool {
        self.by_path.contains_key(&(job, path.to_owned()))
    }

    /// Begins to read a file, if `how` has found something to be read.
    pub(super) fn begin(
        &mut self,
        found: &Found,
        memory: &Memory,
        now: Now,
        how: impl FnOnce(&mut Source, &Meeting<'_>, &mut Desk) -> bool,
    ) -> bool {
        if is_still_packed(found, now) {
            return false;
        }
        let Some(pipeline) = self.pipelines.get(found.target.job) else {
            return false;
        };
        let id = self.next_id;
        let mut source = Source::new(id, found, pipeline.fork(), &self.desk.metrics);
        let meeting = Meeting {
            memory,
            names: &self.config.names,
            absent_at_ns: self.absent_at_ns(&found.target),
        };
        self.desk.now = now;
        let has_begun = how(&mut source, &meeting, &mut self.desk);
        if has_begun {
            self.next_id += 1;
            self.suspects
                .remove(&(found.target.job, found.path.clone()));
            self.add(source, now);
        }
        has_begun
    }

    /// A time at which a name that a target has now was not there, or nobody had asked for it.
    fn absent_at_ns(&self, target: &Target) -> i64 {
        match self.scanned_at_ns {
            // The files of a pod are made for it alone, and may have been rotated before anybody
            // told that there is such a pod, however often the globs were looked at meanwhile.
            Some(scanned_at_ns) if !target.is_of_pod() => scanned_at_ns,
            _ => self.config.absent_at_ns,
        }
    }

    fn add(&mut self, source: Source, now: Now) {
        let id = source.id;
        for path in notice_paths(&source.path) {
            self.by_notice.entry(path).or_default().push(id);
        }
        self.by_path
            .insert((source.target.job, source.path.clone()), id);
        self.sources.insert(id, source);
        self.changes += 1;
        self.with(id, now, |source, desk| source.note(desk));
        self.queue(id);
    }

    /// Whether the file is read under another name, as it was rotated or has two names.
    fn is_spoken_for(&self, found: &Found) -> bool {
        let id = std::fs::metadata(&found.path).map(|metadata| FileId::of(&metadata));
        id.is_ok_and(|id| self.desk.known.owner(found.target.job, id).is_some())
    }

    /// Whether the file begins like one that is read and has a name that rotation may have given:
    /// then that one may be about to be truncated, and goes on here.
    fn is_copy_under_way(&mut self, found: &Found, now: Now) -> bool {
        if self.scanned_at_ns.is_none() {
            // Nothing was read yet that could have been copied.
            return false;
        }
        let originals = self.sources.values().filter(|source| {
            source.target.job == found.target.job && may_come_from(&source.path, &found.path)
        });
        let Ok(file) = open_regular(&found.path) else {
            return false;
        };
        let begins_like = |source: &Source| {
            source.current().is_some_and(|current| {
                let mark = current.mark();
                let is_whole = mark.offset > 0 && mark.holds_in(&file).unwrap_or(false);
                is_whole || mark.begins_like(current.file(), &file).unwrap_or(false)
            })
        };
        let mut originals = originals;
        if !originals.any(begins_like) {
            return false;
        }
        let key = (found.target.job, found.path.clone());
        let since = *self.suspects.entry(key).or_insert(now.mono);
        now.mono < since + COPY_WAIT
    }
}

/// Whether a packed file may still be written.
fn is_still_packed(found: &Found, now: Now) -> bool {
    let wait_ns = i64::try_from(found.target.packed_after.as_nanos()).unwrap_or(i64::MAX);
    let written_ns = std::fs::metadata(&found.path).map_or(i64::MIN, |it| mtime_ns(&it));
    found.target.packing.is_some() && written_ns.saturating_add(wait_ns) > now.wall_ns
}

/// The paths under which changes of the file are told: its own and, if that is a link, the one it
/// leads to.
fn notice_paths(path: &Path) -> Vec<PathBuf> {
    let mut paths = vec![path.to_owned()];
    if let Ok(resolved) = std::fs::canonicalize(path)
        && resolved != path
    {
        paths.push(resolved);
    }
    paths
}
