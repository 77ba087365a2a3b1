//! `patterns`.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use server::http::ApiError;

use super::{ApiRequest, json, protobuf};
use crate::Querier;
use crate::encode::{self, write_list, write_text, write_warnings};
use crate::patterns::{Pattern, PatternsQuery};

/// `/loki/api/v1/patterns`
pub(super) async fn patterns(
    State(querier): State<Arc<Querier>>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let range = request.params.range(querier.now_ns())?;
    let query = PatternsQuery {
        matchers: request.selector()?,
        range,
        // Samples have whole seconds.
        step_ns: request.params.step(range)?.max(1_000_000_000),
    };
    let found = querier.patterns(request.tenants.as_slice(), query).await?;
    if request.wants_protobuf {
        return Ok(protobuf(encode::protobuf::patterns(&found.value)));
    }
    let mut out = String::from("{\"status\":\"success\",\"data\":");
    write_list(&mut out, &found.value, write_pattern);
    write_warnings(&mut out, &found.warnings);
    out.push('}');
    Ok(json(out))
}

fn write_pattern(out: &mut String, pattern: &Pattern) {
    out.push_str("{\"pattern\":");
    write_text(out, &pattern.text);
    if !pattern.level.is_empty() {
        out.push_str(",\"level\":");
        write_text(out, &pattern.level);
    }
    out.push_str(",\"samples\":");
    write_list(out, &pattern.samples, |out, (at_s, count)| {
        let _ = write!(out, "[{at_s},{count}]");
    });
    out.push('}');
}
