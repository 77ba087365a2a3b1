//! Looks again at what may have lost its last reference. Each step decides and removes in one
//! transaction, so no push that runs at the same time can rely on what goes.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sqlx::Row;

use super::Meta;
use super::cache::Touched;
use super::change::{Change, Tx, bound, first};
use super::data::bury;
use super::delete;
use super::error::Failure;
use super::link::{self, Kind, reviewed};
use super::lost;
use super::project::forget_empty_repo;
use super::removed::{self, Forgotten};
use super::tag::Target;
use crate::error::Error;
use crate::name::RepoName;
use crate::who::Who;

/// Lost blobs and manifests that one transaction forgets.
const LOST_MAX: i64 = 1000;

/// What a review removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    /// Things that were looked at.
    pub(crate) looked_at: u64,
    pub(crate) manifests: u64,
    /// Bytes of the manifests themselves.
    pub(crate) manifest_bytes: u64,
    pub(crate) links: u64,
    pub(crate) blobs: u64,
    /// Bytes of the blobs.
    pub(crate) bytes: u64,
}

impl Removed {
    /// Both together.
    pub(crate) fn add(&mut self, more: &Self) {
        self.looked_at += more.looked_at;
        self.manifests += more.manifests;
        self.manifest_bytes += more.manifest_bytes;
        self.links += more.links;
        self.blobs += more.blobs;
        self.bytes += more.bytes;
    }
}

/// How long things stay, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Graces {
    pub(crate) untagged_ms: i64,
    /// From the last push or pull of what never had a tag or an index; 0 is for ever.
    pub(crate) never_tagged_ms: i64,
    pub(crate) blob_ms: i64,
    pub(crate) data_ms: i64,
    /// For so long what a cluster said that it runs.
    pub(crate) running_ms: i64,
}

/// What becomes of manifests that no tag and no index has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Untagged {
    /// They go: those that lost the last one, and those that have waited in vain for the first.
    #[default]
    Go,
    /// The latter go as soon as the former.
    All,
    /// They wait until they are to go.
    Stay,
}

impl Untagged {
    /// What was said to have it so: that they go or stay, or nothing.
    pub(crate) fn said(self) -> Option<bool> {
        match self {
            Self::Go => None,
            Self::All => Some(true),
            Self::Stay => Some(false),
        }
    }
}

/// Looks at what is due.
pub(crate) struct Review {
    pub(crate) graces: Graces,
    pub(crate) untagged: Untagged,
    /// Things that one transaction looks at.
    pub(crate) limit: i64,
}

#[async_trait]
impl Change for Review {
    type Out = Removed;
    const NAME: &'static str = "review";

    fn touches(&self, out: &Self::Out) -> Touched<'_> {
        match out.manifests + out.links + out.blobs {
            0 => Touched::Nothing,
            _ => Touched::Repos,
        }
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Removed, Failure> {
        let mut removed = Removed::default();
        let spared = match self.untagged {
            Untagged::Go | Untagged::All => "",
            Untagged::Stay => Kind::Manifest.name(),
        };
        let due = bound!(
            "SELECT kind, subject_id, never_tagged FROM gc_queue WHERE not_before_ms <= $1 AND kind <> $3 \
             ORDER BY not_before_ms LIMIT $2",
            tx.now_ms,
            self.limit,
            spared,
        );
        let due = due.fetch_all(&mut *tx.conn).await?;
        for row in &due {
            let (kind, id): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
            removed.looked_at += 1;
            match Kind::parse(&kind) {
                Some(Kind::Manifest) => {
                    let was_tagged = row.try_get::<i64, _>(2)? == 0;
                    self.manifest(tx, id, was_tagged, &mut removed).await?;
                }
                Some(Kind::Link) => self.link(tx, id, &mut removed).await?,
                Some(Kind::Blob) => self.blob(tx, id, &mut removed).await?,
                None => tracing::warn!(kind, id, "the review queue has something unknown"),
            }
        }
        Ok(removed)
    }
}

impl Review {
    /// When a cluster last said that it runs a manifest, or one that it names, if that still counts.
    async fn ran_ms(&self, tx: &mut Tx<'_>, id: i64) -> Result<Option<i64>, sqlx::Error> {
        let found = bound!(
            "WITH RECURSIVE below (repo_id, digest) AS ( \
             SELECT m.repo_id, m.digest FROM manifest m WHERE m.id = $1 \
             UNION SELECT c.repo_id, c.digest FROM below b \
                 JOIN manifest i ON i.repo_id = b.repo_id AND i.digest = b.digest \
                 JOIN manifest_child c ON c.manifest_id = i.id) \
             SELECT MAX(n.seen_ms) FROM below b JOIN running n ON n.digest = b.digest \
             WHERE n.seen_ms > $2",
            id,
            tx.now_ms.saturating_sub(self.graces.running_ms),
        );
        found.fetch_one(&mut *tx.conn).await?.try_get(0)
    }

    /// How long a manifest stays that nothing has, if it stays: those that run, those that are pulled
    /// from a cache, which has most of them by their digests only, and those that never had a tag.
    async fn due_ms(&self, tx: &mut Tx<'_>, id: i64, was_tagged: bool) -> Result<i64, sqlx::Error> {
        let used = bound!(
            "SELECT m.pushed_ms, COALESCE(u.pulled_ms, 0), p.upstream_id \
             FROM manifest m JOIN repo r ON r.id = m.repo_id JOIN project p ON p.id = r.project_id \
             LEFT JOIN pull u ON u.manifest_id = m.id WHERE m.id = $1",
            id,
        );
        let row = used.fetch_one(&mut *tx.conn).await?;
        let (pushed_ms, pulled_ms): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let is_cache = row.try_get::<Option<i64>, _>(2)?.is_some();
        let used_ms = match (was_tagged, self.graces.never_tagged_ms) {
            (true, _) if is_cache => pulled_ms.saturating_add(self.graces.untagged_ms),
            (true, _) => 0,
            (false, 0) => i64::MAX,
            (false, grace_ms) => pushed_ms.max(pulled_ms).saturating_add(grace_ms),
        };
        let ran_ms = self.ran_ms(tx, id).await?;
        let ran_ms = ran_ms.map_or(0, |at_ms| at_ms.saturating_add(self.graces.running_ms));
        Ok(used_ms.max(ran_ms))
    }

    /// A manifest goes unless a tag or an index has it, it is about one that is there, or it is used.
    async fn manifest(
        &self,
        tx: &mut Tx<'_>,
        id: i64,
        was_tagged: bool,
        removed: &mut Removed,
    ) -> Result<(), Failure> {
        reviewed(tx, Kind::Manifest, id).await?;
        let free = bound!(
            "SELECT m.repo_id, m.digest, r.name, m.size FROM manifest m JOIN repo r ON r.id = m.repo_id \
             WHERE m.id = $1 \
             AND NOT EXISTS (SELECT 1 FROM tag t WHERE t.manifest_id = m.id) \
             AND NOT EXISTS (SELECT 1 FROM manifest_child c \
                 WHERE c.repo_id = m.repo_id AND c.digest = m.digest) \
             AND NOT EXISTS (SELECT 1 FROM manifest s \
                 WHERE s.repo_id = m.repo_id AND s.digest = m.subject)",
            id,
        );
        let Some(row) = free.fetch_optional(&mut *tx.conn).await? else {
            return Ok(());
        };
        let due_ms = self.due_ms(tx, id, was_tagged).await?;
        if due_ms == i64::MAX {
            return Ok(());
        }
        if due_ms > tx.now_ms {
            match was_tagged {
                true => link::review(tx, Kind::Manifest, id, due_ms).await?,
                false => link::expect(tx, Kind::Manifest, id, due_ms).await?,
            }
            return Ok(());
        }
        let (digest, name): (String, String) = (row.try_get(1)?, row.try_get(2)?);
        let who = Who::system("gc");
        let target = Target {
            repo_id: row.try_get(0)?,
            manifest_id: id,
            digest: &digest,
            who: &who,
            grace_ms: self.graces.untagged_ms,
        };
        removed.manifests += 1;
        removed.manifest_bytes += row.try_get::<i64, _>(3)?.unsigned_abs();
        let repo = RepoName::parse(&name)?;
        delete::remove(tx, &repo, &target, &self.graces, "gc_deleted").await?;
        forget_empty_repo(tx, &who, target.repo_id).await
    }

    /// A repository's link to a blob goes unless a manifest of it needs the blob, and with the last
    /// thing of it the repository.
    async fn link(&self, tx: &mut Tx<'_>, id: i64, removed: &mut Removed) -> Result<(), Failure> {
        reviewed(tx, Kind::Link, id).await?;
        let found = bound!("SELECT repo_id FROM repo_blob WHERE id = $1", id);
        if let Some(row) = found.fetch_optional(&mut *tx.conn).await?
            && link::user(tx, id).await?.is_none()
        {
            link::remove(tx, id).await?;
            forget_empty_repo(tx, &Who::system("gc"), first(&row)?).await?;
            removed.links += 1;
        }
        Ok(())
    }

    /// A blob goes unless a repository has it.
    async fn blob(&self, tx: &mut Tx<'_>, id: i64, removed: &mut Removed) -> Result<(), Failure> {
        reviewed(tx, Kind::Blob, id).await?;
        let free = bound!(
            "SELECT b.data_key, b.size FROM blob b WHERE b.id = $1 \
             AND NOT EXISTS (SELECT 1 FROM repo_blob l WHERE l.blob_id = b.id)",
            id,
        );
        let Some(row) = free.fetch_optional(&mut *tx.conn).await? else {
            return Ok(());
        };
        let (key, size): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        bound!("DELETE FROM blob WHERE id = $1", id)
            .execute(&mut *tx.conn)
            .await?;
        // Who is reading them may finish.
        bury(tx, &key, None, size, tx.now_ms + self.graces.data_ms).await?;
        removed.blobs += 1;
        removed.bytes += size.unsigned_abs();
        Ok(())
    }
}

/// Gives up uploads that nobody continued, and forgets what no push that still runs can have been
/// told, and manifests that cannot be brought back any more.
pub(crate) struct ExpireUploads {
    pub(crate) age_ms: i64,
    pub(crate) limit: i64,
}

#[async_trait]
impl Change for ExpireUploads {
    /// How many.
    type Out = u64;
    const NAME: &'static str = "expire_uploads";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<u64, Failure> {
        let taken = bound!(
            "DELETE FROM upload WHERE uuid IN \
             (SELECT uuid FROM upload WHERE seen_ms <= $1 ORDER BY seen_ms LIMIT $2) \
             RETURNING data_key, written, received",
            tx.now_ms - self.age_ms,
            self.limit,
        );
        let rows = taken.fetch_all(&mut *tx.conn).await?;
        lost::forget(tx, self.age_ms, LOST_MAX).await?;
        removed::forget(tx, Forgotten::Old { limit: LOST_MAX }).await?;
        for row in &rows {
            let (key, written, size): (String, String, i64) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            bury(tx, &key, Some(&written), size, tx.now_ms).await?;
        }
        Ok(rows.len() as u64)
    }
}

/// What waits to be looked at or removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub(crate) reviews: i64,
    /// When the first of them is due, in milliseconds since 1970.
    pub(crate) first_due_ms: Option<i64>,
    pub(crate) dead: i64,
    pub(crate) dead_bytes: i64,
    /// Uploads under way.
    pub(crate) uploads: i64,
}

impl Meta {
    /// How much there is to do.
    pub(crate) async fn backlog(&self) -> Result<Backlog, Error> {
        let found = bound!(
            "SELECT (SELECT COUNT(*) FROM gc_queue), (SELECT MIN(not_before_ms) FROM gc_queue), \
             (SELECT COUNT(*) FROM dead_data), \
             (SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM dead_data), \
             (SELECT COUNT(*) FROM upload)"
        );
        let backlog = |row: &sqlx::any::AnyRow| {
            Ok(Backlog {
                reviews: row.try_get(0)?,
                first_due_ms: row.try_get(1)?,
                dead: row.try_get(2)?,
                dead_bytes: row.try_get(3)?,
                uploads: row.try_get(4)?,
            })
        };
        Ok(self.row(found, backlog).await?.unwrap_or_default())
    }
}
