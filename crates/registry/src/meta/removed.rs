//! Manifests that were removed by their digests while tags pointed to them. They are not there for
//! anybody, but for as long as their blobs are a tag can be brought back to them.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::Meta;
use super::change::{Tx, bound};
use super::data;
use super::manifest::{Content, ManifestRow};
use super::quota;
use crate::digest::Digest;
use crate::error::Error;
use crate::name::RepoName;

/// Remembers a manifest that is about to go. Its bytes stay where they are, and its project is charged
/// for them until it is forgotten.
pub(super) async fn remember(
    tx: &mut Tx<'_>,
    manifest_id: i64,
    until_ms: i64,
) -> Result<(), sqlx::Error> {
    bound!(
        "INSERT INTO removed_manifest (repo_id, digest, media_type, size, bytes, data_key, until_ms) \
         SELECT repo_id, digest, media_type, size, bytes, data_key, CAST($1 AS BIGINT) \
         FROM manifest WHERE id = $2",
        until_ms,
        manifest_id,
    )
    .execute(&mut *tx.conn)
    .await?;
    let kept = bound!(
        "UPDATE manifest SET data_key = NULL WHERE id = $1 \
         RETURNING size, (SELECT project_id FROM repo WHERE id = repo_id)",
        manifest_id,
    );
    if let Some(row) = kept.fetch_optional(&mut *tx.conn).await? {
        quota::add(tx, row.try_get(1)?, row.try_get(0)?).await?;
    }
    Ok(())
}

/// Which are forgotten.
pub(super) enum Forgotten<'a> {
    /// Some of those whose time is over.
    Old { limit: i64 },
    /// One that is pushed again, or brought back.
    One { repo_id: i64, digest: &'a str },
    /// Those of a repository that goes.
    Repo { repo_id: i64 },
}

/// Forgets some, and gives their projects back what they were charged.
pub(super) async fn forget(tx: &mut Tx<'_>, forgotten: Forgotten<'_>) -> Result<(), sqlx::Error> {
    macro_rules! sql {
        ($which:literal) => {
            concat!(
                "DELETE FROM removed_manifest WHERE ",
                $which,
                " RETURNING size, (SELECT project_id FROM repo WHERE id = repo_id), data_key"
            )
        };
    }
    let taken = match forgotten {
        Forgotten::Old { limit } => bound!(
            sql!(
                "(repo_id, digest) IN (SELECT repo_id, digest FROM removed_manifest \
                 WHERE until_ms <= $1 ORDER BY until_ms LIMIT $2)"
            ),
            tx.now_ms,
            limit,
        ),
        Forgotten::One { repo_id, digest } => {
            bound!(sql!("repo_id = $1 AND digest = $2"), repo_id, digest)
        }
        Forgotten::Repo { repo_id } => bound!(sql!("repo_id = $1"), repo_id),
    };
    for row in taken.fetch_all(&mut *tx.conn).await? {
        let size: i64 = row.try_get(0)?;
        quota::add(tx, row.try_get(1)?, -size).await?;
        if let Some(data_key) = row.try_get::<Option<String>, _>(2)? {
            data::bury(tx, &data_key, None, size, tx.now_ms).await?;
        }
    }
    Ok(())
}

fn removed(row: &AnyRow) -> Result<ManifestRow, sqlx::Error> {
    Ok(ManifestRow {
        id: None,
        digest: row.try_get(0)?,
        media_type: row.try_get(1)?,
        size: row.try_get::<i64, _>(2)?.unsigned_abs(),
        content: Content::read(row, 3)?,
        is_damaged: false,
    })
}

impl Meta {
    /// A manifest that was removed from a repository and can be brought back.
    pub(crate) async fn removed_manifest(
        &self,
        repo: &RepoName,
        digest: &Digest,
    ) -> Result<Option<ManifestRow>, Error> {
        let sql = "SELECT x.digest, x.media_type, x.size, x.data_key, x.bytes \
             FROM removed_manifest x JOIN repo r ON r.id = x.repo_id \
             WHERE r.name = $1 AND x.digest = $2 AND x.until_ms > $3";
        let found = bound!(sql, repo.as_str(), digest.as_str(), self.now_ms());
        Ok(self.rows(found, removed).await?.pop())
    }
}
