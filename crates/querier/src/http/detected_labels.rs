//! `detected_labels`.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use server::http::ApiError;

use super::{ApiRequest, json, protobuf};
use crate::Querier;
use crate::encode::{self, write_list, write_text, write_warnings};

/// `/loki/api/v1/detected_labels`
pub(super) async fn detected_labels(
    State(querier): State<Arc<Querier>>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    // In the order in which faults are found.
    let range = request.params.forward_range(querier.now_ns())?;
    let range = querier.allowed_range(request.tenants.as_slice(), range)?;
    let matchers = request.selector_if_any()?;
    let found = querier
        .detected_labels(request.tenants.as_slice(), &matchers, range)
        .await?;
    if request.wants_protobuf {
        return Ok(protobuf(encode::protobuf::detected_labels(&found.value)));
    }
    let labels: Vec<(&String, &usize)> = found.value.iter().collect();
    if labels.is_empty() && found.warnings.is_empty() {
        return Ok(json("{}"));
    }
    let mut out = String::from("{\"detectedLabels\":");
    write_list(&mut out, &labels, |out, (name, cardinality)| {
        out.push_str("{\"label\":");
        write_text(out, name);
        let _ = write!(out, ",\"cardinality\":{cardinality}}}");
    });
    write_warnings(&mut out, &found.warnings);
    out.push('}');
    Ok(json(out))
}
