//! What happens when a name passes to another file, or a file begins anew.

use std::cmp::Reverse;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::generation::{Generation, mtime_ns, open_regular};
use super::identity::{FileId, Mark};
use super::known::Known;
use super::siblings::{count, siblings};
use super::source::{Desk, Source, lost};

/// The name passed to a file with this id: what was read so far is read to its end, then what came
/// and went unseen, then the new file.
pub(super) fn to_new_file(source: &mut Source, id: FileId, desk: &mut Desk<'_>) {
    let now = desk.now.mono;
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
    for generation in &mut source.generations {
        generation.is_rotated = true;
        generation.look(now);
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
fn push_current(source: &mut Source, desk: &mut Desk<'_>) {
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
                Some((Ok(true), record)) => source.push_known(generation, &record, desk.known),
                Some((Err(error), _)) => {
                    tracing::warn!(file = %path.display(), %error, "cannot be read");
                    source.push(generation, desk.known);
                }
                Some((Ok(false), _)) | None => source.push(generation, desk.known),
            }
        }
        Err(error) => tracing::debug!(file = %path.display(), %error, "cannot be opened"),
    }
}

/// Adds the files that rotation made of this name and that nobody has read, if they were written
/// since `since_ns`, in the order in which they were written.
pub(super) fn push_unseen(source: &mut Source, since_ns: i64, desk: &mut Desk<'_>) {
    for path in unseen(source, since_ns, desk.known) {
        let no = source.number();
        match Generation::open(no, &path, desk.now.mono) {
            Ok(mut generation) => {
                generation.is_rotated = true;
                tracing::debug!(file = %path.display(), "rotated unseen, to be read");
                source.push(generation, desk.known);
            }
            Err(error) => tracing::warn!(file = %path.display(), %error, "cannot be opened"),
        }
    }
}

fn unseen(source: &Source, since_ns: i64, known: &Known) -> Vec<PathBuf> {
    let job = source.target.job;
    let is_unseen = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        let id = FileId::of(&metadata);
        let modified_ns = mtime_ns(&metadata);
        if modified_ns < since_ns || known.is_listed(job, path) || known.owner(job, id).is_some() {
            return None;
        }
        let file = open_regular(path).ok()?;
        let is_read = known.record(&source.target.job_name, id, &file).is_some()
            || is_copy_of_one_that_is_read(source, &file);
        (!is_read).then_some(modified_ns)
    };
    let mut found: Vec<(i64, PathBuf)> = siblings(&source.path)
        .into_iter()
        .filter_map(|path| Some((is_unseen(&path)?, path)))
        .collect();
    // The file system's clock may tick more slowly than files are rotated; then counts tell.
    let age = |path: &PathBuf| Reverse(count(&source.path, path));
    found.sort_by(|(a_ns, a), (b_ns, b)| (a_ns, age(a), a).cmp(&(b_ns, age(b), b)));
    found.into_iter().map(|(_, path)| path).collect()
}

fn is_copy_of_one_that_is_read(source: &Source, file: &fs::File) -> bool {
    source.generations.iter().any(|generation| {
        let mark = generation.mark();
        mark.offset > 0 && mark.holds_in(file).unwrap_or(false)
    })
}

/// The file at `at` is not what was read any more: it was truncated, perhaps after it was copied.
/// The copy, if there is one, is read to its end; then the file from its beginning.
pub(super) fn truncated(source: &mut Source, at: usize, desk: &mut Desk<'_>) {
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
    let copy = find_copy(source, old.mark(), now, desk.known);
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
            lost(old, "truncated before it was read", desk.metrics);
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
fn find_copy(source: &Source, mark: Mark, now: Duration, known: &Known) -> Option<Generation> {
    if mark.offset == 0 {
        return None;
    }
    siblings(&source.path).into_iter().find_map(|path| {
        let copy = Generation::of_file(0, &path, open_regular(&path).ok()?, now).ok()?;
        let is_free = known.owner(source.target.job, copy.id).is_none();
        (is_free && mark.holds_in(copy.file()).unwrap_or(false)).then_some(copy)
    })
}
