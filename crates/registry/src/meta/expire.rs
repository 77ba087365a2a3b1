//! What rules of retention do to tags. Which of them go is found out beside everything else, for that
//! takes long where there are many; then they go a few at a time, so that pushes need not wait, and
//! only those that still are as they were. Once somebody else has removed a tag of the project, it is
//! found out anew: it may have been one that was kept, and another one is kept in its place.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::Meta;
use super::administer::project_id;
use super::cache::Touched;
use super::change::{Change, Tx, bound, first};
use super::error::Failure;
use super::rules::{NumberedRule, rules};
use super::tag::{self, Target};
use crate::error::Error;
use crate::name::{RepoName, Tag};
use crate::rule::companion::{Parts, followers};
use crate::rule::{Candidate, Kind, Rule, Scope, expired};
use crate::who::Who;

/// A tag that goes.
#[derive(Clone, Debug)]
pub(crate) struct Expired {
    pub(crate) repo: RepoName,
    repo_id: i64,
    /// As it was when that was found out.
    pub(crate) tag: Candidate,
}

/// Tags of a repository with what retention asks of them. What runs is named by its own digest or, of
/// an index, by that of a platform, which may be one of an index in the index. Digests make no circles.
macro_rules! candidates {
    ($which:literal) => {
        concat!(
            "SELECT t.name, t.updated_ms, u.pulled_ms, CAST(CASE WHEN \
             EXISTS (SELECT 1 FROM running WHERE seen_ms > $2) AND EXISTS ( \
             WITH RECURSIVE below (digest) AS (SELECT m.digest UNION SELECT c.digest FROM below b \
                 JOIN manifest i ON i.repo_id = m.repo_id AND i.digest = b.digest \
                 JOIN manifest_child c ON c.manifest_id = i.id) \
             SELECT 1 FROM below b JOIN running n ON n.digest = b.digest WHERE n.seen_ms > $2) \
             THEN 1 ELSE 0 END AS BIGINT), m.digest \
             FROM tag t JOIN manifest m ON m.id = t.manifest_id \
             LEFT JOIN pull u ON u.manifest_id = t.manifest_id WHERE t.repo_id = $1",
            $which
        )
    };
}

fn candidate(row: &AnyRow) -> Result<Candidate, sqlx::Error> {
    Ok(Candidate {
        tag: row.try_get(0)?,
        pushed_ms: row.try_get(1)?,
        pulled_ms: row.try_get(2)?,
        is_running: row.try_get::<i64, _>(3)? > 0,
        digest: row.try_get(4)?,
    })
}

/// What rules of retention say of the tags of a project now.
pub(crate) struct Expiring {
    /// The last move of a tag that is known.
    pub(crate) seen: i64,
    /// Tags that go.
    pub(crate) tags: Vec<Expired>,
    /// Repositories with how many tags they have.
    pub(crate) totals: Vec<(RepoName, u64)>,
}

impl Meta {
    /// The tags of a project that these rules of it let go now. A cluster is taken at its word that it
    /// runs something for `running_ms`. There may be very many: who asks leaves half of the connections
    /// to those who pull.
    pub(crate) async fn expired(
        &self,
        project: i64,
        rules: &[NumberedRule],
        running_ms: i64,
    ) -> Result<Expiring, Error> {
        let scoped = rules
            .iter()
            .map(|found| Ok((found.rule.clone(), found.rule.scope()?)));
        let scoped: Vec<(Rule, Scope)> = scoped.collect::<Result<_, Error>>()?;
        let (immutable, retention): (Vec<_>, Vec<_>) = scoped
            .into_iter()
            .partition(|(rule, _)| rule.kind == Kind::Immutable);
        self.long(async move |meta| {
            meta.expiring(project, &immutable, &retention, running_ms)
                .await
        })
        .await
    }

    async fn expiring(
        &self,
        project: i64,
        immutable: &[(Rule, Scope)],
        retention: &[(Rule, Scope)],
        running_ms: i64,
    ) -> Result<Expiring, Error> {
        let seen = self.row(bound!(LAST_MOVE), first).await?;
        let seen = seen.unwrap_or_default();
        let now_ms = self.now_ms();
        let seen_ms = now_ms.saturating_sub(running_ms);
        let sql = "SELECT id, name FROM repo WHERE project_id = $1 ORDER BY name";
        let repos = self.rows(bound!(sql, project), |row| {
            Ok((row.try_get::<i64, _>(0)?, row.try_get::<String, _>(1)?))
        });
        let (mut gone, mut totals) = (Vec::new(), Vec::new());
        for (repo_id, name) in repos.await? {
            let repo = RepoName::parse(&name)?;
            let tags = bound!(candidates!(""), repo_id, seen_ms);
            let tags = self.rows(tags, candidate).await?;
            totals.push((repo.clone(), tags.len() as u64));
            let may_go = |tag: &&Candidate| {
                let holds = |(_, scope): &(Rule, Scope)| scope.has(repo.rest(), &tag.tag);
                !immutable.iter().any(holds)
            };
            let mut going = expired(retention, repo.rest(), &tags, now_ms);
            going.retain(may_go);
            if !going.is_empty() {
                let parts = self.all_parts(repo_id).await?;
                let followers = followers(&tags, &going, &parts);
                going.extend(followers.into_iter().filter(may_go));
            }
            gone.extend(going.into_iter().map(|tag| Expired {
                repo: repo.clone(),
                repo_id,
                tag: tag.clone(),
            }));
        }
        Ok(Expiring {
            seen,
            tags: gone,
            totals,
        })
    }

    /// What the indexes of a repository name.
    async fn all_parts(&self, repo_id: i64) -> Result<Parts, Error> {
        let sql = "SELECT i.digest, c.digest FROM manifest_child c \
             JOIN manifest i ON i.id = c.manifest_id WHERE c.repo_id = $1";
        let named = self.rows(bound!(sql, repo_id), |row| {
            Ok((row.try_get::<String, _>(0)?, row.try_get::<String, _>(1)?))
        });
        let mut parts = Parts::new();
        for (index, part) in named.await? {
            parts.entry(index).or_default().push(part);
        }
        Ok(parts)
    }
}

/// The last move of any tag.
const LAST_MOVE: &str = "SELECT COALESCE(MAX(id), 0) FROM tag_history";
/// Tags of a project that were removed after a move. There are few moves after one that was the last a
/// moment ago, and many repositories: the moves are looked through first.
const REMOVED_AFTER: &str = "SELECT COUNT(*) FROM tag_history h CROSS JOIN repo r \
     WHERE h.id > $1 AND h.digest IS NULL AND r.id = h.repo_id AND r.project_id = $2";

/// What came of a part of the tags that go.
#[derive(Debug)]
pub(crate) enum Part {
    /// Those that went, and the last move of a tag that is known now.
    Gone(Vec<Expired>, i64),
    /// None: the rules are others, or somebody else has removed a tag, so that others may be the ones
    /// that go.
    Outdated,
}

/// Removes tags that rules let go, but those that are not any more what they were then.
pub(crate) struct Expire {
    pub(crate) who: Who,
    pub(crate) project: String,
    pub(crate) rules: Vec<NumberedRule>,
    pub(crate) tags: Vec<Expired>,
    /// The last move of a tag that was known when it was found out that they go.
    pub(crate) seen: i64,
    pub(crate) untagged_grace_ms: i64,
    /// For how long a cluster is taken at its word that it runs something.
    pub(crate) running_ms: i64,
}

#[async_trait]
impl Change for Expire {
    type Out = Part;
    const NAME: &'static str = "expire";

    fn touches(&self, out: &Self::Out) -> Touched<'_> {
        match out {
            Part::Gone(gone, _) if !gone.is_empty() => Touched::Repos,
            Part::Gone(..) | Part::Outdated => Touched::Nothing,
        }
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Out, Failure> {
        let project = project_id(tx, &self.project).await?;
        let removed = bound!(REMOVED_AFTER, self.seen, project);
        let removed = first(&removed.fetch_one(&mut *tx.conn).await?)?;
        if removed > 0 || rules(tx, project).await? != self.rules {
            return Ok(Part::Outdated);
        }
        let seen_ms = tx.now_ms.saturating_sub(self.running_ms);
        let mut gone = Vec::new();
        for expired in &self.tags {
            let name = expired.tag.tag.as_str();
            let now = bound!(
                candidates!(" AND t.name = $3"),
                expired.repo_id,
                seen_ms,
                name
            );
            let now = now.fetch_optional(&mut *tx.conn).await?;
            if now.as_ref().map(candidate).transpose()?.as_ref() == Some(&expired.tag) {
                self.remove(tx, expired).await?;
                gone.push(expired.clone());
            }
        }
        let seen = bound!(LAST_MOVE).fetch_one(&mut *tx.conn).await?;
        Ok(Part::Gone(gone, first(&seen)?))
    }
}

impl Expire {
    async fn remove(&self, tx: &mut Tx<'_>, expired: &Expired) -> Result<(), Failure> {
        let Expired { repo, repo_id, tag } = expired;
        let tag = Tag::parse(&tag.tag)?;
        let Some((manifest_id, digest)) = tag::find(tx, *repo_id, &tag).await? else {
            return Ok(());
        };
        let target = Target {
            repo_id: *repo_id,
            manifest_id,
            digest: &digest,
            who: &self.who,
            grace_ms: self.untagged_grace_ms,
        };
        Ok(tag::take(tx, repo, &tag, &target, "tag_expired").await?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::connect::Place;
    use super::super::open_for_tests;
    use super::super::rules::AddRule;
    use super::super::tag::{Condition, DeleteTag};
    use super::*;

    /// A repository `p/a` with tags `v0` to `v9`, the last of them pushed last.
    struct Tags;

    #[async_trait]
    impl Change for Tags {
        /// The number of the project.
        type Out = i64;
        const NAME: &'static str = "tags";

        async fn apply(&self, tx: &mut Tx<'_>) -> Result<i64, Failure> {
            let mut made = Vec::new();
            for sql in [
                "INSERT INTO project (name, public, created_ms) VALUES ('p', 1, 0) RETURNING id",
                "INSERT INTO repo (project_id, name, created_ms) SELECT id, 'p/a', 0 FROM project \
                 RETURNING id",
            ] {
                made.push(first(&bound!(sql).fetch_one(&mut *tx.conn).await?)?);
            }
            for number in 0..10_i64 {
                let manifest = bound!(
                    "INSERT INTO manifest (repo_id, digest, media_type, size, bytes, pushed_ms) \
                     VALUES ($1, $2, 'x', 1, 'x', 0) RETURNING id",
                    made[1],
                    format!("sha256:{number}"),
                );
                let manifest = first(&manifest.fetch_one(&mut *tx.conn).await?)?;
                bound!(
                    "INSERT INTO tag (repo_id, name, manifest_id, updated_ms) \
                     VALUES ($1, $2, $3, $4)",
                    made[1],
                    format!("v{number}"),
                    manifest,
                    number,
                )
                .execute(&mut *tx.conn)
                .await?;
            }
            Ok(made[0])
        }
    }

    #[tokio::test]
    async fn what_goes_is_found_out_anew_once_others_removed_a_tag() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let meta = open_for_tests(&place).await;
        let project = meta.change(Tags).await.unwrap();
        let add = AddRule {
            who: Who::system("test"),
            project: "p".to_owned(),
            rule: serde_json::from_str(r#"{"kind":"retention","latestPushedK":2}"#).unwrap(),
        };
        meta.change(add).await.unwrap();
        let rules = meta.rules(project).await.unwrap();
        let found = async || meta.expired(project, &rules, 0).await.unwrap();
        let expire = |tags: &[Expired], seen| Expire {
            who: Who::system("test"),
            project: "p".to_owned(),
            rules: rules.clone(),
            tags: tags.to_vec(),
            seen,
            untagged_grace_ms: 1000,
            running_ms: 0,
        };
        let expiring = found().await;
        assert_eq!((expiring.tags.len(), expiring.totals[0].1), (8, 10));
        let part = expire(&expiring.tags[..2], expiring.seen);
        let Part::Gone(gone, seen) = meta.change(part).await.unwrap() else {
            panic!("nobody else removed one");
        };
        assert_eq!(gone.len(), 2);
        let part = expire(&expiring.tags[2..4], seen);
        let Part::Gone(gone, seen) = meta.change(part).await.unwrap() else {
            panic!("nobody else removed one");
        };
        assert_eq!(gone.len(), 2);
        let delete = DeleteTag {
            repo: RepoName::parse("p/a").unwrap(),
            tag: Tag::parse("v9").unwrap(),
            condition: Condition::default(),
            takes_companions: false,
            who: Who::system("test"),
            grace_ms: 1000,
        };
        meta.change(delete).await.unwrap();
        let part = expire(&expiring.tags[4..], seen);
        assert!(matches!(meta.change(part).await.unwrap(), Part::Outdated));
        let left = found().await;
        let left: Vec<&str> = left.tags.iter().map(|gone| gone.tag.tag.as_str()).collect();
        assert_eq!(left, ["v4", "v5", "v6"]);
    }
}
