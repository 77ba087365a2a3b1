//! Links between repositories and blobs, and what they cost their project.

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Row};

use super::batch::{batches, places, with_digests};
use super::change::{Change, Tx, bound, first};
use super::error::Failure;
use super::lost;
use super::missing;
use super::project::{RepoId, ensure_repo};
use super::quota;
use crate::digest::Digest;
use crate::manifest::Descriptor;
use crate::name::RepoName;
use crate::who::Who;

/// What the review queue has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A manifest that lost a tag or an index, or never had one.
    Manifest,
    /// A repository's link to a blob that no manifest may need.
    Link,
    /// A blob that no repository may have.
    Blob,
}

impl Kind {
    pub(super) fn parse(name: &str) -> Option<Self> {
        let all = [Self::Manifest, Self::Link, Self::Blob];
        all.into_iter().find(|kind| kind.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Link => "link",
            Self::Blob => "blob",
        }
    }
}

/// Has something looked at when `not_before_ms` has come, and not earlier, whatever was said before.
pub(super) async fn review(
    tx: &mut Tx<'_>,
    kind: Kind,
    id: i64,
    not_before_ms: i64,
) -> Result<(), sqlx::Error> {
    bound!(
        "INSERT INTO gc_queue (kind, subject_id, not_before_ms) VALUES ($1, $2, $3) \
         ON CONFLICT (kind, subject_id) DO UPDATE \
         SET not_before_ms = excluded.not_before_ms, never_tagged = 0",
        kind.name(),
        id,
        not_before_ms,
    )
    .execute(&mut *tx.conn)
    .await?;
    Ok(())
}

/// The same of what is new, or what somebody has been told that it is there: a manifest that has no tag
/// yet, a link that no manifest needs yet.
pub(super) async fn expect(
    tx: &mut Tx<'_>,
    kind: Kind,
    id: i64,
    not_before_ms: i64,
) -> Result<(), sqlx::Error> {
    bound!(
        "INSERT INTO gc_queue (kind, subject_id, not_before_ms, never_tagged) \
         VALUES ($1, $2, $3, 1) ON CONFLICT (kind, subject_id) DO UPDATE \
         SET not_before_ms = excluded.not_before_ms, never_tagged = excluded.never_tagged",
        kind.name(),
        id,
        not_before_ms,
    )
    .execute(&mut *tx.conn)
    .await?;
    Ok(())
}

/// Takes something from the review queue.
pub(super) async fn reviewed(tx: &mut Tx<'_>, kind: Kind, id: i64) -> Result<(), sqlx::Error> {
    bound!(
        "DELETE FROM gc_queue WHERE kind = $1 AND subject_id = $2",
        kind.name(),
        id,
    )
    .execute(&mut *tx.conn)
    .await?;
    Ok(())
}

/// Gives a repository a blob, and charges its project if no other repository of it has it. The link
/// is looked at again after the grace, by when a manifest should need it.
pub(super) async fn add(
    tx: &mut Tx<'_>,
    repo: RepoId,
    digest: &Digest,
    (blob_id, size): (i64, i64),
    grace_ms: i64,
) -> Result<i64, Failure> {
    let found = bound!(
        "SELECT id FROM repo_blob WHERE repo_id = $1 AND blob_id = $2",
        repo.repo,
        blob_id,
    );
    let link_id = match found.fetch_optional(&mut *tx.conn).await? {
        Some(row) => first(&row)?,
        None => {
            charge(tx, repo.project, blob_id, size).await?;
            let made = bound!(
                "INSERT INTO repo_blob (repo_id, blob_id, project_id, linked_ms) \
                 VALUES ($1, $2, $3, $4) RETURNING id",
                repo.repo,
                blob_id,
                repo.project,
                tx.now_ms,
            );
            let link_id = first(&made.fetch_one(&mut *tx.conn).await?)?;
            expected(tx, repo.repo, &[digest.as_str()]).await?;
            link_id
        }
    };
    expect(tx, Kind::Link, link_id, tx.now_ms + grace_ms).await?;
    Ok(link_id)
}

/// Gives a repository those of some blobs that other repositories of its project have, and which it
/// need not pay for therefore.
pub(super) async fn adopt(
    tx: &mut Tx<'_>,
    repo: RepoId,
    digests: &[&str],
) -> Result<(), sqlx::Error> {
    for batch in batches(digests.iter().copied()) {
        let sql = format!(
            "INSERT INTO repo_blob (repo_id, blob_id, project_id, linked_ms) \
             SELECT DISTINCT $1, b.id, $2, $3 FROM blob b CROSS JOIN repo_blob l \
             WHERE l.blob_id = b.id AND l.project_id = $2 AND b.digest IN ({}) \
             ON CONFLICT (repo_id, blob_id) DO NOTHING",
            places(3, batch.len(), 1)
        );
        let made = bound!(AssertSqlSafe(sql), repo.repo, repo.project, tx.now_ms);
        let made = batch.iter().fold(made, |made, digest| made.bind(*digest));
        if made.execute(&mut *tx.conn).await?.rows_affected() > 0 {
            expected(tx, repo.repo, &batch).await?;
        }
    }
    Ok(())
}

/// Has a manifest keep, of what it names and what need not be there, the blobs that its repository
/// has or will have: layers that are foreign, and what an index names that is no manifest, as
/// BuildKit's caches do.
pub(super) async fn tie(
    tx: &mut Tx<'_>,
    repo_id: i64,
    manifest_id: i64,
    foreign: &[Descriptor],
) -> Result<(), sqlx::Error> {
    bound!(
        "INSERT INTO manifest_blob (manifest_id, link_id) SELECT c.manifest_id, l.id \
         FROM manifest_child c CROSS JOIN blob b CROSS JOIN repo_blob l \
         WHERE c.manifest_id = $1 AND b.digest = c.digest \
         AND l.blob_id = b.id AND l.repo_id = c.repo_id ON CONFLICT DO NOTHING",
        manifest_id,
    )
    .execute(&mut *tx.conn)
    .await?;
    for batch in batches(foreign) {
        missing::await_blobs(tx, repo_id, manifest_id, &batch, true).await?;
        let digests: Vec<&str> = batch.iter().map(|layer| layer.digest.as_str()).collect();
        tie_waiting(tx, repo_id, &digests).await?;
        forget_waiting(tx, repo_id, &digests).await?;
    }
    Ok(())
}

/// A repository's manifests that wait for a blob that it has now, as they said that it would be: one
/// that says that it has another size goes on waiting.
const COME: &str = "FROM manifest_missing x JOIN blob b ON b.digest = x.digest \
     JOIN repo_blob l ON l.blob_id = b.id AND l.repo_id = x.repo_id \
     WHERE x.repo_id = $1 AND (x.size IS NULL OR x.size = b.size) AND x.digest IN";

/// Ties links that are new to the manifests that have been waiting for the blobs, or that name them.
async fn expected(tx: &mut Tx<'_>, repo_id: i64, digests: &[&str]) -> Result<(), sqlx::Error> {
    if tie_waiting(tx, repo_id, digests).await? > 0 {
        forget_waiting(tx, repo_id, digests).await?;
    }
    let sql = format!(
        "INSERT INTO manifest_blob (manifest_id, link_id) SELECT c.manifest_id, l.id \
         FROM manifest_child c CROSS JOIN blob b CROSS JOIN repo_blob l \
         WHERE c.repo_id = $1 AND c.digest IN ({}) AND b.digest = c.digest \
         AND l.blob_id = b.id AND l.repo_id = c.repo_id ON CONFLICT DO NOTHING",
        places(1, digests.len(), 1)
    );
    let tied = with_digests(sql, repo_id, digests);
    tied.execute(&mut *tx.conn).await?;
    Ok(())
}

/// Ties blobs to the manifests that wait for them; gives how many ties are new.
async fn tie_waiting(tx: &mut Tx<'_>, repo_id: i64, digests: &[&str]) -> Result<u64, sqlx::Error> {
    let sql = format!(
        "INSERT INTO manifest_blob (manifest_id, link_id) \
         SELECT x.manifest_id, l.id {COME} ({}) ON CONFLICT DO NOTHING",
        places(1, digests.len(), 1)
    );
    let tied = with_digests(sql, repo_id, digests);
    Ok(tied.execute(&mut *tx.conn).await?.rows_affected())
}

/// Nobody waits any more for blobs that are there.
async fn forget_waiting(
    tx: &mut Tx<'_>,
    repo_id: i64,
    digests: &[&str],
) -> Result<(), sqlx::Error> {
    let sql = format!(
        "DELETE FROM manifest_missing WHERE (manifest_id, digest) IN \
         (SELECT x.manifest_id, x.digest {COME} ({}))",
        places(1, digests.len(), 1)
    );
    let forgotten = with_digests(sql, repo_id, digests);
    forgotten.execute(&mut *tx.conn).await?;
    Ok(())
}

async fn is_in_project(tx: &mut Tx<'_>, project: i64, blob_id: i64) -> Result<bool, sqlx::Error> {
    let found = bound!(
        "SELECT 1 FROM repo_blob WHERE project_id = $1 AND blob_id = $2 LIMIT 1",
        project,
        blob_id,
    );
    Ok(found.fetch_optional(&mut *tx.conn).await?.is_some())
}

async fn charge(tx: &mut Tx<'_>, project: i64, blob_id: i64, size: i64) -> Result<(), Failure> {
    match is_in_project(tx, project, blob_id).await? {
        true => Ok(()),
        false => quota::charge(tx, project, "this blob", size).await,
    }
}

/// Takes a link that no manifest needs, refunds the project, and has the blob looked at.
pub(super) async fn remove(tx: &mut Tx<'_>, link_id: i64) -> Result<(), Failure> {
    let found = bound!(
        "SELECT l.project_id, l.blob_id, b.size, r.name, b.digest FROM repo_blob l \
         JOIN blob b ON b.id = l.blob_id JOIN repo r ON r.id = l.repo_id WHERE l.id = $1",
        link_id,
    );
    let row = found.fetch_one(&mut *tx.conn).await?;
    let (project, blob_id, size): (i64, i64, i64) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let (repo, digest): (String, String) = (row.try_get(3)?, row.try_get(4)?);
    lost::lose_blob(tx, &repo, &digest).await?;
    bound!("DELETE FROM repo_blob WHERE id = $1", link_id)
        .execute(&mut *tx.conn)
        .await?;
    reviewed(tx, Kind::Link, link_id).await?;
    if !is_in_project(tx, project, blob_id).await? {
        quota::add(tx, project, -size).await?;
    }
    // Nobody has been told that the blob is there since: its link would have been bumped.
    review(tx, Kind::Blob, blob_id, tx.now_ms).await?;
    Ok(())
}

/// The digest of a manifest that needs a link, if there is one.
pub(super) async fn user(tx: &mut Tx<'_>, link_id: i64) -> Result<Option<String>, sqlx::Error> {
    let found = bound!(
        "SELECT m.digest FROM manifest_blob e JOIN manifest m ON m.id = e.manifest_id \
         WHERE e.link_id = $1 LIMIT 1",
        link_id,
    );
    let row = found.fetch_optional(&mut *tx.conn).await?;
    row.map(|row| row.try_get(0)).transpose()
}

/// Gives a repository a blob of another, if that has it.
pub(crate) struct Mount {
    pub(crate) repo: RepoName,
    pub(crate) digest: Digest,
    pub(crate) from: RepoName,
    pub(crate) grace_ms: i64,
    pub(crate) who: Who,
}

#[async_trait]
impl Change for Mount {
    /// Whether the blob was found.
    type Out = bool;
    const NAME: &'static str = "mount";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<bool, Failure> {
        let found = bound!(
            "SELECT b.id, b.size FROM blob b JOIN repo_blob l ON l.blob_id = b.id \
             JOIN repo r ON r.id = l.repo_id \
             WHERE b.digest = $1 AND r.name = $2",
            self.digest.as_str(),
            self.from.as_str(),
        );
        let Some(row) = found.fetch_optional(&mut *tx.conn).await? else {
            return Ok(false);
        };
        let (blob_id, size): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let repo = ensure_repo(tx, &self.who, &self.repo).await?;
        add(tx, repo, &self.digest, (blob_id, size), self.grace_ms).await?;
        Ok(true)
    }
}
