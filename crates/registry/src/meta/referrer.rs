//! Manifests that name another as their subject.

use futures::TryStreamExt;
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
    /// At most `limit` manifests with this subject whose digests follow `last`, in order, and whether
    /// there may be more because they have `bytes_max` bytes of annotations. An empty `artifact_type`
    /// is any.
    pub(crate) async fn referrers(
        &self,
        repo: &RepoName,
        subject: &Digest,
        artifact_type: &str,
        last: &str,
        (limit, bytes_max): (u32, usize),
    ) -> Result<(Vec<Referrer>, bool), Error> {
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
        let mut rows = found.fetch(&mut *connection);
        let (mut all, mut bytes) = (Vec::new(), 0);
        while bytes <= bytes_max
            && let Some(row) = rows.try_next().await.map_err(|error| unavailable(&error))?
        {
            let found = referrer(&row).map_err(|error| unavailable(&error))?;
            bytes += found.annotations.as_ref().map_or(0, String::len);
            all.push(found);
        }
        Ok((all, bytes > bytes_max))
    }
}
