//! Projects and their repositories.

use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, Row};

use super::account::permissions;
use super::cache::Touched;
use super::change::{Change, Tx, bound, first};
use super::error::Failure;
use super::outbox::{Event, tell};
use super::setting;
use crate::auth::Action;
use crate::error::{Code, Error};
use crate::name::RepoName;
use crate::who::{Kind, Who};

/// A repository that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RepoId {
    pub(super) project: i64,
    pub(super) repo: i64,
}

/// No bound of a project's bytes.
pub(crate) const UNLIMITED: i64 = -1;

/// What projects are at first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewProjects {
    /// Whether a push makes them.
    pub(crate) on_push: bool,
    /// Bytes that they may have.
    pub(crate) hard: i64,
}

/// The project of this name, if it is there or a push may make it.
pub(super) async fn find_project(
    tx: &mut Tx<'_>,
    who: &Who,
    name: &str,
) -> Result<Option<i64>, Failure> {
    let found = bound!("SELECT id FROM project WHERE name = $1", name);
    if let Some(row) = found.fetch_optional(&mut *tx.conn).await? {
        return Ok(Some(first(&row)?));
    }
    let why_not = if !tx.new_projects.on_push {
        "a push does not make one (registry.projects.create_on_push)"
    } else if !may_push_anywhere(tx, who).await? {
        "a robot makes one only if it may push to any"
    } else {
        return Ok(None);
    };
    let message =
        format!("there is no project {name}, and {why_not}: make it first, or correct the name");
    Err(Error::new(Code::NameUnknown, message).into())
}

/// Whether who may push to a project that is not there may push to any: a robot may have been given what
/// has another name, or is gone.
async fn may_push_anywhere(tx: &mut Tx<'_>, who: &Who) -> Result<bool, sqlx::Error> {
    if who.kind != Kind::Robot {
        return Ok(true);
    }
    let sql = "SELECT permissions FROM robot WHERE name = $1";
    let given = bound!(sql, who.name.as_str());
    let given: Option<String> = match given.fetch_optional(&mut *tx.conn).await? {
        Some(row) => Some(row.try_get(0)?),
        None => None,
    };
    let given = given
        .map(|given| permissions(&given, None))
        .unwrap_or_default();
    Ok(given.iter().any(|given| given.allows("*", Action::Push)))
}

/// The project of this name, made if it is not there and a push may do that.
async fn ensure_project(tx: &mut Tx<'_>, who: &Who, name: &str) -> Result<i64, Failure> {
    if let Some(id) = find_project(tx, who, name).await? {
        return Ok(id);
    }
    let id = make_project(tx, who, name, false).await?;
    tell_made(tx, who, name, id).await?;
    Ok(id)
}

/// Bytes that a project may have at first.
pub(super) async fn first_hard(tx: &mut Tx<'_>) -> Result<i64, sqlx::Error> {
    Ok(match tx.new_projects.hard {
        UNLIMITED => {
            let said = setting::configuration(tx).await?.storage_per_project;
            said.unwrap_or(UNLIMITED)
        }
        hard => hard,
    })
}

/// Tells that a project was made.
pub(super) async fn tell_made(
    tx: &mut Tx<'_>,
    who: &Who,
    name: &str,
    id: i64,
) -> Result<(), sqlx::Error> {
    let event = Event::new("create_project", "project", name).in_project(name);
    let event = event.changed((), told(tx, id).await?);
    tell(tx, who, &event).await
}

/// What the records of a project tell of it.
pub(super) async fn told(tx: &mut Tx<'_>, id: i64) -> Result<Value, sqlx::Error> {
    let found = bound!(
        "SELECT p.public, q.hard, u.name FROM project p JOIN quota q ON q.project_id = p.id \
         LEFT JOIN upstream u ON u.id = p.upstream_id WHERE p.id = $1",
        id,
    );
    let row = found.fetch_one(&mut *tx.conn).await?;
    Ok(json!({
        "public": row.try_get::<i64, _>(0)? != 0,
        "storage_limit": row.try_get::<i64, _>(1)?,
        "registry": row.try_get::<Option<String>, _>(2)?,
    }))
}

/// Makes a project, of which nobody is told yet, and which has the uploads that awaited it.
pub(super) async fn make_project(
    tx: &mut Tx<'_>,
    who: &Who,
    name: &str,
    public: bool,
) -> Result<i64, Failure> {
    let owner = (who.kind == Kind::User).then_some(who.name.as_str());
    let made = bound!(
        "INSERT INTO project (name, public, created_ms, owner_id) \
         VALUES ($1, $2, $3, (SELECT id FROM account WHERE name = $4)) RETURNING id",
        name,
        i64::from(public),
        tx.now_ms,
        owner,
    );
    let id = first(&made.fetch_one(&mut *tx.conn).await?)?;
    let hard = first_hard(tx).await?;
    for query in [
        bound!(
            "INSERT INTO quota (project_id, hard, used) VALUES ($1, $2, 0)",
            id,
            hard
        ),
        bound!(
            "UPDATE upload SET project_id = $1, awaited = NULL, hard = NULL WHERE awaited = $2",
            id,
            name
        ),
    ] {
        query.execute(&mut *tx.conn).await?;
    }
    Ok(id)
}

/// The repository of this name, if it is there.
pub(super) async fn find_repo(
    tx: &mut Tx<'_>,
    name: &RepoName,
) -> Result<Option<RepoId>, sqlx::Error> {
    let found = bound!(
        "SELECT project_id, id FROM repo WHERE name = $1",
        name.as_str()
    );
    let row = found.fetch_optional(&mut *tx.conn).await?;
    let id = |row: sqlx::any::AnyRow| {
        Ok(RepoId {
            project: row.try_get(0)?,
            repo: row.try_get(1)?,
        })
    };
    row.map(id).transpose()
}

/// The repository of this name, made if it is not there.
pub(super) async fn ensure_repo(
    tx: &mut Tx<'_>,
    who: &Who,
    name: &RepoName,
) -> Result<RepoId, Failure> {
    if let Some(id) = find_repo(tx, name).await? {
        return Ok(id);
    }
    let project = ensure_project(tx, who, name.project()).await?;
    let made = bound!(
        "INSERT INTO repo (project_id, name, created_ms) VALUES ($1, $2, $3) RETURNING id",
        project,
        name.as_str(),
        tx.now_ms,
    );
    let repo = first(&made.fetch_one(&mut *tx.conn).await?)?;
    Ok(RepoId { project, repo })
}

/// Repositories that have nothing and of which nobody said anything, and what they must meet besides.
/// Where a tag pointed once, or a manifest can be brought back, there is something.
macro_rules! empty_repos {
    ($more:literal) => {
        concat!(
            "SELECT r.id, r.name FROM repo r WHERE r.description = '' \
             AND NOT EXISTS (SELECT 1 FROM repo_blob o WHERE o.repo_id = r.id) \
             AND NOT EXISTS (SELECT 1 FROM manifest o WHERE o.repo_id = r.id) \
             AND NOT EXISTS (SELECT 1 FROM removed_manifest o WHERE o.repo_id = r.id) \
             AND NOT EXISTS (SELECT 1 FROM tag_history o WHERE o.repo_id = r.id)",
            $more
        )
    };
}

/// Removes a repository if it is empty: what was to come did not. A push makes it again.
pub(super) async fn forget_empty_repo(
    tx: &mut Tx<'_>,
    who: &Who,
    repo_id: i64,
) -> Result<(), Failure> {
    let found = bound!(empty_repos!(" AND r.id = $1"), repo_id);
    forget_repos(tx, who, found).await.map(|_| ())
}

/// Removes the empty repositories of a project, of very many some.
pub(super) async fn forget_empty_repos(
    tx: &mut Tx<'_>,
    who: &Who,
    project: i64,
) -> Result<(), Failure> {
    let found = bound!(empty_repos!(" AND r.project_id = $1 LIMIT 500"), project);
    forget_repos(tx, who, found).await.map(|_| ())
}

/// Removes the repositories that a query finds; says how many.
async fn forget_repos(
    tx: &mut Tx<'_>,
    who: &Who,
    found: Query<'_, Any, AnyArguments>,
) -> Result<usize, Failure> {
    let found = found.fetch_all(&mut *tx.conn).await?;
    for row in &found {
        let id: i64 = first(row)?;
        bound!("DELETE FROM repo WHERE id = $1", id)
            .execute(&mut *tx.conn)
            .await?;
        let repo = RepoName::parse(row.try_get(1)?)?;
        let event = Event::new("delete_repository", "repository", repo.as_str());
        tell(tx, who, &event.in_repo(&repo)).await?;
    }
    Ok(found.len())
}

/// Removes repositories that became empty where nobody looked.
pub(crate) struct ForgetRepos {
    pub(crate) who: Who,
    /// How many of them one transaction removes.
    pub(crate) limit: i64,
}

#[async_trait]
impl Change for ForgetRepos {
    /// How many.
    type Out = usize;
    const NAME: &'static str = "forget_repos";
    /// What is not forgotten is forgotten once more.
    const IS_DURABLE: bool = false;

    fn touches(&self, _out: &Self::Out) -> Touched<'_> {
        Touched::Repos
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<usize, Failure> {
        let found = bound!(empty_repos!(" LIMIT $1"), self.limit);
        forget_repos(tx, &self.who, found).await
    }
}
