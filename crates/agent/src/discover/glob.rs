//! Globs over paths: `*` and `?` within a name, `[]`, `{a,b}` also across slashes, and `**` for any
//! depth. A walk looks only into directories that can hold a match.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use crate::tail::siblings::originals;

/// Alternatives that one glob may expand to.
const ALTERNATIVES_MAX: usize = 256;

/// Text that is no glob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{glob:?} is no glob: {message}")]
pub(crate) struct GlobError {
    glob: String,
    message: String,
}

/// A glob, ready to walk.
#[derive(Debug)]
pub(crate) struct PathGlob {
    alternatives: Vec<Vec<Part>>,
}

/// What one name of a path must be.
#[derive(Debug)]
enum Part {
    /// This name.
    Name(OsString),
    /// A name that matches.
    Pattern(GlobMatcher),
    /// Any number of directories.
    AnyDepth,
}

/// What walks have found.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    /// Paths of regular files, links to them too.
    pub(crate) files: BTreeSet<PathBuf>,
    /// Paths that would be found if they were there, and of whose files rotation may have made others
    /// that are.
    pub(crate) absent: BTreeSet<PathBuf>,
    /// Directories in which a new name may become a match.
    pub(crate) directories: BTreeSet<PathBuf>,
    /// Matches that are neither files nor directories, such as FIFOs.
    pub(crate) special: usize,
    /// How many files a walk may find; whether there are more.
    pub(crate) files_max: usize,
    pub(crate) too_many: bool,
}

impl PathGlob {
    pub(crate) fn new(glob: &str) -> Result<Self, GlobError> {
        let expanded = expand_braces(glob).ok_or_else(|| GlobError {
            glob: glob.to_owned(),
            message: format!("more than {ALTERNATIVES_MAX} alternatives"),
        })?;
        let alternatives: Result<Vec<_>, _> = expanded.iter().map(|one| parts_of(one)).collect();
        Ok(Self {
            alternatives: alternatives?,
        })
    }

    /// Whether a walk would find a file of this path.
    pub(crate) fn is_match(&self, path: &Path) -> bool {
        let names: Vec<&OsStr> = path.iter().collect();
        self.alternatives
            .iter()
            .any(|parts| is_match(parts, &names))
    }

    /// Adds what is there now.
    pub(crate) fn walk(&self, walked: &mut Walked) {
        for parts in &self.alternatives {
            let base = if matches!(parts.first(), Some(Part::Name(name)) if name == "/") {
                Path::new("/")
            } else {
                Path::new("")
            };
            walk(base, parts, walked);
        }
    }
}

/// A matcher of whole paths, for what is left out.
pub(crate) fn exclusion(glob: &str) -> Result<GlobMatcher, GlobError> {
    matcher(glob)
}

fn matcher(glob: &str) -> Result<GlobMatcher, GlobError> {
    let built = GlobBuilder::new(glob)
        .literal_separator(true)
        .backslash_escape(true)
        .build();
    let built = built.map_err(|error| GlobError {
        glob: glob.to_owned(),
        message: error.kind().to_string(),
    })?;
    Ok(built.compile_matcher())
}

fn parts_of(glob: &str) -> Result<Vec<Part>, GlobError> {
    let mut parts = Vec::new();
    if glob.starts_with('/') {
        parts.push(Part::Name("/".into()));
    }
    for name in glob.split('/').filter(|name| !name.is_empty()) {
        parts.push(match name {
            "**" => Part::AnyDepth,
            _ if name.contains(['*', '?', '[', '{', '\\']) => Part::Pattern(matcher(name)?),
            _ => Part::Name(name.into()),
        });
    }
    Ok(parts)
}

/// `a{b,c/{d,e}}` as `ab`, `ac/d`, `ac/e`. Nothing if these would be too many.
fn expand_braces(glob: &str) -> Option<Vec<String>> {
    let Some((before, alternatives, after)) = first_braces(glob) else {
        return Some(vec![glob.to_owned()]);
    };
    let mut expanded = Vec::new();
    for alternative in alternatives {
        let one = format!("{before}{alternative}{after}");
        expanded.extend(expand_braces(&one)?);
        if expanded.len() > ALTERNATIVES_MAX {
            return None;
        }
    }
    Some(expanded)
}

/// The first braces that are closed: what is before, their alternatives, what is after.
fn first_braces(glob: &str) -> Option<(&str, Vec<&str>, &str)> {
    let (mut depth, mut open, mut starts) = (0_usize, 0, Vec::new());
    let (mut escaped, mut in_class) = (false, false);
    for (at, c) in glob.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => in_class = true,
            ']' => in_class = false,
            _ if in_class => {}
            '{' => {
                if depth == 0 {
                    (open, starts) = (at, vec![at + 1]);
                }
                depth += 1;
            }
            ',' if depth == 1 => starts.push(at + 1),
            '}' if depth == 1 => {
                let ends = starts.iter().skip(1).map(|start| start - 1).chain([at]);
                let alternatives: Option<Vec<&str>> = starts
                    .iter()
                    .zip(ends)
                    .map(|(start, end)| glob.get(*start..end))
                    .collect();
                return Some((glob.get(..open)?, alternatives?, glob.get(at + 1..)?));
            }
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

fn is_match(parts: &[Part], names: &[&OsStr]) -> bool {
    let Some((part, later_parts)) = parts.split_first() else {
        return names.is_empty();
    };
    let Some((name, later_names)) = names.split_first() else {
        return false;
    };
    match part {
        Part::Name(own) => own == name && is_match(later_parts, later_names),
        Part::Pattern(matcher) => matcher.is_match(name) && is_match(later_parts, later_names),
        Part::AnyDepth if later_parts.is_empty() => true,
        Part::AnyDepth => is_match(later_parts, names) || is_match(parts, later_names),
    }
}

fn walk(at: &Path, parts: &[Part], walked: &mut Walked) {
    let Some((part, rest)) = parts.split_first() else {
        return;
    };
    match part {
        Part::Name(name) => {
            let path = at.join(name);
            if rest.is_empty() {
                walked.directories.insert(directory(at));
                if fs::symlink_metadata(&path).is_err() {
                    note_absent(
                        at,
                        &names_in(at, walked),
                        |original| original == name,
                        walked,
                    );
                }
                take(path, walked);
            } else if fs::metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
                walk(&path, rest, walked);
            } else {
                walked.directories.insert(directory(at));
            }
        }
        Part::Pattern(matcher) => {
            let names = names_in(at, walked);
            if rest.is_empty() {
                note_absent(at, &names, |original| matcher.is_match(original), walked);
            }
            for name in names {
                if !matcher.is_match(&name) {
                    continue;
                }
                let path = at.join(&name);
                if rest.is_empty() {
                    take(path, walked);
                } else if fs::metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
                    walk(&path, rest, walked);
                }
            }
        }
        Part::AnyDepth => walk_any_depth(at, parts, rest, walked),
    }
}

fn walk_any_depth(at: &Path, parts: &[Part], rest: &[Part], walked: &mut Walked) {
    for name in names_in(at, walked) {
        let path = at.join(&name);
        // Links to directories are not followed here, since they may form a circle.
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        if metadata.is_dir() {
            walk(&path, parts, walked);
        } else if rest.is_empty() {
            take(path, walked);
        }
    }
    walk(at, rest, walked);
}

/// Notes names that are wanted and are not among those of a directory, though some of these may have
/// been made of them.
fn note_absent(
    at: &Path,
    names: &[OsString],
    is_wanted: impl Fn(&OsStr) -> bool,
    walked: &mut Walked,
) {
    for name in names.iter().filter(|name| !is_wanted(name)) {
        for original in originals(&name.to_string_lossy())
            .into_iter()
            .map(OsString::from)
        {
            if is_wanted(&original) && !names.contains(&original) {
                walked.absent.insert(at.join(original));
            }
        }
    }
}

/// The names in a directory, which is noted as one to watch.
fn names_in(at: &Path, walked: &mut Walked) -> Vec<OsString> {
    let at = directory(at);
    let names = fs::read_dir(&at).map(|entries| {
        let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
        names.collect()
    });
    walked.directories.insert(at);
    names.unwrap_or_default()
}

fn directory(at: &Path) -> PathBuf {
    if at.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        at.to_owned()
    }
}

fn take(path: PathBuf, walked: &mut Walked) {
    let Ok(metadata) = fs::metadata(&path) else {
        return;
    };
    if !metadata.is_file() {
        walked.special += usize::from(!metadata.is_dir());
        return;
    }
    // What happens to the file that a link leads to is told where that file lies.
    if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink())
        && let Ok(resolved) = fs::canonicalize(&path)
        && let Some(parent) = resolved.parent()
    {
        walked.directories.insert(parent.to_owned());
    }
    if walked.files.len() >= walked.files_max {
        walked.too_many = true;
    } else {
        walked.files.insert(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(root: &Path, glob: &str) -> Vec<String> {
        let mut walked = Walked {
            files_max: 100,
            ..Walked::default()
        };
        let glob = format!("{}/{glob}", root.display());
        PathGlob::new(&glob).unwrap().walk(&mut walked);
        let short = |path: &PathBuf| path.strip_prefix(root).unwrap().display().to_string();
        walked.files.iter().map(short).collect()
    }

    #[test]
    fn globs_find_files() {
        let root = tempfile::tempdir().unwrap();
        for path in [
            "a.log",
            "b.txt",
            ".c.log",
            "x/a.log",
            "x/y/b.log",
            "z/a.log/d",
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        std::os::unix::fs::symlink(root.path().join("x"), root.path().join("l")).unwrap();
        let fifo = root.path().join("f.log");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        for (glob, files) in [
            ("a.log", vec!["a.log"]),
            ("*.log", vec![".c.log", "a.log"]),
            ("{a.log,x/a.log}", vec!["a.log", "x/a.log"]),
            ("{a,b}.{log,txt}", vec!["a.log", "b.txt"]),
            ("[ab].*", vec!["a.log", "b.txt"]),
            ("*/a.log", vec!["l/a.log", "x/a.log"]),
            ("x/**/*.log", vec!["x/a.log", "x/y/b.log"]),
            ("**/b.log", vec!["x/y/b.log"]),
            ("x/**", vec!["x/a.log", "x/y/b.log"]),
            ("none/*.log", vec![]),
        ] {
            assert_eq!(found(root.path(), glob), files, "{glob}");
            let whole = format!("{}/{glob}", root.path().display());
            let parsed = PathGlob::new(&whole).unwrap();
            for file in ["a.log", "b.txt", ".c.log", "x/a.log", "x/y/b.log"] {
                let is_found = files.contains(&file);
                assert_eq!(
                    parsed.is_match(&root.path().join(file)),
                    is_found,
                    "{glob} {file}"
                );
            }
        }
    }

    #[test]
    fn what_may_become_a_match_is_watched() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("x")).unwrap();
        let mut walked = Walked::default();
        for glob in ["x/*.log", "later/deep/*.log"] {
            let glob = format!("{}/{glob}", root.path().display());
            PathGlob::new(&glob).unwrap().walk(&mut walked);
        }
        let expected = BTreeSet::from([root.path().join("x"), root.path().to_owned()]);
        assert_eq!(walked.directories, expected);
    }

    #[test]
    fn a_glob_has_bounds() {
        let many = "{a,b}".repeat(9);
        assert!(PathGlob::new(&many).is_err());
        assert!(PathGlob::new("/var/log/[a").is_err());
    }
}
