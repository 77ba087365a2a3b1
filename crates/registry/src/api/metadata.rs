//! What Harbor keeps beside a project, one value at a time. Of it there are `public`, which can be
//! changed, and `retention_id`, which comes with a retention.

use std::collections::BTreeMap;

use axum::Json;

use super::projects::{found, owner};
use super::{Admin, Body, Operations, Outcome, Path, wrong};
use crate::auth::Role;
use crate::error::{Code, Error};
use crate::meta::UpdateProject;

/// What can be done with it.
pub(super) fn operations(all: Operations) -> Operations {
    let path = "/projects/{project}/metadatas";
    let one = "/projects/{project}/metadatas/{name}";
    let (kept, unsaid) = (
        "What is kept beside a project",
        "Have it as if nothing had been said",
    );
    all.about("projectMetadata")
        .get(path, "listProjectMetadatas", kept, list)
        .post(path, "addProjectMetadatas", "Set one value of it", add)
        .get(one, "getProjectMetadata", "One value of it", show)
        .put(one, "updateProjectMetadata", "Set it", replace)
        .delete(one, "deleteProjectMetadata", unsaid, delete)
}

/// Texts by their names.
type Values = BTreeMap<String, String>;

/// All that there is for a project.
async fn values(admin: &Admin, project: String) -> Result<Values, Error> {
    let name = owner(admin, project).await?;
    admin.require_role(&name, None).await?;
    let metadata = found(admin, &name).await?.metadata;
    let values = serde_json::to_value(metadata).and_then(serde_json::from_value);
    values.map_err(|error| Error::internal("showing what is kept", &error))
}

async fn list(admin: Admin, Path(project): Path<String>) -> Outcome<Json<Values>> {
    let shown = values(&admin, project).await.map(Json);
    admin.outcome(shown)
}

async fn show(
    admin: Admin,
    Path((project, name)): Path<(String, String)>,
) -> Outcome<Json<Values>> {
    let shown = values(&admin, project).await.map(|mut values| {
        values.retain(|known, _| *known == name);
        Json(values)
    });
    admin.outcome(shown)
}

/// Sets a value. What is not kept here cannot be switched on; that it is off is true already.
async fn set(admin: &Admin, project: String, name: &str, value: &str) -> Result<(), Error> {
    let project = owner(admin, project).await?;
    let role = Some(Role::Maintainer);
    admin.require_role(&project, role).await?;
    let is_public = match (name, value) {
        ("public", "true") => true,
        ("public", "false") => false,
        ("public", _) => return Err(wrong(format!("public={value}: it is true or false"))),
        ("retention_id", _) => {
            let message = "retention_id comes and goes with the retention: see /retentions";
            return Err(wrong(message));
        }
        (_, "false") => return found(admin, &project).await.map(|_| ()),
        _ => return Err(wrong(format!("{name} is not kept here; leave it out"))),
    };
    let update = UpdateProject {
        who: admin.who(),
        name: project,
        is_public: Some(is_public),
        hard: None,
        upstream: None,
        replaces_images: false,
    };
    admin.registry.meta().change(update).await
}

async fn add(admin: Admin, Path(project): Path<String>, Body(values): Body<Values>) -> Outcome<()> {
    let mut values = values.iter();
    let done = match (values.next(), values.next()) {
        (Some((name, value)), None) => set(&admin, project, name, value).await,
        _ => Err(wrong("there is one name with its value")),
    };
    admin.outcome(done)
}

async fn replace(
    admin: Admin,
    Path((project, name)): Path<(String, String)>,
    Body(values): Body<Values>,
) -> Outcome<()> {
    let done = match values.get(&name) {
        Some(value) => set(&admin, project, &name, value).await,
        None => Err(wrong(format!("there is no value for {name}"))),
    };
    admin.outcome(done)
}

async fn delete(admin: Admin, Path((project, name)): Path<(String, String)>) -> Outcome<()> {
    let done = match name.as_str() {
        "public" | "retention_id" => set(&admin, project, &name, "false").await,
        _ => {
            let message = format!("{name} is not kept here");
            Err(Error::new(Code::NameUnknown, message))
        }
    };
    admin.outcome(done)
}
