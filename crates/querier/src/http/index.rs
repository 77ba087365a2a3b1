//! `index/stats` and `index/shards`.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use server::http::ApiError;

use super::{ApiRequest, json, protobuf};
use crate::encode::{self, write_list, write_warnings};
use crate::metadata::Sum;
use crate::{Querier, SizedShard};

/// The fields of an object.
fn write_sum(out: &mut String, sum: &Sum) {
    let _ = write!(
        out,
        "\"streams\":{},\"chunks\":{},\"bytes\":{},\"entries\":{}",
        sum.streams, sum.chunks, sum.bytes, sum.rows
    );
}

/// `/loki/api/v1/index/stats`
pub(super) async fn stats(
    State(querier): State<Arc<Querier>>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let range = request.params.forward_range(querier.now_ns())?;
    request.params.check_range_query(range)?;
    let matchers = request.selector()?;
    let sum = querier
        .index_stats(request.tenants.as_slice(), &matchers, range)
        .await?;
    if request.wants_protobuf {
        return Ok(protobuf(encode::protobuf::stats(&sum.value)));
    }
    let mut out = String::from("{");
    write_sum(&mut out, &sum.value);
    write_warnings(&mut out, &sum.warnings);
    out.push('}');
    Ok(json(out))
}

/// `/loki/api/v1/index/shards`
pub(super) async fn shards(
    State(querier): State<Arc<Querier>>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let range = request.params.forward_range(querier.now_ns())?;
    request.params.check_range_query(range)?;
    let target_bytes = request.params.target_bytes()?;
    let matchers = request.open_selector()?;
    let shards = querier
        .shards(request.tenants.as_slice(), &matchers, range, target_bytes)
        .await?;
    let mut out = String::from("{\"shards\":");
    write_list(&mut out, &shards.value, |out, SizedShard { shard, sum }| {
        let (min, max) = (shard.min, shard.max);
        let _ = write!(
            out,
            "{{\"bounds\":{{\"min\":{min},\"max\":{max}}},\"stats\":{{"
        );
        write_sum(out, sum);
        out.push_str("}}");
    });
    let report = serde_json::to_string(&shards.report).unwrap_or_else(|_| "{}".to_owned());
    let _ = write!(out, ",\"statistics\":{report}");
    write_warnings(&mut out, &shards.warnings);
    out.push('}');
    Ok(json(out))
}
