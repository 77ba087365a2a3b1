//! The operations of the management API. What serves one and what describes it are said together, so
//! that neither is there without the other.

use std::sync::Arc;

use axum::handler::Handler;
use axum::response::{IntoResponse, Response};
use axum::routing::{self, MethodRouter, get};
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use super::query::Asks;
use crate::registry::Registry;

/// An operation as the description has it.
struct Described {
    method: &'static str,
    path: &'static str,
    /// The answer's when it is done.
    status: u16,
    summary: &'static str,
    /// What a list can be asked for.
    asks: Option<&'static Asks>,
}

/// Operations that are there.
#[derive(Default)]
pub(super) struct Operations {
    router: Router<Registry>,
    described: Vec<Described>,
}

/// A method that adds an operation whose answer has the given status when it is done.
macro_rules! adds {
    ($($(#[$doc:meta])* $name:ident: $method:ident, $status:literal;)*) => {$(
        $(#[$doc])*
        pub(super) fn $name<H, T>(self, path: &'static str, summary: &'static str, handler: H) -> Self
        where
            H: Handler<T, Registry>,
            T: 'static,
        {
            let (method, status) = (stringify!($method), $status);
            let described = Described { method, path, status, summary, asks: None };
            self.add(described, routing::$method(handler))
        }
    )*};
}

impl Operations {
    adds! {
        get: get, 200;
        put: put, 200;
        patch: patch, 200;
        delete: delete, 200;
        /// A POST that does something.
        post: post, 200;
        /// A POST that makes something.
        make: post, 201;
    }

    /// A POST that makes something out of what its parameters say.
    pub(super) fn make_with<H, T>(
        self,
        path: &'static str,
        summary: &'static str,
        asks: &'static Asks,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Registry>,
        T: 'static,
    {
        let described = Described {
            method: "post",
            path,
            status: 201,
            summary,
            asks: Some(asks),
        };
        self.add(described, routing::post(handler))
    }

    /// A list of which a part can be asked for.
    pub(super) fn list<H, T>(
        self,
        path: &'static str,
        summary: &'static str,
        asks: &'static Asks,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Registry>,
        T: 'static,
    {
        let described = Described {
            method: "get",
            path,
            status: 200,
            summary,
            asks: Some(asks),
        };
        self.add(described, get(handler))
    }

    fn add(mut self, described: Described, serves: MethodRouter<Registry>) -> Self {
        self.router = self.router.route(described.path, serves);
        self.described.push(described);
        self
    }

    /// All of them, and their description at `/openapi.json`.
    pub(super) fn routes(mut self) -> Router<Registry> {
        let (path, summary) = ("/openapi.json", "This description");
        self.described.push(Described {
            method: "get",
            path,
            status: 200,
            summary,
            asks: None,
        });
        let described: Arc<[Described]> = self.described.into();
        // It is asked for so rarely that it is not kept.
        let describe = async move || -> Response { Json(document(&described)).into_response() };
        self.router.route(path, get(describe))
    }
}

/// The description, in OpenAPI. <https://spec.openapis.org/oas/v3.0.3>
fn document(described: &[Described]) -> Value {
    let mut paths = Map::new();
    for operation in described {
        let path = paths
            .entry(operation.path.to_owned())
            .or_insert_with(|| json!({}));
        if let Some(operations) = path.as_object_mut() {
            operations.insert(operation.method.to_owned(), describe(operation));
        }
    }
    let text = json!({"type": "string"});
    let error = json!({"type": "object", "properties": {
        "code": text, "message": text, "detail": {"type": "object"},
    }});
    json!({
        "openapi": "3.0.3",
        "info": {"title": "Skald registry", "version": server::VERSION},
        "servers": [{"url": "/api/v2.0"}],
        "security": [{"basic": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
            "schemas": {"Errors": {"type": "object", "properties": {
                "errors": {"type": "array", "items": error},
            }}},
        },
    })
}

fn describe(operation: &Described) -> Value {
    let parts = operation.path.split('/');
    let mut parameters: Vec<Value> = parts
        .filter_map(|part| part.strip_prefix('{'))
        .map(|name| {
            let name = name.trim_end_matches('}');
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
        })
        .collect();
    parameters.extend(operation.asks.into_iter().flat_map(Asks::described));
    json!({
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {
            operation.status.to_string(): {"description": "done"},
            "default": {
                "description": "refused",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Errors"}}},
            },
        },
    })
}
