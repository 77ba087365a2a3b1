//! How far each file was read and acknowledged, and how that is kept over a restart.
//!
//! *Invariants.* A position is noted only when everything before it was acknowledged, or dropped
//! on purpose. The file on disk is always whole: it is written under another name, synced, and
//! renamed, and the one before it stays as a second generation. A broken file is told and counted
//! but stops nobody: the other generation is taken, and if both are broken, files are read from
//! their beginning.

mod file;
mod saver;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

pub(crate) use file::{Loaded, PositionsFile, is_positions_file};
pub(crate) use saver::{Saved, Saver};

use crate::feed::Cursor;
use crate::tail::identity::{FileId, Mark};
use crate::tail::stamps::Piece;
use crate::tail::ties::Tied;

/// A file and how far it was acknowledged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// By which client.
    pub(crate) client: String,
    /// For which job.
    pub(crate) job: String,
    /// Under which name its lines are known.
    pub(crate) path: PathBuf,
    /// Where it was seen last; rotation makes that another name.
    pub(crate) file: PathBuf,
    pub(crate) id: FileId,
    /// Its place among the files that bore the name, in the order in which they did.
    #[serde(default)]
    pub(crate) no: u64,
    pub(crate) mark: Mark,
    /// When it was modified, in nanoseconds since 1970.
    pub(crate) mtime_ns: i64,
    /// Whether it had been rotated and was read to its end.
    pub(crate) is_done: bool,
    /// The times that lines after the mark were given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) stamps: Vec<Piece>,
    /// What entries after the mark were made of that is not in their lines.
    #[serde(default, skip_serializing_if = "Tied::is_empty")]
    pub(crate) tied: Tied,
    /// Of what is no file: where it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cursor: Option<String>,
}

/// What a record is of.
pub(crate) type RecordKey = (String, String, FileId);

impl Record {
    /// What is known of a source that is no file.
    pub(crate) fn of_cursor(client: &str, job: &str, cursor: &Cursor) -> Self {
        let name = cursor_name(job, &cursor.source);
        Self {
            client: client.to_owned(),
            job: job.to_owned(),
            path: name.clone(),
            file: name,
            id: cursor_id(&cursor.source),
            no: 0,
            mark: Mark::default(),
            mtime_ns: 0,
            is_done: false,
            stamps: Vec::new(),
            tied: Tied::default(),
            cursor: Some(cursor.at.to_string()),
        }
    }

    pub(crate) fn key(&self) -> RecordKey {
        (self.client.clone(), self.job.clone(), self.id)
    }
}

/// All records, shared by who reads and who saves.
#[derive(Debug, Default)]
pub(crate) struct Book(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    records: BTreeMap<RecordKey, Record>,
    imported: BTreeMap<PathBuf, u64>,
    /// Counts changes.
    version: u64,
    /// The version that was taken to be saved.
    taken: u64,
}

impl Book {
    pub(crate) fn new(loaded: Loaded) -> Self {
        let by_key = |record: Record| (record.key(), record);
        Self(Mutex::new(Pages {
            records: loaded.records.into_iter().map(by_key).collect(),
            imported: loaded.imported,
            // That there is an agent is saved in any case.
            version: 1,
            taken: 0,
        }))
    }

    /// Notes how far a file is.
    pub(crate) fn put(&self, record: Record) {
        let mut pages = self.0.lock();
        let key = record.key();
        if pages.records.get(&key) != Some(&record) {
            pages.records.insert(key, record);
            pages.version += 1;
        }
    }

    /// Forgets a file.
    pub(crate) fn remove(&self, key: &RecordKey) {
        let mut pages = self.0.lock();
        let removed = pages.records.remove(key);
        pages.version += u64::from(removed.is_some());
    }

    /// What is known of a file.
    pub(crate) fn get(&self, key: &RecordKey) -> Option<Record> {
        self.0.lock().records.get(key).cloned()
    }

    /// All records.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.0.lock().records.values().cloned().collect()
    }

    /// Forgets where a source of a job is, for all clients.
    pub(crate) fn remove_cursor(&self, job: &str, source: &str) {
        let (mut pages, id) = (self.0.lock(), cursor_id(source));
        let before = pages.records.len();
        pages
            .records
            .retain(|key, record| key.1 != job || key.2 != id || record.cursor.is_none());
        pages.version += u64::from(pages.records.len() != before);
    }

    /// Sources of a job that has several of which it is known where they are.
    pub(crate) fn sources(&self, job: &str) -> BTreeSet<String> {
        let pages = self.0.lock();
        let records = pages.records.values().filter(|record| record.job == job);
        let of_source = |record: &Record| {
            record.cursor.as_ref()?;
            let source = record.path.to_str()?.strip_prefix(CURSOR)?;
            (record.id == cursor_id(source)).then(|| source.to_owned())
        };
        records.filter_map(of_source).collect()
    }

    /// Where a source that is no file goes on, for the client that is least far: that of a job, or one
    /// of several that it has.
    pub(crate) fn cursor(&self, job: &str, source: &str) -> Option<String> {
        let (pages, id) = (self.0.lock(), cursor_id(source));
        let of_job = |record: &&Record| record.job == job && record.id == id;
        let records = pages.records.values().filter(of_job);
        let cursors = records.filter_map(|record| record.cursor.clone());
        cursors.min_by_key(|cursor| cursor_time(cursor))
    }

    /// Where promtail was in the file at `path`.
    pub(crate) fn imported(&self, path: &Path) -> Option<u64> {
        self.0.lock().imported.get(path).copied()
    }

    /// All records with their version, if there are other ones than when this was last called.
    pub(crate) fn take_changed(&self) -> Option<(u64, Vec<Record>)> {
        let mut pages = self.0.lock();
        if pages.version == pages.taken {
            return None;
        }
        pages.taken = pages.version;
        Some((pages.version, pages.records.values().cloned().collect()))
    }

    /// Says that records which were taken could not be saved.
    pub(crate) fn set_changed(&self) {
        self.0.lock().version += 1;
    }

    /// How often it was changed.
    pub(crate) fn version(&self) -> u64 {
        self.0.lock().version
    }
}

/// What the names of cursors begin with.
const CURSOR: &str = "cursor-";

/// The name of a cursor: that of its source, or of its job.
fn cursor_name(job: &str, source: &str) -> PathBuf {
    let name = if source.is_empty() { job } else { source };
    PathBuf::from(format!("{CURSOR}{name}"))
}

/// What tells the cursors of a job apart. No file system has the device 0.
fn cursor_id(source: &str) -> FileId {
    let ino = if source.is_empty() {
        0
    } else {
        let digest: [u8; 16] = Md5::digest(source).into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    };
    FileId { dev: 0, ino }
}

/// The time in a cursor, `...;t=5d0a2b;...` as in those of the journal.
fn cursor_time(cursor: &str) -> u64 {
    let mut parts = cursor.split(';');
    let time = parts.find_map(|part| part.strip_prefix("t="));
    time.and_then(|time| u64::from_str_radix(time, 16).ok())
        .unwrap_or(0)
}
