//! The rules of projects. What those of retention do to tags is in [`super::expire`].

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{AnyConnection, Row};

use super::Meta;
use super::administer::project_id;
use super::change::{Change, Tx, bound, first};
use super::content::Artifact;
use super::error::Failure;
use super::outbox::{Event, tell};
use super::retention::{cron, forget_unused_cron, set_cron};
use crate::error::{Code, Error};
use crate::name::RepoName;
use crate::rule::{Kind, Rule};
use crate::who::Who;

/// Rules of one project.
const RULES_MAX: i64 = 100;

/// A rule with its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
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

    /// The rules of a project that hold tags.
    async fn holding(&self, project: &str) -> Result<Vec<NumberedRule>, Error> {
        let rules = self.rows(bound!(IMMUTABLE, project), numbered).await?;
        Ok(rules.into_iter().flatten().collect())
    }

    /// Has the tags of a project's artifacts say whether a rule holds them.
    pub(crate) async fn mark_immutable(
        &self,
        project: &str,
        artifacts: &mut [Artifact],
    ) -> Result<(), Error> {
        for rule in self.holding(project).await? {
            let scope = rule.rule.scope()?;
            for artifact in artifacts.iter_mut() {
                let repo = RepoName::parse(&artifact.repository_name)?;
                for tag in &mut artifact.tags {
                    tag.immutable |= scope.has(repo.rest(), &tag.name);
                }
            }
        }
        Ok(())
    }

    /// Refuses to remove all tags of a repository if a rule holds one.
    pub(crate) async fn check_mutable(&self, repo: &RepoName) -> Result<(), Error> {
        let rules = self.holding(repo.project()).await?;
        if rules.is_empty() {
            return Ok(());
        }
        let sql = "SELECT t.name FROM tag t JOIN repo r ON r.id = t.repo_id WHERE r.name = $1";
        let tags = bound!(sql, repo.as_str());
        let tags: Vec<String> = self.long_rows(tags, |row| row.try_get(0)).await?;
        let mut rules = rules.iter();
        rules.try_for_each(|rule| refuse_held(repo, rule, &tags))
    }
}

pub(super) async fn rules(tx: &mut Tx<'_>, project: i64) -> Result<Vec<NumberedRule>, sqlx::Error> {
    let rows = bound!(RULES, project).fetch_all(&mut *tx.conn).await?;
    let rules: Result<Vec<_>, _> = rows.iter().map(numbered).collect();
    Ok(rules?.into_iter().flatten().collect())
}

const IMMUTABLE: &str = "SELECT u.id, u.rule FROM project_rule u \
     JOIN project p ON p.id = u.project_id WHERE p.name = $1 AND u.kind = 'immutable' ORDER BY u.id";

/// Refuses to move or remove tags of which a rule holds one.
pub(super) async fn check_mutable(
    tx: &mut Tx<'_>,
    repo: &RepoName,
    tags: &[impl AsRef<str>],
) -> Result<(), Failure> {
    hold_none(tx.conn, repo, tags).await
}

/// The same, for who only wants to know.
pub(super) async fn hold_none(
    connection: &mut AnyConnection,
    repo: &RepoName,
    tags: &[impl AsRef<str>],
) -> Result<(), Failure> {
    if tags.is_empty() {
        return Ok(());
    }
    let found = bound!(IMMUTABLE, repo.project());
    for row in found.fetch_all(connection).await? {
        if let Some(found) = numbered(&row)? {
            refuse_held(repo, &found, tags)?;
        }
    }
    Ok(())
}

/// Refuses to move or remove tags of which this rule holds one.
fn refuse_held(
    repo: &RepoName,
    found: &NumberedRule,
    tags: &[impl AsRef<str>],
) -> Result<(), Error> {
    let scope = found.rule.scope()?;
    let mut tags = tags.iter().map(AsRef::as_ref);
    let Some(tag) = tags.find(|tag| scope.has(repo.rest(), tag)) else {
        return Ok(());
    };
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
    Err(error.with_detail("rule", found.id).with_event(event))
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
        let event = policy(&self.project, id).changed((), &self.rule);
        tell(tx, &self.who, &event).await?;
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
        let known = rules(tx, project)
            .await?
            .into_iter()
            .map(|known| known.rule);
        let known = known.filter(|rule| rule.kind == Kind::Retention);
        let (was, cron_was) = (known.collect::<Vec<_>>(), cron(tx, project).await?);
        let sql = "DELETE FROM project_rule WHERE project_id = $1 AND kind = 'retention'";
        bound!(sql, project).execute(&mut *tx.conn).await?;
        for rule in &self.rules {
            insert(tx, project, rule).await?;
        }
        set_cron(tx, project, &self.cron).await?;
        forget_unused_cron(tx, project).await?;
        let event = policy(&self.project, 0).changed(
            json!({"rules": only(&was, &self.rules), "cron": cron_was}),
            json!({"rules": only(&self.rules, &was), "cron": cron(tx, project).await?}),
        );
        Ok(tell(tx, &self.who, &event).await?)
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

/// Those of some rules that others have not, if there are such.
fn only<'a>(these: &'a [Rule], others: &[Rule]) -> Option<Vec<&'a Rule>> {
    let only: Vec<&Rule> = these.iter().filter(|rule| !others.contains(rule)).collect();
    (!only.is_empty()).then_some(only)
}

/// That a rule of a project was added, changed or removed.
fn policy(project: &str, id: i64) -> Event {
    Event::new("policy_changed", "rule", &id.to_string()).in_project(project)
}

/// What is told of a rule as it is kept.
fn told(row: &sqlx::any::AnyRow) -> Result<Value, sqlx::Error> {
    Ok(serde_json::from_str(row.try_get(0)?).unwrap_or_default())
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
        let known = known(tx, &self.project, self.id).await?;
        if known.kind != self.rule.kind {
            return Err(unknown_rule().into());
        }
        update(tx, &self.project, self.id, &known, &self.rule, &self.who).await
    }
}

/// Has a rule be as if it were not there, or not any more.
pub(crate) struct SwitchRule {
    pub(crate) who: Who,
    pub(crate) project: String,
    pub(crate) id: i64,
    pub(crate) disabled: bool,
}

#[async_trait]
impl Change for SwitchRule {
    type Out = ();
    const NAME: &'static str = "switch_rule";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let known = known(tx, &self.project, self.id).await?;
        let rule = Rule {
            disabled: self.disabled,
            ..known.clone()
        };
        update(tx, &self.project, self.id, &known, &rule, &self.who).await
    }
}

/// A rule of a project.
async fn known(tx: &mut Tx<'_>, project: &str, id: i64) -> Result<Rule, Failure> {
    let project = project_id(tx, project).await?;
    let sql = "SELECT id, rule FROM project_rule WHERE project_id = $1 AND id = $2";
    let row = bound!(sql, project, id)
        .fetch_optional(&mut *tx.conn)
        .await?;
    let found = row.as_ref().map(numbered).transpose()?.flatten();
    Ok(found.ok_or_else(unknown_rule)?.rule)
}

/// Makes a rule another one, and tells of it.
async fn update(
    tx: &mut Tx<'_>,
    project: &str,
    id: i64,
    before: &Rule,
    after: &Rule,
    who: &Who,
) -> Result<(), Failure> {
    bound!(
        "UPDATE project_rule SET rule = $2 WHERE id = $1",
        id,
        written(after),
    )
    .execute(&mut *tx.conn)
    .await?;
    let event = policy(project, id).changed(before, after);
    Ok(tell(tx, who, &event).await?)
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
        let sql = "DELETE FROM project_rule WHERE project_id = $1 AND id = $2 RETURNING rule";
        let gone = bound!(sql, project, self.id);
        let gone = gone.fetch_optional(&mut *tx.conn).await?;
        let gone = told(&gone.ok_or_else(unknown_rule)?)?;
        forget_unused_cron(tx, project).await?;
        let event = policy(&self.project, self.id).changed(gone, ());
        Ok(tell(tx, &self.who, &event).await?)
    }
}
