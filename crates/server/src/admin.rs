//! The routes that every process has: metrics, health, configuration, log level.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Form, Json, Router};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::json;

use crate::config::Print;
use crate::health::Health;
use crate::http::{ApiError, Auth, Tenant, tenant_routes};
use crate::metrics::{CONTENT_TYPE as METRICS_CONTENT_TYPE, Metrics};
use crate::overrides::Overrides;
use crate::telemetry::{LogLevel, Telemetry};
use crate::version::{REVISION, VERSION};

/// Prints the configuration of the process.
pub type PrintConfig = Arc<dyn Fn(Print) -> String + Send + Sync>;

/// What the routes show.
#[derive(Clone)]
pub struct Admin {
    /// For `/metrics`.
    pub metrics: Metrics,
    /// For `/ready` and `/services`.
    pub health: Health,
    /// For `/log_level`.
    pub telemetry: Telemetry,
    /// For `/config`.
    pub config: PrintConfig,
}

/// The routes that every process has.
pub fn routes(admin: &Admin) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/ready", get(ready))
        .route("/services", get(services))
        .route("/config", get(config))
        .route("/log_level", get(log_level).post(set_log_level))
        .route("/loki/api/v1/status/buildinfo", get(build_info))
        .with_state(admin.clone())
}

/// The routes of a process that knows the limits of tenants.
pub fn limit_routes(overrides: &Overrides, auth: Auth) -> Router {
    let of_tenant = Router::new()
        .route("/config/tenant/v1/limits", get(tenant_limits))
        .with_state(overrides.clone());
    let of_process = Router::new()
        .route("/runtime_config", get(runtime_config))
        .with_state(overrides.clone());
    of_process.merge(tenant_routes(of_tenant, auth))
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let content_type = HeaderValue::from_static(METRICS_CONTENT_TYPE);
    ([(CONTENT_TYPE, content_type)], admin.metrics.encode())
}

async fn ready(State(admin): State<Admin>) -> (StatusCode, String) {
    let reasons = admin.health.not_ready();
    if reasons.is_empty() {
        let troubles = admin.health.troubles().into_iter();
        let lines = std::iter::once("ready".to_owned()).chain(troubles);
        let text = lines.map(|line| format!("{line}\n")).collect();
        (StatusCode::OK, text)
    } else {
        let text = reasons.join("\n");
        (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready\n{text}\n"),
        )
    }
}

async fn services(State(admin): State<Admin>) -> String {
    let line = |(name, state)| format!("{name} => {state}\n");
    admin.health.components().into_iter().map(line).collect()
}

#[derive(Deserialize)]
struct ConfigQuery {
    mode: Option<String>,
}

async fn config(
    State(admin): State<Admin>,
    Query(query): Query<ConfigQuery>,
) -> Result<Response, ApiError> {
    let what = match query.mode.as_deref() {
        None | Some("") => Print::Effective,
        Some("defaults") => Print::Defaults,
        Some("diff") => Print::Diff,
        Some(mode) => {
            return Err(ApiError::invalid(format!(
                "no mode `{mode}`; there are diff and defaults"
            )));
        }
    };
    Ok(yaml((admin.config)(what)))
}

async fn runtime_config(State(overrides): State<Overrides>) -> Response {
    let of = |tenant| (format!("{tenant}"), overrides.limits(&tenant));
    let by_tenant: std::collections::BTreeMap<_, _> =
        overrides.tenants().into_iter().map(of).collect();
    yaml(to_yaml(&json!({ "overrides": by_tenant })))
}

async fn tenant_limits(State(overrides): State<Overrides>, Tenant(tenant): Tenant) -> Response {
    yaml(to_yaml(overrides.limits(&tenant).as_ref()))
}

fn to_yaml(value: &impl serde::Serialize) -> String {
    serde_yaml::to_string(value).unwrap_or_else(|error| format!("# cannot be printed: {error}\n"))
}

fn yaml(text: String) -> Response {
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    ([(CONTENT_TYPE, content_type)], text).into_response()
}

async fn log_level(State(admin): State<Admin>) -> Response {
    let level = admin.telemetry.level();
    Json(json!({ "message": format!("Current log level is {level}") })).into_response()
}

#[derive(Deserialize)]
struct LogLevelForm {
    log_level: String,
}

async fn set_log_level(
    State(admin): State<Admin>,
    Query(query): Query<std::collections::HashMap<String, String>>,
    form: Result<Form<LogLevelForm>, axum::extract::rejection::FormRejection>,
) -> Response {
    // Loki reads it from the form and from the URL alike.
    let from_form = form.ok().map(|Form(form)| form.log_level);
    let text = from_form
        .or_else(|| query.get("log_level").cloned())
        .unwrap_or_default();
    match text.parse::<LogLevel>() {
        Ok(level) => {
            tracing::info!(%level, "log level changed");
            admin.telemetry.set_level(level.clone());
            let message = format!("Log level set to {level}");
            Json(json!({ "status": "success", "message": message })).into_response()
        }
        Err(message) => {
            let body = Json(json!({ "status": "failed", "message": message }));
            (StatusCode::BAD_REQUEST, body).into_response()
        }
    }
}

async fn build_info() -> Json<serde_json::Value> {
    // The keys are those that clients of Loki know it by.
    Json(json!({
        "version": VERSION,
        "revision": REVISION,
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use http_body_util::BodyExt;
    use model::Limits;
    use tower::ServiceExt;

    use super::*;

    fn admin() -> Admin {
        Admin {
            metrics: Metrics::new(),
            health: Health::new(),
            telemetry: Telemetry::disabled(),
            config: Arc::new(|what| format!("mode: {what:?}\n")),
        }
    }

    async fn ask(admin: &Admin, request: http::request::Builder, body: &str) -> (u16, String) {
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let limits = limit_routes(&Overrides::new(Limits::default()), Auth::TenantHeader);
        let routes = routes(admin).merge(limits);
        let answer = routes.oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn ready_follows_the_components() {
        let admin = admin();
        let component = admin.health.component("ingester");
        component.starting("replaying the log");
        let (status, text) = ask(&admin, Request::get("/ready"), "").await;
        assert_eq!(status, 503);
        assert!(text.contains("replaying the log"), "{text}");
        component.running();
        assert_eq!(
            ask(&admin, Request::get("/ready"), "").await,
            (200, "ready\n".to_owned())
        );
        component.troubled("flushes fail");
        assert_eq!(
            ask(&admin, Request::get("/ready"), "").await,
            (200, "ready\ningester: flushes fail\n".to_owned())
        );
        let (_, text) = ask(&admin, Request::get("/services"), "").await;
        assert_eq!(text, "ingester => Running\n");
    }

    #[tokio::test]
    async fn the_log_level_can_be_changed() {
        let admin = admin();
        let post = || {
            let form = "application/x-www-form-urlencoded";
            Request::post("/log_level").header(CONTENT_TYPE, form)
        };
        let (status, text) = ask(&admin, post(), "log_level=debug").await;
        assert_eq!(status, 200, "{text}");
        let (_, text) = ask(&admin, Request::get("/log_level"), "").await;
        assert_eq!(text, r#"{"message":"Current log level is debug"}"#);
        assert_eq!(ask(&admin, post(), "log_level=loud").await.0, 400);
        let by_url = Request::post("/log_level?log_level=warn");
        assert_eq!(ask(&admin, by_url, "").await.0, 200);
    }

    #[tokio::test]
    async fn configuration_and_limits() {
        let admin = admin();
        let (_, text) = ask(&admin, Request::get("/config?mode=diff"), "").await;
        assert_eq!(text, "mode: Diff\n");
        assert_eq!(ask(&admin, Request::get("/config?mode=x"), "").await.0, 400);
        let limits = "/config/tenant/v1/limits";
        assert_eq!(ask(&admin, Request::get(limits), "").await.0, 401);
        let (_, text) = ask(
            &admin,
            Request::get(limits).header("X-Scope-OrgID", "a"),
            "",
        )
        .await;
        assert!(text.contains("max_line_size: 256KB"), "{text}");
    }
}
