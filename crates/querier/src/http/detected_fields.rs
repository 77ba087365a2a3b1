//! `detected_fields` and `detected_field/{name}/values`.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use logql::syntax;
use logql::syntax::ast::Expr;
use server::http::ApiError;

use super::request::refused;
use super::{ApiRequest, json, protobuf};
use crate::Querier;
use crate::encode::{self, write_list, write_text, write_warnings};
use crate::fields::{Field, FieldsQuery};

/// Fields or values returned when no limit is given.
const LIMIT_DEFAULT: usize = 1000;
/// Lines looked into when no limit is given.
const LINE_LIMIT_DEFAULT: usize = 100;

fn fields_query(request: &ApiRequest, now_ns: i64) -> Result<FieldsQuery, ApiError> {
    let params = &request.params;
    let limit_name = if params.get("limit").is_some() {
        "limit"
    } else {
        "field_limit"
    };
    let range = params.forward_range(now_ns)?;
    params.step(range)?;
    let query = FieldsQuery {
        range,
        line_limit: params.positive("line_limit", LINE_LIMIT_DEFAULT)?,
        limit: params.positive(limit_name, LIMIT_DEFAULT)?,
        text: params.text("query").to_owned(),
    };
    // Whether its stages make sense is looked at after the limits, as in Loki.
    match syntax::parse_unbuilt(&query.text).map_err(|error| refused(&error))? {
        Expr::Log(_) => Ok(query),
        Expr::Metric(_) => Err(ApiError::invalid("only log selector is supported")),
    }
}

/// `/loki/api/v1/detected_fields`
pub(super) async fn fields(
    State(querier): State<Arc<Querier>>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let query = fields_query(&request, querier.now_ns())?;
    let limit = query.limit;
    let found = querier
        .detected_fields(request.tenants.as_slice(), query)
        .await?;
    if request.wants_protobuf {
        return Ok(protobuf(encode::protobuf::fields(&found.value, limit)));
    }
    if found.value.is_empty() && found.warnings.is_empty() {
        return Ok(json("{}"));
    }
    let mut out = String::from("{\"fields\":");
    write_list(&mut out, &found.value, write_field);
    let _ = write!(out, ",\"limit\":{limit}");
    write_warnings(&mut out, &found.warnings);
    out.push('}');
    Ok(json(out))
}

fn write_field(out: &mut String, field: &Field) {
    out.push_str("{\"label\":");
    write_text(out, &field.name);
    let (kind, cardinality) = (field.kind.as_str(), field.cardinality);
    let _ = write!(
        out,
        ",\"type\":\"{kind}\",\"cardinality\":{cardinality},\"parsers\":"
    );
    match field.parsers.as_slice() {
        [] => out.push_str("null"),
        parsers => write_list(out, parsers, |out, parser| write_text(out, parser)),
    }
    if !field.json_path.is_empty() {
        out.push_str(",\"jsonPath\":");
        write_list(out, &field.json_path, |out, key| write_text(out, key));
    }
    out.push('}');
}

/// `/loki/api/v1/detected_field/{name}/values`
pub(super) async fn values(
    State(querier): State<Arc<Querier>>,
    Path(name): Path<String>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let query = fields_query(&request, querier.now_ns())?;
    let limit = query.limit;
    let found = querier
        .detected_field_values(request.tenants.as_slice(), &name, query)
        .await?;
    if request.wants_protobuf {
        let values = found.value.into_iter().collect();
        return Ok(protobuf(encode::protobuf::field_values(values, limit)));
    }
    if found.value.is_empty() && found.warnings.is_empty() {
        return Ok(json("{}"));
    }
    let values: Vec<&String> = found.value.iter().collect();
    let mut out = String::from("{\"values\":");
    write_list(&mut out, &values, |out, value| write_text(out, value));
    let _ = write!(out, ",\"limit\":{limit}");
    write_warnings(&mut out, &found.warnings);
    out.push('}');
    Ok(json(out))
}
