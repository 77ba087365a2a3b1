//! What manifests name and their repositories do not have.

use sqlx::{AssertSqlSafe, Row};

use super::batch::places;
use super::change::{Tx, bound};
use crate::error::{Code, Error};
use crate::manifest::Descriptor;
use crate::name::RepoName;

/// Blobs or manifests that one answer names.
const NAMED_MAX: usize = 10;

/// How many blobs, and manifests, of those that a manifest names are not there.
pub(super) async fn count(tx: &mut Tx<'_>, manifest_id: i64) -> Result<(i64, i64), sqlx::Error> {
    let counted = bound!(
        "SELECT (SELECT COUNT(*) FROM manifest_missing WHERE manifest_id = $1 AND optional = 0), \
         (SELECT COUNT(*) FROM manifest_child c WHERE c.manifest_id = $1 AND NOT EXISTS \
             (SELECT 1 FROM manifest m WHERE m.repo_id = c.repo_id AND m.digest = c.digest) \
         AND NOT EXISTS (SELECT 1 FROM blob b JOIN repo_blob l ON l.blob_id = b.id \
             WHERE b.digest = c.digest AND l.repo_id = c.repo_id))",
        manifest_id,
    );
    let row = counted.fetch_one(&mut *tx.conn).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// Has a manifest wait for a batch of blobs; those that are optional nobody is told to push.
pub(super) async fn await_blobs(
    tx: &mut Tx<'_>,
    repo_id: i64,
    manifest_id: i64,
    blobs: &[&Descriptor],
    optional: bool,
) -> Result<(), sqlx::Error> {
    let sql = format!(
        "INSERT INTO manifest_missing (manifest_id, repo_id, digest, size, optional) VALUES {} \
         ON CONFLICT DO NOTHING",
        places(0, blobs.len(), 5)
    );
    let made = sqlx::query(AssertSqlSafe(sql));
    let made = blobs.iter().fold(made, |made, blob| {
        let size = i64::try_from(blob.size).unwrap_or(i64::MAX);
        let made = made.bind(manifest_id).bind(repo_id);
        let made = made.bind(blob.digest.as_str()).bind(size);
        made.bind(i64::from(optional))
    });
    made.execute(&mut *tx.conn).await?;
    Ok(())
}

/// Refuses a manifest whose repository lacks something, `what` it may be.
pub(super) fn refuse(
    repo: &RepoName,
    what: &str,
    missing: &[impl AsRef<str>],
) -> Result<(), Error> {
    if missing.is_empty() {
        return Ok(());
    }
    let named = missing.iter().map(AsRef::as_ref);
    let named: Vec<&str> = named.take(NAMED_MAX).collect();
    let message = format!(
        "{repo} lacks {} {what} of this manifest, push them first: {}",
        missing.len(),
        named.join(", ")
    );
    Err(Error::new(Code::ManifestBlobUnknown, message).with_detail("missing", named))
}
