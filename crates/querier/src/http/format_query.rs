//! `format_query`.

use axum::response::Response;
use http::StatusCode;
use logql::syntax;

use super::json;
use super::request::OpenRequest;
use crate::encode::write_text;

/// `/loki/api/v1/format_query`
pub(super) async fn format_query(request: OpenRequest) -> Response {
    let (code, status, field, value) = match syntax::parse_unbuilt(request.params.text("query")) {
        Ok(expr) => (StatusCode::OK, "success", "data", syntax::pretty(&expr)),
        Err(error) => (
            StatusCode::BAD_REQUEST,
            "invalid-query",
            "error",
            error.to_string(),
        ),
    };
    let mut out = format!("{{\"status\":\"{status}\",\"{field}\":");
    write_text(&mut out, &value);
    out.push('}');
    let mut answer = json(out);
    *answer.status_mut() = code;
    answer
}
