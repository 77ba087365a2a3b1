//! Names that rotation gives to what was `app.log`: `app.log.1`, `app.log-20240131`,
//! `app.log.20240131-120000`, `app-2024-01-31T12-00-00.000.log`, `app.1.log`, `app.log.old`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// Whether `name` may be what rotation made of `original`.
pub(crate) fn is_rotated_name(original: &str, name: &str) -> bool {
    mark_of(original, unpacked(name)).is_some_and(is_rotation_mark)
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
    let mut found = in_directory_of(path);
    if let Ok(resolved) = fs::canonicalize(path)
        && resolved.parent() != path.parent()
    {
        found.extend(in_directory_of(&resolved));
    }
    found
}

fn in_directory_of(path: &Path) -> Vec<PathBuf> {
    let (Some(directory), Some(original)) = (path.parent(), name_of(path)) else {
        return Vec::new();
    };
    let directory = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let is_sibling = |name: &OsStr| {
        name.to_str()
            .is_some_and(|name| is_rotated_name(original, name))
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.file_name()))
        .filter(|name| is_sibling(name))
        .map(|name| directory.join(name))
        .collect()
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
        }
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
