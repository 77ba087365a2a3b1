//! Notices of changes, from the kernel where it gives them. They only make things quick: whatever
//! goes unnoticed is found by the poll.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use notify::event::{AccessKind, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use crate::tail::identity::FileId;

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Its content.
    Content,
    /// It came, went, or got another name.
    Name,
}

/// Watches directories, each by itself.
#[derive(Default)]
pub(crate) struct Watch {
    watcher: Option<RecommendedWatcher>,
    /// By path, since a directory that was made anew must be watched anew.
    watched: BTreeMap<PathBuf, FileId>,
    /// Directories that could not be watched.
    failed: BTreeSet<PathBuf>,
}

impl Watch {
    /// Calls `notice` for each change, from a thread of its own; with `None` when notices were lost.
    pub(crate) fn new(notice: impl Fn(Option<(&Path, Change)>) + Send + 'static) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else {
                return notice(None);
            };
            let change = match event.kind {
                EventKind::Access(AccessKind::Close(notify::event::AccessMode::Write)) => {
                    Change::Content
                }
                EventKind::Access(_) => return,
                EventKind::Modify(notify::event::ModifyKind::Name(_))
                | EventKind::Create(_)
                | EventKind::Remove(_) => Change::Name,
                _ => Change::Content,
            };
            if event.need_rescan() {
                notice(None);
            }
            for path in &event.paths {
                notice(Some((path, change)));
            }
        });
        let watcher = watcher.inspect_err(|error| {
            tracing::warn!(%error, "no notices of changed files: they are polled");
        });
        Self {
            watcher: watcher.ok(),
            watched: BTreeMap::new(),
            failed: BTreeSet::new(),
        }
    }

    /// Watches these directories and no others. Whether there are new ones among them.
    pub(crate) fn set(&mut self, directories: BTreeSet<PathBuf>) -> bool {
        let Some(watcher) = &mut self.watcher else {
            return false;
        };
        let id = |directory: &Path| Some(FileId::of(&std::fs::metadata(directory).ok()?));
        let mut kept = BTreeMap::new();
        for (directory, watched_id) in std::mem::take(&mut self.watched) {
            if directories.contains(&directory) && id(&directory) == Some(watched_id) {
                kept.insert(directory, watched_id);
            } else {
                // A directory that was deleted is no longer watched anyway.
                let _ = watcher.unwatch(&directory);
            }
        }
        let (mut has_new, mut failed) = (false, BTreeSet::new());
        for directory in directories {
            let Some(id) = id(&directory).filter(|_| !kept.contains_key(&directory)) else {
                continue;
            };
            match watcher.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    kept.insert(directory, id);
                    has_new = true;
                }
                Err(error) => {
                    if !self.failed.contains(&directory) {
                        let directory = directory.display();
                        tracing::warn!(%directory, %error, "no notices of changes here: polled");
                    }
                    failed.insert(directory);
                }
            }
        }
        (self.watched, self.failed) = (kept, failed);
        has_new
    }

    /// Whether all directories are watched, so that a slow poll is enough.
    pub(crate) fn is_complete(&self) -> bool {
        self.watcher.is_some() && self.failed.is_empty()
    }
}
