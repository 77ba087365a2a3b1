//! The push endpoints.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, StatusCode};
use model::{Exceeded, TenantId};
use prost::Message;
use server::http::{Tenant, name_limit};

use crate::body::{self, Encoding};
use crate::decode::otlp::OtlpFormat;
use crate::error::{PushOutcome, Rejection};
use crate::push::{Distributor, Format, Repeats};

/// With `true`, says that rows of a push may have been taken before; see [`Repeats`].
const MAY_REPEAT: HeaderName = HeaderName::from_static("x-skald-may-repeat");

/// What clients are told to wait, in seconds, when they may push again.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// The routes of pushes. They belong to a tenant: wrap them in [`server::http::tenant_routes`].
pub fn routes(distributor: Distributor) -> Router {
    Router::new()
        .route("/loki/api/v1/push", post(push))
        .route("/api/prom/push", post(push_legacy))
        .route("/otlp/v1/logs", post(push_otlp))
        .with_state(distributor)
}

async fn push(
    State(distributor): State<Distributor>,
    Tenant(tenant): Tenant,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let kind = kind_of(&headers, Format::Json);
    answer(take(&distributor, &tenant, kind, &headers, body).await)
}

async fn push_legacy(
    State(distributor): State<Distributor>,
    Tenant(tenant): Tenant,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let kind = kind_of(&headers, Format::LegacyJson);
    answer(take(&distributor, &tenant, kind, &headers, body).await)
}

async fn push_otlp(
    State(distributor): State<Distributor>,
    Tenant(tenant): Tenant,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let kind = otlp_kind_of(&headers);
    otlp_answer(take(&distributor, &tenant, kind, &headers, body).await)
}

/// What a body is and how it is compressed.
type Kind = (Format, Encoding);

async fn take(
    distributor: &Distributor,
    tenant: &TenantId,
    kind: Result<Kind, Rejection>,
    headers: &HeaderMap,
    body: Body,
) -> PushOutcome {
    let kind = match kind {
        Ok(kind) => kind,
        Err(rejection) => return rejection.into(),
    };
    let declared_bytes = text(headers, &CONTENT_LENGTH).parse().ok();
    let mut reservation = distributor.reservation();
    let config = distributor.config();
    let repeats = match text(headers, &MAY_REPEAT) {
        "true" => Repeats::Possible,
        _ => Repeats::None,
    };
    match body::read(body, declared_bytes, config, &mut reservation).await {
        Ok(body) => {
            distributor
                .push_body(tenant, kind, repeats, body, reservation)
                .await
        }
        Err(rejection) => rejection.into(),
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> &'h str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().trim()
}

/// The media type without its parameters, in lower case.
fn media_type(headers: &HeaderMap) -> String {
    let value = text(headers, &CONTENT_TYPE);
    let end = value.find(';').unwrap_or(value.len());
    let media_type = value.get(..end).unwrap_or_default();
    media_type.trim().to_ascii_lowercase()
}

/// As in Loki, what is not JSON is taken for protobuf, which is always snappy; encodings that it does
/// not know are refused whatever they encode.
fn kind_of(headers: &HeaderMap, json: Format) -> Result<Kind, Rejection> {
    let is_json = media_type(headers) == "application/json";
    let encoding = match text(headers, &CONTENT_ENCODING) {
        "" => Encoding::Plain,
        "gzip" => Encoding::Gzip,
        "deflate" => Encoding::Deflate,
        "snappy" => Encoding::MaybeSnappy,
        "zstd" if is_json => Encoding::Zstd,
        other => {
            let message = format!("Content-Encoding \"{other}\" not supported");
            return Err(Rejection::invalid(message));
        }
    };
    match media_type(headers).as_str() {
        "" => Err(Rejection::invalid("mime: no media type")),
        _ if is_json => Ok((json, encoding)),
        _ => Ok((Format::Protobuf, Encoding::Snappy)),
    }
}

fn otlp_kind_of(headers: &HeaderMap) -> Result<Kind, Rejection> {
    let format = match media_type(headers).as_str() {
        "application/json" => OtlpFormat::Json,
        "application/x-protobuf" => OtlpFormat::Protobuf,
        _ => {
            let given = text(headers, &CONTENT_TYPE);
            let message = format!("content type: {given} is not supported");
            return Err(Rejection::invalid(message));
        }
    };
    let encoding = match text(headers, &CONTENT_ENCODING) {
        "" => Encoding::Plain,
        "gzip" => Encoding::Gzip,
        "zstd" => Encoding::Zstd,
        "lz4" => Encoding::Lz4,
        other => {
            return Err(Rejection::invalid(format!(
                "unsupported content encoding {other}: only gzip, lz4 and zstd are supported"
            )));
        }
    };
    Ok((Format::Otlp(format), encoding))
}

fn answer(outcome: PushOutcome) -> Response {
    let Some(rejection) = outcome.rejection else {
        return StatusCode::NO_CONTENT.into_response();
    };
    respond(
        rejection.status,
        HeaderValue::from_static("text/plain; charset=utf-8"),
        Bytes::from(format!("{}\n", rejection.message)),
        rejection.exceeded.as_deref(),
    )
}

/// `google.rpc.Status` with nothing but its message, which is what OTLP clients of Loki get.
#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
}

fn otlp_answer(outcome: PushOutcome) -> Response {
    let Some(rejection) = outcome.rejection else {
        return StatusCode::NO_CONTENT.into_response();
    };
    // OTLP clients retry 503 but not 500.
    let status = match rejection.status {
        500 => 503,
        status => status,
    };
    let message = Status {
        message: rejection.message,
    };
    let exceeded = rejection.exceeded.as_deref();
    respond(
        status,
        HeaderValue::from_static("application/octet-stream"),
        Bytes::from(message.encode_to_vec()),
        exceeded,
    )
}

fn respond(
    status: u16,
    content_type: HeaderValue,
    body: Bytes,
    exceeded: Option<&Exceeded>,
) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status.is_server_error() {
        tracing::warn!(
            status = status.as_u16(),
            error = %String::from_utf8_lossy(&body).trim(),
            "push failed"
        );
    }
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) {
        headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    name_limit(headers, exceeded);
    response
}
