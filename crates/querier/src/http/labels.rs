//! `labels`, `label/{name}/values` and `series`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use logql::syntax;
use model::LabelSet;
use server::http::ApiError;

use super::request::refused;
use super::{ApiRequest, json, protobuf};
use crate::Querier;
use crate::encode::{self, write_labels, write_list, write_text, write_warnings};
use crate::query::Answered;

/// `{"status":"success","data":[…]}`; without `data` if there is none, as Loki has it.
fn list_response(request: &ApiRequest, found: Answered<Vec<String>>) -> Response {
    let items = found.value;
    if request.wants_protobuf {
        return protobuf(encode::protobuf::labels(items));
    }
    let mut out = String::from("{\"status\":\"success\"");
    if !items.is_empty() {
        out.push_str(",\"data\":");
        write_list(&mut out, &items, |out, item| write_text(out, item));
    }
    write_warnings(&mut out, &found.warnings);
    out.push('}');
    json(out)
}

/// `/loki/api/v1/labels`
pub(super) async fn names(
    State(querier): State<Arc<Querier>>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let range = request.params.range(querier.now_ns())?;
    let range = querier.allowed_range(request.tenants.as_slice(), range)?;
    let matchers = request.selector_if_any()?;
    let names = querier
        .label_names(request.tenants.as_slice(), &matchers, range)
        .await?;
    Ok(list_response(&request, names))
}

/// `/loki/api/v1/label/{name}/values`
pub(super) async fn values(
    State(querier): State<Arc<Querier>>,
    Path(name): Path<String>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let range = request.params.range(querier.now_ns())?;
    let range = querier.allowed_range(request.tenants.as_slice(), range)?;
    let matchers = request.selector_if_any()?;
    let values = querier
        .label_values(request.tenants.as_slice(), &name, &matchers, range)
        .await?;
    Ok(list_response(&request, values))
}

/// `/loki/api/v1/series`
pub(super) async fn series(
    State(querier): State<Arc<Querier>>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let range = request.params.range(querier.now_ns())?;
    let selectors = request.match_selectors()?;
    let shard = request.params.shard()?;
    let range = querier.allowed_range(request.tenants.as_slice(), range)?;
    for matchers in &selectors {
        syntax::require_selective(matchers).map_err(|error| refused(&error))?;
    }
    let sets = querier
        .series(request.tenants.as_slice(), &selectors, range, shard)
        .await?;
    if request.wants_protobuf {
        return Ok(protobuf(encode::protobuf::series(&sets.value)));
    }
    let mut out = String::from("{\"status\":\"success\",\"data\":");
    write_list(&mut out, &sets.value, |out, set: &LabelSet| {
        write_labels(out, set);
    });
    write_warnings(&mut out, &sets.warnings);
    out.push('}');
    Ok(json(out))
}
