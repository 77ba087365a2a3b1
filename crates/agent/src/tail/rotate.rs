//! What happens when a name passes to another file, or a file begins anew.

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::desk::Desk;
use super::generation::{Generation, Unpacking, mtime_ns};
use super::identity::FileId;
use super::known::Known;
use super::siblings::{count, date, siblings};
use super::source::{Source, lost};
use super::unpack::Packing;
use crate::positions::Record;

/// The name passed to a file with this id: what was read so far is read to its end, then what came
/// and went unseen, then the new file.
pub(super) fn to_new_file(source: &mut Source, id: FileId, desk: &mut Desk) {
    let now = desk.now.mono;
    for generation in &mut source.generations {
        generation.is_rotated = true;
        generation.look(now);
    }
    if let Some(own) = source
        .generations
        .iter_mut()
        .find(|generation| generation.id == id)
    {
        // It had the name before and has it again.
        own.path.clone_from(&source.path);
        return;
    }
    if desk.known.owner(source.target.job, id).is_some() {
        // A file that is read under another name was given this one.
        return;
    }
    let newest = source
        .generations
        .iter()
        .map(|generation| generation.mtime_ns)
        .max();
    if let Some(newest) = newest {
        push_unseen(source, newest, desk);
    }
    push_current(source, desk);
}

/// Opens the file that bears the name now.
fn push_current(source: &mut Source, desk: &mut Desk) {
    let path = source.path.clone();
    let no = source.number();
    match Generation::open(no, &path, desk.now.mono) {
        Ok(mut generation) => {
            if desk.known.owner(source.target.job, generation.id).is_some() {
                return;
            }
            let record =
                desk.known
                    .record(&source.target.job_name, generation.id, generation.file());
            let resumed = record.map(|record| (generation.resume(record.mark), record));
            match resumed {
                Some((Ok(true), record)) => source.push_known(generation, &record, &mut desk.known),
                Some((Err(error), _)) => {
                    tracing::warn!(file = %path.display(), %error, "cannot be read");
                    source.push(generation, &mut desk.known);
                }
                Some((Ok(false), _)) | None => source.push(generation, &mut desk.known),
            }
        }
        Err(error) => tracing::debug!(file = %path.display(), %error, "cannot be opened"),
    }
}

/// Adds the files that rotation made of this name and that nobody has read, if they were written
/// since `since_ns`, in the order in which they were written.
pub(super) fn push_unseen(source: &mut Source, since_ns: i64, desk: &mut Desk) {
    for (mut generation, record) in unseen(source, since_ns, desk) {
        generation.no = source.number();
        tracing::debug!(file = %generation.path.display(), "rotated unseen, to be read");
        match record {
            Some(record) => {
                desk.known.book.remove(&record.key());
                source.push_known(generation, &record, &mut desk.known);
            }
            None => source.push(generation, &mut desk.known),
        }
    }
}

/// Files that rotation made and nobody reads, each with what the book has of its bytes if they were
/// read in part.
fn unseen(source: &Source, since_ns: i64, desk: &mut Desk) -> Vec<(Generation, Option<Record>)> {
    let siblings = desk.listings.siblings(&source.path);
    if siblings.is_empty() {
        return Vec::new();
    }
    let desk = &*desk;
    let (job, known) = (source.target.job, &desk.known);
    let family = known.family(&source.target.job_name, &source.path);
    let unseen = |path: PathBuf| {
        let metadata = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
        let is_old = mtime_ns(&metadata) < since_ns;
        let is_read = known.owner(job, FileId::of(&metadata)).is_some();
        if is_old || is_read || known.is_listed(job, &path) {
            return None;
        }
        let opened = Generation::open_rotated(&path, &desk.unpacking, desk.now.mono);
        let opened = opened.inspect_err(|error| {
            tracing::warn!(file = %path.display(), %error, "cannot be opened");
        });
        let generation = opened.ok()?;
        // The name may have passed to another file meanwhile.
        let (id, file) = (generation.id, generation.file());
        if known.owner(job, id).is_some()
            || known.record(&source.target.job_name, id, file).is_some()
            || is_copy_of_one_that_is_read(source, file)
        {
            return None;
        }
        of_the_family(generation, &family, job, known)
    };
    let mut found: Vec<_> = siblings.into_iter().filter_map(unseen).collect();
    in_order(&mut found, &source.path);
    found
}

/// A file that was read may be packed by now: another file with the same bytes. Nothing if all of
/// it was read, or is being read.
fn of_the_family(
    mut generation: Generation,
    family: &[Record],
    job: usize,
    known: &Known,
) -> Option<(Generation, Option<Record>)> {
    for record in family.iter().filter(|record| record.mark.offset > 0) {
        let is_whole = record.mark.offset == generation.end;
        if (record.is_done && !is_whole) || !generation.resume(record.mark).unwrap_or(false) {
            continue;
        }
        if is_whole || known.owner(job, record.id).is_some() {
            return None;
        }
        return Some((generation, Some(record.clone())));
    }
    Some((generation, None))
}

/// Sorts files by the order in which they were written. Names tell it best, since a file that is
/// packed is written anew; else the time of the last write.
fn in_order(found: &mut [(Generation, Option<Record>)], original: &Path) {
    type One = (Generation, Option<Record>);
    let dated = |one: &One| date(original, &one.0.path);
    let counted = |one: &One| count(original, &one.0.path);
    if found.iter().all(|one| dated(one).is_some()) {
        found.sort_by_key(dated);
    } else if found.iter().all(|one| counted(one).is_some()) {
        found.sort_by_key(|one| Reverse(counted(one)));
    } else {
        found.sort_by(|(a, _), (b, _)| (a.mtime_ns, &a.path).cmp(&(b.mtime_ns, &b.path)));
    }
}

fn is_copy_of_one_that_is_read(source: &Source, file: &fs::File) -> bool {
    source.generations.iter().any(|generation| {
        let mark = generation.mark();
        mark.offset > 0 && mark.holds_in(file).unwrap_or(false)
    })
}

/// The file at `at` is not what was read any more: it was truncated, perhaps after it was copied.
/// The copy, if there is one, is read to its end; then the file from its beginning.
pub(super) fn truncated(source: &mut Source, at: usize, desk: &mut Desk) {
    let (job, no, now) = (source.target.job, source.number(), desk.now.mono);
    let Some(old) = source.generations.get(at) else {
        return;
    };
    let anew = match old.begin_again(no, now) {
        Ok(anew) => anew,
        Err(error) => {
            tracing::warn!(file = %old.path.display(), %error, "cannot be read");
            return;
        }
    };
    let copy = find_copy(source, old, now, &desk.known, &desk.unpacking);
    let Some(old) = source.generations.get_mut(at) else {
        return;
    };
    match copy {
        Some(copy) => {
            tracing::debug!(copy = %copy.path.display(), "truncated after it was copied");
            desk.known.claim(job, copy.id, source.id);
            old.go_on_in(copy);
        }
        None => {
            tracing::info!(file = %old.path.display(), at = old.mark().offset, "truncated");
            lost(old, "truncated before it was read", &desk.metrics);
            old.is_over = true;
            old.is_rotated = true;
        }
    }
    let is_last = at + 1 == source.generations.len();
    let mut anew = anew;
    anew.is_rotated = !is_last;
    desk.known.claim(job, anew.id, source.id);
    source.generations.insert(at + 1, anew);
}

/// A file next to this one that nobody reads, with the bytes that were read.
fn find_copy(
    source: &Source,
    original: &Generation,
    now: Duration,
    known: &Known,
    unpacking: &Unpacking,
) -> Option<Generation> {
    let mark = original.mark();
    if mark.offset == 0 {
        return None;
    }
    siblings(&source.path).into_iter().find_map(|path| {
        let written_ns = mtime_ns(&fs::metadata(&path).ok()?);
        if Packing::of_name(&path).is_some() && written_ns < original.mtime_ns {
            return None;
        }
        let copy = Generation::open_rotated(&path, unpacking, now).ok()?;
        let is_free = known.owner(source.target.job, copy.id).is_none();
        (is_free && mark.holds_in(copy.file()).unwrap_or(false)).then_some(copy)
    })
}
