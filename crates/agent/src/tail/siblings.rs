//! Names that rotation gives to what was `app.log`: `app.log.1`, `app.log-20240131`,
//! `app.log.20240131-120000`, `app-2024-01-31T12-00-00.000.log`, `app.1.log`, `app.log.old`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long ago a directory must have changed for its names to be remembered: file systems tell
/// times apart that are so far from each other.
const UNCHANGED: Duration = Duration::from_secs(2);

/// Whether `name` may be what rotation made of `original`.
pub(crate) fn is_rotated_name(original: &str, name: &str) -> bool {
    mark_of(original, unpacked(name)).is_some_and(is_rotation_mark)
}

/// The names of which rotation may have made this one.
pub(crate) fn originals(name: &str) -> Vec<String> {
    let name = unpacked(name);
    let mut originals = Vec::new();
    for (at, _) in name.match_indices(['.', '-', '_']) {
        let (stem, rest) = name.split_at(at);
        if stem.is_empty() {
            continue;
        }
        if is_rotation_mark(rest) {
            originals.push(stem.to_owned());
        }
        if let Some((mark, extension)) = rest.rsplit_once('.')
            && is_rotation_mark(mark)
        {
            originals.push(format!("{stem}.{extension}"));
        }
    }
    originals
}

/// What a name has more than the original.
fn mark_of<'n>(original: &str, name: &'n str) -> Option<&'n str> {
    if let Some(suffix) = name.strip_prefix(original) {
        return Some(suffix);
    }
    let (stem, extension) = original.rsplit_once('.')?;
    let rest = name.strip_prefix(stem)?;
    rest.strip_suffix(extension)?.strip_suffix('.')
}

/// A name without the ending of a packed file.
fn unpacked(name: &str) -> &str {
    let packed = [".gz", ".zst", ".bz2"].into_iter();
    let mut stems = packed.filter_map(|ending| name.strip_suffix(ending));
    stems.next().unwrap_or(name)
}

/// `.1`, `-20240131`, `.2024-01-31T12-00-00.000`, `.old` and the like.
fn is_rotation_mark(text: &str) -> bool {
    let Some(mark) = text.strip_prefix(['.', '-', '_']) else {
        return false;
    };
    let is_count_or_date = mark.starts_with(|c: char| c.is_ascii_digit())
        && mark
            .chars()
            .all(|c| c.is_ascii_digit() || "TZ.-_:+".contains(c));
    is_count_or_date || ["old", "bak", "prev", "previous"].contains(&mark)
}

/// What rotation may have made of the file at `path`, in its directory. Also in the directory that
/// the path, if it is a link, leads to.
pub(crate) fn siblings(path: &Path) -> Vec<PathBuf> {
    Listings::default().siblings(path)
}

/// The names in directories, as long as these do not change: where thousands of files begin to be
/// read at once, their directory is read once and not a thousand times.
#[derive(Debug, Default)]
pub(crate) struct Listings(HashMap<PathBuf, Listing>);

/// The names in a directory, in their order.
#[derive(Clone, Debug)]
struct Listing {
    changed: Option<SystemTime>,
    names: Arc<[String]>,
}

impl Listings {
    /// As [`siblings`].
    pub(crate) fn siblings(&mut self, path: &Path) -> Vec<PathBuf> {
        let mut found = self.in_directory_of(path);
        if let Ok(resolved) = fs::canonicalize(path)
            && resolved.parent() != path.parent()
        {
            found.extend(self.in_directory_of(&resolved));
        }
        found
    }

    fn in_directory_of(&mut self, path: &Path) -> Vec<PathBuf> {
        let (Some(directory), Some(original)) = (path.parent(), name_of(path)) else {
            return Vec::new();
        };
        let directory = if directory.as_os_str().is_empty() {
            Path::new(".")
        } else {
            directory
        };
        let names = self.names_in(directory);
        // All of them begin like the original without its extension.
        let stem = original.rsplit_once('.').map_or(original, |(stem, _)| stem);
        let first = names.partition_point(|name| name.as_str() < stem);
        let alike = names.iter().skip(first);
        alike
            .take_while(|name| name.starts_with(stem))
            .filter(|name| is_rotated_name(original, name))
            .map(|name| directory.join(name))
            .collect()
    }

    fn names_in(&mut self, directory: &Path) -> Arc<[String]> {
        let metadata = fs::metadata(directory);
        let changed = metadata.and_then(|metadata| metadata.modified()).ok();
        let known = self.0.get(directory);
        if let Some(known) = known.filter(|known| known.changed == changed && changed.is_some()) {
            return known.names.clone();
        }
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        let listing = Listing {
            changed,
            names: names.into(),
        };
        let names = listing.names.clone();
        // One that changed a moment ago may change again and not be seen to have.
        let age = changed.and_then(|changed| changed.elapsed().ok());
        if age.is_some_and(|age| age > UNCHANGED) {
            self.0.insert(directory.to_owned(), listing);
        } else {
            self.0.remove(directory);
        }
        names
    }
}

/// The count in a name that rotation counts up, as in `app.log.2`: greater is older.
pub(crate) fn count(original: &Path, path: &Path) -> Option<u32> {
    let mark = mark_of(name_of(original)?, unpacked(name_of(path)?))?;
    // More digits are a date.
    mark.get(1..).filter(|count| count.len() < 6)?.parse().ok()
}

/// The date in a name, as digits: smaller is older.
pub(crate) fn date(original: &Path, path: &Path) -> Option<String> {
    let mark = mark_of(name_of(original)?, unpacked(name_of(path)?))?;
    let digits: String = mark.chars().filter(char::is_ascii_digit).collect();
    (digits.len() >= 8).then_some(digits)
}

fn name_of(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

/// Whether `path` may be what rotation made of `original`.
pub(crate) fn may_come_from(original: &Path, path: &Path) -> bool {
    match (name_of(original), name_of(path)) {
        (Some(name), Some(other)) => {
            original.parent() == path.parent() && is_rotated_name(name, other)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rotated_files() {
        for (original, name, is_rotated) in [
            ("app.log", "app.log.1", true),
            ("app.log", "app.log-20240131", true),
            ("app.log", "app.log.20240131-120000", true),
            ("app.log", "app.1.log", true),
            ("app.log", "app-2024-01-31T12-00-00.000.log", true),
            ("app.log", "app.log.old", true),
            ("app", "app.1", true),
            ("app.log", "app.log", false),
            ("app.log", "app-errors.log", false),
            ("app.log", "app2.log", false),
            ("app.log", "app.log.1.gz", true),
            ("0.log", "0.log.20240131-120000.gz", true),
            ("app.log", "app.log.gz", false),
            ("app.log", "app.log.1.zip", false),
            ("app.log", "app.log.swp", false),
            ("app.log", "zapp.log.1", false),
            ("app.log", "app.1.txt", false),
        ] {
            assert_eq!(is_rotated_name(original, name), is_rotated, "{name}");
            let is_its = originals(name).contains(&original.to_owned());
            assert_eq!(is_its, is_rotated, "{name}");
        }
    }

    #[test]
    fn names_are_remembered_until_their_directory_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["a.log", "a.log.1", "a.1.log", "ab.log.1", "b.log.1"] {
            fs::write(path(name), "").unwrap();
        }
        let past = SystemTime::now() - UNCHANGED * 2;
        let set_age = || fs::File::open(directory.path()).unwrap().set_modified(past);
        set_age().unwrap();
        let mut listings = Listings::default();
        let both = [path("a.1.log"), path("a.log.1")];
        assert_eq!(listings.siblings(&path("a.log")), both);
        fs::remove_file(path("a.1.log")).unwrap();
        set_age().unwrap();
        assert_eq!(listings.siblings(&path("a.log")), both, "as if unchanged");
        fs::write(path("a.log.2"), "").unwrap();
        let now = [path("a.log.1"), path("a.log.2")];
        assert_eq!(listings.siblings(&path("a.log")), now);
        fs::write(path("a.log.3"), "").unwrap();
        assert_eq!(listings.siblings(&path("a.log")).len(), 3);
    }

    #[test]
    fn counts_are_told_from_dates() {
        for (name, expected) in [
            ("app.log.12", Some(12)),
            ("app.log.13.gz", Some(13)),
            ("app.3.log", Some(3)),
            ("app.log-20240131", None),
            ("app.log.old", None),
        ] {
            assert_eq!(
                count(Path::new("/a/app.log"), Path::new(name)),
                expected,
                "{name}"
            );
        }
    }
}
