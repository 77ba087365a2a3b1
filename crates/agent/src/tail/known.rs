//! Which files are spoken for, so that no file is read twice under two names.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::identity::FileId;
use super::siblings::may_come_from;
use crate::batch::SourceId;
use crate::positions::{Book, Record};

/// What one reader knows of files.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) client: Arc<str>,
    pub(crate) book: Arc<Book>,
    /// Files that are open, by job.
    live: HashMap<(usize, FileId), SourceId>,
    /// Paths that globs of a job match.
    listed: HashSet<(usize, PathBuf)>,
}

impl Known {
    pub(crate) fn new(client: Arc<str>, book: Arc<Book>) -> Self {
        Self {
            client,
            book,
            live: HashMap::new(),
            listed: HashSet::new(),
        }
    }

    pub(crate) fn set_listed(&mut self, listed: HashSet<(usize, PathBuf)>) {
        self.listed = listed;
    }

    pub(crate) fn is_listed(&self, job: usize, path: &Path) -> bool {
        self.listed.contains(&(job, path.to_owned()))
    }

    pub(crate) fn claim(&mut self, job: usize, id: FileId, source: SourceId) {
        self.live.insert((job, id), source);
    }

    pub(crate) fn release(&mut self, job: usize, id: FileId, source: SourceId) {
        if self.live.get(&(job, id)) == Some(&source) {
            self.live.remove(&(job, id));
        }
    }

    /// Files that are open.
    pub(crate) fn live(&self) -> impl Iterator<Item = FileId> {
        self.live.keys().map(|(_, id)| *id)
    }

    pub(crate) fn owner(&self, job: usize, id: FileId) -> Option<SourceId> {
        self.live.get(&(job, id)).copied()
    }

    /// What the book has of files that bore a name, or one that rotation may have made of it.
    pub(crate) fn family(&self, job: &str, path: &Path) -> Vec<Record> {
        let records = self.book.records().into_iter();
        let is_its = |record: &Record| {
            (record.path == path || may_come_from(path, &record.path))
                && record.job == job
                && *record.client == *self.client
        };
        records.filter(is_its).collect()
    }

    /// The path that a glob of any job matches and that rotation may have made this one of.
    pub(crate) fn listed_original(&self, path: &Path) -> Option<&Path> {
        let mut listed = self.listed.iter().map(|(_, listed)| listed.as_path());
        listed.find(|listed| *listed == path || may_come_from(listed, path))
    }

    /// Whether rotation may have made this path of one that a glob of the job matches.
    pub(crate) fn is_rotated_name(&self, job: usize, path: &Path) -> bool {
        let mut listed = self.listed.iter().filter(|(of, _)| *of == job);
        listed.any(|(_, listed)| may_come_from(listed, path))
    }

    /// What the book has of this file, if it is still the file that the book means.
    pub(crate) fn record(&self, job: &str, id: FileId, file: &File) -> Option<Record> {
        let record = self
            .book
            .get(&(self.client.to_string(), job.to_owned(), id))?;
        record
            .mark
            .holds_in(file)
            .unwrap_or(false)
            .then_some(record)
    }
}
