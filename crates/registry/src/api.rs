//! The management API, with Harbor's paths where Harbor has them. What serves an operation
//! describes it too ([`Operations`]).
//!
//! System administrators may do all of it. Who has the role of a project's administrator looks after
//! the project's members and robots; who may pull sees what there is, also without a login.

mod accounts;
mod answers;
mod assembly;
mod attributes;
mod audit;
mod configuration;
mod copy;
mod described;
mod executions;
mod groups;
mod immutable;
mod info;
mod labels;
mod members;
mod metadata;
mod operations;
mod permissions;
mod projects;
mod query;
mod registries;
mod repositories;
mod retention;
mod robots;
mod rules;
mod running;
mod schedule;
mod schemas;
mod search;
mod selector;
mod short;
mod system;
mod undelete;

use std::sync::OnceLock;

use axum::Router;
use axum::extract::{Extension, FromRequest, FromRequestParts, Json, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{AppendHeaders, IntoResponse, Response};
use http::header::{HeaderName, WARNING};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Uri};
use operations::Operations;
use serde::de::DeserializeOwned;
use tower::{ServiceExt, service_fn};

use crate::auth::{self, Action, Caller, Role};
use crate::error::{Code, Error};
use crate::gather::Sender;
use crate::logs::Seen;
use crate::meta::{self, Event, Reach, Tell};
use crate::oci::warning;
use crate::registry::Registry;
use crate::settings;
use crate::who::Who;

/// Says that what a path has for a project is its name, also if it is digits, as in Harbor.
const IS_NAME: HeaderName = HeaderName::from_static("x-is-resource-name");
/// What all paths begin with.
const PREFIX: &str = "/api/v2.0";

/// All operations of the management API, added to others.
fn operations(others: Operations) -> Operations {
    let modules = [
        projects::operations,
        metadata::operations,
        members::operations,
        registries::operations,
        rules::operations,
        retention::operations,
        executions::operations,
        immutable::operations,
        running::operations,
        repositories::operations,
        attributes::operations,
        copy::operations,
        labels::operations,
        accounts::operations,
        permissions::operations,
        groups::operations,
        robots::operations,
        system::operations,
        schedule::operations,
        search::operations,
        audit::operations,
        info::operations,
        configuration::operations,
        operations::operations,
    ];
    modules.into_iter().fold(others, |all, module| module(all))
}

/// The routes of the management API.
pub(crate) fn routes(registry: Registry) -> Router<Registry> {
    let api = operations(Operations::default())
        .router()
        .fallback(unknown)
        .method_not_allowed_fallback(useless)
        .with_state::<()>(registry.clone());
    let trimmed = move |mut request: Request| {
        trim(&mut request);
        api.clone().oneshot(request)
    };
    let api = Router::new()
        .fallback_service(service_fn(trimmed))
        .layer(from_fn_with_state(registry, note));
    Router::new().nest(PREFIX, api)
}

/// Paths may end with a slash, as those of some of Harbor's clients do.
fn trim(request: &mut Request) {
    let uri = request.uri();
    let Some(path) = uri.path().strip_suffix('/').filter(|path| !path.is_empty()) else {
        return;
    };
    let trimmed = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    if let Ok(trimmed) = trimmed.parse() {
        *request.uri_mut() = trimmed;
    }
}

async fn note(
    State(registry): State<Registry>,
    Extension(seen): Extension<Seen>,
    request: Request,
    next: Next,
) -> Response {
    {
        let mut noted = seen.note.edit();
        noted.route = Some("api");
        noted.action = Some("manage");
    }
    let asked = format!("{} {PREFIX}{}", request.method(), request.uri().path());
    let answer = next.run(request).await;
    let untold = seen.note.edit().untold.take();
    let Some(Tell { who, mut event }) = untold else {
        return answer;
    };
    if event.resource.is_empty() {
        event.resource = asked;
    }
    match registry.meta().change(Tell { who, event }).await {
        Ok(()) => answer,
        Err(error) => error.answer(&seen.rid),
    }
}

/// What is answered where there is nothing.
pub(crate) async fn unknown(Extension(seen): Extension<Seen>) -> Response {
    Error::new(Code::NameUnknown, "no end point has this path").answer(&seen.rid)
}

/// What is answered where there is something, but not for this method.
pub(crate) async fn useless(Extension(seen): Extension<Seen>, method: Method) -> Response {
    let message = format!("{method} does nothing at this path");
    Error::new(Code::Unsupported, message).answer(&seen.rid)
}

/// A request of the management API whose caller is known.
pub(crate) struct Admin {
    registry: Registry,
    caller: Caller,
    seen: Seen,
    query: Vec<(String, String)>,
    /// Without what all paths begin with.
    uri: Uri,
    headers: HeaderMap,
    /// Whether the client says that it names projects by their names.
    has_names: bool,
    /// What its answer warns of.
    warning: OnceLock<String>,
}

/// What a handler gives: an answer, or why not.
type Outcome<T> = Result<(Warned, T), Refusal>;

/// What is warned of in the header of an answer, if anything is.
type Warned = AppendHeaders<Option<(HeaderName, String)>>;

/// A refusal with the id of its request.
pub(crate) struct Refusal(Error, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.0.answer(&self.1)
    }
}

/// What is said to who did not log in and should.
fn unknown_caller() -> Error {
    Error::new(Code::Unauthorized, "log in first")
}

/// Whether a request only looks at what public projects have too, which everybody may.
fn is_open(method: &Method, path: &str) -> bool {
    let mut path = path.split('/').skip(1);
    let is_open = match (path.next(), path.next(), path.next()) {
        (Some("search" | "repositories"), None, _) => true,
        (Some("projects"), _, None) => true,
        (Some("projects"), Some(_), Some(what)) => matches!(what, "repositories" | "artifacts"),
        _ => false,
    };
    is_open && matches!(*method, Method::GET | Method::HEAD)
}

impl FromRequestParts<Registry> for Admin {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut Parts,
        registry: &Registry,
    ) -> Result<Self, Self::Rejection> {
        let seen = parts.extensions.get::<Seen>().cloned();
        let Some(seen) = seen else {
            let error = Error::internal("the request", &"nobody watches it");
            return Err(Refusal(error, String::new()));
        };
        let caller = auth::identify(registry, &parts.headers, &seen).await;
        let caller = caller.and_then(|caller| match caller {
            caller if caller.is_nobody() && !is_open(&parts.method, parts.uri.path()) => {
                Err(unknown_caller())
            }
            caller => Ok(caller),
        });
        let challenged = |error| {
            Refusal(
                auth::log_in_challenge(error, registry, &parts.headers),
                seen.rid.clone(),
            )
        };
        let query = axum::extract::Query::try_from_uri(&parts.uri);
        let query = query.map_err(|error| Refusal(wrong(error.body_text()), seen.rid.clone()))?;
        let caller = caller.map_err(challenged)?;
        parts.extensions.insert(caller.who(&seen).sender());
        Ok(Self {
            registry: registry.clone(),
            caller,
            query: query.0,
            uri: parts.uri.clone(),
            headers: parts.headers.clone(),
            has_names: parts.headers.get(IS_NAME).is_some_and(|is| is == "true"),
            warning: OnceLock::new(),
            seen,
        })
    }
}

impl Admin {
    fn who(&self) -> Who {
        self.caller.who(&self.seen)
    }

    fn param(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whose view of what there is this is: everything, or what an account may see; 0 is who sees
    /// what everybody sees.
    fn viewer(&self) -> Option<i64> {
        match &self.caller {
            caller if caller.is_admin() => None,
            Caller::Account(account) => Some(account.id),
            _ => Some(0),
        }
    }

    /// The projects that the caller may see.
    fn reach(&self) -> Reach {
        match auth::reach(&self.caller) {
            // A token is for repositories.
            Reach::Repos(_) => Reach::Projects(Vec::new()),
            reach => reach,
        }
    }

    /// Does what has begun to its end, also if its client goes away.
    async fn to_its_end<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let done = self.registry.spawn(work).await;
        done.unwrap_or_else(|error| Err(Error::internal(what, &error)))
    }

    /// Refuses what changes what can be pulled while that is not to be changed.
    fn require_writable(&self) -> Result<(), Error> {
        settings::check_writable(&self.registry)
    }

    /// Refuses all but system administrators.
    fn require_admin(&self) -> Result<(), Error> {
        if self.caller.is_admin() {
            return Ok(());
        }
        let message = format!("{} is no system administrator", self.caller.name());
        Err(Error::new(Code::Denied, message))
    }

    /// Refuses who has not at least this role in a project. What may not even be seen is not there.
    async fn require_role(&self, project: &str, role: Option<Role>) -> Result<(), Error> {
        if self.caller.is_admin() {
            return Ok(());
        }
        // Who may pull sees what there is.
        let is_seen = self.robot_may(project, Action::Pull);
        if is_seen && role.is_none() {
            return Ok(());
        }
        let account = match &self.caller {
            Caller::Account(account) => Some(account.id),
            _ => None,
        };
        let standing = self.registry.meta().standing(account, project).await?;
        match (role, standing.role) {
            (Some(least), Some(role)) if role >= least => Ok(()),
            (None, Some(_)) => Ok(()),
            (None, None) if standing.is_public => Ok(()),
            // Who logs in may see more.
            _ if self.caller.is_nobody() => Err(unknown_caller()),
            (_, None) if !standing.is_public && !is_seen => Err(meta::unknown_project(project)),
            (least, _) => {
                let least = least.map_or("a", Role::name);
                let message = format!(
                    "{} has not the role {least} in project {project}",
                    self.caller.name()
                );
                Err(Error::new(Code::Denied, message))
            }
        }
    }

    /// Whether the caller is a robot that may do this in a project.
    fn robot_may(&self, project: &str, action: Action) -> bool {
        let Caller::Robot { permissions, .. } = &self.caller else {
            return false;
        };
        permissions
            .iter()
            .any(|given| given.allows(project, action))
    }

    /// Refuses who may not do this to the artifacts of a project: a person without the role that it
    /// takes here, or a robot without the permission.
    async fn require_action(&self, project: &str, action: Action, role: Role) -> Result<(), Error> {
        match self.robot_may(project, action) {
            true => Ok(()),
            false => self.require_role(project, Some(role)).await,
        }
    }

    /// Whether the caller may see a project.
    async fn sees(&self, project: &str) -> Result<bool, Error> {
        self.meets(project, None).await
    }

    /// Whether the caller has at least this role in a project.
    async fn has_role(&self, project: &str, role: Role) -> Result<bool, Error> {
        self.meets(project, Some(role)).await
    }

    async fn meets(&self, project: &str, role: Option<Role>) -> Result<bool, Error> {
        match self.require_role(project, role).await {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.code, Code::NameUnknown | Code::Denied) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// An outcome with the id of this request. That something was denied is told once it is answered.
    fn outcome<T>(&self, result: Result<T, Error>) -> Outcome<T> {
        match result {
            Ok(answer) => {
                let said = self.warning.get();
                let warning = said.map(|text| (WARNING, warning(text)));
                Ok((AppendHeaders(warning), answer))
            }
            Err(mut error) => {
                if error.code == Code::Denied {
                    let denied = || Box::new(Event::new("access_denied", "api", ""));
                    error.event.get_or_insert_with(denied);
                }
                let untold = error.untold(|| self.who());
                self.seen.note.edit().untold = untold;
                let error = auth::challenge(error, &self.registry, &self.headers, None);
                Err(Refusal(error, self.seen.rid.clone()))
            }
        }
    }
}

/// What came of the work that a request asks for.
async fn answer<T>(admin: &Admin, work: impl Future<Output = Result<T, Error>>) -> Outcome<T> {
    admin.outcome(work.await)
}

/// What is refused because it is not what it should be.
fn wrong(message: impl Into<String>) -> Error {
    Error::new(Code::Unsupported, message).with_status(StatusCode::BAD_REQUEST)
}

/// What varies in a path.
struct Path<T>(T);

impl<T: DeserializeOwned + Send> FromRequestParts<Registry> for Path<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, registry: &Registry) -> Result<Self, Refusal> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, registry).await;
        match path {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(error) => Err(Refusal(wrong(error.body_text()), rid(&parts.extensions))),
        }
    }
}

/// The id of a request.
fn rid(extensions: &http::Extensions) -> String {
    let seen = extensions.get::<Seen>();
    seen.map(|seen| seen.rid.clone()).unwrap_or_default()
}

/// Bytes of a request.
const BODY_BYTES_MAX: usize = 2 << 20;

/// A body in JSON.
struct Body<T>(T);

impl<T: DeserializeOwned> FromRequest<Registry> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, registry: &Registry) -> Result<Self, Refusal> {
        let rid = rid(request.extensions());
        let value = read(request, registry, &rid).await?;
        let missing = || Refusal(wrong("there is no body; it is in JSON"), rid);
        value.map(Self).ok_or_else(missing)
    }
}

/// A body in JSON, or none where nothing in particular is asked for.
struct MaybeBody<T>(T);

impl<T: DeserializeOwned + Default> FromRequest<Registry> for MaybeBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, registry: &Registry) -> Result<Self, Refusal> {
        let rid = rid(request.extensions());
        let value = read(request, registry, &rid).await?;
        Ok(Self(value.unwrap_or_default()))
    }
}

/// What the body of a request says, if there is one.
async fn read<T: DeserializeOwned>(
    request: Request,
    registry: &Registry,
    rid: &str,
) -> Result<Option<T>, Refusal> {
    let refused = |error| Refusal(error, rid.to_owned());
    let (mut parts, body) = request.into_parts();
    // Nothing is read from somebody who was not looked at yet.
    let sender = parts.extensions.remove::<Sender>();
    let sender =
        sender.ok_or_else(|| refused(Error::internal("the request", &"nobody sent it")))?;
    let body = registry.room().gather(body, BODY_BYTES_MAX, sender).await;
    let body = body.map_err(|missing| {
        refused(missing.error("a request", "the management API", BODY_BYTES_MAX))
    })?;
    if body.bytes.is_empty() {
        return Ok(None);
    }
    let request = Request::from_parts(parts, body.bytes.clone().into());
    match Json::<T>::from_request(request, registry).await {
        Ok(Json(value)) => Ok(Some(value)),
        Err(error) => Err(refused(wrong(error.body_text()))),
    }
}
