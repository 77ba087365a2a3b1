//! What Harbor's clients ask a registry about itself.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::HeaderMap;
use serde_json::{Value, json};

use super::robots::ACCESS;
use super::{Admin, Operations, Outcome};
use crate::auth;
use crate::health;
use crate::meta::time;
use crate::registry::Registry;

/// What can be asked.
pub(super) fn operations(all: Operations) -> Operations {
    all.get("/ping", "Whether there is somebody", async || "Pong")
        .get("/health", "How the registry is doing", show_health)
        .get("/systeminfo", "What this is", show_info)
        .get("/systeminfo/volumes", "What there is room for", volumes)
        .get(
            "/statistics",
            "How much there is that the caller may see",
            statistics,
        )
        .get("/permissions", "What robots can be given", permissions)
}

async fn show_health(State(registry): State<Registry>) -> impl IntoResponse {
    let missing = health::missing(&registry).await;
    let status = |is_well: bool| if is_well { "healthy" } else { "unhealthy" };
    let component = |name: &str| {
        let error = missing.iter().find(|text| text.contains(name));
        json!({"name": name, "status": status(error.is_none()), "error": error})
    };
    Json(json!({
        "status": status(missing.is_empty()),
        "components": [component("database"), component("store")],
    }))
}

async fn show_info(State(registry): State<Registry>, headers: HeaderMap) -> Json<Value> {
    let settings = registry.settings();
    let external_url = auth::external_url(&registry, &headers);
    let host = external_url.split_once("://").map_or("", |(_, host)| host);
    Json(json!({
        "external_url": external_url,
        "registry_url": host,
        "current_time": time(registry.meta().now_ms()),
        "has_ca_root": false,
        "notification_enable": false,
        "harbor_version": format!("v2.0 (skald {})", server::VERSION),
        "auth_mode": "db_auth",
        "primary_auth_mode": false,
        "self_registration": false,
        "read_only": settings.is_read_only(),
        "project_creation_restriction": settings.creators(),
    }))
}

/// How much room there is where bytes are kept, as Harbor says it of stores that do not tell: not known
/// here.
async fn volumes(admin: Admin) -> Outcome {
    let storage = json!([{"total": 0, "free": 0}]);
    let shown = admin.require_admin();
    admin.outcome(shown.map(|()| Json(json!({"storage": storage}))))
}

async fn statistics(admin: Admin) -> Outcome {
    let shown = async {
        let viewer = admin.viewer();
        let [private, public] = admin.registry.meta().totals(viewer).await?;
        // What others keep is not everybody's business.
        let bytes = viewer.is_none().then_some(private.bytes + public.bytes);
        Ok(Json(json!({
            "private_project_count": private.projects,
            "public_project_count": public.projects,
            "total_project_count": private.projects + public.projects,
            "private_repo_count": private.repositories,
            "public_repo_count": public.repositories,
            "total_repo_count": private.repositories + public.repositories,
            "total_storage_consumption": bytes,
        })))
    };
    let shown = shown.await;
    admin.outcome(shown)
}

async fn permissions(_admin: Admin) -> Json<Value> {
    let given =
        ACCESS.map(|(resource, action, ..)| json!({"resource": resource, "action": action}));
    Json(json!({"project": given, "system": []}))
}
