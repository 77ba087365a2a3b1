//! What handlers answer besides JSON and lists.

use axum::Json;
use axum::body::Body;
use axum::response::{AppendHeaders, IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, LOCATION};
use schemars::JsonSchema;
use serde::Serialize;

use super::PREFIX;

/// What is answered to who made a thing.
pub(super) struct Created<T>(pub(super) T);

impl<T: IntoResponse> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, self.0).into_response()
    }
}

/// What is answered with the path of what was made, if it has one.
pub(super) struct At<T>(pub(super) Option<String>, pub(super) T);

impl<T: IntoResponse> IntoResponse for At<T> {
    fn into_response(self) -> Response {
        let location = self.0.map(|path| (LOCATION, format!("{PREFIX}{path}")));
        (AppendHeaders(location), self.1).into_response()
    }
}

/// The number of a thing.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Number {
    pub(super) id: i64,
}

/// What is answered to who made a thing: where it is, and its number.
pub(super) type Made = Created<At<Json<Number>>>;

/// That a thing was made among others, which all have their numbers in their paths.
pub(super) fn made(things: &str, id: i64) -> Made {
    let path = format!("/{things}/{id}");
    Created(At(Some(path), Json(Number { id })))
}

/// A text as it is.
pub(super) struct Plain(pub(super) String);

impl IntoResponse for Plain {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, "text/plain; charset=utf-8")], self.0).into_response()
    }
}

/// An object in JSON that is written already.
pub(super) struct Written(pub(super) Bytes);

impl IntoResponse for Written {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, "application/json")], self.0).into_response()
    }
}

/// Lines of JSON as they come.
pub(super) struct Lines(pub(super) Body);

impl IntoResponse for Lines {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, "application/x-ndjson")], self.0).into_response()
    }
}
