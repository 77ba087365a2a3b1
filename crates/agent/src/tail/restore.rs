//! Where reading begins when a name is met: at the start of the agent, and when a file appears.

use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::desk::Desk;
use super::generation::{Generation, mtime_ns, open_regular};
use super::identity::FileId;
use super::known::Known;
use super::rotate::push_unseen;
use super::siblings::siblings;
use super::source::Source;
use super::unpack::Packing;
use crate::discover::{Found, Target};
use crate::positions::Record;

/// How often a file is looked for again in a directory that changes.
const LOOKS_AGAIN: usize = 10;
/// How long ago a directory that changes has changed.
const JUST_NOW: Duration = Duration::from_secs(1);

/// What the book knows of files that nobody reads, for one look at all globs.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    by_id: HashMap<FileId, Vec<Record>>,
    by_path: HashMap<PathBuf, Vec<Record>>,
    /// Where files of which there are records were seen just now.
    there: HashMap<FileId, PathBuf>,
}

/// Names that are configured now. Records of other ones are free to be taken over, so that a job or
/// a client can be renamed.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) clients: HashSet<String>,
    pub(crate) jobs: HashSet<String>,
}

impl Memory {
    /// The records that may be of use to a client.
    pub(crate) fn new(records: Vec<Record>, client: &str, names: &Names) -> Self {
        let mut memory = Self::default();
        for record in records {
            let is_ours = record.client == client || !names.clients.contains(&record.client);
            if is_ours {
                memory
                    .by_id
                    .entry(record.id)
                    .or_default()
                    .push(record.clone());
                memory
                    .by_path
                    .entry(record.path.clone())
                    .or_default()
                    .push(record);
            }
        }
        memory
    }

    /// Takes in where a file is, if there is a record of it.
    pub(crate) fn see(&mut self, path: &Path) {
        if let Ok(metadata) = std::fs::metadata(path) {
            let id = FileId::of(&metadata);
            if self.by_id.contains_key(&id) {
                self.there.insert(id, path.to_owned());
            }
        }
    }

    fn of_id(&self, id: FileId, job: &str, names: &Names) -> Vec<&Record> {
        let records = self.by_id.get(&id).into_iter().flatten();
        eligible(records, job, names)
    }

    fn of_path(&self, path: &Path, job: &str, names: &Names) -> Vec<&Record> {
        let records = self.by_path.get(path).into_iter().flatten();
        let mut records = eligible(records, job, names);
        // Times of files are coarse, and a version that was before this one knew no other order.
        records.sort_by_key(|record| (record.no, record.mtime_ns));
        records
    }
}

/// Records of the job, before those of jobs that are no more.
fn eligible<'r>(
    records: impl Iterator<Item = &'r Record>,
    job: &str,
    names: &Names,
) -> Vec<&'r Record> {
    let mut found: Vec<&Record> = records
        .filter(|record| record.job == job || !names.jobs.contains(&record.job))
        .collect();
    found.sort_by_key(|record| record.job != job);
    found
}

/// What is known besides the records when a name is met.
pub(crate) struct Meeting<'m> {
    pub(crate) memory: &'m Memory,
    pub(crate) names: &'m Names,
    /// A time, in nanoseconds since 1970, at which the name was not there or nobody had asked for it:
    /// what was rotated and was written last before it is an archive.
    pub(crate) absent_at_ns: i64,
}

/// Goes on in the file that bears the name, if a record is of this very file and there is none of
/// another file that bore it and is not read to its end.
pub(crate) fn in_place(source: &mut Source, meeting: &Meeting<'_>, desk: &mut Desk) -> bool {
    if is_packed_and_done(source, meeting) {
        return true;
    }
    let Some((generation, Some(record))) = current(source, meeting, desk) else {
        return false;
    };
    if is_known_otherwise(&source.path, &source.target, record) {
        return false;
    }
    let of_path = meeting
        .memory
        .of_path(&source.path, &source.target.job_name, meeting.names);
    if of_path
        .iter()
        .any(|other| !other.is_done && other.id != record.id)
    {
        return false;
    }
    adopt(source, record, desk);
    source.push_known(generation, record, &mut desk.known);
    true
}

/// Whether the file is not read to its end and known by another name that the target takes too.
/// Lines that come again must come under the name they had, or they would be in another stream.
fn is_known_otherwise(path: &Path, target: &Target, record: &Record) -> bool {
    !record.is_done
        && record.path != *path
        && record.job == target.job_name
        && target.takes(&record.path)
}

/// The other name, as in [`is_known_otherwise`], of a file that bears a name of its own now. Names
/// pass on while a directory is looked at, so that the other one may well not have been seen.
pub(crate) fn earlier_name(found: &Found, meeting: &Meeting<'_>) -> Option<PathBuf> {
    let file = open_regular(&found.path).ok()?;
    let metadata = file.metadata().ok()?;
    let job = &found.target.job_name;
    let records = meeting
        .memory
        .of_id(FileId::of(&metadata), job, meeting.names);
    let is_this = |record: &&Record| {
        is_known_otherwise(&found.path, &found.target, record)
            && !is_younger(&metadata, record)
            && record.mark.holds_in(&file).unwrap_or(false)
    };
    let record = records.into_iter().find(is_this)?;
    Some(record.path.clone())
}

/// Whether a file of which nothing was done with came to be after the one of the record: then it
/// was given the inode of that one.
fn is_younger(metadata: &Metadata, record: &Record) -> bool {
    // Not every file system knows when a file came to be.
    let born = metadata
        .created()
        .ok()
        .and_then(|at| Timestamp::try_from(at).ok());
    record.mark.offset == 0
        && born.is_some_and(|born| born.as_nanosecond() > i128::from(record.mtime_ns))
}

/// Whether it need not be unpacked again.
fn is_packed_and_done(source: &Source, meeting: &Meeting<'_>) -> bool {
    let Ok(metadata) = std::fs::metadata(&source.path) else {
        return false;
    };
    let (id, job) = (FileId::of(&metadata), &source.target.job_name);
    let records = meeting.memory.of_id(id, job, meeting.names);
    let is_same = |record: &&Record| record.is_done && record.mtime_ns == mtime_ns(&metadata);
    source.target.packing.is_some() && records.iter().any(is_same)
}

/// The file that bears the name, where its record says, and the record if there is one. Nothing if
/// it is read already: a name may pass to such a file at any moment.
pub(crate) fn current<'m>(
    source: &mut Source,
    meeting: &Meeting<'m>,
    desk: &Desk,
) -> Option<(Generation, Option<&'m Record>)> {
    let no = source.number();
    let opened = match source.target.packing {
        Some(packing) => {
            Generation::open_packed(&source.path, packing, &desk.unpacking, desk.now.mono)
        }
        None => Generation::open(no, &source.path, desk.now.mono),
    };
    let opened = opened.inspect_err(|error| {
        tracing::debug!(file = %source.path.display(), %error, "cannot be opened");
    });
    let mut generation = opened.ok()?;
    if is_read(source, &generation, desk) {
        return None;
    }
    generation.no = no;
    let memory: &'m Memory = meeting.memory;
    let records = memory.of_id(generation.id, &source.target.job_name, meeting.names);
    let record = records
        .into_iter()
        .find(|record| resume(&mut generation, record));
    Some((generation, record))
}

fn is_read(source: &Source, generation: &Generation, desk: &Desk) -> bool {
    desk.known.owner(source.target.job, generation.id).is_some()
}

/// Begins with what was read before of files that bore the name, wherever they are now, then what
/// came and went unseen, then the file that bears the name. False if that cannot be opened.
pub(crate) fn from_the_book(source: &mut Source, meeting: &Meeting<'_>, desk: &mut Desk) -> bool {
    let Some((generation, own)) = current(source, meeting, desk) else {
        return false;
    };
    push_recorded(source, own, meeting, desk);
    push_current(source, generation, own, meeting, desk);
    true
}

/// As [`from_the_book`], for a name that may have passed to a file that is known by another one, or
/// to none. False if there is no file to be read under it.
pub(crate) fn under_earlier_name(
    source: &mut Source,
    meeting: &Meeting<'_>,
    desk: &mut Desk,
) -> bool {
    let current = current(source, meeting, desk);
    let is_other = |own: &Record| is_known_otherwise(&source.path, &source.target, own);
    let current = current.filter(|(_, own)| own.is_none_or(|own| !is_other(own)));
    let own = current.as_ref().and_then(|(_, own)| *own);
    push_recorded(source, own, meeting, desk);
    if let Some((generation, own)) = current {
        push_current(source, generation, own, meeting, desk);
    }
    !source.generations.is_empty()
}

/// Reads the files that bore a name which no file has now. False if there is nothing to be read.
pub(crate) fn of_no_file(source: &mut Source, meeting: &Meeting<'_>, desk: &mut Desk) -> bool {
    let newest = newest_other(source, None, meeting);
    push_recorded(source, None, meeting, desk);
    push_unseen(source, newest.unwrap_or(meeting.absent_at_ns), desk);
    !source.generations.is_empty()
}

/// When a file that bore the name, other than the one of the record, was modified last.
fn newest_other(source: &Source, own: Option<&Record>, meeting: &Meeting<'_>) -> Option<i64> {
    let job = &source.target.job_name;
    let of_path = meeting.memory.of_path(&source.path, job, meeting.names);
    let others = of_path
        .iter()
        .filter(|record| own.is_none_or(|own| own.id != record.id));
    others.map(|record| record.mtime_ns).max()
}

/// Adds the files that bore the name and are not read to their end.
fn push_recorded(
    source: &mut Source,
    own: Option<&Record>,
    meeting: &Meeting<'_>,
    desk: &mut Desk,
) {
    let job = source.target.job;
    for record in others_of_the_name(source, own, meeting, &desk.known) {
        if record.is_done {
            continue;
        }
        match find(source, record, meeting, desk) {
            Some(found) if desk.known.owner(job, found.id).is_none() => {
                adopt(source, record, desk);
                if found.id != record.id {
                    // From now on it is known as the copy.
                    desk.known.book.remove(&record.key());
                }
                source.push_known(found, record, &mut desk.known);
            }
            Some(_) => {}
            None => forget(record, desk),
        }
    }
}

/// Records of other files that bore the name, of which none is read now.
fn others_of_the_name<'m>(
    source: &Source,
    own: Option<&Record>,
    meeting: &Meeting<'m>,
    known: &Known,
) -> Vec<&'m Record> {
    let target = &source.target;
    let memory: &'m Memory = meeting.memory;
    let mut records = memory.of_path(&source.path, &target.job_name, meeting.names);
    records.retain(|record| {
        known.owner(target.job, record.id).is_none() && own.is_none_or(|own| own.id != record.id)
    });
    records
}

/// Adds what came and went unseen, and the file that bears the name.
pub(crate) fn push_current(
    source: &mut Source,
    mut generation: Generation,
    own: Option<&Record>,
    meeting: &Meeting<'_>,
    desk: &mut Desk,
) {
    let newest = newest_other(source, own, meeting);
    let since_ns = match own {
        // The file is known, so what was rotated before it was seen too.
        Some(_) => newest,
        None => Some(newest.unwrap_or(meeting.absent_at_ns)),
    };
    if let Some(since_ns) = since_ns {
        push_unseen(source, since_ns, desk);
    }
    if is_read(source, &generation, desk) {
        // It was rotated since it was opened, and is among those.
        return;
    }
    generation.no = source.number();
    match own {
        Some(record) => {
            adopt(source, record, desk);
            source.push_known(generation, record, &mut desk.known);
            return;
        }
        None if newest.is_none() => import(&mut generation, desk),
        None => {}
    }
    source.push(generation, &mut desk.known);
}

/// Goes on where promtail was.
fn import(generation: &mut Generation, desk: &Desk) {
    if let Some(offset) = desk.known.book.imported(&generation.path)
        && let Ok(true) = generation.resume_at(offset)
    {
        tracing::info!(file = %generation.path.display(), offset, "goes on where promtail was");
    }
}

/// The file of a record: by its id and its bytes, else by its bytes alone, in a copy. Names pass
/// from file to file while they are looked at; a file that is not found is looked for again.
fn find(
    source: &mut Source,
    record: &Record,
    meeting: &Meeting<'_>,
    desk: &Desk,
) -> Option<Generation> {
    let mut found = find_once(source, record, meeting, desk);
    for _ in 0..LOOKS_AGAIN {
        let is_found = found.as_ref().is_some_and(|found| found.id == record.id);
        if is_found || !has_just_changed(&source.path, desk) {
            break;
        }
        found = find_once(source, record, meeting, desk);
    }
    let mut found = found?;
    found.no = source.number();
    Some(found)
}

/// Whether names came or went in the directory of a file a moment ago.
fn has_just_changed(path: &Path, desk: &Desk) -> bool {
    let metadata = path
        .parent()
        .and_then(|directory| directory.metadata().ok());
    metadata.is_some_and(|metadata| {
        desk.now.wall_ns.abs_diff(mtime_ns(&metadata)) < JUST_NOW.as_nanos() as u64
    })
}

fn find_once(
    source: &Source,
    record: &Record,
    meeting: &Meeting<'_>,
    desk: &Desk,
) -> Option<Generation> {
    let mut candidates = vec![record.file.clone()];
    candidates.extend(meeting.memory.there.get(&record.id).cloned());
    candidates.extend(siblings(&source.path));
    candidates.extend(names_of_inode(record));
    let mut copy = None;
    for path in candidates.into_iter().filter(|path| *path != source.path) {
        // What was packed was written after what it was made of.
        let written_ns = std::fs::metadata(&path).map_or(i64::MIN, |it| mtime_ns(&it));
        if Packing::of_name(&path).is_some() && written_ns < record.mtime_ns {
            continue;
        }
        let opened = Generation::open_rotated(&path, &desk.unpacking, desk.now.mono);
        let Ok(mut generation) = opened else {
            continue;
        };
        if !resume(&mut generation, record) {
            continue;
        }
        if generation.id == record.id {
            return Some(generation);
        }
        if record.mark.offset > 0 {
            copy.get_or_insert(generation);
        }
    }
    copy
}

/// Names that lead to the inode of a record, in the directory where its file was seen last.
fn names_of_inode(record: &Record) -> Vec<PathBuf> {
    let directory = record.file.parent().map(std::fs::read_dir);
    let entries = directory.into_iter().flatten().flatten().flatten();
    let its = entries.filter(|entry| entry.ino() == record.id.ino);
    its.map(|entry| entry.path()).collect()
}

fn resume(generation: &mut Generation, record: &Record) -> bool {
    match generation.resume(record.mark) {
        Ok(is_same) => is_same,
        Err(error) => {
            tracing::warn!(file = %generation.path.display(), %error, "cannot be read");
            false
        }
    }
}

/// The record will be noted again under the names of the source.
fn adopt(source: &Source, record: &Record, desk: &Desk) {
    let is_same = record.client == *desk.known.client && record.job == source.target.job_name;
    if !is_same {
        desk.known.book.remove(&record.key());
    }
}

fn forget(record: &Record, desk: &Desk) {
    desk.known.book.remove(&record.key());
    desk.metrics.files_lost.inc();
    tracing::error!(
        file = %record.file.display(),
        from_offset = record.mark.offset,
        "the file is gone: what was written to it after this offset is lost, if anything was"
    );
}
