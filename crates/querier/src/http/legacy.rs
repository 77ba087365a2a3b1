//! `/api/prom/query`: log queries only, lines as objects.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use logql::syntax;
use logql::syntax::ast::Expr;
use model::{Code, CodedError, LabelSet, readable};
use proto::role::LogRow;
use server::http::ApiError;

use super::{ApiRequest, json, query_answer};
use crate::Querier;
use crate::encode::{
    self, Answer, LabelStyle, write_labels, write_list, write_report, write_text, write_warnings,
};
use crate::query::{Answered, RangeQuery};

/// `/api/prom/query`
pub(super) async fn query(
    State(querier): State<Arc<Querier>>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let params = &request.params;
    let range = params.forward_range(querier.now_ns())?;
    let text = match params.get("regexp") {
        None | Some("") => params.text("query").to_owned(),
        Some(regexp) => filtered(params.text("query"), regexp)?,
    };
    let query = RangeQuery {
        text,
        range,
        step_ns: params.step(range)?,
        interval_ns: 0,
        limit: params.limit()?,
        direction: params.direction()?,
        shard: params.shard()?,
    };
    let answer = querier
        .range_query(request.tenants.as_slice(), query)
        .await?;
    let Answer::Streams(rows) = &answer.value else {
        return Err(ApiError::invalid(
            "rpc error: code = Code(400) desc = legacy endpoints only support streams result type",
        ));
    };
    // Protobuf has no form of its own for this endpoint.
    if request.wants_protobuf {
        return Ok(query_answer(answer, request));
    }
    Ok(json(body(rows, &answer, request.encoding.style)))
}

/// The query with one more filter. Its faults are told as those of another process, as Loki does.
fn filtered(query: &str, regexp: &str) -> Result<String, CodedError> {
    let refused = |error: &str| {
        let text = format!("rpc error: code = Code(400) desc = {error}");
        CodedError::new(Code::InvalidArgument, text)
    };
    match syntax::parse_unbuilt(query) {
        Ok(Expr::Log(log)) => Ok(format!("{log} |~ {}", model::units::quote(regexp))),
        Ok(Expr::Metric(_)) => Err(refused("only log selector is supported")),
        Err(error) => Err(refused(&error.to_string())),
    }
}

fn body(rows: &[LogRow], answer: &Answered<Answer>, style: LabelStyle) -> String {
    let mut out = String::from("{\"streams\":");
    let streams = encode::group_rows(rows, style);
    write_list(&mut out, &streams, |out, (labels, rows)| {
        out.push_str("{\"labels\":");
        write_text(out, &labels.to_string());
        out.push_str(",\"entries\":");
        write_list(out, rows, |out, row| write_entry(out, row));
        out.push('}');
    });
    // The report is one of several fields of the object here.
    write_report(&mut out, &answer.report);
    write_warnings(&mut out, &answer.warnings);
    out.push('}');
    out
}

fn write_entry(out: &mut String, row: &LogRow) {
    let time = jiff::Timestamp::from_nanosecond(i128::from(row.timestamp_ns));
    out.push_str("{\"ts\":");
    write_text(out, &time.map(|time| time.to_string()).unwrap_or_default());
    out.push_str(",\"line\":");
    write_text(out, &readable(&row.line));
    let parsed: &LabelSet = &row.labels.parsed;
    if !parsed.is_empty() {
        out.push_str(",\"parsed\":");
        write_labels(out, parsed);
    }
    out.push('}');
}
