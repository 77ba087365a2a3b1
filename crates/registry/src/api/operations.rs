//! The operations of the management API. What serves one and what describes it are said together, so
//! that neither is there without the other; what it takes and gives is read off what serves it.

use std::sync::Arc;

use axum::extract::Extension;
use axum::handler::Handler;
use axum::routing::{self, MethodRouter};
use axum::{Json, Router};
use http::Method;
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::described::{Described, Typed, in_json};
use super::query::Asks;
use super::{PREFIX, is_open, schemas};
use crate::error::Errors;
use crate::registry::Registry;

/// What is said of an operation where it is declared.
struct Declared {
    method: Method,
    path: &'static str,
    /// What clients call it that are made from the description: as Harbor does, if it has it.
    id: &'static str,
    summary: &'static str,
    /// The parameters after the path.
    query: Vec<Value>,
}

/// Operations that are there.
pub(super) struct Operations {
    router: Router<Registry>,
    paths: Map<String, Value>,
    schemas: SchemaGenerator,
    /// What those are about that are added.
    tag: &'static str,
}

impl Default for Operations {
    fn default() -> Self {
        Self {
            router: Router::new(),
            paths: Map::new(),
            schemas: schemas::settings().into_generator(),
            tag: "",
        }
    }
}

/// A method that adds an operation, which may have to be given a text as a parameter.
macro_rules! adds {
    ($($(#[$doc:meta])* $name:ident($($text:ident)?): $method:ident $routed:ident;)*) => {$(
        $(#[$doc])*
        pub(super) fn $name<H, T, A>(
            self,
            path: &'static str,
            id: &'static str,
            summary: &'static str,
            $($text: &'static str,)?
            handler: H,
        ) -> Self
        where
            H: Handler<T, Registry> + Typed<A>,
            T: 'static,
        {
            let (method, query) = (Method::$method, vec![$(required($text))?]);
            let declared = Declared { method, path, id, summary, query };
            self.add::<H, A>(&declared, routing::$routed(handler))
        }
    )*};
}

impl Operations {
    /// The same, where what is added from now on is about something.
    pub(super) fn about(self, tag: &'static str) -> Self {
        Self { tag, ..self }
    }

    adds! {
        get(): GET get;
        put(): PUT put;
        patch(): PATCH patch;
        delete(): DELETE delete;
        post(): POST post;
        /// A GET with a parameter.
        get_with(parameter): GET get;
        /// A POST with a parameter.
        post_with(parameter): POST post;
    }

    /// A list of which a part can be asked for.
    pub(super) fn list<H, T, A>(
        self,
        path: &'static str,
        id: &'static str,
        summary: &'static str,
        asks: &'static Asks,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Registry> + Typed<A>,
        T: 'static,
    {
        let declared = Declared {
            method: Method::GET,
            path,
            id,
            summary,
            query: asks.described(),
        };
        self.add::<H, A>(&declared, routing::get(handler))
    }

    fn add<H: Typed<A>, A>(mut self, declared: &Declared, serves: MethodRouter<Registry>) -> Self {
        let described = Described::of::<H, A>(&mut self.schemas);
        let method = declared.method.as_str().to_lowercase();
        let operation = describe(declared, self.tag, described);
        let operations = self.paths.entry(declared.path);
        if let Value::Object(operations) = operations.or_insert_with(|| json!({})) {
            operations.insert(method, operation.into());
        }
        self.router = self.router.route(declared.path, serves);
        self
    }

    /// All of them, and their description at `/openapi.json`.
    pub(super) fn routes(self) -> Router<Registry> {
        let (path, id) = ("/openapi.json", "getDescription");
        let all = self.about("description");
        let mut all = all.get(path, id, "This description", show);
        let document = Arc::new(Document(all.document()));
        all.router.layer(Extension(document))
    }

    /// The description, in OpenAPI. <https://spec.openapis.org/oas/v3.0.3>
    fn document(&mut self) -> Value {
        let error = in_json::<Errors>(&mut self.schemas);
        json!({
            "openapi": "3.0.3",
            "info": {"title": "Skald registry", "version": server::VERSION},
            "servers": [{"url": PREFIX}],
            "security": [{"basic": []}],
            "paths": self.paths,
            "components": {
                "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
                "responses": {"Refused": {"description": "refused", "content": error}},
                "schemas": self.schemas.take_definitions(true),
            },
        })
    }
}

/// The description.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Document(#[schemars(with = "Map<String, Value>")] Value);

async fn show(Extension(document): Extension<Arc<Document>>) -> Json<Arc<Document>> {
    Json(document)
}

/// A parameter that is a text and has to be there.
fn required(name: &str) -> Value {
    json!({"name": name, "in": "query", "required": true, "schema": {"type": "string"}})
}

fn describe(declared: &Declared, tag: &str, described: Described<'_>) -> Map<String, Value> {
    let names = declared.path.split('/');
    let names = names.filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let segments = names.zip(&described.segments).map(
        |(name, schema)| json!({"name": name, "in": "path", "required": true, "schema": schema}),
    );
    let parameters: Vec<Value> = segments.chain(declared.query.iter().cloned()).collect();
    // Nobody in particular, or everybody also without a name.
    let security = match described.asks_who {
        false => Some(json!([])),
        true if is_open(&declared.method, declared.path) => Some(json!([{"basic": []}, {}])),
        true => None,
    };
    let optional = [
        ("requestBody", described.body.clone()),
        ("security", security),
    ];
    let (status, answer) = described.answer();
    let refused = json!({"$ref": "#/components/responses/Refused"});
    let mut operation = Map::from_iter([
        ("operationId".to_owned(), json!(declared.id)),
        ("tags".to_owned(), json!([tag])),
        ("summary".to_owned(), json!(declared.summary)),
        ("parameters".to_owned(), json!(parameters)),
        (
            "responses".to_owned(),
            json!({status: answer, "default": refused}),
        ),
    ]);
    let optional = optional.into_iter();
    operation.extend(optional.filter_map(|(name, value)| Some((name.to_owned(), value?))));
    operation
}

#[cfg(test)]
mod tests {
    use schemars::generate::SchemaSettings;

    use super::schemas::settings;
    use super::*;

    /// The schemas of all types, if they say what is read or what is written.
    fn described(settings: SchemaSettings) -> Map<String, Value> {
        let mut all = super::super::operations(Operations {
            schemas: settings.into_generator(),
            ..Operations::default()
        });
        let mut document = all.document();
        match document["components"]["schemas"].take() {
            Value::Object(schemas) => schemas,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn what_has_to_be_read_is_always_written() {
        let written = described(settings().for_serialize());
        for (name, read) in described(settings().for_deserialize()) {
            let required = |schema: &Value| schema["required"].as_array().cloned();
            let always = required(&written[&name]).unwrap_or_default();
            let missing = required(&read).unwrap_or_default();
            let missing: Vec<Value> = missing
                .into_iter()
                .filter(|field| !always.contains(field))
                .collect();
            assert!(missing.is_empty(), "{name} has not always {missing:?}");
        }
    }
}
