//! Projects and their quotas, as who looks after them sees and changes them.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::Meta;
use super::cache::Touched;
use super::change::{Change, Tx, bound, first};
use super::data::bury_uploads;
use super::error::Failure;
use super::list::Reach;
use super::listing::{Column, Kind, Listed, Listing, Operand, Source, Test};
use super::member;
use super::outbox::{Event, tell};
use super::project::{forget_empty_repos, make_project, tell_made, told};
use super::revocation::{Subject, revoke};
use super::robots;
use super::search::visible;
use super::upstream;
use crate::auth::Role;
use crate::error::{Code, Error};
use crate::who::Who;

/// A project.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Project {
    #[serde(rename = "project_id")]
    pub(crate) id: i64,
    pub(crate) name: String,
    #[serde(rename = "creation_time")]
    pub(crate) created: Time,
    #[serde(rename = "update_time")]
    pub(crate) updated: Time,
    /// The account that made it; 0 if that is not known.
    pub(crate) owner_id: i64,
    pub(crate) owner_name: String,
    pub(crate) repo_count: i64,
    /// Charts are in repositories, as everything.
    pub(crate) chart_count: i64,
    pub(crate) metadata: Metadata,
    pub(crate) cve_allowlist: CveAllowlist,
    /// The numbers of the caller's role, where it has one.
    pub(crate) current_user_role_id: i64,
    pub(crate) current_user_role_ids: Vec<i64>,
    /// The registry that it is a cache of.
    pub(crate) registry_id: Option<i64>,
    #[serde(skip)]
    pub(crate) hard: i64,
    #[serde(skip)]
    pub(crate) used: i64,
}

/// What Harbor keeps beside a project, as texts.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "ProjectMetadata")]
pub(crate) struct Metadata {
    pub(crate) public: String,
    /// The number of its retention, which is that of the project, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retention_id: Option<String>,
}

/// What would be let pass although scans find it: nothing, as none is made. Harbor's pages want to see it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "CVEAllowlist")]
pub(crate) struct CveAllowlist {
    project_id: i64,
    #[schemars(with = "Vec<String>")]
    items: [(); 0],
}

/// A moment, in UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("format" = "date-time"))]
pub(crate) struct Time(String);

/// A moment as it is shown, by its milliseconds since 1970.
pub(crate) fn time(ms: i64) -> Time {
    let at = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    Time(format!("{at:.3}"))
}

/// What is told of a project.
macro_rules! project_columns {
    () => {
        "p.id, p.name, p.public, p.created_ms, \
         (SELECT COUNT(*) FROM repo r WHERE r.project_id = p.id), q.hard, q.used, p.upstream_id, \
         COALESCE(p.updated_ms, p.created_ms), (SELECT COUNT(*) FROM project_rule u \
         WHERE u.project_id = p.id AND u.kind = 'retention'), COALESCE(o.id, 0), \
         COALESCE(o.name, '')"
    };
}

/// Projects with their quotas and with who made them.
macro_rules! project_rows {
    () => {
        "FROM project p JOIN quota q ON q.project_id = p.id \
         LEFT JOIN account o ON o.id = p.owner_id WHERE "
    };
}

const PROJECT: &str = concat!(
    "SELECT ",
    project_columns!(),
    " ",
    project_rows!(),
    "p.name = $1"
);
/// Those that the viewer may see.
const PROJECTS: Source = Source {
    columns: project_columns!(),
    from: concat!(project_rows!(), visible!("$1")),
    order: "p.name",
};

/// What projects can be filtered by.
pub(crate) const PROJECT_COLUMNS: &[Column] = &[
    Column::new("name", Kind::Text, "p.name"),
    Column::new("project_id", Kind::Number, "p.id"),
    Column::new("owner_name", Kind::Text, "COALESCE(o.name, '')"),
    Column::new("public", Kind::Flag, "p.public"),
    Column::new("creation_time", Kind::Moment, "p.created_ms"),
    Column::new(
        "update_time",
        Kind::Moment,
        "COALESCE(p.updated_ms, p.created_ms)",
    ),
    Column::new("registry_id", Kind::Number, "COALESCE(p.upstream_id, 0)"),
];

/// What all public projects have in [`SEEN_AS`]; it is no project's name.
const PUBLIC: &str = "*";
/// By what a project is seen: its name, unless everybody sees it.
const SEEN_AS: Column = Column::new(
    "",
    Kind::Text,
    "CASE WHEN p.public = 1 THEN '*' ELSE p.name END",
);

/// What quotas can be filtered by. Harbor has them refer to things of several kinds.
pub(crate) const QUOTA_COLUMNS: &[Column] = &[
    Column::new("id", Kind::Number, "p.id"),
    Column::new("reference", Kind::Text, "CAST('project' AS TEXT)"),
    Column::new("reference_id", Kind::Number, "p.id"),
    Column::new("hard.storage", Kind::Number, "q.hard"),
    Column::new("used.storage", Kind::Number, "q.used"),
];

fn project(row: &AnyRow) -> Result<Project, sqlx::Error> {
    let is_public = row.try_get::<i64, _>(2)? != 0;
    let (id, rules): (i64, i64) = (row.try_get(0)?, row.try_get(9)?);
    Ok(Project {
        id,
        name: row.try_get(1)?,
        created: time(row.try_get(3)?),
        updated: time(row.try_get(8)?),
        owner_id: row.try_get(10)?,
        owner_name: row.try_get(11)?,
        repo_count: row.try_get(4)?,
        chart_count: 0,
        cve_allowlist: CveAllowlist {
            project_id: id,
            items: [],
        },
        current_user_role_id: 0,
        current_user_role_ids: Vec::new(),
        metadata: Metadata {
            public: is_public.to_string(),
            retention_id: (rules > 0).then(|| id.to_string()),
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

/// How much there is in some projects.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) projects: i64,
    pub(crate) repositories: i64,
    pub(crate) bytes: i64,
}

const TOTALS: &str = concat!(
    "SELECT COUNT(*), CAST(COALESCE(SUM((SELECT COUNT(*) FROM repo r WHERE r.project_id = p.id)), 0) \
     AS BIGINT), CAST(COALESCE(SUM(q.used), 0) AS BIGINT) \
     FROM project p JOIN quota q ON q.project_id = p.id WHERE p.public = $2 AND ",
    visible!("$1")
);

impl Meta {
    /// How much there is in the private and in the public projects that a viewer may see.
    pub(crate) async fn totals(&self, viewer: Option<i64>) -> Result<[Totals; 2], Error> {
        let mut totals = [Totals::default(); 2];
        for (public, totals) in (0_i64..).zip(&mut totals) {
            let read = |row: &AnyRow| {
                Ok(Totals {
                    projects: row.try_get(0)?,
                    repositories: row.try_get(1)?,
                    bytes: row.try_get(2)?,
                })
            };
            let query = bound!(TOTALS, viewer.unwrap_or(-1), public);
            *totals = self.row(query, read).await?.unwrap_or_default();
        }
        Ok(totals)
    }

    /// A project by its name.
    pub(crate) async fn project(&self, name: &str) -> Result<Option<Project>, Error> {
        self.row(bound!(PROJECT, name), project).await
    }

    /// The name of a project by its number.
    pub(crate) async fn project_name(&self, id: i64) -> Result<Option<String>, Error> {
        let found = bound!("SELECT name FROM project WHERE id = $1", id);
        self.row(found, |row| row.try_get(0)).await
    }

    /// Projects, of those within reach, as in a search.
    pub(crate) async fn projects(
        &self,
        reach: &Reach,
        listing: &Listing,
    ) -> Result<Listed<Project>, Error> {
        let mut listing = listing.clone();
        let viewer = vec![Operand::Number(view(reach, &mut listing))];
        self.list(&PROJECTS, viewer, &listing, project).await
    }
}

/// The viewer of projects within reach; what else it takes to see no others becomes a filter.
pub(super) fn view(reach: &Reach, listing: &mut Listing) -> i64 {
    match reach {
        Reach::All => -1,
        Reach::Account(id) => *id,
        Reach::Projects(names) => {
            let named = names.iter().map(String::as_str);
            let seen = std::iter::once(PUBLIC).chain(named);
            let seen = Test::OneOf(seen.map(Operand::from).collect());
            listing.filters.push((&SEEN_AS, seen));
            -1
        }
        Reach::Repos(_) => 0,
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
        tell_made(tx, &self.who, &self.name, id).await?;
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
    /// Whether that may have what the other registry has in the place of what the project has.
    pub(crate) replaces_images: bool,
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
        let before = told(tx, id).await?;
        if let Some(public) = self.is_public {
            let update = bound!(
                "UPDATE project SET public = $1 WHERE id = $2 AND public <> $1",
                i64::from(public),
                id,
            );
            let changed = update.execute(&mut *tx.conn).await?.rows_affected();
            if changed > 0 && !public {
                revoke(tx, Subject::Project(&self.name)).await?;
            }
        }
        if let Some(hard) = self.hard {
            let update = bound!("UPDATE quota SET hard = $1 WHERE project_id = $2", hard, id,);
            update.execute(&mut *tx.conn).await?;
        }
        if let Some(upstream) = self.upstream {
            if !self.replaces_images {
                upstream::check_hides_nothing(tx, id, &self.name, upstream).await?;
            }
            upstream::connect(tx, id, upstream).await?;
        }
        let sql = "UPDATE project SET updated_ms = $1 WHERE id = $2";
        bound!(sql, tx.now_ms, id).execute(&mut *tx.conn).await?;
        let event = Event::new("update_project", "project", &self.name);
        let event = event.changed(before, told(tx, id).await?);
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

/// Removes a project that has no repositories, or empty ones. Uploads to it are cancelled.
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
        forget_empty_repos(tx, &self.who, id).await?;
        let used = bound!("SELECT COUNT(*) FROM repo WHERE project_id = $1", id);
        if first(&used.fetch_one(&mut *tx.conn).await?)? > 0 {
            let message = format!("project {} has repositories; delete them first", self.name);
            return Err(Error::new(Code::Conflict, message).into());
        }
        let before = told(tx, id).await?;
        bury_uploads(tx, id).await?;
        robots::forget_project(tx, &self.name).await?;
        for sql in [
            "DELETE FROM upload WHERE project_id = $1",
            "DELETE FROM member WHERE project_id = $1",
            "DELETE FROM robot WHERE project_id = $1",
            "DELETE FROM project_rule WHERE project_id = $1",
            "DELETE FROM retention WHERE project_id = $1",
            "DELETE FROM execution WHERE project_id = $1",
            "DELETE FROM quota WHERE project_id = $1",
            "DELETE FROM project WHERE id = $1",
        ] {
            bound!(sql, id).execute(&mut *tx.conn).await?;
        }
        revoke(tx, Subject::Project(&self.name)).await?;
        let event = Event::new("delete_project", "project", &self.name).changed(before, ());
        Ok(tell(tx, &self.who, &event.in_project(&self.name)).await?)
    }
}
