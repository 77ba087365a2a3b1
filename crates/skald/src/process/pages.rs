//! What else operators of Loki look for: `/ui`, `/analytics` and `/sync-indexes`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use storage::Catalog;

use crate::Target;

/// The pages that `/ui` leads to, and what they show.
const PAGES: [(&str, &str); 8] = [
    ("/services", "modules and how they are doing"),
    ("/config", "the configuration in force"),
    ("/config?mode=diff", "what of it differs from the defaults"),
    ("/runtime_config", "limits of tenants"),
    ("/log_level", "log level"),
    ("/metrics", "metrics"),
    ("/debug/pprof/", "profiles"),
    ("/loki/api/v1/status/buildinfo", "version"),
];

/// Those of a process that is a member of a cluster.
const CLUSTER_PAGES: [(&str, &str); 2] = [
    ("/memberlist", "members of the cluster"),
    ("/ring", "ingesters"),
];

/// `/ui` and `/analytics`, which every process has.
pub(super) fn routes(target: Target) -> Router {
    let report = move || async move { Json(analytics(target)) };
    let ui = get(move || async move { ui(target) });
    Router::new()
        .route("/ui", ui.clone())
        .route("/ui/", ui)
        .route("/analytics", get(report))
}

/// Leads to what the process shows of itself.
fn ui(target: Target) -> Html<String> {
    let link = |(path, what)| format!("<li><a href=\"{path}\">{path}</a> {what}</li>");
    let of_cluster = CLUSTER_PAGES
        .into_iter()
        .filter(|_| target != Target::Registry);
    let links: String = PAGES.into_iter().chain(of_cluster).map(link).collect();
    Html(format!(
        "<!DOCTYPE html><html><head><meta charset=\"utf-8\"><title>skald</title></head><body>\
         <ul>{links}</ul></body></html>"
    ))
}

/// What would be known of this process if it told anybody, which it never does.
fn analytics(target: Target) -> Value {
    json!({
        "reporting_enabled": false,
        "version": server::VERSION,
        "target": target.to_string(),
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
    })
}

/// `/sync-indexes`: looks at once for what others have committed, instead of with the next poll.
pub(super) fn sync_indexes(catalog: Catalog) -> Router {
    Router::new()
        .route("/sync-indexes", get(sync).put(sync))
        .with_state(catalog)
}

async fn sync(State(catalog): State<Catalog>) -> StatusCode {
    catalog.poll().await;
    StatusCode::NO_CONTENT
}
