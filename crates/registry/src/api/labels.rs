//! Labels, and giving them to artifacts.

use axum::Json;
use schemars::JsonSchema;
use serde::Deserialize;

use super::answers::{Made, made};
use super::projects::named;
use super::query::{Asks, Page, Shorthand};
use super::repositories::artifact;
use super::{Admin, Body, Operations, Outcome, Path, answer, wrong};
use crate::auth::{Action, Role};
use crate::error::{Code, Error};
use crate::meta::{
    CreateLabel, LABEL_COLUMNS, Label, LabelFate, LabelText, SetLabel, UpdateLabel, unknown_label,
};
use crate::name::RepoName;

/// Characters of a label's name, and of its description.
const NAME_CHARS_MAX: usize = 128;
const DESCRIPTION_CHARS_MAX: usize = 1024;
/// Bytes of a colour.
const COLOR_BYTES_MAX: usize = 32;

/// What can be done with labels.
pub(super) fn operations(all: Operations) -> Operations {
    let (labels, label) = ("/labels", "/labels/{id}");
    let given = "/projects/{project}/repositories/{repository}/artifacts/{reference}/labels";
    let taken = "/projects/{project}/repositories/{repository}/artifacts/{reference}/labels/{id}";
    let summary = "Labels of the registry, of a project with ?scope=p&project_id=";
    let gone = "Remove a label, from artifacts too";
    all.about("label")
        .list(labels, "ListLabels", summary, &LABELS, list)
        .post(labels, "CreateLabel", "Make a label", create)
        .get(label, "GetLabelByID", "A label", show)
        .put(label, "UpdateLabel", "Change a label", update)
        .delete(label, "DeleteLabel", gone, delete)
        .about("artifact")
        .post(given, "addLabel", "Give an artifact a label", give)
        .delete(taken, "removeLabel", "Take a label from an artifact", take)
}

const LABELS: Asks = Asks {
    columns: LABEL_COLUMNS,
    filters: &[Shorthand::Whole("name", "name")],
    others: &["scope", "project_id"],
};

/// The project that a scope names; none if it is the whole registry.
async fn scope(admin: &Admin, scope: &str, project: Option<i64>) -> Result<Option<String>, Error> {
    match (scope, project) {
        ("" | "g", _) => Ok(None),
        ("p", Some(id)) => Ok(Some(named(admin, id).await?)),
        _ => Err(wrong("scope is g, or p with project_id, a number")),
    }
}

/// A project's labels are its maintainers' business, others the system's.
async fn require(admin: &Admin, project: Option<&str>) -> Result<(), Error> {
    match project {
        Some(project) => admin.require_role(project, Some(Role::Maintainer)).await,
        None => admin.require_admin(),
    }
}

async fn list(admin: Admin) -> Outcome<Page<Label>> {
    answer(&admin, async {
        let id = admin.param("project_id").and_then(|id| id.parse().ok());
        let project = scope(&admin, admin.param("scope").unwrap_or_default(), id).await?;
        if let Some(project) = &project {
            admin.require_role(project, None).await?;
        }
        let listing = admin.listing(&LABELS)?;
        let meta = admin.registry.meta();
        let labels = meta.labels(project.as_deref(), &listing).await?;
        Ok(admin.page(&listing, labels))
    })
    .await
}

/// A new label.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "LabelReq")]
struct NewLabel {
    #[serde(flatten)]
    text: LabelText,
    #[serde(default)]
    scope: String,
    project_id: Option<i64>,
}

fn check(text: &LabelText) -> Result<(), Error> {
    let is_control = |text: &str| text.chars().any(char::is_control);
    let name = text.name.as_str();
    if name.trim().is_empty() || name.chars().count() > NAME_CHARS_MAX || is_control(name) {
        return Err(wrong(format!(
            "a label's name has 1 to {NAME_CHARS_MAX} characters that can be seen"
        )));
    }
    if text.description.chars().count() > DESCRIPTION_CHARS_MAX {
        return Err(wrong(format!(
            "a description has at most {DESCRIPTION_CHARS_MAX} characters"
        )));
    }
    let color = text.color.as_str();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'#';
    if color.len() > COLOR_BYTES_MAX || !color.bytes().all(is_plain) {
        return Err(wrong("a color is like #48960C"));
    }
    Ok(())
}

async fn create(admin: Admin, Body(request): Body<NewLabel>) -> Outcome<Made> {
    answer(&admin, async {
        let project = scope(&admin, &request.scope, request.project_id).await?;
        require(&admin, project.as_deref()).await?;
        check(&request.text)?;
        let create = CreateLabel {
            who: admin.who(),
            project,
            text: request.text,
        };
        let id = admin.registry.meta().change(create).await?;
        Ok(made("labels", id))
    })
    .await
}

/// A label that the caller may see.
async fn seen(admin: &Admin, id: i64) -> Result<Label, Error> {
    let label = admin.registry.meta().label(id).await?;
    if let Some(project) = &label.project
        && !admin.sees(project).await?
    {
        return Err(unknown_label());
    }
    Ok(label)
}

async fn show(admin: Admin, Path(id): Path<i64>) -> Outcome<Json<Label>> {
    let shown = seen(&admin, id).await.map(Json);
    admin.outcome(shown)
}

async fn fate(admin: &Admin, id: i64, fate: LabelFate) -> Result<(), Error> {
    let label = seen(admin, id).await?;
    require(admin, label.project.as_deref()).await?;
    let who = admin.who();
    let update = UpdateLabel { who, label, fate };
    admin.registry.meta().change(update).await
}

async fn update(admin: Admin, Path(id): Path<i64>, Body(text): Body<LabelText>) -> Outcome<()> {
    answer(&admin, async {
        check(&text)?;
        fate(&admin, id, LabelFate::Change(text)).await
    })
    .await
}

async fn delete(admin: Admin, Path(id): Path<i64>) -> Outcome<()> {
    answer(&admin, fate(&admin, id, LabelFate::Delete)).await
}

/// Gives an artifact a label, or takes it.
async fn set(
    admin: &Admin,
    (project, repository, reference): (String, String, String),
    id: i64,
    has: bool,
) -> Result<(), Error> {
    let role = Role::Developer;
    admin.require_action(&project, Action::Push, role).await?;
    let (repo, digest) = artifact(admin, &project, &repository, &reference).await?;
    let label = admin.registry.meta().label(id).await?;
    usable(&label, &repo)?;
    let set = SetLabel {
        who: admin.who(),
        repo,
        digest,
        label,
        has,
    };
    admin.registry.meta().change(set).await
}

/// Refuses a label of another project, of which nothing is told.
fn usable(label: &Label, repo: &RepoName) -> Result<(), Error> {
    match &label.project {
        Some(project) if project != repo.project() => {
            let message = format!("project {} has no such label", repo.project());
            Err(Error::new(Code::NameUnknown, message))
        }
        _ => Ok(()),
    }
}

/// A label by its number.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "LabelGiven")]
struct Given {
    id: i64,
}

async fn give(
    admin: Admin,
    Path(place): Path<(String, String, String)>,
    Body(label): Body<Given>,
) -> Outcome<()> {
    answer(&admin, set(&admin, place, label.id, true)).await
}

async fn take(
    admin: Admin,
    Path((project, repository, reference, id)): Path<(String, String, String, i64)>,
) -> Outcome<()> {
    answer(
        &admin,
        set(&admin, (project, repository, reference), id, false),
    )
    .await
}
