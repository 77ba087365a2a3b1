//! What a handler takes and what it gives, as the description of the management API has it. It is read
//! off the types of the handler, so that it is what is done.

use axum::Json;
use axum::extract::{Extension, State};
use http::{HeaderMap, HeaderName, StatusCode};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::answers::{At, Created, Lines, Plain, Written};
use super::query::{Page, TOTAL_COUNT};
use super::schemas::Schemas;
use super::{Admin, Body, MaybeBody, Outcome, Path};

/// An operation as far as it was described.
pub(super) struct Described<'s> {
    schemas: &'s mut Schemas,
    /// Whether it is asked who the caller is.
    pub(super) asks_who: bool,
    /// What varies in the path, in its order.
    pub(super) segments: Vec<Value>,
    /// What the body of the request has.
    pub(super) body: Option<Value>,
    /// The answer's when it is done.
    status: StatusCode,
    headers: Map<String, Value>,
    content: Option<Value>,
}

impl<'s> Described<'s> {
    /// Nothing is known yet.
    pub(super) fn new(schemas: &'s mut Schemas) -> Self {
        Self {
            schemas,
            asks_who: false,
            segments: Vec::new(),
            body: None,
            status: StatusCode::OK,
            headers: Map::new(),
            content: None,
        }
    }

    fn has_body<T: JsonSchema>(&mut self, required: bool) {
        let content = self.schemas.sent::<T>();
        self.body = Some(json!({"required": required, "content": content}));
    }

    fn has_header(&mut self, name: &HeaderName, what: &str, kind: &str) {
        let header = json!({"description": what, "schema": {"type": kind}});
        self.headers.insert(name.as_str().to_owned(), header);
    }

    fn has_text(&mut self, media_type: &str, what: &str) {
        let schema = json!({"type": "string", "description": what});
        self.content = Some(json!({media_type: {"schema": schema}}));
    }

    /// The answer when it is done, by its status.
    pub(super) fn answer(self) -> (String, Value) {
        let mut answer = Map::from_iter([("description".to_owned(), json!("done"))]);
        if !self.headers.is_empty() {
            answer.insert("headers".to_owned(), self.headers.into());
        }
        let content = self.content.map(|content| ("content".to_owned(), content));
        answer.extend(content);
        (self.status.as_u16().to_string(), answer.into())
    }
}

/// A handler, by the types of what it takes.
pub(super) trait Typed<A> {
    fn describe(described: &mut Described<'_>);
}

macro_rules! typed {
    ($($taken:ident)*) => {
        impl<F, Answering, $($taken),*> Typed<($($taken,)*)> for F
        where
            F: Fn($($taken),*) -> Answering,
            Answering: Future<Output: Gives>,
            $($taken: Takes,)*
        {
            fn describe(described: &mut Described<'_>) {
                $($taken::describe(described);)*
                Answering::Output::describe(described);
            }
        }
    };
}

typed! {}
typed! { A }
typed! { A B }
typed! { A B C }

/// What a handler takes out of a request.
pub(super) trait Takes {
    fn describe(described: &mut Described<'_>);
}

impl Takes for Admin {
    fn describe(described: &mut Described<'_>) {
        described.asks_who = true;
    }
}

impl<T> Takes for State<T> {
    fn describe(_: &mut Described<'_>) {}
}

impl Takes for HeaderMap {
    fn describe(_: &mut Described<'_>) {}
}

impl<T> Takes for Extension<T> {
    fn describe(_: &mut Described<'_>) {}
}

impl<T: JsonSchema> Takes for Path<T> {
    fn describe(described: &mut Described<'_>) {
        let schema = described.schemas.in_path::<T>();
        described.segments = match schema.get("prefixItems") {
            Some(Value::Array(several)) => several.clone(),
            _ => vec![Schema::into(schema)],
        };
    }
}

impl<T: JsonSchema> Takes for Body<T> {
    fn describe(described: &mut Described<'_>) {
        described.has_body::<T>(true);
    }
}

impl<T: JsonSchema> Takes for MaybeBody<T> {
    fn describe(described: &mut Described<'_>) {
        described.has_body::<T>(false);
    }
}

/// What a handler gives.
pub(super) trait Gives {
    fn describe(described: &mut Described<'_>);
}

impl<T: Gives> Gives for Outcome<T> {
    fn describe(described: &mut Described<'_>) {
        T::describe(described);
    }
}

impl Gives for () {
    fn describe(_: &mut Described<'_>) {}
}

impl Gives for &str {
    fn describe(described: &mut Described<'_>) {
        described.has_text("text/plain", "");
    }
}

impl Gives for Plain {
    fn describe(described: &mut Described<'_>) {
        described.has_text("text/plain", "");
    }
}

impl Gives for Written {
    fn describe(described: &mut Described<'_>) {
        described.content = Some(described.schemas.answered::<Map<String, Value>>());
    }
}

impl Gives for Lines {
    fn describe(described: &mut Described<'_>) {
        described.has_text("application/x-ndjson", "An object in JSON on each line");
    }
}

impl<T: JsonSchema> Gives for Json<T> {
    fn describe(described: &mut Described<'_>) {
        described.content = Some(described.schemas.answered::<T>());
    }
}

impl<T: JsonSchema> Gives for Page<T> {
    fn describe(described: &mut Described<'_>) {
        described.content = Some(described.schemas.answered::<Vec<T>>());
        described.has_header(&TOTAL_COUNT, "How many there are on all pages", "integer");
        let links = "The pages before and after it, with rel=\"prev\" and rel=\"next\"";
        described.has_header(&http::header::LINK, links, "string");
    }
}

impl<T: Gives> Gives for Created<T> {
    fn describe(described: &mut Described<'_>) {
        T::describe(described);
        described.status = StatusCode::CREATED;
    }
}

impl<T: Gives> Gives for At<T> {
    fn describe(described: &mut Described<'_>) {
        T::describe(described);
        described.has_header(
            &http::header::LOCATION,
            "The path of what was made",
            "string",
        );
    }
}
