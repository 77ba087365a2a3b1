//! What callers may do in a project, in Harbor's words: its clients ask before they offer something.

use axum::Json;
use schemars::JsonSchema;
use serde::Serialize;

use super::projects::named;
use super::{Admin, Operations, Outcome, answer};
use crate::auth::Role;
use crate::error::{Code, Error};

/// What begins the scopes that are projects, before their numbers.
const PROJECT: &str = "/project/";
/// The project itself.
const ITSELF: &str = ".";

/// What can be asked.
pub(super) fn operations(all: Operations) -> Operations {
    let summary = "What the caller may do in ?scope=/project/1";
    let (permissions, id) = ("/users/current/permissions", "getCurrentUserPermissions");
    all.about("user")
        .get_with(permissions, id, summary, "scope", current)
}

/// A resource and what can be done with it.
type Actions = (&'static str, &'static [&'static str]);

/// What those may do who may see a project.
const SEEN: &[Actions] = &[
    (ITSELF, &["read"]),
    ("label", &["read", "list"]),
    ("repository", &["read", "list", "pull"]),
    ("artifact", &["read", "list"]),
    ("artifact-addition", &["read"]),
    ("accessory", &["list"]),
    ("tag", &["list"]),
    ("metadata", &["read"]),
];

/// What each role may do that those below it may not.
const ROLES: [(Role, &[Actions]); 5] = [
    (
        Role::LimitedGuest,
        &[("quota", &["read"]), ("configuration", &["read"])],
    ),
    (
        Role::Guest,
        &[
            ("member", &["read", "list"]),
            ("log", &["list"]),
            ("robot", &["read", "list"]),
        ],
    ),
    (
        Role::Developer,
        &[
            ("repository", &["create", "update", "push"]),
            ("artifact", &["create"]),
            ("artifact-label", &["create", "delete"]),
            ("tag", &["create"]),
        ],
    ),
    (
        Role::Maintainer,
        &[
            ("repository", &["delete"]),
            ("artifact", &["delete"]),
            ("tag", &["delete"]),
            ("label", &["create", "update", "delete"]),
            ("metadata", &["create", "update", "delete"]),
            (
                "tag-retention",
                &["create", "read", "update", "delete", "list", "operate"],
            ),
            ("immutable-tag", &["create", "update", "delete", "list"]),
        ],
    ),
    (
        Role::ProjectAdmin,
        &[
            (ITSELF, &["update", "delete"]),
            ("configuration", &["update"]),
            ("member", &["create", "update", "delete"]),
            ("robot", &["create", "update", "delete"]),
        ],
    ),
];

/// All that the caller may do in a project; nothing if it may not see that.
async fn given(admin: &Admin, project: i64) -> Result<Vec<(&'static str, &'static str)>, Error> {
    let name = match named(admin, project).await {
        Ok(name) => name,
        Err(error) if error.code == Code::NameUnknown => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut given = SEEN.to_vec();
    for (role, more) in ROLES {
        if admin.has_role(&name, role).await? {
            given.extend(more);
        }
    }
    let each = given
        .into_iter()
        .flat_map(|(resource, actions)| actions.iter().map(move |action| (resource, *action)));
    Ok(each.collect())
}

/// Something that the caller may do.
#[derive(Debug, Serialize, JsonSchema)]
struct Permission {
    resource: String,
    action: &'static str,
}

async fn current(admin: Admin) -> Outcome<Json<Vec<Permission>>> {
    answer(&admin, async {
        let scope = admin.param("scope").unwrap_or_default();
        let project = scope.strip_prefix(PROJECT).and_then(|id| id.parse().ok());
        let given = match project {
            Some(project) => given(&admin, project).await?,
            None => Vec::new(),
        };
        let is_relative = admin.param("relative") == Some("true");
        let place = |resource: &str| match resource {
            resource if is_relative => resource.to_owned(),
            ITSELF => scope.to_owned(),
            resource => format!("{scope}/{resource}"),
        };
        let permission = |(resource, action)| Permission {
            resource: place(resource),
            action,
        };
        Ok(Json(given.into_iter().map(permission).collect()))
    })
    .await
}
