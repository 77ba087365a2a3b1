//! Rule groups: `rules` and what Prometheus' clients ask of them.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CONTENT_TYPE, WARNING};
use http::{HeaderValue, StatusCode};
use model::units::quote;
use model::{Code, CodedError};
use serde::Serialize;
use serde_json::{Value, json as value};
use server::http::{ApiError, Tenant};

use super::bare_json;
use crate::Querier;
use crate::rules::{Namespaces, Rule, RuleGroup};

/// When a rule was evaluated that never was: Go's first second.
const NEVER: &str = "0001-01-01T00:00:00Z";
/// What who brings rules is told.
const NOT_EVALUATED: &str = r#"299 - "rules are kept, but not evaluated: nothing alerts by them""#;
/// Bytes of a group.
const GROUP_BYTES_MAX: usize = 1 << 20;

/// The routes below `/loki/api/v1` and `/api/prom`.
pub(super) fn routes() -> Router<Arc<Querier>> {
    Router::new()
        .route("/rules", get(list_all))
        .route(
            "/rules/{namespace}",
            get(list).post(put).delete(delete_namespace),
        )
        .route("/rules/{namespace}/{group}", get(show).delete(delete_group))
        .layer(DefaultBodyLimit::max(GROUP_BYTES_MAX))
}

/// The routes that Prometheus has too.
pub(super) fn prometheus_routes() -> Router<Arc<Querier>> {
    Router::new()
        .route("/prometheus/api/v1/rules", get(prometheus_rules))
        .route("/prometheus/api/v1/alerts", get(prometheus_alerts))
}

fn missing(message: &str) -> ApiError {
    ApiError(CodedError::new(Code::NotFound, message))
}

fn yaml(value: &impl Serialize) -> Result<Response, ApiError> {
    let text =
        serde_yaml::to_string(value).map_err(|error| ApiError::internal(error.to_string()))?;
    let mut answer = text.into_response();
    let kind = HeaderValue::from_static("application/yaml");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(answer)
}

fn accepted() -> Response {
    let body = r#"{"status":"success","data":null,"errorType":"","error":""}"#;
    (StatusCode::ACCEPTED, bare_json(body)).into_response()
}

fn listing(namespaces: &Namespaces) -> Result<Response, ApiError> {
    if namespaces.is_empty() {
        return Err(missing("no rule groups found"));
    }
    yaml(namespaces)
}

async fn list_all(
    State(querier): State<Arc<Querier>>,
    Tenant(tenant): Tenant,
) -> Result<Response, ApiError> {
    listing(&querier.rule_groups(&tenant, None).await?)
}

async fn list(
    State(querier): State<Arc<Querier>>,
    Tenant(tenant): Tenant,
    Path(namespace): Path<String>,
) -> Result<Response, ApiError> {
    listing(&querier.rule_groups(&tenant, Some(&namespace)).await?)
}

async fn show(
    State(querier): State<Arc<Querier>>,
    Tenant(tenant): Tenant,
    Path((namespace, group)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let group = querier.rule_group(&tenant, &namespace, &group).await?;
    yaml(&group.ok_or_else(|| missing("group does not exist"))?)
}

async fn put(
    State(querier): State<Arc<Querier>>,
    Tenant(tenant): Tenant,
    Path(namespace): Path<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let undecodable = |_| ApiError::invalid("unable to decoded rule group");
    let text = std::str::from_utf8(&body).map_err(|_| undecodable(()))?;
    let group: Option<RuleGroup> = match text.trim() {
        "" => None,
        text => serde_yaml::from_str(text).map_err(|_| undecodable(()))?,
    };
    let group = group.unwrap_or_default();
    querier.put_rule_group(&tenant, &namespace, &group).await?;
    let warning = HeaderValue::from_static(NOT_EVALUATED);
    Ok(([(WARNING, warning)], accepted()).into_response())
}

async fn delete_namespace(
    State(querier): State<Arc<Querier>>,
    Tenant(tenant): Tenant,
    Path(namespace): Path<String>,
) -> Result<Response, ApiError> {
    match querier
        .delete_rule_groups(&tenant, &namespace, None)
        .await?
    {
        true => Ok(accepted()),
        false => Err(missing("group namespace does not exist")),
    }
}

/// Deletes a group. As in Loki it is no fault if there is none: afterwards there is none.
async fn delete_group(
    State(querier): State<Arc<Querier>>,
    Tenant(tenant): Tenant,
    Path((namespace, group)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    querier
        .delete_rule_groups(&tenant, &namespace, Some(&group))
        .await?;
    Ok(accepted())
}

fn prometheus(data: &Value) -> Response {
    let data = value!({"status": "success", "data": data, "errorType": "", "error": ""});
    bare_json(data.to_string())
}

fn unsupported_type(kind: &str) -> Response {
    let error = format!("not supported value {}", quote(kind));
    let body = value!({"status": "error", "data": null, "errorType": "bad_data", "error": error});
    // As text, as in Loki.
    (StatusCode::BAD_REQUEST, body.to_string()).into_response()
}

async fn prometheus_rules(
    State(querier): State<Arc<Querier>>,
    request: super::ApiRequest,
) -> Result<Response, ApiError> {
    let params = &request.params;
    let kind_wanted = match params.text("type").to_ascii_lowercase().as_str() {
        "" => None,
        "alert" => Some("alerting"),
        "record" => Some("recording"),
        _ => return Ok(unsupported_type(params.text("type"))),
    };
    let namespaces = querier.rule_groups(request.tenants.single()?, None).await?;
    let wants = |name: &str, value: &str| {
        params.all(name).next().is_none() || params.all(name).any(|wanted| wanted == value)
    };
    let mut groups = Vec::new();
    for (namespace, group) in namespaces
        .iter()
        .flat_map(|(n, groups)| groups.iter().map(move |g| (n, g)))
    {
        let is_wanted = |rule: &&Rule| {
            let (kind, name) = kind_and_name(rule);
            wants("rule_name[]", name) && kind_wanted.is_none_or(|wanted| kind == wanted)
        };
        let rules: Vec<Value> = group
            .rules
            .iter()
            .filter(is_wanted)
            .map(prometheus_rule)
            .collect();
        if wants("file[]", namespace) && wants("rule_group[]", &group.name) && !rules.is_empty() {
            let interval_s = group
                .interval
                .map_or(0.0, |interval| interval.0 as f64 / 1e9);
            groups.push(value!({
                "name": group.name, "file": namespace, "interval": interval_s,
                "limit": group.limit, "rules": rules,
                "lastEvaluation": NEVER, "evaluationTime": 0,
            }));
        }
    }
    Ok(prometheus(&value!({"groups": groups})))
}

/// `alerting` or `recording`, and the rule's name.
fn kind_and_name(rule: &Rule) -> (&'static str, &str) {
    match rule.alert.as_str() {
        "" => ("recording", &rule.record),
        alert => ("alerting", alert),
    }
}

/// A rule that was never evaluated.
fn prometheus_rule(rule: &Rule) -> Value {
    let (kind, name) = kind_and_name(rule);
    let mut shown = value!({
        "type": kind, "name": name, "query": rule.expr, "labels": rule.labels,
        "health": "unknown", "lastError": "", "lastEvaluation": NEVER, "evaluationTime": 0,
    });
    if let (Some(shown), "alerting") = (shown.as_object_mut(), kind) {
        let holds_for_s = rule.holds_for.map_or(0.0, |time| time.0 as f64 / 1e9);
        shown.insert("state".to_owned(), value!("inactive"));
        shown.insert("duration".to_owned(), value!(holds_for_s));
        shown.insert("annotations".to_owned(), value!(rule.annotations));
        shown.insert("alerts".to_owned(), value!([]));
    }
    shown
}

/// No alert fires while nothing evaluates them.
async fn prometheus_alerts(Tenant(_): Tenant) -> Response {
    prometheus(&value!({"alerts": []}))
}
