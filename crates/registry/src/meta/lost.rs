//! What repositories had and lost a while ago, blobs and manifests alike. Who pushes what needs it may
//! have been told that it is there, and is told to push it again: also if the repository itself went
//! meanwhile, hence its name.

use sqlx::Row;

use super::change::{Tx, bound};
use crate::name::RepoName;

/// Remembers that a repository had a blob.
pub(super) async fn lose_blob(
    tx: &mut Tx<'_>,
    repo: &str,
    digest: &str,
) -> Result<(), sqlx::Error> {
    bound!(
        "INSERT INTO lost_blob (repo, digest, lost_ms) VALUES ($1, $2, $3) \
         ON CONFLICT (repo, digest) DO UPDATE SET lost_ms = excluded.lost_ms",
        repo,
        digest,
        tx.now_ms,
    )
    .execute(&mut *tx.conn)
    .await?;
    Ok(())
}

/// Remembers that a repository had a manifest which is there yet.
pub(super) async fn lose_manifest(tx: &mut Tx<'_>, manifest_id: i64) -> Result<(), sqlx::Error> {
    bound!(
        "INSERT INTO lost_blob (repo, digest, lost_ms) \
         SELECT r.name, m.digest, CAST($1 AS BIGINT) FROM manifest m \
         JOIN repo r ON r.id = m.repo_id WHERE m.id = $2 \
         ON CONFLICT (repo, digest) DO UPDATE SET lost_ms = excluded.lost_ms",
        tx.now_ms,
        manifest_id,
    )
    .execute(&mut *tx.conn)
    .await?;
    Ok(())
}

/// Forgets some of what was lost longer ago than this.
pub(super) async fn forget(tx: &mut Tx<'_>, age_ms: i64, limit: i64) -> Result<(), sqlx::Error> {
    bound!(
        "DELETE FROM lost_blob WHERE (repo, digest) IN \
         (SELECT repo, digest FROM lost_blob WHERE lost_ms <= $1 ORDER BY lost_ms LIMIT $2)",
        tx.now_ms - age_ms,
        limit,
    )
    .execute(&mut *tx.conn)
    .await?;
    Ok(())
}

/// The lost blobs that a manifest of a repository waits for.
pub(super) async fn blobs(
    tx: &mut Tx<'_>,
    repo: &RepoName,
    manifest_id: i64,
) -> Result<Vec<String>, sqlx::Error> {
    let sql = "SELECT l.digest FROM manifest_missing x JOIN lost_blob l ON l.digest = x.digest \
         WHERE l.repo = $1 AND x.manifest_id = $2 AND x.optional = 0 ORDER BY l.digest";
    digests(tx, sql, repo, manifest_id).await
}

/// What an index of a repository names and the repository lost, manifests or blobs.
pub(super) async fn manifests(
    tx: &mut Tx<'_>,
    repo: &RepoName,
    index_id: i64,
) -> Result<Vec<String>, sqlx::Error> {
    let sql = "SELECT l.digest FROM manifest_child c JOIN lost_blob l ON l.digest = c.digest \
         WHERE l.repo = $1 AND c.manifest_id = $2 AND NOT EXISTS (SELECT 1 FROM manifest m \
             WHERE m.repo_id = c.repo_id AND m.digest = c.digest) \
         AND NOT EXISTS (SELECT 1 FROM blob b JOIN repo_blob k ON k.blob_id = b.id \
             WHERE b.digest = c.digest AND k.repo_id = c.repo_id) ORDER BY l.digest";
    digests(tx, sql, repo, index_id).await
}

async fn digests(
    tx: &mut Tx<'_>,
    sql: &'static str,
    repo: &RepoName,
    manifest_id: i64,
) -> Result<Vec<String>, sqlx::Error> {
    let found = bound!(sql, repo.as_str(), manifest_id);
    let rows = found.fetch_all(&mut *tx.conn).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}
