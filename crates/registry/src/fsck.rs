//! Compares the database with the store, and both with what digests say, while pushes and pulls go
//! on. What it finds it tells at once; what can be mended without losing anything it mends if asked:
//! bytes that no row names, and sums of quotas. Broken bytes are marked, so that the next push of them
//! heals them (`heal`).

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::TryStreamExt;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::digest::{Digest, Hasher};
use crate::error::{Code, Error};
use crate::gc;
use crate::logs::{Done, Job};
use crate::mark;
use crate::meta::{BlobFact, Bury, Content, ManifestFact, Reach, Recount, SetDamaged};
use crate::registry::Registry;
use crate::who::Who;

/// Rows that are looked up at once.
const PAGE: i64 = 200;
/// Findings that wait for a client that reads slowly.
const WAITING_MAX: usize = 64;
/// Repositories that are named of a blob that is not as it should be.
const REPOSITORIES_NAMED_MAX: u32 = 10;

/// What is looked at and done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Whether all bytes are read, to compare them with their digests.
    pub(crate) read_bytes: bool,
    /// Whether what can be mended is.
    pub(crate) repair: bool,
}

/// Something that is not as it should be, and at the end how much was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "found", rename_all = "snake_case")]
enum Finding {
    /// The store has not the bytes, or another number of them.
    BlobMissing {
        digest: String,
        data_key: String,
        size: u64,
        stored: Option<u64>,
        repositories: Vec<String>,
    },
    /// The bytes are others than the digest says.
    BlobDamaged {
        digest: String,
        data_key: String,
        repositories: Vec<String>,
    },
    /// The store has not the bytes of a large manifest, or another number of them.
    ManifestMissing {
        digest: String,
        repository: String,
        data_key: String,
        size: u64,
        stored: Option<u64>,
    },
    /// A manifest's bytes are others than the digest says.
    ManifestDamaged { digest: String, repository: String },
    /// Bytes that no row names.
    Orphan { data_key: String },
    /// An upload in parts that no row names.
    OrphanUpload { data_key: String, upload_id: String },
    /// A project is charged for another sum than its blobs have.
    QuotaWrong {
        project: String,
        used: i64,
        counted: i64,
    },
    /// The end.
    Done(Looked),
    /// It was broken off.
    Failed { reason: String },
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Looked {
    blobs: u64,
    manifests: u64,
    bytes_read: u64,
    findings: u64,
    repaired: u64,
}

/// Begins; gives lines of JSON as they come. It goes on for as long as they are taken.
///
/// # Errors
/// If another is under way.
pub(crate) fn begin(
    registry: &Registry,
    who: Who,
    options: Options,
) -> Result<mpsc::Receiver<Bytes>, Error> {
    let turn = registry.fsck_turn().ok_or_else(|| {
        let message = "a comparison of database and store is under way; wait for its end";
        Error::new(Code::Conflict, message)
    })?;
    let (lines, taken) = mpsc::channel(WAITING_MAX);
    let mut check = Check {
        registry: registry.clone(),
        options,
        lines,
        looked: Looked::default(),
        begun: Instant::now(),
    };
    tokio::spawn(async move {
        let job = Job::gc("fsck").asked_by(&who.rid);
        let outcome = check.run(&who).await;
        let done = Done {
            blobs: Some(check.looked.blobs),
            manifests: Some(check.looked.manifests),
            findings: Some(check.looked.findings),
            ..Done::default()
        };
        let logs = check.registry.logs();
        let last = match &outcome {
            Ok(()) => {
                logs.job(&job, Ok(&done));
                Finding::Done(check.looked)
            }
            Err(error) => {
                logs.job(&job, Err(error));
                let reason = error.message.clone();
                Finding::Failed { reason }
            }
        };
        // Who asked may have gone away, which is then why it failed.
        let _ = check.tell(&last).await;
        drop(turn);
    });
    Ok(taken)
}

struct Check {
    registry: Registry,
    options: Options,
    lines: mpsc::Sender<Bytes>,
    looked: Looked,
    begun: Instant,
}

impl Check {
    async fn run(&mut self, who: &Who) -> Result<(), Error> {
        self.blobs().await?;
        self.manifests().await?;
        self.quotas(who).await?;
        self.orphans().await?;
        self.orphan_uploads().await
    }

    async fn tell(&self, finding: &Finding) -> Result<(), Error> {
        // Words and numbers can always be written.
        let mut line = serde_json::to_vec(finding).unwrap_or_default();
        line.push(b'\n');
        self.lines.send(line.into()).await.map_err(|_| {
            let message = "who asked for the comparison has gone away";
            Error::new(Code::Unavailable, message)
        })
    }

    async fn found(&mut self, finding: &Finding) -> Result<(), Error> {
        self.looked.findings += 1;
        self.tell(finding).await
    }

    async fn blobs(&mut self) -> Result<(), Error> {
        let mut last = 0;
        loop {
            let blobs = self.registry.meta().blobs_after(last, PAGE).await?;
            let Some(end) = blobs.last() else {
                return Ok(());
            };
            last = end.id;
            for blob in &blobs {
                self.looked.blobs += 1;
                self.blob(blob).await?;
            }
        }
    }

    async fn blob(&mut self, blob: &BlobFact) -> Result<(), Error> {
        let stored = self.registry.store().size(&blob.data_key).await?;
        let is_whole = stored == Some(blob.size);
        let digest = Digest::parse(&blob.digest)?;
        let is_right = is_whole && self.is_right(&digest, &blob.data_key, blob.size).await?;
        self.mark(&blob.data_key, blob.is_damaged, is_right).await?;
        // One that garbage collection took in between is not missing.
        if is_right || !self.registry.meta().has_blob(blob.id).await? {
            return Ok(());
        }
        let repositories = self.registry.meta();
        let repositories = repositories
            .repos_with(&digest, &Reach::All, REPOSITORIES_NAMED_MAX)
            .await?;
        let repositories = repositories.iter().map(ToString::to_string).collect();
        let (digest, data_key) = (blob.digest.clone(), blob.data_key.clone());
        let finding = match is_whole {
            true => Finding::BlobDamaged {
                digest,
                data_key,
                repositories,
            },
            false => Finding::BlobMissing {
                digest,
                data_key,
                size: blob.size,
                stored,
                repositories,
            },
        };
        self.found(&finding).await
    }

    /// Has broken bytes taken from who pushes them next, and no more so those that are right again.
    async fn mark(&self, data_key: &str, was_damaged: bool, is_right: bool) -> Result<(), Error> {
        // Bytes that were not read may still be wrong.
        if was_damaged != is_right || (is_right && !self.options.read_bytes) {
            return Ok(());
        }
        let set = SetDamaged {
            data_key: data_key.to_owned(),
            is_damaged: !is_right,
        };
        self.registry.meta().change(set).await
    }

    /// Whether bytes of the store are those of a digest, as far as is looked at. What cannot be read
    /// to its end is not.
    async fn is_right(
        &mut self,
        digest: &Digest,
        data_key: &str,
        size: u64,
    ) -> Result<bool, Error> {
        if !self.options.read_bytes {
            return Ok(true);
        }
        let mut hasher = Hasher::new(digest.algorithm());
        if size > 0 {
            let store = self.registry.store();
            let Ok(mut bytes) = store.read(data_key, 0..size).await else {
                return Ok(false);
            };
            loop {
                match bytes.try_next().await {
                    Ok(Some(piece)) => {
                        hasher.update(&piece);
                        self.looked.bytes_read += piece.len() as u64;
                        self.slow_down().await;
                    }
                    Ok(None) => break,
                    Err(_) => return Ok(false),
                }
            }
        }
        Ok(hasher.digest() == *digest)
    }

    /// Waits as long as it takes to stay below the bytes per second that are allowed.
    async fn slow_down(&self) {
        let rate = self.registry.config().gc.fsck_bytes_per_second.0.max(1);
        let due = Duration::from_secs_f64(self.looked.bytes_read as f64 / rate as f64);
        tokio::time::sleep(due.saturating_sub(self.begun.elapsed())).await;
    }

    async fn manifests(&mut self) -> Result<(), Error> {
        let mut last = 0;
        loop {
            let manifests = self.registry.meta().manifests_after(last, PAGE).await?;
            let Some(end) = manifests.last() else {
                return Ok(());
            };
            last = end.id;
            for manifest in &manifests {
                self.looked.manifests += 1;
                self.manifest(manifest).await?;
            }
        }
    }

    async fn manifest(&mut self, manifest: &ManifestFact) -> Result<(), Error> {
        let digest = Digest::parse(&manifest.digest)?;
        let (size, repository) = (manifest.size, manifest.repository.clone());
        let damaged = Finding::ManifestDamaged {
            digest: manifest.digest.clone(),
            repository: repository.clone(),
        };
        let finding = match &manifest.content {
            Content::Here(bytes) if Digest::of(digest.algorithm(), bytes) == digest => {
                return Ok(());
            }
            Content::Here(_) => damaged,
            Content::Stored(data_key) => {
                let stored = self.registry.store().size(data_key).await?;
                let is_whole = stored == Some(size);
                let is_right = is_whole && self.is_right(&digest, data_key, size).await?;
                self.mark(data_key, manifest.is_damaged, is_right).await?;
                // One that was deleted in between is not missing.
                if is_right || !self.registry.meta().has_manifest(manifest.id).await? {
                    return Ok(());
                }
                match is_whole {
                    true => damaged,
                    false => Finding::ManifestMissing {
                        digest: manifest.digest.clone(),
                        repository,
                        data_key: data_key.clone(),
                        size,
                        stored,
                    },
                }
            }
        };
        self.found(&finding).await
    }

    async fn quotas(&mut self, who: &Who) -> Result<(), Error> {
        for wrong in self.registry.meta().wrong_quotas().await? {
            let finding = Finding::QuotaWrong {
                project: wrong.project.clone(),
                used: wrong.used,
                counted: wrong.counted,
            };
            self.found(&finding).await?;
            if self.options.repair {
                let recount = Recount {
                    who: who.clone(),
                    project: wrong.project,
                };
                self.registry.meta().change(recount).await?;
                self.looked.repaired += 1;
            }
        }
        Ok(())
    }

    async fn orphans(&mut self) -> Result<(), Error> {
        let registry = self.registry.clone();
        if self.options.repair {
            mark::check(registry.meta(), registry.keeper()).await?;
        }
        let mut objects = std::pin::pin!(gc::objects(&registry).await?);
        while let Some((data_key, is_orphan)) = objects.try_next().await? {
            if !is_orphan {
                continue;
            }
            let finding = Finding::Orphan {
                data_key: data_key.clone(),
            };
            self.found(&finding).await?;
            if self.options.repair {
                registry.meta().change(Bury { data_key }).await?;
                self.looked.repaired += 1;
            }
        }
        Ok(())
    }
    async fn orphan_uploads(&mut self) -> Result<(), Error> {
        let registry = self.registry.clone();
        let mut uploads = std::pin::pin!(gc::orphan_uploads(&registry));
        while let Some(upload) = uploads.try_next().await? {
            let finding = Finding::OrphanUpload {
                data_key: upload.key.clone(),
                upload_id: upload.id.clone(),
            };
            self.found(&finding).await?;
            if self.options.repair {
                registry.keeper().abort(&upload).await?;
                self.looked.repaired += 1;
            }
        }
        Ok(())
    }
}
