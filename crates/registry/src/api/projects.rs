//! Projects, their members and quotas.

use axum::Json;
use axum::extract::Path;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Admin, Body, Outcome};
use crate::auth::{Caller, Role};
use crate::error::{Code, Error};
use crate::meta::{
    CreateProject, DeleteProject, Project, SetMember, UpdateProject, unknown_project,
};
use crate::name::is_component;

/// A new project, or what is to change of one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Request {
    project_name: String,
    metadata: Option<Metadata>,
    /// Bytes that the project may have; -1 is no bound.
    storage_limit: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    public: Option<String>,
}

impl Request {
    fn is_public(&self) -> Option<bool> {
        let public = self.metadata.as_ref()?.public.as_deref()?;
        Some(public == "true")
    }
}

pub(super) async fn list(admin: Admin) -> Outcome {
    let listed = async {
        let (limit, _) = admin.page();
        let last = admin.param("last").unwrap_or_default();
        let mut projects = admin.registry.meta().projects(last, limit).await?;
        if !admin.caller.is_admin() {
            let mut seen = Vec::new();
            for project in projects {
                if admin.require_role(&project.name, None).await.is_ok() {
                    seen.push(project);
                }
            }
            projects = seen;
        }
        Ok(Json(projects))
    };
    let listed = listed.await;
    admin.outcome(listed)
}

pub(super) async fn create(admin: Admin, Body(request): Body<Request>) -> Outcome {
    let created = async {
        admin.require_admin()?;
        if !is_component(&request.project_name) {
            let message = format!("`{}` is no project's name", request.project_name);
            return Err(Error::new(Code::NameInvalid, message));
        }
        let account = match &admin.caller {
            Caller::Account(account) => Some(account.id),
            _ => None,
        };
        let create = CreateProject {
            who: admin.who(),
            is_public: request.is_public().unwrap_or(false),
            hard: request.storage_limit,
            admin: account,
            name: request.project_name,
        };
        admin.registry.meta().change(create).await?;
        Ok(StatusCode::CREATED)
    };
    let created = created.await;
    admin.outcome(created)
}

pub(super) async fn found(admin: &Admin, name: &str) -> Result<Project, Error> {
    let project = admin.registry.meta().project(name).await?;
    project.ok_or_else(|| unknown_project(name))
}

pub(super) async fn show(admin: Admin, Path(name): Path<String>) -> Outcome {
    let shown = async {
        admin.require_role(&name, None).await?;
        Ok(Json(found(&admin, &name).await?))
    };
    let shown = shown.await;
    admin.outcome(shown)
}

pub(super) async fn update(
    admin: Admin,
    Path(name): Path<String>,
    Body(request): Body<Request>,
) -> Outcome {
    let updated = async {
        admin.require_role(&name, Some(Role::ProjectAdmin)).await?;
        if request.storage_limit.is_some() {
            admin.require_admin()?;
        }
        let update = UpdateProject {
            who: admin.who(),
            is_public: request.is_public(),
            hard: request.storage_limit,
            name,
        };
        admin.registry.meta().change(update).await
    };
    let updated = updated.await;
    admin.outcome(updated)
}

pub(super) async fn delete(admin: Admin, Path(name): Path<String>) -> Outcome {
    let deleted = async {
        admin.require_role(&name, Some(Role::ProjectAdmin)).await?;
        let who = admin.who();
        admin
            .registry
            .meta()
            .change(DeleteProject { who, name })
            .await
    };
    let deleted = deleted.await;
    admin.outcome(deleted)
}

pub(super) async fn members(admin: Admin, Path(name): Path<String>) -> Outcome {
    let listed = async {
        admin.require_role(&name, Some(Role::Guest)).await?;
        let project = found(&admin, &name).await?;
        Ok(Json(admin.registry.meta().members(project.id).await?))
    };
    let listed = listed.await;
    admin.outcome(listed)
}

/// A role for an account.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Membership {
    member_user: MemberUser,
    role_id: Option<i64>,
    role_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MemberUser {
    username: String,
}

impl Membership {
    fn role(&self) -> Result<Role, Error> {
        let by_name = self.role_name.as_deref().and_then(Role::parse);
        let by_number = self.role_id.and_then(Role::of_number);
        by_name.or(by_number).ok_or_else(|| {
            let message = "role_name is projectAdmin, maintainer, developer, guest or limitedGuest";
            Error::new(Code::Unsupported, message).with_status(StatusCode::BAD_REQUEST)
        })
    }
}

async fn set(
    admin: &Admin,
    project: String,
    account: String,
    role: Option<Role>,
) -> Result<(), Error> {
    let least = Some(Role::ProjectAdmin);
    admin.require_role(&project, least).await?;
    let set = SetMember {
        who: admin.who(),
        project,
        account,
        role,
    };
    admin.registry.meta().change(set).await
}

pub(super) async fn set_member(
    admin: Admin,
    Path(project): Path<String>,
    Body(member): Body<Membership>,
) -> Outcome {
    let done = async {
        let role = member.role()?;
        let account = member.member_user.username;
        set(&admin, project, account, Some(role)).await?;
        Ok(StatusCode::CREATED)
    };
    let done = done.await;
    admin.outcome(done)
}

pub(super) async fn change_member(
    admin: Admin,
    Path((project, account)): Path<(String, String)>,
    Body(member): Body<Membership>,
) -> Outcome {
    let done = async {
        let role = member.role()?;
        set(&admin, project, account, Some(role)).await
    };
    let done = done.await;
    admin.outcome(done)
}

pub(super) async fn remove_member(
    admin: Admin,
    Path((project, account)): Path<(String, String)>,
) -> Outcome {
    let done = set(&admin, project, account, None).await;
    admin.outcome(done)
}

fn quota(project: &Project) -> Value {
    json!({
        "ref": {"name": project.name, "id": project.id},
        "hard": {"storage": project.hard},
        "used": {"storage": project.used},
    })
}

pub(super) async fn quotas(admin: Admin) -> Outcome {
    let listed = async {
        admin.require_admin()?;
        let (limit, _) = admin.page();
        let last = admin.param("last").unwrap_or_default();
        let projects = admin.registry.meta().projects(last, limit).await?;
        Ok(Json(projects.iter().map(quota).collect::<Vec<_>>()))
    };
    let listed = listed.await;
    admin.outcome(listed)
}

/// What a project may have.
#[derive(Debug, Deserialize)]
pub(super) struct Hard {
    hard: Storage,
}

#[derive(Debug, Deserialize)]
struct Storage {
    storage: i64,
}

pub(super) async fn set_quota(
    admin: Admin,
    Path(name): Path<String>,
    Body(request): Body<Hard>,
) -> Outcome {
    let done = async {
        admin.require_admin()?;
        let update = UpdateProject {
            who: admin.who(),
            name,
            is_public: None,
            hard: Some(request.hard.storage),
        };
        admin.registry.meta().change(update).await
    };
    let done = done.await;
    admin.outcome(done)
}
