//! The rules of projects, and what they do to tags.

use async_trait::async_trait;
use serde::Serialize;
use sqlx::Row;

use super::Meta;
use super::administer::project_id;
use super::cache::Touched;
use super::change::{Change, Tx, bound, first};
use super::error::Failure;
use super::outbox::{Event, tell};
use super::retention::{forget_unused_cron, set_cron};
use super::tag::{self, Target};
use crate::error::{Code, Error};
use crate::name::{RepoName, Tag};
use crate::rule::companion::{Parts, followers};
use crate::rule::{Candidate, Kind, Rule, Scope, expired};
use crate::who::Who;

/// Rules of one project.
const RULES_MAX: i64 = 100;

/// A rule with its number.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NumberedRule {
    pub(crate) id: i64,
    #[serde(flatten)]
    pub(crate) rule: Rule,
}

fn numbered(row: &sqlx::any::AnyRow) -> Result<Option<NumberedRule>, sqlx::Error> {
    let (id, json): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
    let rule = serde_json::from_str(&json).ok();
    Ok(rule.map(|rule| NumberedRule { id, rule }))
}

const RULES: &str = "SELECT id, rule FROM project_rule WHERE project_id = $1 ORDER BY id";

impl Meta {
    /// The rules of a project.
    pub(crate) async fn rules(&self, project: i64) -> Result<Vec<NumberedRule>, Error> {
        let found = self.rows(bound!(RULES, project), numbered).await?;
        Ok(found.into_iter().flatten().collect())
    }
}

async fn rules(tx: &mut Tx<'_>, project: i64) -> Result<Vec<NumberedRule>, sqlx::Error> {
    let rows = bound!(RULES, project).fetch_all(&mut *tx.conn).await?;
    let rules: Result<Vec<_>, _> = rows.iter().map(numbered).collect();
    Ok(rules?.into_iter().flatten().collect())
}

/// Refuses to move or remove tags of which a rule holds one.
pub(super) async fn check_mutable(
    tx: &mut Tx<'_>,
    repo: &RepoName,
    tags: &[impl AsRef<str>],
) -> Result<(), Failure> {
    if tags.is_empty() {
        return Ok(());
    }
    let found = bound!(
        "SELECT u.id, u.rule FROM project_rule u JOIN project p ON p.id = u.project_id \
         WHERE p.name = $1 AND u.kind = 'immutable' ORDER BY u.id",
        repo.project(),
    );
    for row in found.fetch_all(&mut *tx.conn).await? {
        let Some(found) = numbered(&row)? else {
            continue;
        };
        let scope = found.rule.scope()?;
        let mut tags = tags.iter().map(AsRef::as_ref);
        if let Some(tag) = tags.find(|tag| scope.has(repo.rest(), tag)) {
            let message = format!(
                "tag {tag} of {repo} is immutable by rule {} of project {}",
                found.id,
                repo.project()
            );
            let error = Error::new(Code::PreconditionFailed, message);
            let event = Event {
                reference: Some(tag.to_owned()),
                ..Event::new("tag_immutable", "tag", tag).in_repo(repo)
            };
            return Err(error.with_detail("rule", found.id).with_event(event).into());
        }
    }
    Ok(())
}

fn unknown_rule() -> Error {
    Error::new(Code::NameUnknown, "there is no such rule")
}

/// Adds a rule.
pub(crate) struct AddRule {
    pub(crate) who: Who,
    pub(crate) project: String,
    pub(crate) rule: Rule,
}

#[async_trait]
impl Change for AddRule {
    type Out = i64;
    const NAME: &'static str = "add_rule";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<i64, Failure> {
        let project = project_id(tx, &self.project).await?;
        let count = bound!(
            "SELECT COUNT(*) FROM project_rule WHERE project_id = $1",
            project
        );
        check_count(first(&count.fetch_one(&mut *tx.conn).await?)?)?;
        let id = insert(tx, project, &self.rule).await?;
        changed(tx, &self.who, &self.project, id).await?;
        Ok(id)
    }
}

/// A rule as it is kept.
fn written(rule: &Rule) -> String {
    // Words, globs and numbers can always be written.
    serde_json::to_string(rule).unwrap_or_default()
}

async fn insert(tx: &mut Tx<'_>, project: i64, rule: &Rule) -> Result<i64, sqlx::Error> {
    let made = bound!(
        "INSERT INTO project_rule (project_id, kind, rule) VALUES ($1, $2, $3) RETURNING id",
        project,
        rule.kind.name(),
        written(rule),
    );
    first(&made.fetch_one(&mut *tx.conn).await?)
}

/// Gives a project other rules of retention than it has, and says when they are followed.
pub(crate) struct ReplaceRetention {
    pub(crate) who: Who,
    pub(crate) project: String,
    pub(crate) rules: Vec<Rule>,
    /// Six fields; empty is only when somebody asks for it.
    pub(crate) cron: String,
}

#[async_trait]
impl Change for ReplaceRetention {
    type Out = ();
    const NAME: &'static str = "replace_retention";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let project = project_id(tx, &self.project).await?;
        check_count(i64::try_from(self.rules.len()).unwrap_or(i64::MAX) - 1)?;
        let sql = "DELETE FROM project_rule WHERE project_id = $1 AND kind = 'retention'";
        bound!(sql, project).execute(&mut *tx.conn).await?;
        for rule in &self.rules {
            insert(tx, project, rule).await?;
        }
        set_cron(tx, project, &self.cron).await?;
        forget_unused_cron(tx, project).await?;
        Ok(changed(tx, &self.who, &self.project, 0).await?)
    }
}

/// Refuses one more rule than there may be.
fn check_count(count: i64) -> Result<(), Error> {
    if count < RULES_MAX {
        return Ok(());
    }
    let message = format!("a project has at most {RULES_MAX} rules");
    Err(Error::new(Code::Conflict, message))
}

async fn changed(tx: &mut Tx<'_>, who: &Who, project: &str, id: i64) -> Result<(), sqlx::Error> {
    let event = Event::new("policy_changed", "rule", &id.to_string());
    tell(tx, who, &event.in_project(project)).await
}

/// Makes a rule another one of its kind.
pub(crate) struct ChangeRule {
    pub(crate) who: Who,
    pub(crate) project: String,
    pub(crate) id: i64,
    pub(crate) rule: Rule,
}

#[async_trait]
impl Change for ChangeRule {
    type Out = ();
    const NAME: &'static str = "change_rule";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let project = project_id(tx, &self.project).await?;
        let update = bound!(
            "UPDATE project_rule SET rule = $4 WHERE project_id = $1 AND id = $2 AND kind = $3",
            project,
            self.id,
            self.rule.kind.name(),
            written(&self.rule),
        );
        if update.execute(&mut *tx.conn).await?.rows_affected() == 0 {
            return Err(unknown_rule().into());
        }
        Ok(changed(tx, &self.who, &self.project, self.id).await?)
    }
}

/// Removes a rule.
pub(crate) struct DeleteRule {
    pub(crate) who: Who,
    pub(crate) project: String,
    pub(crate) id: i64,
}

#[async_trait]
impl Change for DeleteRule {
    type Out = ();
    const NAME: &'static str = "delete_rule";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let project = project_id(tx, &self.project).await?;
        let sql = "DELETE FROM project_rule WHERE project_id = $1 AND id = $2";
        let deleted = bound!(sql, project, self.id).execute(&mut *tx.conn).await?;
        if deleted.rows_affected() == 0 {
            return Err(unknown_rule().into());
        }
        forget_unused_cron(tx, project).await?;
        Ok(changed(tx, &self.who, &self.project, self.id).await?)
    }
}

/// Removes the tags of a project that no retention keeps.
pub(crate) struct Retain {
    pub(crate) who: Who,
    pub(crate) project: String,
    pub(crate) untagged_grace_ms: i64,
    /// For how long a cluster is taken at its word that it runs something.
    pub(crate) running_ms: i64,
    /// Look only.
    pub(crate) dry_run: bool,
}

#[async_trait]
impl Change for Retain {
    /// Repositories and tags that went.
    type Out = Vec<(String, String)>;
    const NAME: &'static str = "retain";

    fn touches(&self, out: &Self::Out) -> Touched<'_> {
        match out.is_empty() {
            true => Touched::Nothing,
            false => Touched::Repos,
        }
    }

    fn is_kept(&self) -> bool {
        !self.dry_run
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Out, Failure> {
        let project = project_id(tx, &self.project).await?;
        let mut scoped: Vec<(Rule, Scope)> = Vec::new();
        for found in rules(tx, project).await? {
            let scope = found.rule.scope()?;
            scoped.push((found.rule, scope));
        }
        let (immutable, retention): (Vec<_>, Vec<_>) = scoped
            .into_iter()
            .partition(|(rule, _)| rule.kind == Kind::Immutable);
        let mut gone = Vec::new();
        let repos = bound!(
            "SELECT id, name FROM repo WHERE project_id = $1 ORDER BY name",
            project
        );
        for row in repos.fetch_all(&mut *tx.conn).await? {
            let (repo_id, name): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
            let repo = RepoName::parse(&name)?;
            let tags = tags(tx, repo_id, self.running_ms).await?;
            let may_go = |tag: &&Candidate| {
                let holds = |(_, scope): &(Rule, Scope)| scope.has(repo.rest(), &tag.tag);
                !immutable.iter().any(holds)
            };
            let mut going = expired(&retention, repo.rest(), &tags, tx.now_ms);
            going.retain(may_go);
            if !going.is_empty() {
                let parts = parts(tx, repo_id).await?;
                let followers = followers(&tags, &going, &parts);
                going.extend(followers.into_iter().filter(may_go));
            }
            for candidate in going {
                self.remove(tx, repo_id, &repo, &candidate.tag).await?;
                gone.push((name.clone(), candidate.tag.clone()));
            }
        }
        Ok(gone)
    }
}

async fn tags(
    tx: &mut Tx<'_>,
    repo_id: i64,
    running_ms: i64,
) -> Result<Vec<Candidate>, sqlx::Error> {
    // What runs is named by its own digest or, of an index, by that of a platform, which may be one
    // of an index in the index. Digests make no circles.
    let found = bound!(
        "SELECT t.name, t.updated_ms, u.pulled_ms, CAST(CASE WHEN EXISTS ( \
             WITH RECURSIVE below (digest) AS (SELECT m.digest UNION SELECT c.digest FROM below b \
                 JOIN manifest i ON i.repo_id = m.repo_id AND i.digest = b.digest \
                 JOIN manifest_child c ON c.manifest_id = i.id) \
             SELECT 1 FROM below b JOIN running n ON n.digest = b.digest WHERE n.seen_ms > $2) \
         THEN 1 ELSE 0 END AS BIGINT), m.digest \
         FROM tag t JOIN manifest m ON m.id = t.manifest_id \
         LEFT JOIN pull u ON u.manifest_id = t.manifest_id WHERE t.repo_id = $1",
        repo_id,
        tx.now_ms.saturating_sub(running_ms),
    );
    let rows = found.fetch_all(&mut *tx.conn).await?;
    let candidate = |row: &sqlx::any::AnyRow| {
        Ok(Candidate {
            tag: row.try_get(0)?,
            pushed_ms: row.try_get(1)?,
            pulled_ms: row.try_get(2)?,
            is_running: row.try_get::<i64, _>(3)? > 0,
            digest: row.try_get(4)?,
        })
    };
    rows.iter().map(candidate).collect()
}

/// What the indexes of a repository name.
async fn parts(tx: &mut Tx<'_>, repo_id: i64) -> Result<Parts, sqlx::Error> {
    let found = bound!(
        "SELECT i.digest, c.digest FROM manifest_child c \
         JOIN manifest i ON i.id = c.manifest_id WHERE c.repo_id = $1",
        repo_id,
    );
    let mut parts = Parts::new();
    for row in found.fetch_all(&mut *tx.conn).await? {
        let index: String = row.try_get(0)?;
        parts.entry(index).or_default().push(row.try_get(1)?);
    }
    Ok(parts)
}

impl Retain {
    async fn remove(
        &self,
        tx: &mut Tx<'_>,
        repo_id: i64,
        repo: &RepoName,
        tag: &str,
    ) -> Result<(), Failure> {
        let tag = Tag::parse(tag)?;
        let Some((manifest_id, digest)) = tag::find(tx, repo_id, &tag).await? else {
            return Ok(());
        };
        let target = Target {
            repo_id,
            manifest_id,
            digest: &digest,
            who: &self.who,
            grace_ms: self.untagged_grace_ms,
        };
        tag::take(tx, &tag, &target).await?;
        let event = Event {
            reference: Some(tag.as_str().to_owned()),
            old_digest: Some(digest.clone()),
            ..Event::new("tag_expired", "tag", tag.as_str()).in_repo(repo)
        };
        Ok(tell(tx, &self.who, &event).await?)
    }
}
