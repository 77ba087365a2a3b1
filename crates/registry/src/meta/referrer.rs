//! Manifests that name another as their subject.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::Meta;
use super::change::bound;
use super::error::unavailable;
use crate::digest::Digest;
use crate::error::Error;
use crate::name::RepoName;

/// A manifest with a subject.
#[derive(Clone, Debug)]
pub(crate) struct Referrer {
    pub(crate) digest: String,
    pub(crate) media_type: String,
    pub(crate) artifact_type: Option<String>,
    pub(crate) annotations: Option<String>,
    pub(crate) size: i64,
}

fn referrer(row: &AnyRow) -> Result<Referrer, sqlx::Error> {
    Ok(Referrer {
        digest: row.try_get(0)?,
        media_type: row.try_get(1)?,
        artifact_type: row.try_get(2)?,
        annotations: row.try_get(3)?,
        size: row.try_get(4)?,
    })
}

impl Meta {
    /// At most `limit` manifests with this subject whose digests follow `last`, in order. An empty
    /// `artifact_type` is any.
    pub(crate) async fn referrers(
        &self,
        repo: &RepoName,
        subject: &Digest,
        artifact_type: &str,
        last: &str,
        limit: u32,
    ) -> Result<Vec<Referrer>, Error> {
        let mut connection = self.read().await?;
        let found = bound!(
            "SELECT m.digest, m.media_type, m.artifact_type, m.annotations, m.size \
             FROM manifest m WHERE m.repo_id = (SELECT id FROM repo WHERE name = $1) \
             AND m.subject = $2 AND m.digest > $3 AND ($4 = '' OR m.artifact_type = $4) \
             ORDER BY m.digest LIMIT $5",
            repo.as_str(),
            subject.as_str(),
            last,
            artifact_type,
            i64::from(limit),
        );
        let rows = found.fetch_all(&mut *connection).await;
        rows.and_then(|rows| rows.iter().map(referrer).collect())
            .map_err(|error| unavailable(&error))
    }
}
