//! A directory: an object is a file that is written where it stays.

mod reading;

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::{Appender, Bodies, Store, StoreError};
use reading::Reading;

/// Where objects are.
const DATA: &str = "data";
/// Bytes that are collected before the disk is asked.
const WRITE_BYTES: usize = 256 << 10;

/// Bytes in files.
pub(super) struct LocalStore {
    root: PathBuf,
}

impl LocalStore {
    pub(super) fn open(root: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(root.join(DATA))?;
        sync_directory(root)?;
        Ok(Self {
            root: root.to_owned(),
        })
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }
}

/// What is new in a directory survives only once the directory is synced too.
fn sync_directory(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()
}

/// Runs what blocks on a thread that may.
async fn blocking<T: Send + 'static>(
    what: &'static str,
    key: &str,
    run: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(run).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Err(StoreError::Lost {
            key: key.to_owned(),
        }),
        Ok(Err(error)) => Err(StoreError::failed(what, key, error)),
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
        let directory = path.parent().map(Path::to_owned);
        let opened = blocking("opening", key, move || open_at(&path, received)).await?;
        Ok(Box::new(LocalAppender {
            key: key.to_owned(),
            file: Some(opened),
            waiting: Vec::new(),
            waiting_bytes: 0,
            is_synced: received > 0,
            new_in: directory.filter(|_| received == 0),
        }))
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<Bodies, StoreError> {
        let path = self.path(key);
        let file = blocking("reading", key, move || File::open(path)).await?;
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

    async fn probe(&self) -> Result<(), StoreError> {
        let data = self.root.join(DATA);
        blocking("probing", DATA, move || std::fs::read_dir(data)).await?;
        Ok(())
    }

    async fn keys(
        &self,
    ) -> Result<BoxStream<'static, Result<(String, i64), StoreError>>, StoreError> {
        let root = self.root.clone();
        let found = blocking("listing", "data", move || list(&root)).await?;
        Ok(stream::iter(found.into_iter().map(Ok)).boxed())
    }
}

/// Opens a file to write on at `received`, dropping what is behind it.
fn open_at(path: &Path, received: u64) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    if received == 0 {
        if let Some(parent) = path.parent().filter(|parent| !parent.is_dir()) {
            std::fs::create_dir_all(parent)?;
            parent.parent().map_or(Ok(()), sync_directory)?;
        }
        options.create(true).truncate(true);
    }
    let mut file = options.open(path)?;
    if file.metadata()?.len() < received {
        return Err(std::io::ErrorKind::NotFound.into());
    }
    file.set_len(received)?;
    file.seek(SeekFrom::Start(received))?;
    Ok(file)
}

fn list(root: &Path) -> std::io::Result<Vec<(String, i64)>> {
    let mut found = Vec::new();
    for directory in std::fs::read_dir(root.join(DATA))? {
        let directory = directory?;
        let fan_out = directory.file_name().to_string_lossy().into_owned();
        for file in std::fs::read_dir(directory.path())? {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            // A file that goes away meanwhile is no news.
            let Ok(changed) = file.metadata().and_then(|meta| meta.modified()) else {
                continue;
            };
            let age = changed.duration_since(UNIX_EPOCH).unwrap_or_default();
            let changed_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            found.push((format!("data/{fan_out}/{name}"), changed_ms));
        }
    }
    Ok(found)
}

/// Collects bytes and hands them to the disk in large pieces.
struct LocalAppender {
    key: String,
    /// None while a thread has it, and for ever if that failed.
    file: Option<File>,
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
    is_synced: bool,
    /// The directory that does not durably have the file yet.
    new_in: Option<PathBuf>,
}

impl LocalAppender {
    /// Writes what waits, and if asked to syncs the file and the directory that it is new in.
    async fn flush(&mut self, sync: bool) -> Result<(), StoreError> {
        let directory = if sync { self.new_in.take() } else { None };
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        let file = self.file.take();
        let mut file = file.ok_or_else(|| StoreError::Lost {
            key: self.key.clone(),
        })?;
        let file = blocking("writing", &self.key, move || {
            for bytes in &waiting {
                file.write_all(bytes)?;
            }
            if sync {
                file.sync_data()?;
            }
            directory.as_deref().map_or(Ok(()), sync_directory)?;
            Ok(file)
        })
        .await?;
        self.file = Some(file);
        self.is_synced = sync;
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
        self.flush(false).await
    }

    fn must_save(&self) -> bool {
        false
    }

    async fn save(&mut self) -> Result<String, StoreError> {
        if !self.is_synced {
            self.flush(true).await?;
        }
        Ok(String::new())
    }

    async fn finish(&mut self) -> Result<(), StoreError> {
        self.save().await?;
        Ok(())
    }
}
