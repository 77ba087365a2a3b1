//! What of the book is forgotten.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Reader;
use crate::positions::Record;
use crate::tail::identity::FileId;

/// Files of a name that are remembered although they are gone.
const GONE_MAX: usize = 4;
/// How long a file may not be there until its position is forgotten.
const MISSING_MAX: Duration = Duration::from_secs(24 * 3600);

impl Reader {
    /// Forgets files that were read to their end and are gone, and those that nobody asks for and
    /// that have been gone for long.
    pub(super) fn forget_done(&mut self, now: Duration) {
        let mut there: HashMap<PathBuf, HashSet<FileId>> = HashMap::new();
        let live: HashSet<FileId> = self.desk.known.live().collect();
        let mut missing = HashMap::new();
        let mut gone: HashMap<Option<PathBuf>, Vec<Record>> = HashMap::new();
        for record in self.desk.known.book.records() {
            let is_ours = *record.client == *self.config.client
                && record.cursor.is_none()
                && !live.contains(&record.id);
            let Some(directory) = record.file.parent().filter(|_| is_ours) else {
                continue;
            };
            let ids = there
                .entry(directory.to_owned())
                .or_insert_with(|| ids_in(directory));
            if ids.contains(&record.id) {
                continue;
            }
            let key = record.key();
            let since = self.missing.get(&key).copied().unwrap_or(now);
            if record.is_done {
                let original = self.desk.known.listed_original(&record.path);
                let original = original.map(PathBuf::from);
                gone.entry(original).or_default().push(record);
            } else if now >= since + MISSING_MAX {
                self.desk.known.book.remove(&key);
            } else {
                missing.insert(key, since);
            }
        }
        self.missing = missing;
        for (original, mut records) in gone {
            // What rotation has packed by now is known by what it was before.
            let kept = if original.is_some() { GONE_MAX } else { 0 };
            records.sort_by_key(|record| Reverse(record.mtime_ns));
            for record in records.into_iter().skip(kept) {
                self.desk.known.book.remove(&record.key());
            }
        }
    }
}

fn ids_in(directory: &Path) -> HashSet<FileId> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let id = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.ok()?.path();
        Some(FileId::of(&std::fs::metadata(path).ok()?))
    };
    entries.filter_map(id).collect()
}
