//! Manifests: their bytes, and the edges to what they need.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::Meta;
use super::batch::{batches, places, with_digests};
use super::cache::Touched;
use super::change::{Change, Tx, bound, first};
use super::data;
use super::error::Failure;
use super::link::{self, Kind, expect, review};
use super::lost;
use super::missing;
use super::outbox::{Event, tell, tell_each};
use super::project::{RepoId, ensure_repo};
use super::quota;
use super::removed::{self, Forgotten};
use super::tag::{self, Condition, Target};
use crate::digest::Digest;
use crate::error::{Code, Error};
use crate::manifest::{Annotations, Descriptor, Manifest};
use crate::name::{Reference, RepoName, Tag};
use crate::who::Who;

/// Bytes of annotations that are in the row of a manifest whose own bytes are not.
const ANNOTATION_BYTES_MAX: usize = 16 << 10;

/// A manifest that is there.
#[derive(Clone, Debug)]
pub(crate) struct ManifestRow {
    /// The number of its row; none if it has no row, or has none any more.
    pub(crate) id: Option<i64>,
    pub(crate) digest: String,
    pub(crate) media_type: String,
    pub(crate) size: u64,
    pub(crate) content: Content,
    /// Whether bytes in the store were found not to be what the digest says.
    pub(crate) is_damaged: bool,
}

/// Where the bytes of a manifest are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// In its row.
    Here(Bytes),
    /// In the store, under this key.
    Stored(String),
}

impl Content {
    /// Where in the store they are, if they are there.
    pub(crate) fn data_key(&self) -> Option<&str> {
        match self {
            Self::Here(_) => None,
            Self::Stored(data_key) => Some(data_key),
        }
    }

    /// What the columns `data_key` and `bytes` say, from this one on.
    pub(super) fn read(row: &AnyRow, column: usize) -> Result<Self, sqlx::Error> {
        Ok(match row.try_get(column)? {
            Some(data_key) => Self::Stored(data_key),
            None => Self::Here(row.try_get::<Vec<u8>, _>(column + 1)?.into()),
        })
    }
}

/// What the client is told of a manifest that is not there.
pub(crate) fn unknown(repo: &RepoName, reference: &Reference) -> Error {
    let message = format!("{repo} has no manifest {reference}");
    Error::new(Code::ManifestUnknown, message).with_detail("reference", reference.to_string())
}

pub(super) fn manifest_row(row: &AnyRow) -> Result<ManifestRow, sqlx::Error> {
    Ok(ManifestRow {
        id: Some(row.try_get(0)?),
        digest: row.try_get(1)?,
        media_type: row.try_get(2)?,
        size: row.try_get::<i64, _>(3)?.unsigned_abs(),
        content: Content::read(row, 4)?,
        is_damaged: row.try_get::<Option<i64>, _>(6)?.is_some(),
    })
}

impl Meta {
    /// A manifest of a repository.
    pub(crate) async fn manifest(
        &self,
        repo: &RepoName,
        reference: &Reference,
    ) -> Result<Option<Arc<ManifestRow>>, Error> {
        let (name, number) = (format!("{repo}@{reference}"), self.changes.of_repo(repo));
        if let Some(kept) = self.shelves.manifests.get(&name, number) {
            return Ok(Some(kept));
        }
        let read = self.read_manifest(repo, reference).await?.map(Arc::new);
        if let Some(manifest) = &read {
            self.shelves.manifests.keep(name, number, manifest);
        }
        Ok(read)
    }

    async fn read_manifest(
        &self,
        repo: &RepoName,
        reference: &Reference,
    ) -> Result<Option<ManifestRow>, Error> {
        let found = match reference {
            Reference::Tag(tag) => bound!(
                "SELECT m.id, m.digest, m.media_type, m.size, m.data_key, m.bytes, m.damaged_ms \
                 FROM repo r JOIN tag t ON t.repo_id = r.id JOIN manifest m ON m.id = t.manifest_id \
                 WHERE r.name = $1 AND t.name = $2",
                repo.as_str(),
                tag.as_str(),
            ),
            Reference::Digest(digest) => bound!(
                "SELECT m.id, m.digest, m.media_type, m.size, m.data_key, m.bytes, m.damaged_ms \
                 FROM repo r JOIN manifest m ON m.repo_id = r.id WHERE r.name = $1 AND m.digest = $2",
                repo.as_str(),
                digest.as_str(),
            ),
        };
        self.row(found, manifest_row).await
    }
}

/// Puts a manifest into a repository and points tags to it, all at once.
pub(crate) struct PutManifest {
    pub(crate) repo: RepoName,
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) manifest: Manifest,
    pub(crate) bytes: Bytes,
    /// Where the bytes are, if they were put into the store beforehand.
    pub(crate) data_key: Option<String>,
    /// Bytes of the same manifest that are broken, in whose place these are.
    pub(crate) broken_key: Option<String>,
    pub(crate) tags: Vec<Tag>,
    pub(crate) condition: Condition,
    pub(crate) who: Who,
    pub(crate) allow_missing_manifests: bool,
    pub(crate) allow_missing_blobs: bool,
    pub(crate) untagged_grace_ms: i64,
    /// Whether it is a copy of what another registry has: blobs that it needs and that its project
    /// has are its repository's too, and it goes when nothing has it.
    pub(crate) is_copy: bool,
}

/// What is to be said to who pushed a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Whether the repository did not have the manifest before.
    pub(crate) is_new: bool,
    /// Until when it waits for a tag or an index, if it is new and was pushed without a tag.
    pub(crate) waits_until_ms: Option<i64>,
    /// Bytes that the project has.
    pub(crate) used: i64,
    /// Bytes that it may have; below zero is no bound.
    pub(crate) hard: i64,
    /// Blobs that the manifest needs and the repository does not have.
    pub(crate) missing_blobs: i64,
    /// Manifests of the same kind, which an index names.
    pub(crate) missing_manifests: i64,
}

#[async_trait]
impl Change for PutManifest {
    type Out = Stored;
    const NAME: &'static str = "put_manifest";

    fn touches(&self, _out: &Self::Out) -> Touched<'_> {
        Touched::Repo(&self.repo)
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Stored, Failure> {
        let repo = ensure_repo(tx, &self.who, &self.repo).await?;
        let found = bound!(
            "SELECT id FROM manifest WHERE repo_id = $1 AND digest = $2",
            repo.repo,
            self.digest.as_str(),
        );
        let found = found.fetch_optional(&mut *tx.conn).await?;
        let is_new = found.is_none();
        let manifest_id = match found {
            Some(row) => self.keep(tx, repo, first(&row)?).await?,
            None => self.insert(tx, repo).await?,
        };
        let target = Target {
            repo_id: repo.repo,
            manifest_id,
            digest: self.digest.as_str(),
            who: &self.who,
            grace_ms: self.untagged_grace_ms,
        };
        for name in &self.tags {
            let before = tag::point(tx, &self.repo, name, &self.condition, &target).await?;
            if let Some(before) = before.filter(|before| before != self.digest.as_str()) {
                let event = Event {
                    reference: Some(name.as_str().to_owned()),
                    digest: Some(target.digest.to_owned()),
                    old_digest: Some(before),
                    ..Event::new("tag_moved", "tag", name.as_str()).in_repo(&self.repo)
                };
                tell(tx, &self.who, &event).await?;
            }
        }
        let (missing_blobs, missing_manifests) = missing::count(tx, manifest_id).await?;
        let missing = missing_blobs + missing_manifests;
        let event = Event {
            digest: Some(target.digest.to_owned()),
            missing: (missing > 0 && !self.is_copy).then_some(missing),
            ..Event::new("push_artifact", "artifact", target.digest).in_repo(&self.repo)
        };
        tell_each(tx, &self.who, event, &self.tags).await?;
        let sql = "SELECT used, hard FROM quota WHERE project_id = $1";
        let quota = bound!(sql, repo.project).fetch_one(&mut *tx.conn).await?;
        let waits_until_ms = tx.now_ms + self.untagged_grace_ms;
        Ok(Stored {
            is_new,
            waits_until_ms: (is_new && self.tags.is_empty()).then_some(waits_until_ms),
            used: quota.try_get(0)?,
            hard: quota.try_get(1)?,
            missing_blobs,
            missing_manifests,
        })
    }
}

impl PutManifest {
    /// A manifest that is pushed again stays for its grace, however long ago it lost its last tag; and
    /// longer than before, by which who put it sees that somebody else counts on it. An earlier version
    /// may not have kept all that it names.
    async fn keep(&self, tx: &mut Tx<'_>, repo: RepoId, id: i64) -> Result<i64, Failure> {
        link::tie(tx, repo.repo, id, &self.manifest.foreign).await?;
        bound!(
            "UPDATE gc_queue SET not_before_ms = \
             CASE WHEN not_before_ms < $1 THEN $1 ELSE not_before_ms + 1 END \
             WHERE kind = 'manifest' AND subject_id = $2",
            tx.now_ms + self.untagged_grace_ms,
            id,
        )
        .execute(&mut *tx.conn)
        .await?;
        if let Some(data_key) = &self.data_key
            && !self.heal(tx, id, data_key).await?
        {
            data::release(tx, data_key).await?;
        }
        Ok(id)
    }

    /// Puts bytes in the place of broken ones, unless others are there already.
    async fn heal(&self, tx: &mut Tx<'_>, id: i64, data_key: &str) -> Result<bool, Failure> {
        let Some(broken_key) = &self.broken_key else {
            return Ok(false);
        };
        let sql = "UPDATE manifest SET data_key = $1, damaged_ms = NULL \
             WHERE id = $2 AND data_key = $3 RETURNING size";
        let healed = bound!(sql, data_key, id, broken_key.as_str());
        let Some(row) = healed.fetch_optional(&mut *tx.conn).await? else {
            return Ok(false);
        };
        data::claim(tx, data_key).await?;
        data::bury(tx, broken_key, None, first(&row)?, tx.now_ms).await?;
        Ok(true)
    }

    async fn insert(&self, tx: &mut Tx<'_>, repo: RepoId) -> Result<i64, Failure> {
        let repo_id = repo.repo;
        if self.is_copy {
            let named = self.manifest.blobs.iter().chain(&self.manifest.manifests);
            let named: Vec<&str> = named.map(|one| one.digest.as_str()).collect();
            link::adopt(tx, repo, &named).await?;
        }
        let (links, missing) = self.links(tx, repo_id).await?;
        let digest = self.digest.as_str();
        let is_back = removed::forget(tx, Forgotten::One { repo_id, digest }).await?;
        self.check_children(tx, repo_id).await?;
        let size = i64::try_from(self.bytes.len()).unwrap_or(i64::MAX);
        match self.is_copy || is_back {
            // Who pulls it needs it, also where no more blobs are kept; what comes back was paid for.
            true => quota::add(tx, repo.project, size).await?,
            false => quota::charge(tx, repo.project, "this manifest", size).await?,
        }
        let id = self.write(tx, repo_id, size).await?;
        self.tie(tx, repo_id, id, links, missing).await?;
        if !self.is_copy {
            self.refuse_lost(tx, id).await?;
        }
        if self.tags.is_empty() {
            let due_ms = tx.now_ms + self.untagged_grace_ms;
            match self.is_copy {
                true => review(tx, Kind::Manifest, id, due_ms).await?,
                false => expect(tx, Kind::Manifest, id, due_ms).await?,
            }
        }
        Ok(id)
    }

    /// Makes its row.
    async fn write(&self, tx: &mut Tx<'_>, repo_id: i64, size: i64) -> Result<i64, Failure> {
        let bytes = match &self.data_key {
            Some(data_key) => {
                data::claim(tx, data_key).await?;
                Vec::new()
            }
            None => self.bytes.to_vec(),
        };
        let made = bound!(
            "INSERT INTO manifest (repo_id, digest, media_type, artifact_type, subject, \
             annotations, size, bytes, pushed_ms, data_key) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING id",
            repo_id,
            self.digest.as_str(),
            self.media_type.as_str(),
            self.manifest.artifact_type.as_deref(),
            self.manifest.subject.as_ref().map(Digest::as_str),
            self.annotations(),
            size,
            bytes,
            tx.now_ms,
            self.data_key.as_deref(),
        );
        Ok(first(&made.fetch_one(&mut *tx.conn).await?)?)
    }

    /// Ties it to the blobs that it needs, those that it lacks and waits for, and what it names beside.
    async fn tie(
        &self,
        tx: &mut Tx<'_>,
        repo_id: i64,
        id: i64,
        links: Vec<i64>,
        missing: Vec<&Descriptor>,
    ) -> Result<(), Failure> {
        for batch in batches(links) {
            let sql = format!(
                "INSERT INTO manifest_blob (manifest_id, link_id) VALUES {} ON CONFLICT DO NOTHING",
                places(0, batch.len(), 2)
            );
            let made = sqlx::query(AssertSqlSafe(sql));
            let made = batch
                .iter()
                .fold(made, |made, link| made.bind(id).bind(*link));
            made.execute(&mut *tx.conn).await?;
        }
        for batch in batches(missing) {
            missing::await_blobs(tx, repo_id, id, &batch, false).await?;
        }
        for batch in batches(&self.manifest.manifests) {
            let sql = format!(
                "INSERT INTO manifest_child (manifest_id, repo_id, digest) VALUES {} \
                 ON CONFLICT DO NOTHING",
                places(0, batch.len(), 3)
            );
            let made = batch
                .iter()
                .fold(sqlx::query(AssertSqlSafe(sql)), |made, child| {
                    made.bind(id).bind(repo_id).bind(child.digest.as_str())
                });
            made.execute(&mut *tx.conn).await?;
        }
        Ok(link::tie(tx, repo_id, id, &self.manifest.foreign).await?)
    }

    /// Annotations as they are kept in the row. Many of a manifest that is in the store are there only,
    /// unless a list of what refers to its subject has to have them.
    fn annotations(&self) -> Option<String> {
        let annotations = self.manifest.annotations.as_ref().map(written)?;
        let is_kept = self.data_key.is_none()
            || self.manifest.subject.is_some()
            || annotations.len() <= ANNOTATION_BYTES_MAX;
        is_kept.then_some(annotations)
    }

    /// The repository's links to the blobs that the manifest needs, and those that it lacks.
    async fn links(
        &self,
        tx: &mut Tx<'_>,
        repo_id: i64,
    ) -> Result<(Vec<i64>, Vec<&Descriptor>), Failure> {
        let mut there: HashMap<String, (i64, i64)> = HashMap::new();
        for batch in batches(digests(&self.manifest.blobs)) {
            let sql = format!(
                "SELECT b.digest, l.id, b.size FROM blob b CROSS JOIN repo_blob l \
                 WHERE l.blob_id = b.id AND l.repo_id = $1 AND b.digest IN ({})",
                places(1, batch.len(), 1)
            );
            let found = with_digests(sql, repo_id, &batch);
            for row in found.fetch_all(&mut *tx.conn).await? {
                there.insert(row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?));
            }
        }
        let (mut links, mut missing) = (Vec::new(), Vec::new());
        for blob in &self.manifest.blobs {
            match there.get(blob.digest.as_str()) {
                Some((_, size)) if u64::try_from(*size) != Ok(blob.size) => {
                    return Err(wrong_size(blob, *size).into());
                }
                Some((link, _)) => links.push(*link),
                None => missing.push(blob),
            }
        }
        if !self.allow_missing_blobs {
            let digests: Vec<&str> = missing.iter().map(|blob| blob.digest.as_str()).collect();
            missing::refuse(&self.repo, "blobs", &digests)?;
        }
        Ok((links, missing))
    }

    /// Refuses a manifest that needs what the repository had: its client may have been told then
    /// that it need not push it, and would end with an image that nobody can pull.
    async fn refuse_lost(&self, tx: &mut Tx<'_>, id: i64) -> Result<(), Failure> {
        let blobs = lost::blobs(tx, &self.repo, id).await?;
        missing::refuse(&self.repo, "blobs", &blobs)?;
        let manifests = lost::manifests(tx, &self.repo, id).await?;
        Ok(missing::refuse(&self.repo, "manifests", &manifests)?)
    }

    async fn check_children(&self, tx: &mut Tx<'_>, repo_id: i64) -> Result<(), Failure> {
        if self.allow_missing_manifests {
            return Ok(());
        }
        let mut missing = digests(&self.manifest.manifests);
        for batch in batches(missing.clone()) {
            let places = places(1, batch.len(), 1);
            let sql = format!(
                "SELECT digest FROM manifest WHERE repo_id = $1 AND digest IN ({places}) \
                 UNION SELECT b.digest FROM blob b CROSS JOIN repo_blob l \
                 WHERE l.blob_id = b.id AND l.repo_id = $1 AND b.digest IN ({places})"
            );
            let found = with_digests(sql, repo_id, &batch);
            for row in found.fetch_all(&mut *tx.conn).await? {
                let there: String = row.try_get(0)?;
                missing.retain(|digest| *digest != there);
            }
        }
        Ok(missing::refuse(&self.repo, "manifests", &missing)?)
    }
}

/// Annotations as they are kept.
fn written(annotations: &Annotations) -> String {
    // Texts can always be written.
    serde_json::to_string(annotations).unwrap_or_default()
}

fn digests(descriptors: &[Descriptor]) -> Vec<&str> {
    descriptors.iter().map(|one| one.digest.as_str()).collect()
}

fn wrong_size(blob: &Descriptor, size: i64) -> Error {
    let message = format!(
        "the manifest says that {} has {} bytes; it has {size}",
        blob.digest, blob.size
    );
    Error::new(Code::ManifestInvalid, message).with_detail("digest", blob.digest.as_str())
}

/// The ids of a repository and of a manifest in it that is to be changed.
pub(super) async fn find(
    tx: &mut Tx<'_>,
    repo: &RepoName,
    digest: &Digest,
) -> Result<(i64, i64), Failure> {
    let found = bound!(
        "SELECT r.id, m.id FROM repo r JOIN manifest m ON m.repo_id = r.id \
         WHERE r.name = $1 AND m.digest = $2",
        repo.as_str(),
        digest.as_str(),
    );
    match found.fetch_optional(&mut *tx.conn).await? {
        Some(row) => Ok((row.try_get(0)?, row.try_get(1)?)),
        None => Err(unknown(repo, &Reference::Digest(digest.clone())).into()),
    }
}
