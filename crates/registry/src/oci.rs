//! The end points of the OCI Distribution Specification.
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md>
//!
//! Names of repositories have slashes, so there is one route, and `path` says what is asked for.

mod answer;
mod blob;
mod call;
mod catalog;
mod chunk;
mod manifest;
mod page;
mod path;
mod pieces;
mod referrers;
mod tags;
mod upload;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::any;
use http::Method;
use http::header::ALLOW;

pub(crate) use answer::warning;
pub(crate) use call::Call;
pub(crate) use path::Target;
pub(crate) use upload::{Receiving, new_upload};

use crate::error::{Code, Error};
use crate::logs::{Seen, observe};
use crate::registry::Registry;
use crate::{api, auth, health, site, ui};

/// The end points that clients push to and pull from.
pub fn routes(registry: Registry) -> Router {
    Router::new()
        .route("/v2", any(dispatch))
        .route("/v2/", any(dispatch))
        .route("/v2/{*path}", any(dispatch))
        .merge(auth::routes())
        .merge(ui::routes())
        .merge(api::routes(registry.clone()))
        .fallback(api::unknown)
        .method_not_allowed_fallback(api::useless)
        .layer(from_fn_with_state(registry.clone(), site::refuse_others))
        .layer(from_fn_with_state(registry.clone(), observe))
        .merge(health::routes())
        .with_state(registry)
}

async fn dispatch(
    State(registry): State<Registry>,
    Extension(seen): Extension<Seen>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let (outcome, namespace) = match Call::new(registry, &seen, parts).await {
        Ok(call) => {
            let namespace = call.namespace.clone();
            let (registry, who) = (call.registry.clone(), call.who.clone());
            let outcome = match answer(call, body).await {
                Ok(answer) => Ok(answer),
                Err(error) => Err(error.told(registry.meta(), &who).await),
            };
            (outcome, namespace)
        }
        Err(error) => (Err(error), None),
    };
    let mut answer = outcome.unwrap_or_else(|error| error.answer(&seen.rid));
    answer::stamp(&mut answer, namespace.as_deref());
    answer
}

async fn answer(call: Call, body: Body) -> Result<Response, Error> {
    let target = call.target.clone();
    let method = call.method.clone();
    match (target, method) {
        (Target::Ping, Method::GET | Method::HEAD) => Ok(answer::ping()),
        (Target::Catalog, Method::GET | Method::HEAD) => catalog::list(call).await,
        (Target::Tags(repo), Method::GET | Method::HEAD) => tags::list(call, repo).await,
        (Target::Referrers(repo, digest), Method::GET | Method::HEAD) => {
            referrers::list(call, repo, digest).await
        }
        (Target::Blob(repo, digest), Method::GET | Method::HEAD) => {
            blob::pull(call, repo, digest).await
        }
        (Target::Blob(repo, digest), Method::DELETE) => blob::delete(call, repo, digest).await,
        (Target::Manifest(repo, reference), Method::GET | Method::HEAD) => {
            manifest::pull(call, repo, reference).await
        }
        (Target::Manifest(repo, reference), Method::PUT) => {
            manifest::push(call, body, repo, reference).await
        }
        (Target::Manifest(repo, reference), Method::DELETE) => {
            manifest::delete(call, repo, reference).await
        }
        (Target::Uploads(repo), Method::POST) => upload::begin(call, body, repo).await,
        (Target::Upload(repo, uuid), Method::GET) => upload::status(call, repo, uuid).await,
        (Target::Upload(repo, uuid), Method::PATCH) => upload::extend(call, body, repo, uuid).await,
        (Target::Upload(repo, uuid), Method::PUT) => upload::finish(call, body, repo, uuid).await,
        (Target::Upload(repo, uuid), Method::DELETE) => upload::cancel(call, repo, uuid).await,
        (target, method) => {
            let message = format!("{method} does nothing at this path");
            let error = Error::new(Code::Unsupported, message);
            Err(error.with_header(ALLOW, allowed(&target)))
        }
    }
}

/// The methods that do something with a target.
fn allowed(target: &Target) -> &'static str {
    match target {
        Target::Ping | Target::Catalog | Target::Tags(_) | Target::Referrers(..) => "GET, HEAD",
        Target::Blob(..) => "GET, HEAD, DELETE",
        Target::Manifest(..) => "GET, HEAD, PUT, DELETE",
        Target::Uploads(_) => "POST",
        Target::Upload(..) => "GET, PATCH, PUT, DELETE",
    }
}
