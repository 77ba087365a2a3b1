//! Where tags pointed, and bringing them back.

use async_trait::async_trait;
use serde::Serialize;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::Meta;
use super::administer::time;
use super::cache::Touched;
use super::change::{Change, Tx};
use super::error::Failure;
use super::listing::{Column, Kind, Listed, Listing, Operand, Source};
use super::manifest;
use super::outbox::{Event, tell};
use super::tag::{self, Condition, Target};
use crate::digest::Digest;
use crate::error::Error;
use crate::name::{RepoName, Tag};
use crate::who::Who;

/// A moment when a tag was set, moved or removed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Moved {
    pub(crate) at: String,
    pub(crate) actor: String,
    /// Where it pointed from then on; nowhere if it was removed.
    pub(crate) digest: Option<String>,
    pub(crate) old_digest: Option<String>,
    /// Whether the manifest is still there, so that the tag could be brought back.
    pub(crate) available: bool,
}

/// What became of a tag of a repository.
const HISTORY: Source = Source {
    columns: "h.at_ms, h.actor, h.digest, h.old_digest, \
         (SELECT COUNT(*) FROM manifest m \
         WHERE m.repo_id = h.repo_id AND m.digest = COALESCE(h.digest, h.old_digest))",
    from: "FROM tag_history h JOIN repo r ON r.id = h.repo_id WHERE r.name = $1 AND h.name = $2",
    order: "h.id DESC",
};

/// What the history of a tag can be filtered by.
pub(crate) const HISTORY_COLUMNS: &[Column] = &[
    Column::new("at", Kind::Moment, "h.at_ms"),
    Column::new("actor", Kind::Text, "h.actor"),
    Column::new("digest", Kind::Text, "COALESCE(h.digest, '')"),
    Column::new("old_digest", Kind::Text, "COALESCE(h.old_digest, '')"),
];

fn moved(row: &AnyRow) -> Result<Moved, sqlx::Error> {
    Ok(Moved {
        at: time(row.try_get(0)?),
        actor: row.try_get(1)?,
        digest: row.try_get(2)?,
        old_digest: row.try_get(3)?,
        available: row.try_get::<i64, _>(4)? > 0,
    })
}

impl Meta {
    /// The history of a tag, newest first unless another order is asked for.
    pub(crate) async fn tag_history(
        &self,
        repo: &RepoName,
        tag: &Tag,
        listing: &Listing,
    ) -> Result<Listed<Moved>, Error> {
        let fixed = vec![Operand::from(repo.as_str()), Operand::from(tag.as_str())];
        self.list(&HISTORY, fixed, listing, moved).await
    }
}

/// Points a tag to a manifest that is there: a new tag, or one that is brought back.
pub(crate) struct SetTag {
    pub(crate) who: Who,
    pub(crate) repo: RepoName,
    pub(crate) tag: Tag,
    pub(crate) digest: Digest,
    pub(crate) untagged_grace_ms: i64,
    /// What the audit trail calls it.
    pub(crate) event: &'static str,
}

#[async_trait]
impl Change for SetTag {
    type Out = ();
    const NAME: &'static str = "set_tag";

    fn touches(&self, _out: &Self::Out) -> Touched<'_> {
        Touched::Repo(&self.repo)
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let (repo_id, manifest_id) = manifest::find(tx, &self.repo, &self.digest).await?;
        let target = Target {
            repo_id,
            manifest_id,
            digest: self.digest.as_str(),
            who: &self.who,
            grace_ms: self.untagged_grace_ms,
        };
        let before = tag::point(tx, &self.repo, &self.tag, &Condition::default(), &target).await?;
        let event = Event {
            reference: Some(self.tag.as_str().to_owned()),
            digest: Some(self.digest.as_str().to_owned()),
            old_digest: before,
            ..Event::new(self.event, "tag", self.tag.as_str()).in_repo(&self.repo)
        };
        Ok(tell(tx, &self.who, &event).await?)
    }
}
