//! Where reading begins when a name is met: at the start of the agent, and when a file appears.

use super::generation::{Generation, mtime_ns};
use super::identity::FileId;
use super::known::Known;
use super::rotate::push_unseen;
use super::siblings::siblings;
use super::source::{Desk, Source};
use super::unpack::Packing;
use crate::discover::Found;
use crate::positions::Record;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// What the book knows of files that nobody reads, for one look at all globs.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    by_id: HashMap<FileId, Vec<Record>>,
    by_path: HashMap<PathBuf, Vec<Record>>,
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

    fn of_id(&self, id: FileId, job: &str, names: &Names) -> Vec<&Record> {
        let records = self.by_id.get(&id).into_iter().flatten();
        eligible(records, job, names)
    }

    fn of_path(&self, path: &Path, job: &str, names: &Names) -> Vec<&Record> {
        let records = self.by_path.get(path).into_iter().flatten();
        let mut records = eligible(records, job, names);
        records.sort_by_key(|record| record.mtime_ns);
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
    /// When the globs were looked at before and the name was not there, in nanoseconds since 1970.
    pub(crate) absent_at_ns: Option<i64>,
}

/// Goes on in the file that bears the name, if a record is of this very file and there is none of
/// another file that bore it and is not read to its end.
pub(crate) fn in_place(source: &mut Source, meeting: &Meeting<'_>, desk: &mut Desk<'_>) -> bool {
    if is_packed_and_done(source, meeting) {
        return true;
    }
    let Some((generation, Some(record))) = current(source, meeting, desk) else {
        return false;
    };
    if is_of_another(&source.path, source.target.job, record, desk.known) {
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
    source.push_known(generation, record, desk.known);
    true
}

/// Whether the file is one that another listed name had and that is not read to its end: its lines
/// are known by that name, so they are read under it.
fn is_of_another(path: &Path, job: usize, record: &Record, known: &Known) -> bool {
    !record.is_done && record.path != *path && known.is_listed(job, &record.path)
}

/// As [`is_of_another`], of a file that was not opened yet.
pub(crate) fn may_be_of_another(found: &Found, meeting: &Meeting<'_>, known: &Known) -> bool {
    let Ok(metadata) = std::fs::metadata(&found.path) else {
        return false;
    };
    let (id, target) = (FileId::of(&metadata), &found.target);
    let records = meeting.memory.of_id(id, &target.job_name, meeting.names);
    records
        .iter()
        .any(|record| is_of_another(&found.path, target.job, record, known))
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

/// The file that bears the name, where its record says, and the record if there is one.
fn current<'m>(
    source: &mut Source,
    meeting: &Meeting<'m>,
    desk: &Desk<'_>,
) -> Option<(Generation, Option<&'m Record>)> {
    let no = source.number();
    let opened = match source.target.packing {
        Some(packing) => {
            Generation::open_packed(&source.path, packing, desk.unpacking, desk.now.mono)
        }
        None => Generation::open(no, &source.path, desk.now.mono),
    };
    let opened = opened.inspect_err(|error| {
        tracing::debug!(file = %source.path.display(), %error, "cannot be opened");
    });
    let mut generation = opened.ok()?;
    generation.no = no;
    let memory: &'m Memory = meeting.memory;
    let records = memory.of_id(generation.id, &source.target.job_name, meeting.names);
    let record = records
        .into_iter()
        .find(|record| resume(&mut generation, record));
    Some((generation, record))
}

/// Begins with what was read before of files that bore the name, wherever they are now, then what
/// came and went unseen, then the file that bears the name. False if that cannot be opened.
pub(crate) fn from_the_book(
    source: &mut Source,
    meeting: &Meeting<'_>,
    desk: &mut Desk<'_>,
) -> bool {
    let Some((mut generation, own)) = current(source, meeting, desk) else {
        return false;
    };
    let job = source.target.job;
    let records = meeting
        .memory
        .of_path(&source.path, &source.target.job_name, meeting.names);
    let is_free = |record: &&Record| {
        desk.known.owner(job, record.id).is_none() && own.is_none_or(|own| own.id != record.id)
    };
    let records: Vec<&Record> = records.into_iter().filter(is_free).collect();
    for record in records.iter().filter(|record| !record.is_done) {
        match find(source, record, desk) {
            Some(found) if desk.known.owner(job, found.id).is_none() => {
                adopt(source, record, desk);
                if found.id != record.id {
                    // From now on it is known as the copy.
                    desk.known.book.remove(&record.key());
                }
                source.push_known(found, record, desk.known);
            }
            Some(_) => {}
            None => forget(record, desk),
        }
    }
    let newest = records.iter().map(|record| record.mtime_ns).max();
    let since_ns = match own {
        // The file is known, so what was rotated before it was seen too.
        Some(_) => newest,
        None => newest.or(meeting.absent_at_ns),
    };
    if let Some(since_ns) = since_ns {
        push_unseen(source, since_ns, desk);
    }
    generation.no = source.number();
    match own {
        Some(record) => {
            adopt(source, record, desk);
            source.push_known(generation, record, desk.known);
            return true;
        }
        None if newest.is_none() => import(&mut generation, desk),
        None => {}
    }
    source.push(generation, desk.known);
    true
}

/// Goes on where promtail was.
fn import(generation: &mut Generation, desk: &Desk<'_>) {
    if let Some(offset) = desk.known.book.imported(&generation.path)
        && let Ok(true) = generation.resume_at(offset)
    {
        tracing::info!(file = %generation.path.display(), offset, "goes on where promtail was");
    }
}

/// The file of a record: by its id and its bytes, else by its bytes alone, in a copy.
fn find(source: &mut Source, record: &Record, desk: &Desk<'_>) -> Option<Generation> {
    let mut candidates = vec![record.file.clone()];
    candidates.extend(siblings(&source.path));
    let mut copy = None;
    for path in candidates.into_iter().filter(|path| *path != source.path) {
        // What was packed was written after what it was made of.
        let written_ns = std::fs::metadata(&path).map_or(i64::MIN, |it| mtime_ns(&it));
        if Packing::of_name(&path).is_some() && written_ns < record.mtime_ns {
            continue;
        }
        let opened = Generation::open_rotated(&path, desk.unpacking, desk.now.mono);
        let Ok(mut generation) = opened else {
            continue;
        };
        if !resume(&mut generation, record) {
            continue;
        }
        if generation.id == record.id {
            copy = Some(generation);
            break;
        }
        if record.mark.offset > 0 {
            copy.get_or_insert(generation);
        }
    }
    let mut found = copy?;
    found.no = source.number();
    Some(found)
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
fn adopt(source: &Source, record: &Record, desk: &Desk<'_>) {
    let is_same = record.client == *desk.known.client && record.job == source.target.job_name;
    if !is_same {
        desk.known.book.remove(&record.key());
    }
}

fn forget(record: &Record, desk: &Desk<'_>) {
    desk.known.book.remove(&record.key());
    desk.metrics.files_lost.inc();
    tracing::error!(
        file = %record.file.display(),
        from_offset = record.mark.offset,
        "the file is gone: what was written to it after this offset is lost, if anything was"
    );
}
