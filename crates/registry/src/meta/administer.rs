//! Projects and their quotas, as who looks after them sees and changes them.

use async_trait::async_trait;
use serde::Serialize;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::Meta;
use super::cache::Touched;
use super::change::{Change, Tx, bound, first};
use super::error::Failure;
use super::member;
use super::outbox::{Event, tell};
use super::page::{Listed, Page, Value};
use super::project::{UNLIMITED, make_project};
use super::search::{pattern, visible};
use super::upstream;
use crate::auth::Role;
use crate::error::{Code, Error};
use crate::who::Who;

/// A project.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Project {
    #[serde(rename = "project_id")]
    pub(crate) id: i64,
    pub(crate) name: String,
    #[serde(rename = "creation_time")]
    pub(crate) created: String,
    pub(crate) repo_count: i64,
    pub(crate) metadata: Metadata,
    /// The registry that it is a cache of.
    pub(crate) registry_id: Option<i64>,
    #[serde(skip)]
    pub(crate) hard: i64,
    #[serde(skip)]
    pub(crate) used: i64,
}

/// What Harbor keeps beside a project, as texts.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Metadata {
    pub(crate) public: String,
}

/// A moment as text.
pub(crate) fn time(ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    format!("{at:.3}")
}

const PROJECT: &str = "SELECT p.id, p.name, p.public, p.created_ms, \
     (SELECT COUNT(*) FROM repo r WHERE r.project_id = p.id), q.hard, q.used, \
     p.upstream_id FROM project p JOIN quota q ON q.project_id = p.id WHERE p.name = $1";
const PROJECTS: &str = concat!(
    "SELECT p.id, p.name, p.public, p.created_ms, \
     (SELECT COUNT(*) FROM repo r WHERE r.project_id = p.id), q.hard, q.used, \
     p.upstream_id FROM project p JOIN quota q ON q.project_id = p.id WHERE p.name > $1 \
     AND (p.name = $3 OR $3 = '') AND p.name LIKE $4 ESCAPE '!' \
     AND ($5 < 0 OR p.public = $5) AND ($6 = 0 OR p.id = $6) AND ",
    visible!(),
    " ORDER BY p.name"
);

/// Which projects are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProjectFilter<'a> {
    /// Only those behind this name.
    pub(crate) last: &'a str,
    /// The one of this name; any if it is empty.
    pub(crate) name: &'a str,
    /// Those with this in their names.
    pub(crate) part: &'a str,
    pub(crate) is_public: Option<bool>,
    /// The one with this number; any if it is 0.
    pub(crate) id: i64,
    /// Those that a viewer may see, as in a search.
    pub(crate) viewer: Option<i64>,
}

fn project(row: &AnyRow) -> Result<Project, sqlx::Error> {
    let is_public = row.try_get::<i64, _>(2)? != 0;
    Ok(Project {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        created: time(row.try_get(3)?),
        repo_count: row.try_get(4)?,
        metadata: Metadata {
            public: is_public.to_string(),
        },
        hard: row.try_get(5)?,
        used: row.try_get(6)?,
        registry_id: row.try_get(7)?,
    })
}

/// What is said of a project that is not there.
pub(crate) fn unknown_project(name: &str) -> Error {
    Error::new(Code::NameUnknown, format!("there is no project {name}"))
}

impl Meta {
    /// A project by its name.
    pub(crate) async fn project(&self, name: &str) -> Result<Option<Project>, Error> {
        Ok(self.rows(bound!(PROJECT, name), project).await?.pop())
    }

    /// The name of a project by its number.
    pub(crate) async fn project_name(&self, id: i64) -> Result<Option<String>, Error> {
        let found = bound!("SELECT name FROM project WHERE id = $1", id);
        Ok(self.rows(found, |row| row.try_get(0)).await?.pop())
    }

    /// Projects in the order of their names.
    pub(crate) async fn projects(
        &self,
        filter: ProjectFilter<'_>,
        page: Page,
    ) -> Result<Listed<Project>, Error> {
        let part = pattern(filter.part);
        let values = [
            Value::Text(filter.last),
            Value::Number(filter.viewer.unwrap_or(-1)),
            Value::Text(filter.name),
            Value::Text(&part),
            Value::Number(filter.is_public.map_or(-1, i64::from)),
            Value::Number(filter.id),
        ];
        self.page(PROJECTS, &values, page, project).await
    }
}

/// Makes a project.
pub(crate) struct CreateProject {
    pub(crate) who: Who,
    pub(crate) name: String,
    pub(crate) is_public: bool,
    /// Bytes that it may have; none is no bound.
    pub(crate) hard: Option<i64>,
    /// An account that looks after it.
    pub(crate) admin: Option<i64>,
    /// The registry that it is a cache of.
    pub(crate) upstream: Option<i64>,
}

#[async_trait]
impl Change for CreateProject {
    /// Its number.
    type Out = i64;
    const NAME: &'static str = "create_project";

    fn touches(&self, _out: &Self::Out) -> Touched<'_> {
        Touched::People
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<i64, Failure> {
        let found = bound!("SELECT 1 FROM project WHERE name = $1", self.name.as_str());
        if found.fetch_optional(&mut *tx.conn).await?.is_some() {
            let message = format!("there is a project {} already", self.name);
            return Err(Error::new(Code::Conflict, message).into());
        }
        let id = make_project(tx, &self.who, &self.name, self.is_public).await?;
        if let Some(hard) = self.hard {
            bound!("UPDATE quota SET hard = $1 WHERE project_id = $2", hard, id)
                .execute(&mut *tx.conn)
                .await?;
        }
        if let Some(account) = self.admin {
            member::put(tx, member::PUT_ACCOUNT, id, account, Role::ProjectAdmin).await?;
        }
        if let Some(upstream) = self.upstream {
            upstream::connect(tx, id, Some(upstream)).await?;
        }
        Ok(id)
    }
}

/// Changes a project.
pub(crate) struct UpdateProject {
    pub(crate) who: Who,
    pub(crate) name: String,
    pub(crate) is_public: Option<bool>,
    /// Bytes that it may have; below zero is no bound.
    pub(crate) hard: Option<i64>,
    /// The registry that it is to be a cache of, or none.
    pub(crate) upstream: Option<Option<i64>>,
}

#[async_trait]
impl Change for UpdateProject {
    type Out = ();
    const NAME: &'static str = "update_project";

    fn touches(&self, _out: &Self::Out) -> Touched<'_> {
        Touched::People
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let id = project_id(tx, &self.name).await?;
        if let Some(public) = self.is_public {
            let update = bound!(
                "UPDATE project SET public = $1 WHERE id = $2",
                i64::from(public),
                id,
            );
            update.execute(&mut *tx.conn).await?;
        }
        if let Some(hard) = self.hard {
            let update = bound!("UPDATE quota SET hard = $1 WHERE project_id = $2", hard, id,);
            update.execute(&mut *tx.conn).await?;
        }
        if let Some(upstream) = self.upstream {
            upstream::connect(tx, id, upstream).await?;
        }
        let event = Event::new("update_project", "project", &self.name);
        Ok(tell(tx, &self.who, &event.in_project(&self.name)).await?)
    }
}

pub(super) async fn project_id(tx: &mut Tx<'_>, name: &str) -> Result<i64, Failure> {
    let found = bound!("SELECT id FROM project WHERE name = $1", name);
    match found.fetch_optional(&mut *tx.conn).await? {
        Some(row) => Ok(first(&row)?),
        None => Err(unknown_project(name).into()),
    }
}

/// Removes a project that has no repositories and no uploads.
pub(crate) struct DeleteProject {
    pub(crate) who: Who,
    pub(crate) name: String,
}

#[async_trait]
impl Change for DeleteProject {
    type Out = ();
    const NAME: &'static str = "delete_project";

    fn touches(&self, _out: &Self::Out) -> Touched<'_> {
        Touched::People
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let id = project_id(tx, &self.name).await?;
        let used = bound!(
            "SELECT (SELECT COUNT(*) FROM repo WHERE project_id = $1) \
             + (SELECT COUNT(*) FROM upload WHERE project_id = $1)",
            id,
        );
        if first(&used.fetch_one(&mut *tx.conn).await?)? > 0 {
            let message = format!("project {} has repositories; delete them first", self.name);
            return Err(Error::new(Code::Conflict, message).into());
        }
        for sql in [
            "DELETE FROM member WHERE project_id = $1",
            "DELETE FROM robot WHERE project_id = $1",
            "DELETE FROM project_rule WHERE project_id = $1",
            "DELETE FROM quota WHERE project_id = $1",
            "DELETE FROM project WHERE id = $1",
        ] {
            bound!(sql, id).execute(&mut *tx.conn).await?;
        }
        let event = Event::new("delete_project", "project", &self.name);
        Ok(tell(tx, &self.who, &event.in_project(&self.name)).await?)
    }
}
