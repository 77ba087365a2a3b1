//! A directory: an object is a file that is written where it stays.

mod end;
mod reading;

use std::collections::HashSet;
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::try_join_all;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use storage::OpenUpload;

use super::{Appender, Bodies, DATA, FAN_OUT_CHARS, Keeper, MARK, Store, StoreError};
use end::End;
use reading::Reading;

/// Bytes that are collected before the disk is asked.
const WRITE_BYTES: usize = 256 << 10;
/// The mode of a root that is made: its owner's alone.
const PRIVATE: u32 = 0o700;

/// Bytes in files.
pub(super) struct LocalStore {
    root: PathBuf,
    directories: Directories,
}

/// The directories of files that were made and are not durably there yet.
#[derive(Clone, Default)]
struct Directories(Arc<Mutex<HashSet<PathBuf>>>);

impl Directories {
    /// Makes one, unless it is there.
    fn make(&self, directory: &Path) -> io::Result<()> {
        if directory.is_dir() {
            return Ok(());
        }
        // Before anybody else can see it and take it for one that is durable.
        self.0.lock().insert(directory.to_owned());
        std::fs::create_dir_all(directory)
    }

    /// What has to be synced for a new file in one to be found after the power has failed.
    fn unsynced(&self, directory: &Path) -> Vec<PathBuf> {
        let is_new = self.0.lock().contains(directory);
        let parent = directory.parent().filter(|_| is_new);
        let all = parent.into_iter().chain([directory]);
        all.map(Path::to_owned).collect()
    }

    fn synced(&self, directory: &Path) {
        self.0.lock().remove(directory);
    }
}

impl LocalStore {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        // What is in it may be private, so that other users of the machine get no way into it.
        DirBuilder::new()
            .recursive(true)
            .mode(PRIVATE)
            .create(root)?;
        let data = root.join(DATA);
        std::fs::create_dir_all(&data)?;
        sync_directory(root)?;
        // What was made in it before this process began.
        sync_directory(&data)?;
        Ok(Self {
            root: root.to_owned(),
            directories: Directories::default(),
        })
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }
}

/// What is new in a directory survives only once the directory is synced too.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Runs what blocks on a thread that may.
async fn blocking<T: Send + 'static>(
    what: &'static str,
    key: &str,
    run: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(run).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Err(StoreError::Lost {
            key: key.to_owned(),
        }),
        Ok(Err(error)) => Err(StoreError::of_io(what, key, &error)),
        Err(error) => Err(StoreError::failed(what, key, error)),
    }
}

#[async_trait]
impl Store for LocalStore {
    async fn append(
        &self,
        key: &str,
        _written: &str,
        received: u64,
    ) -> Result<Box<dyn Appender>, StoreError> {
        let path = self.path(key);
        let new_in = path.parent().filter(|_| received == 0).map(Path::to_owned);
        let (directory, directories) = (new_in.clone(), self.directories.clone());
        let open = move || {
            directory.map_or(Ok(()), |directory| directories.make(&directory))?;
            End::open(&path, received)
        };
        Ok(Box::new(LocalAppender {
            key: key.to_owned(),
            end: Some(blocking("opening", key, open).await?),
            waiting: Vec::new(),
            waiting_bytes: 0,
            is_synced: received > 0,
            new_in,
            directories: self.directories.clone(),
        }))
    }

    /// A copy: the other one has the file open, and cuts off what he cannot finish.
    async fn move_away(
        &self,
        key: &str,
        _written: &str,
        received: u64,
        to: String,
    ) -> Result<(String, String), StoreError> {
        if received > 0 {
            let (from, path) = (self.path(key), self.path(&to));
            let directories = self.directories.clone();
            let copy = move || copy_beginning(&from, &path, received, &directories);
            blocking("copying", key, copy).await?;
        }
        Ok((to, String::new()))
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<Bodies, StoreError> {
        let path = self.path(key);
        let open = move || {
            let file = File::open(path)?;
            match file.metadata()?.len() < range.end {
                true => Err(io::ErrorKind::NotFound.into()),
                false => Ok((file, range)),
            }
        };
        let (file, range) = blocking("reading", key, open).await?;
        Ok(Reading::new(key, file, range).bodies().boxed())
    }

    async fn size(&self, key: &str) -> Result<Option<u64>, StoreError> {
        let path = self.path(key);
        match blocking("looking at", key, move || std::fs::metadata(path)).await {
            Ok(file) => Ok(Some(file.len())),
            Err(StoreError::Lost { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn address(&self, _: &str, _: Duration) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    async fn remove(&self, key: &str, _written: Option<&str>) -> Result<(), StoreError> {
        let path = self.path(key);
        match blocking("removing", key, move || std::fs::remove_file(path)).await {
            Err(StoreError::Lost { .. }) => Ok(()),
            other => other,
        }
    }
}

#[async_trait]
impl Keeper for LocalStore {
    /// A file has no parts.
    fn open_uploads(&self) -> BoxStream<'static, Result<OpenUpload, StoreError>> {
        stream::empty().boxed()
    }

    async fn abort(&self, _upload: &OpenUpload) -> Result<(), StoreError> {
        Ok(())
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let data = self.root.join(DATA);
        blocking("probing", DATA, move || std::fs::read_dir(data)).await?;
        Ok(())
    }

    async fn mark(&self) -> Result<Option<String>, StoreError> {
        let path = self.path(MARK);
        match blocking("reading", MARK, move || std::fs::read_to_string(path)).await {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(StoreError::Lost { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn set_mark(&self, mark: &str) -> Result<(), StoreError> {
        let (root, mark) = (self.root.clone(), format!("{mark}\n"));
        blocking("writing", MARK, move || write_mark(&root, &mark)).await
    }

    async fn keys(
        &self,
    ) -> Result<BoxStream<'static, Result<(String, i64), StoreError>>, StoreError> {
        let data = self.root.join(DATA);
        let below = data.clone();
        let fan_outs = blocking("listing", DATA, move || fan_outs(&below)).await?;
        // One after the other, for all names at once would be very many.
        let listed = stream::iter(fan_outs).then(move |fan_out| {
            let directory = data.join(&fan_out);
            async move { blocking("listing", DATA, move || list(&directory, &fan_out)).await }
        });
        let keys = listed.map_ok(|found| stream::iter(found.into_iter().map(Ok)));
        Ok(keys.try_flatten().boxed())
    }
}

/// Durably copies the first bytes of a file into a new one.
fn copy_beginning(from: &Path, to: &Path, bytes: u64, directories: &Directories) -> io::Result<()> {
    let directory = to.parent().unwrap_or(to);
    directories.make(directory)?;
    let mut file = File::create_new(to)?;
    if io::copy(&mut File::open(from)?.take(bytes), &mut file)? < bytes {
        return Err(io::ErrorKind::NotFound.into());
    }
    file.sync_all()?;
    for directory in directories.unsynced(directory) {
        sync_directory(&directory)?;
    }
    directories.synced(directory);
    Ok(())
}

/// Whole or not at all.
fn write_mark(root: &Path, mark: &str) -> io::Result<()> {
    let unfinished = root.join(format!("{MARK}.new"));
    let mut file = File::create(&unfinished)?;
    file.write_all(mark.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(unfinished, root.join(MARK))?;
    sync_directory(root)
}

/// The directories that objects are spread over. Who shares this one may have others here.
fn fan_outs(data: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for directory in std::fs::read_dir(data)? {
        let directory = directory?;
        let name = directory.file_name().to_string_lossy().into_owned();
        if name.len() == FAN_OUT_CHARS && directory.file_type()?.is_dir() {
            found.push(name);
        }
    }
    Ok(found)
}

/// The keys of the files of one of them.
fn list(directory: &Path, fan_out: &str) -> io::Result<Vec<(String, i64)>> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(directory)? {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        // A file that goes away meanwhile is no news.
        let Ok(metadata) = file.metadata() else {
            continue;
        };
        if !metadata.is_file() {
            continue;
        }
        let changed = metadata.modified()?;
        let age = changed.duration_since(UNIX_EPOCH).unwrap_or_default();
        let changed_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        found.push((format!("{DATA}/{fan_out}/{name}"), changed_ms));
    }
    Ok(found)
}

/// Collects bytes and hands them to the disk in large pieces.
struct LocalAppender {
    key: String,
    /// None while a thread has it, and for ever if that failed.
    end: Option<End>,
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
    is_synced: bool,
    /// The directory that does not durably have the file yet.
    new_in: Option<PathBuf>,
    directories: Directories,
}

impl LocalAppender {
    fn take_end(&mut self) -> Result<End, StoreError> {
        self.end.take().ok_or_else(|| StoreError::Lost {
            key: self.key.clone(),
        })
    }

    /// Writes what waits.
    async fn flush(&mut self) -> Result<(), StoreError> {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        if waiting.is_empty() {
            return Ok(());
        }
        let mut end = self.take_end()?;
        let write = move || {
            let written = waiting.iter().try_for_each(|bytes| end.write(bytes));
            written.inspect_err(|_| end.give_back())?;
            Ok(end)
        };
        self.end = Some(blocking("writing", &self.key, write).await?);
        Ok(())
    }

    /// Syncs the file and the directories that it is new in at the same time: a file system makes
    /// them durable together, and the disk is waited for once.
    async fn sync(&mut self) -> Result<(), StoreError> {
        let mut end = self.take_end()?;
        let new_in = self.new_in.take();
        let unsynced = new_in
            .as_deref()
            .map(|new_in| self.directories.unsynced(new_in));
        let file = blocking("syncing", &self.key, move || {
            end.sync()?;
            Ok(end)
        });
        let key = &self.key;
        let directories = unsynced.into_iter().flatten().map(|directory| {
            blocking("syncing the directory", key, move || {
                sync_directory(&directory)
            })
        });
        let (end, _) = tokio::try_join!(file, try_join_all(directories))?;
        if let Some(directory) = new_in {
            self.directories.synced(&directory);
        }
        self.end = Some(end);
        self.is_synced = true;
        Ok(())
    }
}

#[async_trait]
impl Appender for LocalAppender {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.is_synced = false;
        self.waiting_bytes += bytes.len();
        self.waiting.push(bytes);
        if self.waiting_bytes < WRITE_BYTES {
            return Ok(());
        }
        self.flush().await
    }

    fn must_save(&self) -> bool {
        false
    }

    fn begun(&mut self) -> Result<String, StoreError> {
        Ok(String::new())
    }

    async fn save(&mut self) -> Result<String, StoreError> {
        if !self.is_synced {
            self.flush().await?;
            self.sync().await?;
        }
        Ok(String::new())
    }

    async fn finish(&mut self) -> Result<(), StoreError> {
        self.save().await?;
        Ok(())
    }
}
