//! `index/volume` and `index/volume_range`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use server::http::ApiError;

use super::{ApiRequest, json, protobuf};
use crate::Querier;
use crate::encode::{self, write_list, write_point, write_report, write_text, write_warnings};
use crate::metadata::{Aggregate, VolumeQuery, VolumeSeries};
use crate::params::LIMIT_DEFAULT;
use crate::query::Answered;

/// The selector comes last: all else is looked at before it, and so found first. In what order
/// depends on the endpoint, as in Loki.
fn volume_query(
    querier: &Querier,
    request: &ApiRequest,
    is_over_time: bool,
) -> Result<VolumeQuery, ApiError> {
    let params = &request.params;
    // Unlike elsewhere none means the default.
    let limit = match params.count("limit")? {
        Some(0) => LIMIT_DEFAULT,
        _ => params.limit()?,
    };
    let read_range = || params.forward_range(querier.now_ns());
    let read_aggregate = || match params.get("aggregateBy") {
        None | Some("series") => Ok(Aggregate::Series),
        Some("labels") => Ok(Aggregate::Labels),
        Some(_) => Err(ApiError::invalid("invalid aggregation option")),
    };
    let (range, step_ns, aggregate) = if is_over_time {
        let range = read_range()?;
        params.direction()?;
        (range, Some(params.step(range)?), read_aggregate()?)
    } else {
        params.direction()?;
        let aggregate = read_aggregate()?;
        (read_range()?, None, aggregate)
    };
    let names = params
        .get("targetLabels")
        .map(|names| names.split(',').map(str::to_owned));
    Ok(VolumeQuery {
        range: querier.allowed_range(request.tenants.as_slice(), range)?,
        matchers: request.open_selector()?,
        step_ns,
        target_labels: names.map(Iterator::collect).unwrap_or_default(),
        aggregate,
        limit,
    })
}

/// `/loki/api/v1/index/volume`
pub(super) async fn instant(
    State(querier): State<Arc<Querier>>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    querier.has_volumes(request.tenants.as_slice())?;
    request.params.time("time")?;
    let query = volume_query(&querier, &request, false)?;
    let answer = querier.volume(request.tenants.as_slice(), query).await?;
    if request.wants_protobuf {
        let body = encode::protobuf::volumes("vector", &answer);
        return Ok(protobuf(body));
    }
    Ok(json(vector(&answer)))
}

/// Series of one point each.
fn vector(answer: &Answered<Vec<VolumeSeries>>) -> String {
    let mut out = head("vector");
    write_list(&mut out, &answer.value, |out, series| {
        write_metric(out, series);
        out.push_str(",\"value\":");
        let (at_ns, bytes) = series.points.first().copied().unwrap_or_default();
        write_point(out, at_ns, bytes as f64);
        out.push('}');
    });
    write_tail(&mut out, answer);
    out
}

/// `/loki/api/v1/index/volume_range`
pub(super) async fn range(
    State(querier): State<Arc<Querier>>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    querier.has_volumes(request.tenants.as_slice())?;
    request.params.interval()?;
    let query = volume_query(&querier, &request, true)?;
    let answer = querier.volume(request.tenants.as_slice(), query).await?;
    // Loki says vector where no series has more than one point.
    let is_matrix = answer.value.iter().any(|series| series.points.len() > 1);
    let kind = match is_matrix {
        true => "matrix",
        false => "vector",
    };
    if request.wants_protobuf {
        let body = encode::protobuf::volumes(kind, &answer);
        return Ok(protobuf(body));
    }
    if !is_matrix {
        return Ok(json(vector(&answer)));
    }
    let mut out = head(kind);
    write_list(&mut out, &answer.value, |out, series| {
        write_metric(out, series);
        out.push_str(",\"values\":");
        write_list(out, &series.points, |out, (at_ns, bytes)| {
            write_point(out, *at_ns, *bytes as f64);
        });
        out.push('}');
    });
    write_tail(&mut out, &answer);
    Ok(json(out))
}

fn head(kind: &str) -> String {
    format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"{kind}\",\"result\":")
}

fn write_tail(out: &mut String, answer: &Answered<Vec<VolumeSeries>>) {
    write_report(out, &answer.report);
    out.push('}');
    write_warnings(out, &answer.warnings);
    out.push('}');
}

/// `{"metric":{…}`
fn write_metric(out: &mut String, series: &VolumeSeries) {
    out.push_str("{\"metric\":{");
    for (i, (name, value)) in series.labels.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_text(out, name);
        out.push(':');
        write_text(out, value);
    }
    out.push('}');
}
