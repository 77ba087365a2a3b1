//! Manifests that were pushed by their digests only. A tag or an index is expected to follow; if none
//! does, as after a push that was broken off, they go once nobody has pulled them for long.

use async_trait::async_trait;
use sqlx::Row;

use super::cache::Touched;
use super::change::{Change, Tx, bound};
use super::delete;
use super::error::Failure;
use super::removed;
use super::review::Graces;
use super::tag::Target;
use crate::digest::Digest;
use crate::name::RepoName;
use crate::who::Who;

/// Removes manifests that were put into a repository for something that was refused then: those that
/// nothing has had yet.
pub(crate) struct GiveUp {
    pub(crate) who: Who,
    pub(crate) repo: RepoName,
    pub(crate) digests: Vec<Digest>,
    pub(crate) graces: Graces,
    /// Whether they were removed before, and can be brought back as they could then.
    pub(crate) can_come_back: bool,
}

#[async_trait]
impl Change for GiveUp {
    type Out = ();
    const NAME: &'static str = "give_up";

    fn touches(&self, _out: &Self::Out) -> Touched<'_> {
        Touched::Repo(&self.repo)
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        // What came last names what came before.
        for digest in self.digests.iter().rev() {
            self.remove(tx, digest).await?;
        }
        Ok(())
    }
}

impl GiveUp {
    async fn remove(&self, tx: &mut Tx<'_>, digest: &Digest) -> Result<(), Failure> {
        let found = bound!(
            "SELECT r.id, m.id FROM repo r JOIN manifest m ON m.repo_id = r.id \
             JOIN gc_queue q ON q.kind = 'manifest' AND q.subject_id = m.id \
             WHERE r.name = $1 AND m.digest = $2 AND q.never_tagged = 1 \
             AND NOT EXISTS (SELECT 1 FROM tag t WHERE t.manifest_id = m.id) \
             AND NOT EXISTS (SELECT 1 FROM manifest_child c \
                 WHERE c.repo_id = m.repo_id AND c.digest = m.digest)",
            self.repo.as_str(),
            digest.as_str(),
        );
        let Some(row) = found.fetch_optional(&mut *tx.conn).await? else {
            return Ok(());
        };
        let target = Target {
            repo_id: row.try_get(0)?,
            manifest_id: row.try_get(1)?,
            digest: digest.as_str(),
            who: &self.who,
            grace_ms: self.graces.untagged_ms,
        };
        if self.can_come_back {
            removed::remember(tx, &target, &self.graces).await?;
        }
        delete::remove(tx, &self.repo, &target, &self.graces, delete::EVENT).await
    }
}

/// Manifests that no tag and no index has, and that nobody has pushed or pulled since a moment.
macro_rules! unclaimed {
    () => {
        "FROM manifest m WHERE m.pushed_ms <= $1 \
         AND NOT EXISTS (SELECT 1 FROM pull u WHERE u.manifest_id = m.id AND u.pulled_ms > $1) \
         AND NOT EXISTS (SELECT 1 FROM tag t WHERE t.manifest_id = m.id) \
         AND NOT EXISTS (SELECT 1 FROM manifest_child c \
             WHERE c.repo_id = m.repo_id AND c.digest = m.digest)"
    };
}
pub(super) use unclaimed;

/// Some manifests of all, which are to go if nothing has them, but for those that somebody has just
/// pushed or pulled. What lost a tag or an index waits as long as it did before.
pub(crate) struct Untag {
    /// Those after this one, in the order of their ids.
    pub(crate) after: i64,
    pub(crate) limit: i64,
    /// How long who pushed or pulled one has for a tag.
    pub(crate) grace_ms: i64,
}

#[async_trait]
impl Change for Untag {
    /// The last of them.
    type Out = Option<i64>;
    const NAME: &'static str = "untag";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Option<i64>, Failure> {
        let last = bound!(
            "SELECT MAX(id) FROM (SELECT id FROM manifest WHERE id > $1 ORDER BY id LIMIT $2) m",
            self.after,
            self.limit,
        );
        let last: Option<i64> = last.fetch_one(&mut *tx.conn).await?.try_get(0)?;
        let Some(last) = last else {
            return Ok(None);
        };
        bound!(
            concat!(
                "INSERT INTO gc_queue (kind, subject_id, not_before_ms) \
                 SELECT 'manifest', m.id, CAST($2 AS BIGINT) ",
                unclaimed!(),
                " AND m.id > $3 AND m.id <= $4 ON CONFLICT (kind, subject_id) DO UPDATE \
                 SET not_before_ms = excluded.not_before_ms, never_tagged = 0 \
                 WHERE gc_queue.never_tagged = 1"
            ),
            tx.now_ms.saturating_sub(self.grace_ms),
            tx.now_ms,
            self.after,
            last,
        )
        .execute(&mut *tx.conn)
        .await?;
        Ok(Some(last))
    }
}
