//! What Harbor's clients ask a registry about itself.

use axum::Json;
use axum::extract::State;
use http::HeaderMap;
use schemars::JsonSchema;
use serde::Serialize;

use super::robots::{ACCESS, SYSTEM_ACCESS};
use super::{Admin, Operations, Outcome, answer};
use crate::auth::{self, Said};
use crate::health;
use crate::meta::{Time, time};
use crate::registry::Registry;
use crate::settings::Creators;

/// What can be asked.
pub(super) fn operations(all: Operations) -> Operations {
    let (ping, doing) = ("Whether there is somebody", "How the registry is doing");
    let (room, room_for) = ("/systeminfo/volumes", "What there is room for");
    let (much, given) = (
        "How much there is that the caller may see",
        "What robots can be given",
    );
    all.about("ping")
        .get("/ping", "getPing", ping, async || "Pong")
        .about("health")
        .get("/health", "getHealth", doing, show_health)
        .about("systeminfo")
        .get("/systeminfo", "getSystemInfo", "What this is", show_info)
        .get(room, "getVolumes", room_for, volumes)
        .about("statistic")
        .get("/statistics", "getStatistic", much, statistics)
        .about("permissions")
        .get("/permissions", "getPermissions", given, permissions)
}

/// How the registry is doing, and how each of what it needs.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "OverallHealthStatus")]
struct Health {
    status: Status,
    components: Vec<Component>,
}

/// How something is doing that the registry needs.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ComponentHealthStatus")]
struct Component {
    name: &'static str,
    status: Status,
    error: Option<String>,
}

/// Whether all is well.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "HealthStatus")]
enum Status {
    Healthy,
    Unhealthy,
}

impl Status {
    fn of(is_well: bool) -> Self {
        match is_well {
            true => Self::Healthy,
            false => Self::Unhealthy,
        }
    }
}

async fn show_health(State(registry): State<Registry>) -> Json<Health> {
    let missing = health::missing(&registry).await;
    let component = |name| {
        let error = missing.iter().find(|text| text.contains(name)).cloned();
        let status = Status::of(error.is_none());
        Component {
            name,
            status,
            error,
        }
    };
    Json(Health {
        status: Status::of(missing.is_empty()),
        components: vec![component("database"), component("store")],
    })
}

/// What this is.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "GeneralInfo")]
struct Info {
    harbor_version: String,
    auth_mode: &'static str,
    primary_auth_mode: bool,
    self_registration: bool,
    read_only: bool,
    project_creation_restriction: Creators,
    /// What clients reach it by, and that without the protocol.
    external_url: String,
    registry_url: String,
    current_time: Time,
    has_ca_root: bool,
    notification_enable: bool,
}

async fn show_info(State(registry): State<Registry>, headers: HeaderMap) -> Json<Info> {
    let settings = registry.settings();
    let external_url = auth::external_url(&registry, &headers);
    let host = external_url.split_once("://").map_or("", |(_, host)| host);
    Json(Info {
        registry_url: host.to_owned(),
        external_url,
        current_time: time(registry.meta().now_ms()),
        has_ca_root: false,
        notification_enable: false,
        harbor_version: format!("v2.0 (skald {})", server::VERSION),
        auth_mode: "db_auth",
        primary_auth_mode: false,
        self_registration: false,
        read_only: settings.is_read_only(),
        project_creation_restriction: settings.creators(),
    })
}

/// How much room there is where bytes are kept.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SystemInfo")]
struct Volumes {
    storage: Vec<Volume>,
}

/// Bytes of one such place.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "VolumeStorage")]
struct Volume {
    total: u64,
    free: u64,
}

/// It is said as Harbor says it of stores that do not tell: it is not known here.
async fn volumes(admin: Admin) -> Outcome<Json<Volumes>> {
    let storage = vec![Volume { total: 0, free: 0 }];
    let shown = admin.require_admin();
    admin.outcome(shown.map(|()| Json(Volumes { storage })))
}

/// How much there is.
#[derive(Debug, Serialize, JsonSchema)]
struct Statistic {
    private_project_count: i64,
    public_project_count: i64,
    total_project_count: i64,
    private_repo_count: i64,
    public_repo_count: i64,
    total_repo_count: i64,
    /// Bytes, for who sees everything.
    total_storage_consumption: Option<i64>,
}

async fn statistics(admin: Admin) -> Outcome<Json<Statistic>> {
    answer(&admin, async {
        let viewer = admin.viewer();
        let [private, public] = admin.registry.meta().totals(viewer).await?;
        // What others keep is not everybody's business.
        let bytes = viewer.is_none().then_some(private.bytes + public.bytes);
        Ok(Json(Statistic {
            private_project_count: private.projects,
            public_project_count: public.projects,
            total_project_count: private.projects + public.projects,
            private_repo_count: private.repositories,
            public_repo_count: public.repositories,
            total_repo_count: private.repositories + public.repositories,
            total_storage_consumption: bytes,
        }))
    })
    .await
}

/// What robots can be given in a project, and of the system.
#[derive(Debug, Serialize, JsonSchema)]
struct Permissions {
    project: Vec<Said>,
    system: Vec<Said>,
}

async fn permissions(_admin: Admin) -> Json<Permissions> {
    let project = ACCESS.map(|(resource, action, ..)| Said::new(resource, action));
    let system = SYSTEM_ACCESS.map(|(resource, action)| Said::new(resource, action));
    Json(Permissions {
        project: project.into(),
        system: system.into(),
    })
}
