//! Robots: accounts of programs.

use axum::Json;
use axum::extract::Path;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::{Admin, Body, Operations, Outcome, wrong};
use crate::auth::{self, Permission, ROBOT_PREFIX, Role};
use crate::error::{Code, Error};
use crate::meta::{CreateRobot, RobotFate, UpdateRobot};
use crate::name::is_component;

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 3600 * 1000;

/// What can be done with robots.
pub(super) fn operations(all: Operations) -> Operations {
    let (robots, robot) = ("/robots", "/robots/{id}");
    all.get(robots, "Robots, of a project with ?project=", list)
        .make(robots, "Make a robot; the answer has its secret", create)
        .put(robot, "Disable a robot, or enable it", update)
        .patch(robot, "Give a robot another secret", renew)
        .delete(robot, "Remove a robot", delete)
}

/// A new robot.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    name: String,
    /// The project that it belongs to; none if it belongs to the system.
    project: Option<String>,
    /// Days until it expires; -1 is never.
    #[serde(default = "never")]
    duration: i64,
    permissions: Vec<Permission>,
}

fn never() -> i64 {
    -1
}

/// A project's robots are its administrators' business, others the system's.
async fn require(admin: &Admin, project: Option<&str>) -> Result<(), Error> {
    match project {
        Some(project) => admin.require_role(project, Some(Role::ProjectAdmin)).await,
        None => admin.require_admin(),
    }
}

async fn list(admin: Admin) -> Outcome {
    let listed = async {
        let project = admin.param("project");
        require(&admin, project).await?;
        Ok(Json(admin.registry.meta().robots(project).await?))
    };
    let listed = listed.await;
    admin.outcome(listed)
}

async fn create(admin: Admin, Body(request): Body<Request>) -> Outcome {
    let created = async {
        require(&admin, request.project.as_deref()).await?;
        if !is_component(&request.name) {
            return Err(wrong(
                "a robot's name is like a component of a repository's",
            ));
        }
        let foreign =
            |permission: &Permission| Some(&permission.project) != request.project.as_ref();
        if request.project.is_some() && request.permissions.iter().any(foreign) {
            return Err(wrong(
                "a project's robot has permissions in its project only",
            ));
        }
        let name = match &request.project {
            Some(project) => format!("{ROBOT_PREFIX}{project}+{}", request.name),
            None => format!("{ROBOT_PREFIX}{}", request.name),
        };
        let secret = auth::generate();
        let create = CreateRobot {
            who: admin.who(),
            name: name.clone(),
            secret: hashed(secret.clone()).await?,
            project: request.project,
            permissions: request.permissions,
            lifetime_ms: (request.duration >= 0).then(|| request.duration.saturating_mul(DAY_MS)),
        };
        let id = admin.registry.meta().change(create).await?;
        // The only time that it is shown.
        let body = json!({"id": id, "name": name, "secret": secret});
        Ok((StatusCode::CREATED, Json(body)))
    };
    let created = created.await;
    admin.outcome(created)
}

async fn hashed(secret: String) -> Result<String, Error> {
    let hashed = tokio::task::spawn_blocking(move || auth::hash(&secret)).await;
    hashed.map_err(|error| Error::internal("hashing the secret", &error))?
}

/// A robot of which the caller looks after the project.
async fn fate(admin: &Admin, id: i64, fate: RobotFate) -> Result<(), Error> {
    let robots = admin.registry.meta().robots(None).await?;
    let robot = robots.iter().find(|robot| robot.id == id);
    let robot = robot.ok_or_else(|| Error::new(Code::NameUnknown, "there is no such robot"))?;
    require(admin, robot.project.as_deref()).await?;
    let who = admin.who();
    admin
        .registry
        .meta()
        .change(UpdateRobot { who, id, fate })
        .await
}

/// Whether a robot may not be used.
#[derive(Debug, Deserialize)]
struct Update {
    disable: bool,
}

async fn update(admin: Admin, Path(id): Path<i64>, Body(request): Body<Update>) -> Outcome {
    let done = fate(&admin, id, RobotFate::Disable(request.disable)).await;
    admin.outcome(done)
}

/// Another secret.
async fn renew(admin: Admin, Path(id): Path<i64>) -> Outcome {
    let done = async {
        let secret = auth::generate();
        fate(&admin, id, RobotFate::Secret(hashed(secret.clone()).await?)).await?;
        Ok(Json(json!({"secret": secret})))
    };
    let done = done.await;
    admin.outcome(done)
}

async fn delete(admin: Admin, Path(id): Path<i64>) -> Outcome {
    let done = fate(&admin, id, RobotFate::Delete).await;
    admin.outcome(done)
}
