//! Manifests that go, and what they needed.

use async_trait::async_trait;
use sqlx::Row;

use super::cache::Touched;
use super::change::{Change, Tx, bound};
use super::companion;
use super::data;
use super::error::Failure;
use super::link::{Kind, reviewed};
use super::lost;
use super::manifest::find;
use super::outbox::{Event, tell_for_tags};
use super::quota;
use super::removed;
use super::review::Graces;
use super::rules::check_mutable;
use super::tag::{self, Target};
use crate::digest::Digest;
use crate::error::{Code, Error};
use crate::name::RepoName;
use crate::who::Who;

/// Removes a manifest and all tags that point to it, unless a tag that must not be removed has it,
/// also through indexes.
pub(crate) struct DeleteManifest {
    pub(crate) repo: RepoName,
    pub(crate) digest: Digest,
    /// Whether it stays while an index names it, whatever the index's tags are.
    pub(crate) spares_parts: bool,
    pub(crate) who: Who,
    pub(crate) graces: Graces,
}

#[async_trait]
impl Change for DeleteManifest {
    type Out = ();
    const NAME: &'static str = "delete_manifest";

    fn touches(&self, _out: &Self::Out) -> Touched<'_> {
        Touched::Repo(&self.repo)
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let (repo_id, manifest_id) = find(tx, &self.repo, &self.digest).await?;
        let target = Target {
            repo_id,
            manifest_id,
            digest: self.digest.as_str(),
            who: &self.who,
            grace_ms: self.graces.untagged_ms,
        };
        let above = tag::above(tx, &target).await?;
        check_mutable(tx, &self.repo, &above).await?;
        if self.spares_parts {
            self.refuse_part(tx, repo_id).await?;
        }
        removed::remember(tx, &target, &self.graces).await?;
        remove(tx, &self.repo, &target, &self.graces, EVENT).await
    }
}

impl DeleteManifest {
    async fn refuse_part(&self, tx: &mut Tx<'_>, repo_id: i64) -> Result<(), Failure> {
        let found = bound!(
            "SELECT i.digest FROM manifest_child c JOIN manifest i ON i.id = c.manifest_id \
             WHERE c.repo_id = $1 AND c.digest = $2 ORDER BY i.id LIMIT 1",
            repo_id,
            self.digest.as_str(),
        );
        let Some(row) = found.fetch_optional(&mut *tx.conn).await? else {
            return Ok(());
        };
        let index: String = row.try_get(0)?;
        let message = format!(
            "{} is a part of the index {index} in {}: remove that first",
            self.digest, self.repo
        );
        let error = Error::new(Code::PreconditionFailed, message);
        Err(error.with_detail("index", index).into())
    }
}

/// What the audit trail calls it.
pub(super) const EVENT: &str = "delete_artifact";

/// Removes a manifest with its tags and those that are about it, tells of it, and has what it needed
/// looked at.
pub(super) async fn remove(
    tx: &mut Tx<'_>,
    repo: &RepoName,
    target: &Target<'_>,
    graces: &Graces,
    event: &'static str,
) -> Result<(), Failure> {
    let id = target.manifest_id;
    let event = Event {
        digest: Some(target.digest.to_owned()),
        ..Event::new(event, "artifact", target.digest).in_repo(repo)
    };
    tell_for_tags(tx, target.who, &event, id).await?;
    tag::take_all(tx, target).await?;
    lost::lose_manifest(tx, id).await?;
    let_go(tx, target, graces).await?;
    let gone = bound!(
        "DELETE FROM manifest WHERE id = $1 \
         RETURNING size, (SELECT project_id FROM repo WHERE id = repo_id), data_key",
        id,
    );
    if let Some(row) = gone.fetch_optional(&mut *tx.conn).await? {
        let size: i64 = row.try_get(0)?;
        quota::add(tx, row.try_get(1)?, -size).await?;
        if let Some(data_key) = row.try_get::<Option<String>, _>(2)? {
            // Who is reading them may finish.
            let gone_ms = tx.now_ms + graces.data_ms;
            data::bury(tx, &data_key, None, size, gone_ms).await?;
        }
    }
    reviewed(tx, Kind::Manifest, id).await?;
    companion::remove(tx, repo, target).await
}

/// Has all looked at that a manifest needs or names, or that is about it.
async fn let_go(tx: &mut Tx<'_>, target: &Target<'_>, graces: &Graces) -> Result<(), sqlx::Error> {
    let id = target.manifest_id;
    bound!(
        "INSERT INTO gc_queue (kind, subject_id, not_before_ms) \
         SELECT 'link', link_id, $1 FROM manifest_blob WHERE manifest_id = $2 \
         ON CONFLICT (kind, subject_id) DO UPDATE \
         SET not_before_ms = excluded.not_before_ms, never_tagged = 0",
        tx.now_ms + graces.blob_ms,
        id,
    )
    .execute(&mut *tx.conn)
    .await?;
    bound!("DELETE FROM manifest_blob WHERE manifest_id = $1", id)
        .execute(&mut *tx.conn)
        .await?;
    // Children that are there, and manifests whose subject this one is.
    bound!(
        "INSERT INTO gc_queue (kind, subject_id, not_before_ms) \
         SELECT 'manifest', d.id, $1 FROM (SELECT m.id FROM manifest_child c \
             JOIN manifest m ON m.repo_id = c.repo_id AND m.digest = c.digest \
             WHERE c.manifest_id = $2 \
             UNION SELECT id FROM manifest WHERE repo_id = $3 AND subject = $4) d WHERE true \
         ON CONFLICT (kind, subject_id) DO UPDATE \
         SET not_before_ms = excluded.not_before_ms, never_tagged = 0",
        tx.now_ms + target.grace_ms,
        id,
        target.repo_id,
        target.digest,
    )
    .execute(&mut *tx.conn)
    .await?;
    bound!("DELETE FROM manifest_child WHERE manifest_id = $1", id)
        .execute(&mut *tx.conn)
        .await?;
    Ok(())
}
