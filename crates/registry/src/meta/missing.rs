//! What manifests name and their repositories do not have.

use sqlx::Row;

use super::change::{Tx, bound};
use crate::error::{Code, Error};
use crate::name::RepoName;

/// Blobs or manifests that one answer names.
const NAMED_MAX: usize = 10;

/// How many blobs, and manifests, of those that a manifest names are not there.
pub(super) async fn count(tx: &mut Tx<'_>, manifest_id: i64) -> Result<(i64, i64), sqlx::Error> {
    let counted = bound!(
        "SELECT (SELECT COUNT(*) FROM manifest_missing WHERE manifest_id = $1), \
         (SELECT COUNT(*) FROM manifest_child c WHERE c.manifest_id = $1 AND NOT EXISTS \
             (SELECT 1 FROM manifest m WHERE m.repo_id = c.repo_id AND m.digest = c.digest))",
        manifest_id,
    );
    let row = counted.fetch_one(&mut *tx.conn).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
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
