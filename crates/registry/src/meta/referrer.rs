//! Manifests that name another as their subject.

use futures::{Stream, TryStreamExt};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::Meta;
use super::change::bound;
use super::error::unavailable;
use super::lent::within;
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

/// What is asked for of the manifests with a subject.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReferrersPage<'a> {
    pub(crate) subject: &'a Digest,
    /// Any if it is empty.
    pub(crate) artifact_type: &'a str,
    /// The digest that those asked for follow.
    pub(crate) last: &'a str,
    pub(crate) limit: u32,
    /// Bytes of annotations that are enough.
    pub(crate) bytes_max: usize,
}

impl Meta {
    /// At most as many manifests with a subject as a page has, in order, and whether there may be more
    /// because of their annotations.
    pub(crate) async fn referrers(
        &self,
        repo: &RepoName,
        page: &ReferrersPage<'_>,
    ) -> Result<(Vec<Referrer>, bool), Error> {
        let mut reading = self.read().await?;
        let found = bound!(
            "SELECT m.digest, m.media_type, m.artifact_type, m.annotations, m.size \
             FROM manifest m WHERE m.repo_id = (SELECT id FROM repo WHERE name = $1) \
             AND m.subject = $2 AND m.digest > $3 AND ($4 = '' OR m.artifact_type = $4) \
             ORDER BY m.digest LIMIT $5",
            repo.as_str(),
            page.subject.as_str(),
            page.last,
            page.artifact_type,
            i64::from(page.limit),
        );
        let some = some(found.fetch(&mut *reading), page.bytes_max);
        let some = within(self.answer_max, some).await;
        let some = some.unwrap_or_else(|error| Err(self.lost(&mut reading, error)));
        some.map_err(|error| unavailable(&error))
    }
}

/// Rows until there are enough bytes of annotations, and whether there may be more.
async fn some(
    mut rows: impl Stream<Item = Result<AnyRow, sqlx::Error>> + Unpin,
    bytes_max: usize,
) -> Result<(Vec<Referrer>, bool), sqlx::Error> {
    let (mut all, mut bytes) = (Vec::new(), 0);
    while bytes <= bytes_max
        && let Some(row) = rows.try_next().await?
    {
        let found = referrer(&row)?;
        bytes += found.annotations.as_ref().map_or(0, String::len);
        all.push(found);
    }
    Ok((all, bytes > bytes_max))
}
