//! Robots: accounts of programs. What they may do is said in our words or in Harbor's.

use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answers::{At, Created};
use super::projects::{named, owner};
use super::query::{Asks, Page, Shorthand, wanted};
use super::{Admin, Body, MaybeBody, Operations, Outcome, Path, answer, running, wrong};
use crate::auth::{self, Action, Permission, ROBOT_PREFIX, Role, SYSTEM, Said};
use crate::error::{Code, Error};
use crate::meta::{
    CreateRobot, Event, Operand, ROBOT_COLUMNS, ROBOT_PROJECT, RobotFate, RobotInfo, Test, Time,
    UpdateRobot, time,
};
use crate::name::check_component;

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 3600 * 1000;
/// Days that stand for ever, and the most: as with Harbor.
const NEVER: i64 = -1;
const DAYS_MAX: i64 = i32::MAX as i64;
/// Bytes of the shortest secret that is given, and of the longest.
const SECRET_BYTES_MIN: usize = 8;
const SECRET_BYTES_MAX: usize = 128;
/// Bytes of a description.
const DESCRIPTION_BYTES_MAX: usize = 1024;

/// What can be done with robots.
pub(super) fn operations(all: Operations) -> Operations {
    let (robots, robot) = ("/robots", "/robots/{id}");
    let of_project = "/projects/{project}/robots";
    let (of, make, change) = (
        "Robots, of a project with ?project= or as Harbor's clients say it",
        "Make a robot; the answer has its secret",
        "Change a robot: disable it, or what it may do",
    );
    let (list_of, its) = ("listRobotsOfProject", "Robots of a project");
    all.about("robot")
        .list(robots, "ListRobot", of, &ROBOTS, list)
        .post(robots, "CreateRobot", make, create)
        .get(robot, "GetRobotByID", "A robot", show)
        .put(robot, "UpdateRobot", change, update)
        .patch(robot, "RefreshSec", "Give a robot another secret", renew)
        .delete(robot, "DeleteRobot", "Remove a robot", delete)
        .list(of_project, list_of, its, &ROBOTS, list_of_project)
}

const ROBOTS: Asks = Asks {
    columns: ROBOT_COLUMNS,
    filters: &[Shorthand::Whole("project", "project")],
    others: &[],
};

/// A new robot.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "RobotCreate")]
#[serde(deny_unknown_fields)]
struct Request {
    name: String,
    /// The project that it belongs to; none if it belongs to the system.
    project: Option<String>,
    /// `project` or `system`, which is how Harbor says it.
    level: Option<String>,
    /// For people.
    #[serde(default)]
    description: String,
    /// A secret that the caller has thought of; one is made if it is empty.
    #[serde(default)]
    secret: String,
    /// Days until it expires; -1 is never, 0 as many as robots have unless asked otherwise, which is
    /// also what is meant where nothing is said.
    #[serde(default)]
    duration: i64,
    #[serde(default)]
    disable: bool,
    permissions: Vec<Wanted>,
}

/// For how long a robot may be used; for ever if nothing.
fn lifetime_ms(admin: &Admin, days: i64) -> Result<Option<i64>, Error> {
    let usual = admin.registry.settings().robot_days();
    match days {
        NEVER => Ok(None),
        0 => Ok(Some(usual.saturating_mul(DAY_MS))),
        1..=DAYS_MAX => Ok(Some(days * DAY_MS)),
        _ => Err(wrong(format!(
            "duration is days, at most {DAYS_MAX}; {NEVER} is for ever and 0 is {usual}"
        ))),
    }
}

/// What a robot is to do in a project, as `actions`, or `access` as Harbor has it; or, of the kind
/// `system`, with the registry as a whole.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "RobotPermissionReq")]
#[serde(default, deny_unknown_fields)]
struct Wanted {
    project: Option<String>,
    actions: Vec<Action>,
    kind: Option<String>,
    namespace: Option<String>,
    access: Vec<Said>,
}

/// What a robot can be given in a project, in Harbor's words: a resource, an action, and what that is
/// here. What is not all of that, it has only beside what is.
pub(super) const ACCESS: [(&str, &str, Action, bool); 21] = [
    ("repository", "pull", Action::Pull, true),
    ("repository", "push", Action::Push, true),
    ("artifact", "delete", Action::Delete, true),
    ("repository", "delete", Action::Delete, true),
    ("repository", "read", Action::Pull, false),
    ("repository", "list", Action::Pull, false),
    ("artifact", "read", Action::Pull, false),
    ("artifact", "list", Action::Pull, false),
    ("artifact-addition", "read", Action::Pull, false),
    ("accessory", "list", Action::Pull, false),
    ("tag", "read", Action::Pull, false),
    ("tag", "list", Action::Pull, false),
    ("label", "read", Action::Pull, false),
    ("label", "list", Action::Pull, false),
    ("project", "read", Action::Pull, false),
    ("artifact", "create", Action::Push, false),
    ("tag", "create", Action::Push, false),
    ("artifact-label", "create", Action::Push, false),
    ("artifact-label", "delete", Action::Push, false),
    ("repository", "update", Action::Push, false),
    ("tag", "delete", Action::Delete, false),
];

/// What a robot of the system can be given with the registry as a whole.
pub(super) const SYSTEM_ACCESS: [(&str, &str); 1] = [running::UPDATE];

/// What something in Harbor's words is here, and whether it is all of that.
fn meaning(said: &Said) -> Option<(Action, bool)> {
    let mut known = ACCESS.iter();
    let found = known.find(|(resource, action, ..)| said.is((resource, action)));
    found.map(|(_, _, action, whole)| (*action, *whole))
}

/// What of what was said is all of what it is here, each once.
fn whole(access: &[Said]) -> Vec<Action> {
    let is_given = |action: &Action| {
        let mut given = access.iter().filter_map(meaning);
        given.any(|given| given == (*action, true))
    };
    Action::ALL.into_iter().filter(is_given).collect()
}

impl Wanted {
    /// # Errors
    /// If it asks for what cannot be given: who gets less than he asks for shall know.
    fn permission(self) -> Result<Permission, Error> {
        if self.access.len() > ACCESS.len() {
            return Err(wrong(format!(
                "`access` has at most {} of them",
                ACCESS.len()
            )));
        }
        match self.kind.as_deref() {
            None | Some("project") => self.in_project(),
            Some("system") => self.of_system(),
            Some(kind) => Err(wrong(format!("kind={kind}: it is `project` or `system`"))),
        }
    }

    fn of_system(self) -> Result<Permission, Error> {
        let place = self.project.or(self.namespace);
        if place.is_some_and(|place| place != SYSTEM) {
            return Err(wrong(format!(
                "a permission of the kind `system` is for the namespace `{SYSTEM}`"
            )));
        }
        let is_known = |said: &Said| SYSTEM_ACCESS.iter().any(|known| said.is(*known));
        let is_all_known = self.access.iter().all(is_known);
        if self.access.is_empty() || !self.actions.is_empty() || !is_all_known {
            let known = SYSTEM_ACCESS.map(|(resource, action)| format!("{resource}:{action}"));
            return Err(wrong(format!(
                "a permission of the kind `system` has `access`, and of that there is {}",
                known.join(", ")
            )));
        }
        Ok(Permission {
            project: SYSTEM.to_owned(),
            actions: Vec::new(),
            access: self.access,
        })
    }

    fn in_project(self) -> Result<Permission, Error> {
        let project = self.project.or(self.namespace);
        let project = project.ok_or_else(|| wrong("a permission is for a `namespace`"))?;
        if project != "*" {
            check_component("a project", &project)?;
        }
        let asked = [self.actions, whole(&self.access)].concat();
        let actions = Action::ALL
            .into_iter()
            .filter(|action| asked.contains(action));
        let actions: Vec<Action> = actions.collect();
        for said in &self.access {
            if !meaning(said).is_some_and(|(action, _)| actions.contains(&action)) {
                let Said {
                    resource, action, ..
                } = said;
                return Err(wrong(format!(
                    "a robot cannot have {resource}:{action} alone; there are repository:pull, \
                     repository:push and artifact:delete"
                )));
            }
        }
        if actions.is_empty() {
            return Err(wrong(
                "a permission has `actions`, or `access` as Harbor has it",
            ));
        }
        Ok(Permission {
            project,
            actions,
            access: self.access,
        })
    }
}

fn permissions(admin: &Admin, wanted: Vec<Wanted>) -> Result<Vec<Permission>, Error> {
    let (count, max) = (
        wanted.len(),
        admin.registry.config().limits.robot_permissions_max,
    );
    if count == 0 {
        return Err(wrong("a robot has permissions"));
    }
    if count > max {
        return Err(wrong(format!(
            "registry.limits.robot_permissions_max: {count} permissions of a robot, {max} are allowed"
        )));
    }
    wanted.into_iter().map(Wanted::permission).collect()
}

/// The project that a robot belongs to, as it is said, or as Harbor says it: by its permissions.
fn project_of(
    project: Option<String>,
    level: Option<&str>,
    permissions: &[Permission],
) -> Result<Option<String>, Error> {
    match (level, permissions) {
        (None, _) => Ok(project),
        (Some("system"), _) => Ok(None),
        (Some("project"), [only]) if !only.is_system() => {
            Ok(Some(project.unwrap_or_else(|| only.project.clone())))
        }
        (Some("project"), _) => Err(wrong(
            "a project's robot has one permission, for its project",
        )),
        _ => Err(wrong("level is `project` or `system`")),
    }
}

/// A project's robot has permissions in its project only.
fn check_own(project: Option<&str>, permissions: &[Permission]) -> Result<(), Error> {
    let foreign = |permission: &Permission| Some(permission.project.as_str()) != project;
    if project.is_some() && permissions.iter().any(foreign) {
        return Err(wrong(
            "a project's robot has permissions in its project only",
        ));
    }
    Ok(())
}

fn level(robot: &RobotInfo) -> &'static str {
    match robot.project {
        Some(_) => "project",
        None => "system",
    }
}

fn check_description(text: &str) -> Result<(), Error> {
    match text.len() <= DESCRIPTION_BYTES_MAX {
        true => Ok(()),
        false => Err(wrong(format!(
            "a description has at most {DESCRIPTION_BYTES_MAX} bytes"
        ))),
    }
}

/// The secret that was given, or one that is made.
fn secret(given: String) -> Result<String, Error> {
    match given.len() {
        0 => Ok(auth::generate()),
        SECRET_BYTES_MIN..=SECRET_BYTES_MAX => Ok(given),
        _ => Err(wrong(format!(
            "a secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes"
        ))),
    }
}

/// What a robot may do in a project, in Harbor's words: as it was said, or the least that means it.
fn said(permission: &Permission) -> Vec<Said> {
    if whole(&permission.access) == permission.actions {
        return permission.access.clone();
    }
    let least = ACCESS.iter().take(Action::ALL.len());
    least
        .filter(|(_, _, action, _)| permission.actions.contains(action))
        .map(|(resource, action, ..)| Said::new(resource, action))
        .collect()
}

/// A robot in our words and in Harbor's.
#[derive(Debug, Serialize, JsonSchema)]
struct Robot {
    id: i64,
    name: String,
    description: String,
    editable: bool,
    #[schemars(extend("enum" = ["project", "system"]))]
    level: &'static str,
    /// The project that it belongs to; none if it belongs to the system.
    project: Option<String>,
    permissions: Vec<RobotPermission>,
    disable: bool,
    /// Days from when it was made until it expires; -1 is never.
    duration: i64,
    /// When it expires, in seconds since 1970; -1 is never.
    expires_at: i64,
    creation_time: Time,
    update_time: Time,
}

/// What a robot may do in a project, in all (`*`), or with the registry as a whole (`/`), in our words
/// and in Harbor's.
#[derive(Debug, Serialize, JsonSchema)]
struct RobotPermission {
    project: String,
    actions: Vec<Action>,
    #[schemars(extend("enum" = ["project", "system"]))]
    kind: &'static str,
    namespace: String,
    access: Vec<Said>,
}

impl RobotPermission {
    fn of(permission: &Permission) -> Self {
        Self {
            project: permission.project.clone(),
            actions: permission.actions.clone(),
            kind: match permission.is_system() {
                true => "system",
                false => "project",
            },
            namespace: permission.project.clone(),
            access: said(permission),
        }
    }
}

impl Robot {
    fn of(robot: RobotInfo) -> Self {
        let lifetime_ms = robot
            .expires_ms
            .map(|at| at.saturating_sub(robot.created_ms));
        Self {
            level: level(&robot),
            id: robot.id,
            name: robot.name,
            description: robot.description,
            editable: true,
            project: robot.project,
            permissions: robot.permissions.iter().map(RobotPermission::of).collect(),
            disable: robot.is_disabled,
            duration: lifetime_ms.map_or(-1, |ms| ms / DAY_MS),
            expires_at: robot.expires_ms.map_or(-1, |ms| ms / 1000),
            creation_time: time(robot.created_ms),
            update_time: time(robot.updated_ms),
        }
    }
}

/// Who may change a project's robots, and who may see them.
const CHANGES: Role = Role::ProjectAdmin;
const SEES: Role = Role::Guest;

/// Refuses who has not the role in a project that one of its robots takes; others are the system's.
async fn require(admin: &Admin, project: Option<&str>, role: Role) -> Result<(), Error> {
    match project {
        Some(project) => admin.require_role(project, Some(role)).await,
        None => admin.require_admin(),
    }
}

async fn list(admin: Admin) -> Outcome<Page<Robot>> {
    answer(&admin, async {
        let listing = admin.listing(&ROBOTS)?;
        let project = match (wanted(&listing, "project"), wanted(&listing, "project_id")) {
            (Some(Operand::Text(name)), _) => Some(name.clone()),
            (_, Some(Operand::Number(id))) if *id != 0 => Some(named(&admin, *id).await?),
            _ => None,
        };
        require(&admin, project.as_deref(), SEES).await?;
        let robots = admin.registry.meta().robots(&listing).await?;
        Ok(admin.page(&listing, robots.map(Robot::of)))
    })
    .await
}

async fn list_of_project(admin: Admin, Path(project): Path<String>) -> Outcome<Page<Robot>> {
    answer(&admin, async {
        let name = owner(&admin, project).await?;
        require(&admin, Some(&name), SEES).await?;
        let mut listing = admin.listing(&ROBOTS)?;
        listing
            .filters
            .push((&ROBOT_PROJECT, Test::Is(Operand::Text(name))));
        let robots = admin.registry.meta().robots(&listing).await?;
        Ok(admin.page(&listing, robots.map(Robot::of)))
    })
    .await
}

/// A robot that was made.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RobotCreated")]
struct NewRobot {
    id: i64,
    name: String,
    /// The only time that it is shown.
    secret: String,
    creation_time: Time,
    /// When it expires, in seconds since 1970; -1 is never.
    expires_at: i64,
}

async fn create(
    admin: Admin,
    Body(request): Body<Request>,
) -> Outcome<Created<At<Json<NewRobot>>>> {
    answer(&admin, async {
        let permissions = permissions(&admin, request.permissions)?;
        let project = project_of(request.project, request.level.as_deref(), &permissions)?;
        require(&admin, project.as_deref(), CHANGES).await?;
        check_component("a robot", &request.name)?;
        check_own(project.as_deref(), &permissions)?;
        let name = match &project {
            Some(project) => format!("{ROBOT_PREFIX}{project}+{}", request.name),
            None => format!("{ROBOT_PREFIX}{}", request.name),
        };
        check_description(&request.description)?;
        let secret = secret(request.secret)?;
        let create = CreateRobot {
            who: admin.who(),
            name: name.clone(),
            secret: auth::hash(secret.clone()).await?,
            project,
            permissions,
            is_disabled: request.disable,
            description: request.description,
            lifetime_ms: lifetime_ms(&admin, request.duration)?,
        };
        let id = admin.registry.meta().change(create).await?;
        let robot = Robot::of(found(&admin, id, CHANGES).await?);
        let created = NewRobot {
            id,
            name,
            secret,
            creation_time: robot.creation_time,
            expires_at: robot.expires_at,
        };
        Ok(Created(At(Some(format!("/robots/{id}")), Json(created))))
    })
    .await
}

/// A robot, for who has this role in its project. Others are not told that there is one, nor of which
/// project.
async fn found(admin: &Admin, id: i64, role: Role) -> Result<RobotInfo, Error> {
    let unknown = || Error::new(Code::NameUnknown, "there is no such robot");
    let robot = admin.registry.meta().robot_info(id).await?;
    let robot = robot.ok_or_else(unknown)?;
    match require(admin, robot.project.as_deref(), role).await {
        Ok(()) => Ok(robot),
        Err(error) if matches!(error.code, Code::Denied | Code::NameUnknown) => {
            Err(unknown().with_event(Event::new("access_denied", "robot", &robot.name)))
        }
        Err(error) => Err(error),
    }
}

async fn change(admin: &Admin, id: i64, fate: RobotFate) -> Result<(), Error> {
    let who = admin.who();
    let change = UpdateRobot { who, id, fate };
    admin.registry.meta().change(change).await
}

async fn show(admin: Admin, Path(id): Path<i64>) -> Outcome<Json<Robot>> {
    let robot = found(&admin, id, SEES).await;
    admin.outcome(robot.map(|robot| Json(Robot::of(robot))))
}

/// What is to change of a robot. Harbor's clients send all of it; what never changes is not looked at.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "RobotUpdate")]
struct Update {
    disable: Option<bool>,
    duration: Option<i64>,
    permissions: Option<Vec<Wanted>>,
    description: Option<String>,
}

async fn update(admin: Admin, Path(id): Path<i64>, Body(request): Body<Update>) -> Outcome<()> {
    answer(&admin, async {
        let robot = found(&admin, id, CHANGES).await?;
        check_description(request.description.as_deref().unwrap_or_default())?;
        let wanted = request.permissions;
        let permissions = wanted
            .map(|wanted| permissions(&admin, wanted))
            .transpose()?;
        check_own(
            robot.project.as_deref(),
            permissions.as_deref().unwrap_or_default(),
        )?;
        let fate = RobotFate::Change {
            is_disabled: request.disable,
            permissions,
            description: request.description,
            lifetime_ms: request
                .duration
                .map(|days| lifetime_ms(&admin, days))
                .transpose()?,
        };
        change(&admin, id, fate).await
    })
    .await
}

/// A secret that the caller has thought of, or that was made.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RobotSec")]
#[serde(default, deny_unknown_fields)]
struct Secret {
    secret: String,
}

/// Another secret: that of the request, or one that is made.
async fn renew(
    admin: Admin,
    Path(id): Path<i64>,
    MaybeBody(given): MaybeBody<Secret>,
) -> Outcome<Json<Secret>> {
    answer(&admin, async {
        found(&admin, id, CHANGES).await?;
        let secret = secret(given.secret)?;
        let fate = RobotFate::Secret(auth::hash(secret.clone()).await?);
        change(&admin, id, fate).await?;
        Ok(Json(Secret { secret }))
    })
    .await
}

async fn delete(admin: Admin, Path(id): Path<i64>) -> Outcome<()> {
    answer(&admin, async {
        found(&admin, id, CHANGES).await?;
        change(&admin, id, RobotFate::Delete).await
    })
    .await
}
