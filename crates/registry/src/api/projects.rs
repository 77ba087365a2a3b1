//! Projects and their quotas.

use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answers::{Made, made};
use super::query::{Asks, Page, Shorthand};
use super::{Admin, Body, Operations, Outcome, Path, answer, unknown_caller, wrong};
use crate::auth::{Caller, Role};
use crate::error::{Code, Error};
use crate::meta::{
    CreateProject, DeleteProject, Member, PROJECT_COLUMNS, Project, QUOTA_COLUMNS, Reach, Time,
    UpdateProject, unknown_project,
};
use crate::name::check_component;
use crate::settings::Creators;

/// What can be done with projects and their quotas.
pub(super) fn operations(all: Operations) -> Operations {
    let (project, summary) = ("/projects/{project}", "/projects/{project}/summary");
    let (deletable, quota) = ("/projects/{project}/_deletable", "/quotas/{project}");
    let (seen, numbers, can_go, have, has, may_have) = (
        "Projects that the caller may see",
        "What a project has, in numbers",
        "Whether a project can be removed",
        "Bytes that projects have and may have",
        "Bytes that a project has and may have",
        "Change what a project may have",
    );
    all.about("project")
        .list("/projects", "listProjects", seen, &PROJECTS, list)
        .post("/projects", "createProject", "Make a project", create)
        .get(project, "getProject", "A project", show)
        .put(project, "updateProject", "Change a project", update)
        .delete(project, "deleteProject", "Remove an empty project", delete)
        .get(summary, "getProjectSummary", numbers, self::summary)
        .get(deletable, "getProjectDeletable", can_go, self::deletable)
        .about("quota")
        .list("/quotas", "listQuotas", have, &QUOTAS, quotas)
        .get(quota, "getQuota", has, show_quota)
        .put(quota, "updateQuota", may_have, set_quota)
}

const PROJECTS: Asks = Asks {
    columns: PROJECT_COLUMNS,
    filters: &[
        Shorthand::Part("name", "name"),
        Shorthand::Whole("public", "public"),
        Shorthand::Whole("owner", "owner_name"),
    ],
    others: &["project_name", "with_detail"],
};
const QUOTAS: Asks = Asks {
    columns: QUOTA_COLUMNS,
    filters: &[
        Shorthand::Whole("reference", "reference"),
        Shorthand::Whole("reference_id", "reference_id"),
    ],
    others: &[],
};

/// A new project, or what is to change of one.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "ProjectReq")]
#[serde(default)]
struct Request {
    project_name: String,
    metadata: Option<Metadata>,
    /// The same as in `metadata`, which Harbor's clients of old do not know.
    #[schemars(with = "Option<bool>")]
    public: Option<Flag>,
    /// Bytes that the project may have; -1 is no bound.
    storage_limit: Option<i64>,
    /// The registry that it is a cache of; 0 is none.
    registry_id: Option<i64>,
    /// Whether what that registry has may take the place of images that the project has.
    replace_images: bool,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "ProjectMetadataReq")]
#[serde(default)]
struct Metadata {
    #[schemars(with = "Option<String>")]
    public: Option<Flag>,
    #[schemars(with = "Option<String>")]
    prevent_vul: Option<Flag>,
    #[schemars(with = "Option<String>")]
    enable_content_trust: Option<Flag>,
    #[schemars(with = "Option<String>")]
    enable_content_trust_cosign: Option<Flag>,
}

impl Metadata {
    /// Refuses a protection that nothing here would give: who asks for it relies on it.
    fn check(&self) -> Result<(), Error> {
        let protections = [
            ("prevent_vul", self.prevent_vul),
            ("enable_content_trust", self.enable_content_trust),
            (
                "enable_content_trust_cosign",
                self.enable_content_trust_cosign,
            ),
        ];
        let asked = protections
            .iter()
            .find(|(_, flag)| flag.is_some_and(|Flag(is_on)| is_on));
        asked.map_or(Ok(()), |(name, _)| {
            Err(wrong(format!(
                "metadata.{name}: pulls are not held back by scans or signatures here; \
                 leave it out or set it to false"
            )))
        })
    }
}

/// Yes or no, which Harbor writes as a text.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "Written")]
struct Flag(bool);

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Written {
    Flag(bool),
    Text(String),
}

impl TryFrom<Written> for Flag {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        match written {
            Written::Flag(flag) => Ok(Self(flag)),
            Written::Text(text) => match text.as_str() {
                "true" => Ok(Self(true)),
                "false" => Ok(Self(false)),
                _ => Err("public and its like are true or false"),
            },
        }
    }
}

impl Request {
    fn check(&self) -> Result<(), Error> {
        self.metadata.as_ref().map_or(Ok(()), Metadata::check)
    }

    fn is_public(&self) -> Option<bool> {
        let in_metadata = self.metadata.as_ref().and_then(|metadata| metadata.public);
        in_metadata.or(self.public).map(|Flag(is_public)| is_public)
    }

    /// Bytes that the project may have, if anything is said of that.
    fn hard(&self) -> Result<Option<i64>, Error> {
        self.storage_limit.map(hard).transpose()
    }

    /// The registry that the project is to be a cache of, if anything is said of that.
    fn upstream(&self) -> Option<Option<i64>> {
        self.registry_id.map(|id| Some(id).filter(|id| *id != 0))
    }
}

/// Bytes that a project may have.
fn hard(bytes: i64) -> Result<i64, Error> {
    match bytes {
        -1 | 1.. => Ok(bytes),
        _ => Err(wrong("a quota is bytes, more than 0; -1 is no bound")),
    }
}

async fn list(admin: Admin) -> Outcome<Page<Project>> {
    answer(&admin, async {
        // Harbor's clients ask with HEAD whether a name is taken.
        if let Some(name) = admin.param("project_name") {
            admin.require_role(name, None).await?;
            return admin.listed(&PROJECTS, vec![found(&admin, name).await?]);
        }
        let listing = admin.listing(&PROJECTS)?;
        let reach = admin.reach();
        let projects = admin.registry.meta().projects(&reach, &listing);
        let mut projects = projects.await?;
        tell_roles(&admin, &mut projects.rows).await?;
        Ok(admin.page(&listing, projects))
    })
    .await
}

/// How many members have each role, and what there is besides.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ProjectSummary")]
struct Summary {
    repo_count: i64,
    project_admin_count: usize,
    maintainer_count: usize,
    developer_count: usize,
    guest_count: usize,
    limited_guest_count: usize,
    /// For its members: who only sees a public project does not learn how full it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    quota: Option<SummaryQuota>,
}

/// Bytes that a project has and may have.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ProjectSummaryQuota")]
struct SummaryQuota {
    hard: Storage,
    used: Storage,
}

async fn summary(admin: Admin, Path(name): Path<String>) -> Outcome<Json<Summary>> {
    answer(&admin, async {
        let name = owner(&admin, name).await?;
        admin.require_role(&name, None).await?;
        let project = found(&admin, &name).await?;
        let members = admin.registry.meta().members(project.id).await?;
        let count = |role: Role| {
            let has_it = |member: &&Member| member.role_id == role.number();
            members.iter().filter(has_it).count()
        };
        let is_member = admin.has_role(&name, Role::LimitedGuest).await?;
        Ok(Json(Summary {
            repo_count: project.repo_count,
            project_admin_count: count(Role::ProjectAdmin),
            maintainer_count: count(Role::Maintainer),
            developer_count: count(Role::Developer),
            guest_count: count(Role::Guest),
            limited_guest_count: count(Role::LimitedGuest),
            quota: is_member.then_some(SummaryQuota {
                hard: Storage::of(project.hard),
                used: Storage::of(project.used),
            }),
        }))
    })
    .await
}

/// Whether a project can be removed, and if not, why.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ProjectDeletable")]
struct Deletable {
    deletable: bool,
    message: String,
}

async fn deletable(admin: Admin, Path(name): Path<String>) -> Outcome<Json<Deletable>> {
    answer(&admin, async {
        let name = owner(&admin, name).await?;
        admin.require_role(&name, Some(Role::ProjectAdmin)).await?;
        let count = found(&admin, &name).await?.repo_count;
        let message = match count {
            0 => String::new(),
            _ => format!("project {name} has {count} repositories"),
        };
        let deletable = count == 0;
        Ok(Json(Deletable { deletable, message }))
    })
    .await
}

/// Refuses who may not make this project. What it may have and what it is a copy of is the business of
/// system administrators in any case.
fn check_creator(admin: &Admin, request: &Request) -> Result<(), Error> {
    let is_plain = request.storage_limit.is_none() && request.registry_id.is_none_or(|id| id == 0);
    let is_free = admin.registry.settings().creators() == Creators::Everyone;
    match &admin.caller {
        Caller::Account(_) if is_free && is_plain => Ok(()),
        _ => admin.require_admin(),
    }
}

async fn create(admin: Admin, Body(request): Body<Request>) -> Outcome<Made> {
    answer(&admin, async {
        check_creator(&admin, &request)?;
        request.check()?;
        check_component("a project", &request.project_name)?;
        let account = match &admin.caller {
            Caller::Account(account) => Some(account.id),
            _ => None,
        };
        let create = CreateProject {
            who: admin.who(),
            is_public: request.is_public().unwrap_or(false),
            hard: request.hard()?,
            admin: account,
            upstream: request.upstream().flatten(),
            name: request.project_name,
        };
        let id = admin.registry.meta().change(create).await?;
        Ok(made("projects", id))
    })
    .await
}

pub(super) async fn found(admin: &Admin, name: &str) -> Result<Project, Error> {
    let project = admin.registry.meta().project(name).await?;
    project.ok_or_else(|| unknown_project(name))
}

/// The name of a project by its number, which is not told to who may not see the project, nor whether
/// there is one.
pub(super) async fn named(admin: &Admin, id: i64) -> Result<String, Error> {
    if let Some(name) = admin.registry.meta().project_name(id).await?
        && admin.sees(&name).await?
    {
        return Ok(name);
    }
    if admin.caller.is_nobody() {
        return Err(unknown_caller());
    }
    let message = format!("there is no project with the number {id}");
    Err(Error::new(Code::NameUnknown, message))
}

/// Has projects say which role the caller has there.
async fn tell_roles(admin: &Admin, projects: &mut [Project]) -> Result<(), Error> {
    let Caller::Account(account) = &admin.caller else {
        return Ok(());
    };
    for project in projects {
        let meta = admin.registry.meta();
        let standing = meta.standing(Some(account.id), &project.name).await?;
        if let Some(role) = standing.role {
            project.current_user_role_id = role.number();
            project.current_user_role_ids = vec![role.number()];
        }
    }
    Ok(())
}

async fn show(admin: Admin, Path(name): Path<String>) -> Outcome<Json<Project>> {
    answer(&admin, async {
        let name = owner(&admin, name).await?;
        admin.require_role(&name, None).await?;
        let mut project = found(&admin, &name).await?;
        tell_roles(&admin, std::slice::from_mut(&mut project)).await?;
        Ok(Json(project))
    })
    .await
}

async fn update(
    admin: Admin,
    Path(name): Path<String>,
    Body(request): Body<Request>,
) -> Outcome<()> {
    answer(&admin, async {
        let name = owner(&admin, name).await?;
        admin.require_role(&name, Some(Role::ProjectAdmin)).await?;
        if request.storage_limit.is_some() || request.registry_id.is_some() {
            admin.require_admin()?;
        }
        request.check()?;
        let update = UpdateProject {
            who: admin.who(),
            is_public: request.is_public(),
            hard: request.hard()?,
            upstream: request.upstream(),
            replaces_images: request.replace_images,
            name,
        };
        admin.registry.meta().change(update).await
    })
    .await
}

async fn delete(admin: Admin, Path(name): Path<String>) -> Outcome<()> {
    answer(&admin, async {
        let name = owner(&admin, name).await?;
        admin.require_role(&name, Some(Role::ProjectAdmin)).await?;
        let who = admin.who();
        admin
            .registry
            .meta()
            .change(DeleteProject { who, name })
            .await
    })
    .await
}

/// Bytes that a project has and may have.
#[derive(Debug, Serialize, JsonSchema)]
struct Quota {
    id: i64,
    #[serde(rename = "ref")]
    project: QuotaProject,
    hard: Storage,
    used: Storage,
    creation_time: Time,
    update_time: Time,
}

/// The project that a quota is for.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "QuotaRefObject")]
struct QuotaProject {
    name: String,
    id: i64,
}

impl Quota {
    fn of(project: Project) -> Self {
        let (id, name) = (project.id, project.name);
        Self {
            id,
            project: QuotaProject { name, id },
            hard: Storage::of(project.hard),
            used: Storage::of(project.used),
            creation_time: project.created,
            update_time: project.updated,
        }
    }
}

async fn quotas(admin: Admin) -> Outcome<Page<Quota>> {
    answer(&admin, async {
        admin.require_admin()?;
        let listing = admin.listing(&QUOTAS)?;
        let projects = admin
            .registry
            .meta()
            .projects(&Reach::All, &listing)
            .await?;
        Ok(admin.page(&listing, projects.map(Quota::of)))
    })
    .await
}

/// The project that is meant: digits are its number, which is that of its quota too, unless the
/// client says that they are its name. Whoever may make a project may name it so, and must not get
/// what is asked of another.
pub(super) async fn owner(admin: &Admin, text: String) -> Result<String, Error> {
    match text.parse() {
        Ok(id) if !admin.has_names => named(admin, id).await,
        _ => Ok(text),
    }
}

async fn show_quota(admin: Admin, Path(project): Path<String>) -> Outcome<Json<Quota>> {
    answer(&admin, async {
        let name = owner(&admin, project).await?;
        admin.require_role(&name, Some(Role::LimitedGuest)).await?;
        Ok(Json(Quota::of(found(&admin, &name).await?)))
    })
    .await
}

/// What a project may have.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "QuotaUpdateReq")]
struct Hard {
    hard: Storage,
}

/// Bytes; -1 is no bound.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ResourceList")]
struct Storage {
    storage: i64,
}

impl Storage {
    fn of(storage: i64) -> Self {
        Self { storage }
    }
}

async fn set_quota(
    admin: Admin,
    Path(project): Path<String>,
    Body(request): Body<Hard>,
) -> Outcome<()> {
    answer(&admin, async {
        admin.require_admin()?;
        let update = UpdateProject {
            who: admin.who(),
            name: owner(&admin, project).await?,
            is_public: None,
            hard: Some(hard(request.hard.storage)?),
            upstream: None,
            replaces_images: false,
        };
        admin.registry.meta().change(update).await
    })
    .await
}
