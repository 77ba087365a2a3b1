//! The operations of the management API. What serves one and what describes it are said together, so
//! that neither is there without the other; what it takes and gives is read off what serves it.

use std::sync::LazyLock;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{self, MethodRouter};
use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value, json};

use super::answers::Written;
use super::described::{Described, Typed};
use super::query::Asks;
use super::schemas::Schemas;
use super::{PREFIX, is_open};
use crate::error::Errors;
use crate::registry::Registry;

/// What is said of an operation where it is declared.
struct Declared {
    method: Method,
    path: &'static str,
    /// What clients call it that are made from the description: as Harbor does, if it has it.
    id: &'static str,
    summary: &'static str,
    query: Vec<Query>,
}

/// Parameters after the path.
enum Query {
    /// One that has to be there.
    Required(&'static str),
    /// Those of a list.
    List(&'static Asks),
}

/// An operation, and what is to be asked for its description.
struct Operation {
    declared: Declared,
    tag: &'static str,
    describe: fn(&mut Described<'_>),
}

/// Operations that are there.
#[derive(Default)]
pub(super) struct Operations {
    router: Router<Registry>,
    all: Vec<Operation>,
    /// What those are about that are added.
    tag: &'static str,
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
            let (method, query) = (Method::$method, vec![$(Query::Required($text))?]);
            let declared = Declared { method, path, id, summary, query };
            self.add::<H, A>(declared, routing::$routed(handler))
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
            query: vec![Query::List(asks)],
        };
        self.add::<H, A>(declared, routing::get(handler))
    }

    fn add<H: Typed<A>, A>(mut self, declared: Declared, serves: MethodRouter<Registry>) -> Self {
        self.router = self.router.route(declared.path, serves);
        self.all.push(Operation {
            declared,
            tag: self.tag,
            describe: H::describe,
        });
        self
    }

    /// What serves them.
    pub(super) fn router(self) -> Router<Registry> {
        self.router
    }

    /// The description, in OpenAPI. <https://spec.openapis.org/oas/v3.0.3>
    fn document(&self) -> Value {
        let mut schemas = Schemas::default();
        let mut paths = Map::new();
        for Operation {
            declared,
            tag,
            describe,
        } in &self.all
        {
            let mut described = Described::new(&mut schemas);
            describe(&mut described);
            let method = declared.method.as_str().to_lowercase();
            let operation = operation(declared, tag, described);
            let operations = paths.entry(declared.path);
            if let Value::Object(operations) = operations.or_insert_with(|| json!({})) {
                operations.insert(method, operation.into());
            }
        }
        let error = schemas.answered::<Errors>();
        schemas.complete(json!({
            "openapi": "3.0.3",
            "info": {"title": "Skald registry", "version": server::VERSION},
            "servers": [{"url": PREFIX}],
            "security": [{"basic": []}],
            "paths": paths,
            "components": {
                "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
                "responses": {"Refused": {"description": "refused", "content": error}},
            },
        }))
    }
}

/// The description. It is made when it is asked for first, as few ever ask and it is large.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    let all = super::operations(Operations::default());
    all.document().to_string().into()
});

/// That the others are described.
pub(super) fn operations(all: Operations) -> Operations {
    let (path, id) = ("/openapi.json", "getDescription");
    all.about("description")
        .get(path, id, "This description", show)
}

async fn show() -> Written {
    Written(DOCUMENT.clone())
}

/// A parameter that is a text and has to be there.
fn required(name: &str) -> Value {
    json!({"name": name, "in": "query", "required": true, "schema": {"type": "string"}})
}

fn operation(declared: &Declared, tag: &str, described: Described<'_>) -> Map<String, Value> {
    let names = declared.path.split('/');
    let names = names.filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let segments = names.zip(&described.segments).map(
        |(name, schema)| json!({"name": name, "in": "path", "required": true, "schema": schema}),
    );
    let query = declared.query.iter().flat_map(|query| match query {
        Query::Required(name) => vec![required(name)],
        Query::List(asks) => asks.described(),
    });
    let parameters: Vec<Value> = segments.chain(query).collect();
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
