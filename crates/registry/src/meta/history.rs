//! Where tags pointed, and bringing them back.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::Meta;
use super::administer::{Time, time};
use super::cache::Touched;
use super::change::{Change, Tx, bound, first};
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
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "TagMoved")]
pub(crate) struct Moved {
    pub(crate) at: Time,
    pub(crate) actor: String,
    /// Where it pointed from then on; nowhere if it was removed.
    pub(crate) digest: Option<String>,
    pub(crate) old_digest: Option<String>,
    /// Whether the manifest is still there, or removed so lately that the tag could be brought back.
    pub(crate) available: bool,
}

/// What became of a tag of a repository.
const HISTORY: Source = Source {
    columns: "h.at_ms, h.actor, h.digest, h.old_digest, \
         (SELECT COUNT(*) FROM manifest m \
         WHERE m.repo_id = h.repo_id AND m.digest = COALESCE(h.digest, h.old_digest)) \
         + (SELECT COUNT(*) FROM removed_manifest x \
         WHERE x.repo_id = h.repo_id AND x.digest = COALESCE(h.digest, h.old_digest))",
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

/// Tags of one answer that were taken.
const TAKEN_MAX: i64 = 100;

impl Meta {
    /// When a tag was set, moved or removed last, in milliseconds since 1970; 0 if that is not known.
    pub(crate) async fn moved_ms(&self, repo: &RepoName, tag: &Tag) -> Result<i64, Error> {
        let found = bound!(
            "SELECT h.at_ms FROM tag_history h JOIN repo r ON r.id = h.repo_id \
             WHERE r.name = $1 AND h.name = $2 ORDER BY h.id DESC LIMIT 1",
            repo.as_str(),
            tag.as_str(),
        );
        Ok(self.row(found, first).await?.unwrap_or(0))
    }

    /// Tags that begin so, were removed at that time or later and were not set since, each with the
    /// digest where it pointed.
    pub(crate) async fn taken_tags(
        &self,
        repo: &RepoName,
        begin: &str,
        since_ms: i64,
    ) -> Result<Vec<(String, String)>, Error> {
        // What begins so, and goes on with a dot or not at all, comes before that.
        let end = format!("{begin}/");
        let found = bound!(
            "SELECT h.name, h.old_digest FROM tag_history h JOIN repo r ON r.id = h.repo_id \
             WHERE r.name = $1 AND h.name >= $2 AND h.name < $3 AND h.at_ms >= $4 \
             AND h.digest IS NULL AND h.old_digest IS NOT NULL AND h.id = \
             (SELECT MAX(x.id) FROM tag_history x WHERE x.repo_id = h.repo_id AND x.name = h.name) \
             ORDER BY h.name LIMIT $5",
            repo.as_str(),
            begin,
            end,
            since_ms,
            TAKEN_MAX,
        );
        let taken = |row: &AnyRow| Ok((row.try_get(0)?, row.try_get(1)?));
        self.rows(found, taken).await
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

/// A tag of which more is known than need be.
#[derive(Clone, Debug)]
pub(crate) struct LongHistory {
    repo_id: i64,
    name: String,
    /// All up to this number is too much.
    to: i64,
}

impl Meta {
    /// Tags of which more than so many moves are known.
    pub(crate) async fn long_histories(
        &self,
        moves_max: i64,
        tags_max: i64,
    ) -> Result<Vec<LongHistory>, Error> {
        let sql = "SELECT l.repo_id, l.name, (SELECT h.id FROM tag_history h \
             WHERE h.repo_id = l.repo_id AND h.name = l.name ORDER BY h.id DESC LIMIT 1 OFFSET $1) \
             FROM (SELECT repo_id, name FROM tag_history GROUP BY repo_id, name \
             HAVING COUNT(*) > $1 LIMIT $2) l";
        let long = |row: &AnyRow| {
            Ok(LongHistory {
                repo_id: row.try_get(0)?,
                name: row.try_get(1)?,
                to: row.try_get(2)?,
            })
        };
        let query = bound!(sql, moves_max, tags_max);
        self.long_rows(query, long).await
    }
}

/// Forgets where tags pointed.
pub(crate) struct ForgetHistory {
    /// Nothing that is younger goes.
    pub(crate) age_ms: i64,
    /// Moves that one transaction forgets.
    pub(crate) limit: i64,
    /// Of this tag only what is too much; without it, all that is old enough.
    pub(crate) of: Option<LongHistory>,
}

#[async_trait]
impl Change for ForgetHistory {
    /// How many.
    type Out = u64;
    const NAME: &'static str = "forget_history";
    /// What is not forgotten is forgotten once more.
    const IS_DURABLE: bool = false;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<u64, Failure> {
        let old_ms = tx.now_ms.saturating_sub(self.age_ms);
        let forget = match &self.of {
            Some(long) => bound!(
                "DELETE FROM tag_history WHERE id IN (SELECT id FROM tag_history \
                 WHERE repo_id = $1 AND name = $2 AND id <= $3 AND at_ms <= $4 \
                 ORDER BY id LIMIT $5)",
                long.repo_id,
                long.name.as_str(),
                long.to,
                old_ms,
                self.limit,
            ),
            None => bound!(
                "DELETE FROM tag_history WHERE id IN \
                 (SELECT id FROM tag_history WHERE at_ms <= $1 ORDER BY at_ms LIMIT $2)",
                old_ms,
                self.limit,
            ),
        };
        Ok(forget.execute(&mut *tx.conn).await?.rows_affected())
    }
}

#[cfg(test)]
mod tests {
    use super::super::connect::Place;
    use super::super::open_for_tests;
    use super::*;

    /// Writes moves of tags of a repository, each with its age.
    struct Moves(Vec<(&'static str, i64)>);

    #[async_trait]
    impl Change for Moves {
        type Out = ();
        const NAME: &'static str = "moves";

        async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
            let project = bound!(
                "INSERT INTO project (name, public, created_ms) VALUES ('p', 1, 0) RETURNING id"
            );
            let project = first(&project.fetch_one(&mut *tx.conn).await?)?;
            let repo = bound!(
                "INSERT INTO repo (project_id, name, created_ms) VALUES ($1, 'p/a', 0) RETURNING id",
                project,
            );
            let repo = first(&repo.fetch_one(&mut *tx.conn).await?)?;
            for (name, age_ms) in &self.0 {
                bound!(
                    "INSERT INTO tag_history (repo_id, name, actor, at_ms) VALUES ($1, $2, '', $3)",
                    repo,
                    *name,
                    tx.now_ms - age_ms,
                )
                .execute(&mut *tx.conn)
                .await?;
            }
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_a_clock_said_that_was_ahead_keeps_nothing_back() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let meta = open_for_tests(&place).await;
        let moves = vec![("ahead", -1000), ("ahead", -1000), ("old", 1000)];
        meta.change(Moves(moves)).await.unwrap();
        let forget = ForgetHistory {
            age_ms: 500,
            limit: 1,
            of: None,
        };
        assert_eq!(meta.change(forget).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn what_is_too_old_or_too_much_is_forgotten() {
        const HOUR_MS: i64 = 3600 * 1000;
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let meta = open_for_tests(&place).await;
        let moves = [
            ("a", 90),
            ("b", 80),
            ("a", 30),
            ("a", 29),
            ("a", 5),
            ("a", 4),
            ("c", 1),
        ];
        let moves = moves.map(|(name, hours)| (name, hours * HOUR_MS));
        meta.change(Moves(moves.to_vec())).await.unwrap();
        let left = async |tag: &str| {
            let (repo, tag) = (RepoName::parse("p/a").unwrap(), Tag::parse(tag).unwrap());
            let all = Listing {
                limit: 100,
                ..Listing::default()
            };
            meta.tag_history(&repo, &tag, &all).await.unwrap().total
        };
        let forget = |age_hours: i64, of| ForgetHistory {
            age_ms: age_hours * HOUR_MS,
            limit: 1,
            of,
        };
        while meta.change(forget(48, None)).await.unwrap() > 0 {}
        assert_eq!(
            (left("a").await, left("b").await, left("c").await),
            (4, 0, 1)
        );
        let long = meta.long_histories(1, 100).await.unwrap();
        assert_eq!(long.len(), 1);
        // Of what is too much, the young ones stay.
        for long in long {
            while meta.change(forget(24, Some(long.clone()))).await.unwrap() > 0 {}
        }
        assert_eq!((left("a").await, left("c").await), (2, 1));
        assert!(meta.long_histories(2, 100).await.unwrap().is_empty());
    }
}
