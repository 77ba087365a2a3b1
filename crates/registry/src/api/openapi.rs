//! The description of the management API.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// Every operation: method, path, what it does, and the answer's status when it is done.
const OPERATIONS: &[(&str, &str, &str, u16)] = &[
    ("get", "/projects", "Projects that the caller may see", 200),
    ("post", "/projects", "Make a project", 201),
    ("get", "/projects/{project}", "A project", 200),
    ("put", "/projects/{project}", "Change a project", 200),
    (
        "delete",
        "/projects/{project}",
        "Remove an empty project",
        200,
    ),
    (
        "get",
        "/projects/{project}/members",
        "Members and their roles",
        200,
    ),
    (
        "post",
        "/projects/{project}/members",
        "Give an account a role",
        201,
    ),
    (
        "put",
        "/projects/{project}/members/{account}",
        "Change a role",
        200,
    ),
    (
        "delete",
        "/projects/{project}/members/{account}",
        "Take a role",
        200,
    ),
    (
        "get",
        "/projects/{project}/rules",
        "Rules: immutable tags and retention",
        200,
    ),
    ("post", "/projects/{project}/rules", "Add a rule", 201),
    (
        "delete",
        "/projects/{project}/rules/{id}",
        "Remove a rule",
        200,
    ),
    (
        "post",
        "/projects/{project}/retention",
        "Remove tags that no retention keeps, or only look",
        200,
    ),
    (
        "get",
        "/projects/{project}/repositories",
        "Repositories of a project",
        200,
    ),
    (
        "delete",
        "/projects/{project}/repositories/{repository}",
        "Remove a repository",
        200,
    ),
    (
        "get",
        "/projects/{project}/repositories/{repository}/artifacts",
        "Artifacts",
        200,
    ),
    (
        "delete",
        "/projects/{project}/repositories/{repository}/artifacts/{reference}",
        "Remove an artifact, or a tag",
        200,
    ),
    (
        "post",
        "/projects/{project}/repositories/{repository}/artifacts/{reference}/tags",
        "Give an artifact another tag",
        201,
    ),
    (
        "get",
        "/projects/{project}/repositories/{repository}/tags/{tag}/history",
        "Where a tag pointed",
        200,
    ),
    (
        "post",
        "/projects/{project}/repositories/{repository}/tags/{tag}/undelete",
        "Bring a tag back to where it pointed",
        200,
    ),
    (
        "get",
        "/search",
        "Projects and repositories with ?q= in their names",
        200,
    ),
    (
        "post",
        "/retentions",
        "Set the retention of a project, in Harbor's words",
        201,
    ),
    ("get", "/retentions/{id}", "The retention of a project", 200),
    ("put", "/retentions/{id}", "Set it", 200),
    ("delete", "/retentions/{id}", "Let all tags stay", 200),
    (
        "post",
        "/retentions/{id}/executions",
        "Do what it says, or only look",
        201,
    ),
    ("get", "/users", "Accounts", 200),
    ("post", "/users", "Make an account", 201),
    ("get", "/users/current", "The caller's account", 200),
    ("delete", "/users/{id}", "Remove an account", 200),
    ("put", "/users/{id}/password", "Change a password", 200),
    (
        "put",
        "/users/{id}/sysadmin",
        "Make an account an administrator, or not",
        200,
    ),
    (
        "put",
        "/users/{id}/disabled",
        "Disable an account, or enable it",
        200,
    ),
    ("get", "/robots", "Robots, of a project with ?project=", 200),
    (
        "post",
        "/robots",
        "Make a robot; the answer has its secret",
        201,
    ),
    ("put", "/robots/{id}", "Disable a robot, or enable it", 200),
    ("patch", "/robots/{id}", "Give a robot another secret", 200),
    ("delete", "/robots/{id}", "Remove a robot", 200),
    (
        "get",
        "/quotas",
        "Bytes that projects have and may have",
        200,
    ),
    (
        "put",
        "/quotas/{project}",
        "Change what a project may have",
        200,
    ),
    (
        "get",
        "/system/gc",
        "What waits for garbage collection",
        200,
    ),
    (
        "post",
        "/system/gc",
        "Collect garbage now, or only look",
        200,
    ),
    (
        "post",
        "/system/fsck",
        "Compare database and store; a line of JSON per finding",
        200,
    ),
    (
        "get",
        "/system/keys",
        "Keys that sign tokens, newest first",
        200,
    ),
    (
        "post",
        "/system/keys",
        "Make a key that signs from now on; older ones still check",
        201,
    ),
    ("get", "/openapi.json", "This description", 200),
];

/// The description, for everybody.
pub(super) async fn document() -> Response {
    let mut paths = Map::new();
    for (method, path, summary, status) in OPERATIONS {
        let names = path.split('/').filter_map(|part| part.strip_prefix('{'));
        let parameters: Vec<Value> = names
            .map(|name| {
                let name = name.trim_end_matches('}');
                json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
            })
            .collect();
        let operation = json!({
            "summary": summary,
            "parameters": parameters,
            "responses": {
                status.to_string(): {"description": "done"},
                "default": {
                    "description": "refused",
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Errors"}}},
                },
            },
        });
        let path = paths.entry((*path).to_owned()).or_insert_with(|| json!({}));
        if let Some(operations) = path.as_object_mut() {
            operations.insert((*method).to_owned(), operation);
        }
    }
    let text = json!({"type": "string"});
    let error = json!({"type": "object", "properties": {
        "code": text, "message": text, "detail": {"type": "object"},
    }});
    Json(json!({
        "openapi": "3.0.3",
        "info": {"title": "Skald registry", "version": server::VERSION},
        "servers": [{"url": "/api/v2.0"}],
        "security": [{"basic": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
            "schemas": {"Errors": {"type": "object", "properties": {
                "errors": {"type": "array", "items": error},
            }}},
        },
    }))
    .into_response()
}
