//! Tags: names that point to manifests, and where they pointed before.

use async_trait::async_trait;
use sqlx::Row;

use super::cache::Touched;
use super::change::{Change, Tx, bound};
use super::companion;
use super::error::Failure;
use super::link::{Kind, review};
use super::manifest::unknown;
use super::outbox::{Event, tell};
use super::project::find_repo;
use super::rules::check_mutable;
use crate::error::{Code, Error};
use crate::name::{Reference, RepoName, Tag};
use crate::who::Who;

/// What must hold of a tag for it to be moved or removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Condition {
    /// `If-Match`: it points to one of these digests; `*` is any.
    pub(crate) matches: Option<Vec<String>>,
    /// `If-None-Match`: it points to none of these digests; `*` is any.
    pub(crate) matches_none: Option<Vec<String>>,
}

impl Condition {
    /// Refuses to go on unless it holds of a tag that points to this digest now.
    fn check(&self, tag: &Tag, current: Option<&str>) -> Result<(), Error> {
        if self.holds(current) {
            return Ok(());
        }
        let now = current.unwrap_or("nothing");
        let message = format!("tag {} points to {now}", tag.as_str());
        Err(Error::new(Code::PreconditionFailed, message))
    }

    /// Whether it holds of what is, or points to, this digest now.
    pub(crate) fn holds(&self, current: Option<&str>) -> bool {
        let names = |list: &[String]| {
            current.is_some_and(|digest| list.iter().any(|name| name == "*" || name == digest))
        };
        self.matches.as_ref().is_none_or(|list| names(list))
            && self.matches_none.as_ref().is_none_or(|list| !names(list))
    }
}

/// Where a tag is to point.
pub(super) struct Target<'a> {
    pub(super) repo_id: i64,
    pub(super) manifest_id: i64,
    pub(super) digest: &'a str,
    pub(super) who: &'a Who,
    pub(super) grace_ms: i64,
}

/// The manifest that a tag points to, and its digest.
pub(super) async fn find(
    tx: &mut Tx<'_>,
    repo_id: i64,
    tag: &Tag,
) -> Result<Option<(i64, String)>, sqlx::Error> {
    let found = bound!(
        "SELECT t.manifest_id, m.digest FROM tag t JOIN manifest m ON m.id = t.manifest_id \
         WHERE t.repo_id = $1 AND t.name = $2",
        repo_id,
        tag.as_str(),
    );
    let row = found.fetch_optional(&mut *tx.conn).await?;
    let read = |row: sqlx::any::AnyRow| Ok((row.try_get(0)?, row.try_get(1)?));
    row.map(read).transpose()
}

/// Points a tag to a manifest; gives the digest where it pointed before.
pub(super) async fn point(
    tx: &mut Tx<'_>,
    repo: &RepoName,
    tag: &Tag,
    condition: &Condition,
    target: &Target<'_>,
) -> Result<Option<String>, Failure> {
    let before = find(tx, target.repo_id, tag).await?;
    let old_digest = before.as_ref().map(|(_, digest)| digest.as_str());
    condition.check(tag, old_digest)?;
    if old_digest.is_some_and(|digest| digest != target.digest) {
        check_mutable(tx, repo, &[tag.as_str()]).await?;
    }
    bound!(
        "INSERT INTO tag (repo_id, name, manifest_id, updated_ms) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (repo_id, name) DO UPDATE \
         SET manifest_id = excluded.manifest_id, updated_ms = excluded.updated_ms",
        target.repo_id,
        tag.as_str(),
        target.manifest_id,
        tx.now_ms,
    )
    .execute(&mut *tx.conn)
    .await?;
    if old_digest != Some(target.digest) {
        record(tx, target, tag.as_str(), Some(target.digest), old_digest).await?;
    }
    if let Some((old_id, _)) = before.as_ref().filter(|(id, _)| *id != target.manifest_id) {
        review(tx, Kind::Manifest, *old_id, tx.now_ms + target.grace_ms).await?;
    }
    Ok(before.map(|(_, digest)| digest))
}

async fn record(
    tx: &mut Tx<'_>,
    target: &Target<'_>,
    tag: &str,
    digest: Option<&str>,
    old_digest: Option<&str>,
) -> Result<(), sqlx::Error> {
    bound!(
        "INSERT INTO tag_history (repo_id, name, digest, old_digest, actor, at_ms) \
         VALUES ($1, $2, $3, $4, $5, $6)",
        target.repo_id,
        tag,
        digest,
        old_digest,
        target.who.name.as_str(),
        tx.now_ms,
    )
    .execute(&mut *tx.conn)
    .await?;
    Ok(())
}

/// Takes a tag from the manifest that it points to, has that looked at, and tells of it.
pub(super) async fn take(
    tx: &mut Tx<'_>,
    repo: &RepoName,
    tag: &Tag,
    target: &Target<'_>,
    event: &'static str,
) -> Result<(), sqlx::Error> {
    bound!(
        "DELETE FROM tag WHERE repo_id = $1 AND name = $2",
        target.repo_id,
        tag.as_str(),
    )
    .execute(&mut *tx.conn)
    .await?;
    record(tx, target, tag.as_str(), None, Some(target.digest)).await?;
    let due_ms = tx.now_ms + target.grace_ms;
    review(tx, Kind::Manifest, target.manifest_id, due_ms).await?;
    let event = Event {
        reference: Some(tag.as_str().to_owned()),
        old_digest: Some(target.digest.to_owned()),
        ..Event::new(event, "tag", tag.as_str()).in_repo(repo)
    };
    tell(tx, target.who, &event).await
}

/// Whether a tag or an index has a manifest.
pub(super) async fn is_had(tx: &mut Tx<'_>, target: &Target<'_>) -> Result<bool, sqlx::Error> {
    let found = bound!(
        "SELECT 1 FROM tag WHERE manifest_id = $1 \
         UNION ALL SELECT 1 FROM manifest_child WHERE repo_id = $2 AND digest = $3 LIMIT 1",
        target.manifest_id,
        target.repo_id,
        target.digest,
    );
    Ok(found.fetch_optional(&mut *tx.conn).await?.is_some())
}

/// The tags that have a manifest: those that point to it, or to an index that names it or, however
/// far down, another index that does. Digests make no circles. There may be very many: they come in one
/// row, as each takes its time, and no name has a space.
pub(super) async fn above(
    tx: &mut Tx<'_>,
    target: &Target<'_>,
) -> Result<Vec<String>, sqlx::Error> {
    let found = bound!(
        "WITH RECURSIVE above (id, digest) AS (SELECT id, digest FROM manifest WHERE id = $1 \
             UNION SELECT i.id, i.digest FROM above a \
             JOIN manifest_child c ON c.repo_id = $2 AND c.digest = a.digest \
             JOIN manifest i ON i.id = c.manifest_id) \
         SELECT COALESCE(STRING_AGG(t.name, ' '), '') \
         FROM above a JOIN tag t ON t.manifest_id = a.id",
        target.manifest_id,
        target.repo_id,
    );
    let names: String = found.fetch_one(&mut *tx.conn).await?.try_get(0)?;
    let mut names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
    names.sort_unstable();
    Ok(names)
}

/// Takes all tags from a manifest that is about to go.
pub(super) async fn take_all(tx: &mut Tx<'_>, target: &Target<'_>) -> Result<(), sqlx::Error> {
    bound!(
        "INSERT INTO tag_history (repo_id, name, digest, old_digest, actor, at_ms) \
         SELECT repo_id, name, CAST(NULL AS TEXT), CAST($1 AS TEXT), CAST($2 AS TEXT), \
         CAST($3 AS BIGINT) FROM tag WHERE manifest_id = $4",
        target.digest,
        target.who.name.as_str(),
        tx.now_ms,
        target.manifest_id,
    )
    .execute(&mut *tx.conn)
    .await?;
    bound!("DELETE FROM tag WHERE manifest_id = $1", target.manifest_id)
        .execute(&mut *tx.conn)
        .await?;
    Ok(())
}

/// Removes a tag; the manifest stays for as long as something else points to it, and the grace.
pub(crate) struct DeleteTag {
    pub(crate) repo: RepoName,
    pub(crate) tag: Tag,
    pub(crate) condition: Condition,
    /// Whether tags that are about the manifest go with the last that has it.
    pub(crate) takes_companions: bool,
    pub(crate) who: Who,
    pub(crate) grace_ms: i64,
}

#[async_trait]
impl Change for DeleteTag {
    type Out = ();
    const NAME: &'static str = "delete_tag";

    fn touches(&self, _out: &Self::Out) -> Touched<'_> {
        Touched::Repo(&self.repo)
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let gone = || unknown(&self.repo, &Reference::Tag(self.tag.clone()));
        let Some(repo) = find_repo(tx, &self.repo).await? else {
            return Err(gone().into());
        };
        let Some((manifest_id, digest)) = find(tx, repo.repo, &self.tag).await? else {
            return Err(gone().into());
        };
        self.condition.check(&self.tag, Some(&digest))?;
        check_mutable(tx, &self.repo, &[self.tag.as_str()]).await?;
        let target = Target {
            repo_id: repo.repo,
            manifest_id,
            digest: &digest,
            who: &self.who,
            grace_ms: self.grace_ms,
        };
        take(tx, &self.repo, &self.tag, &target, "delete_tag").await?;
        match self.takes_companions {
            true => companion::remove_with_last(tx, &self.repo, &target).await,
            false => Ok(()),
        }
    }
}
