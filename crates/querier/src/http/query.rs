//! `query_range` and `query`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use server::http::ApiError;

use super::{ApiRequest, explain, query_answer};
use crate::Querier;
use crate::query::{InstantQuery, RangeQuery};

/// `/loki/api/v1/query_range`
pub(super) async fn range(
    State(querier): State<Arc<Querier>>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let params = &request.params;
    let range = params.range(querier.now_ns())?;
    if range.end_ns < range.start_ns {
        return Err(ApiError::invalid(
            "end timestamp must not be before or equal to start time",
        ));
    }
    let query = RangeQuery {
        text: params.text("query").to_owned(),
        range,
        step_ns: params.step(range)?,
        interval_ns: params.interval()?,
        limit: params.limit()?,
        direction: params.direction()?,
        shard: params.shard()?,
    };
    if params.flag("explain")? {
        let explanation = querier
            .explain_range(request.tenants.as_slice(), query)
            .await?;
        return explain::response(&explanation);
    }
    let answer = querier
        .range_query(request.tenants.as_slice(), query)
        .await?;
    Ok(query_answer(answer, request))
}

/// `/loki/api/v1/query`
pub(super) async fn instant(
    State(querier): State<Arc<Querier>>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let params = &request.params;
    // Of no use for metric queries, but wrong ones are refused.
    params.limit()?;
    params.direction()?;
    let query = InstantQuery {
        text: params.text("query").to_owned(),
        at_ns: params.time("time")?.unwrap_or_else(|| querier.now_ns()),
        shard: params.shard()?,
    };
    if params.flag("explain")? {
        let explanation = querier
            .explain_instant(request.tenants.as_slice(), query)
            .await?;
        return explain::response(&explanation);
    }
    let answer = querier
        .instant_query(request.tenants.as_slice(), query)
        .await?;
    Ok(query_answer(answer, request))
}
