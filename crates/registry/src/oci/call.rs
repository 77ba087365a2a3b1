//! One request.

use std::sync::Arc;

use axum::extract::Query;
use http::header::{CONTENT_LENGTH, HeaderName, IF_MATCH};
use http::request::Parts;
use http::{HeaderMap, Method};

use super::answer::names;
use super::page;
use super::path::Target;
use crate::auth::{self, Action, Caller};
use crate::error::{Code, Error};
use crate::logs::{Note, Seen};
use crate::meta::{Event, Upstream};
use crate::name::{Reference, RepoName};
use crate::registry::Registry;
use crate::settings;
use crate::who::Who;

/// A request without its body.
pub(crate) struct Call {
    pub(crate) registry: Registry,
    /// Who asks.
    pub(crate) caller: Caller,
    /// The same, for history and audit.
    pub(crate) who: Who,
    /// For the line of log that tells of it.
    pub(crate) note: Note,
    pub(crate) method: Method,
    pub(crate) target: Target,
    pub(crate) headers: HeaderMap,
    /// What `?ns=` says names of images begin with, if there is a project for that.
    pub(crate) namespace: Option<String>,
    query: Vec<(String, String)>,
}

impl Call {
    /// Takes a request apart, and refuses it if its caller may not do that.
    pub(crate) async fn new(registry: Registry, seen: &Seen, parts: Parts) -> Result<Self, Error> {
        let target = Target::parse(parts.uri.path())?;
        let query = Query::<Vec<_>>::try_from_uri(&parts.uri).map_err(|error| {
            let message = format!("the query of the URL cannot be read: {error}");
            Error::new(Code::Unsupported, message).with_status(http::StatusCode::BAD_REQUEST)
        })?;
        {
            let (route, action) = words(&target, &parts.method);
            let mut noted = seen.note.edit();
            noted.route = Some(route);
            noted.action = Some(action);
        }
        let namespace = namespace(&registry, &target, &parts.method, &query.0).await?;
        let scope = scope(&target, &parts.method, namespace.as_deref());
        let admitted = admit(&registry, seen, target, &parts, namespace.as_deref()).await;
        let (caller, target) =
            admitted.map_err(|error| auth::challenge(error, &registry, &parts.headers, scope))?;
        Ok(Self {
            registry,
            who: caller.who(seen),
            caller,
            note: seen.note.clone(),
            method: parts.method,
            target,
            headers: parts.headers,
            namespace,
            query: query.0,
        })
    }

    /// The same error with what tells its client which token would do.
    pub(crate) fn challenge(&self, error: Error) -> Error {
        let scope = scope(&self.target, &self.method, None);
        auth::challenge(error, &self.registry, &self.headers, scope)
    }

    /// The registry that a repository's project is a cache of.
    pub(crate) async fn upstream(&self, repo: &RepoName) -> Result<Option<Arc<Upstream>>, Error> {
        let upstream = self.registry.meta().upstream_of(repo.project()).await?;
        if let Some(upstream) = &upstream {
            self.note.edit().upstream = Some(upstream.text.name.clone());
        }
        Ok(upstream)
    }

    /// What the client calls a repository, who may think that it asks another registry, and what links
    /// say besides so that it goes on to.
    pub(super) fn asked<'r>(&self, repo: &'r RepoName) -> (&'r str, String) {
        match (&self.namespace, repo.as_str().split_once('/')) {
            (Some(namespace), Some((_, name))) => {
                (name, format!("&ns={}", page::escape(namespace)))
            }
            _ => (repo.as_str(), String::new()),
        }
    }

    /// The first value of a parameter.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.params(name).next()
    }

    /// All values of a parameter.
    pub(crate) fn params<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let named = self.query.iter().filter(move |(key, _)| key == name);
        named.map(|(_, value)| value.as_str())
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Refuses what the client wants only as long as it is something else: `If-Match`.
    pub(crate) fn check_match(&self, digest: &str) -> Result<(), Error> {
        let Some(wanted) = self.header(&IF_MATCH) else {
            return Ok(());
        };
        if names(wanted, digest) {
            return Ok(());
        }
        let message = format!("it is {digest}, which If-Match does not name");
        Err(Error::new(Code::PreconditionFailed, message))
    }

    /// How many bytes the client means to send.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.header(&CONTENT_LENGTH)?.parse().ok()
    }
}

/// The other registry that the client of a pull thinks that it asks, if there are caches of it.
async fn namespace(
    registry: &Registry,
    target: &Target,
    method: &Method,
    query: &[(String, String)],
) -> Result<Option<String>, Error> {
    let named = query.iter().find(|(key, _)| key == "ns");
    let is_pull = target.repo().is_some() && matches!(*method, Method::GET | Method::HEAD);
    let Some((_, namespace)) = named.filter(|_| is_pull) else {
        return Ok(None);
    };
    let upstreams = registry.meta().upstreams().await?;
    let has_caches = !upstreams.projects_of(namespace).is_empty();
    Ok(has_caches.then(|| namespace.clone()))
}

/// What the caller pulls who thinks that it asks another registry: a project that is a cache of it has
/// what is asked for.
async fn in_namespace(
    registry: &Registry,
    caller: &Caller,
    target: Target,
    namespace: &str,
) -> Result<Target, Error> {
    let Some(asked) = target.repo() else {
        return Ok(target);
    };
    if let Some(repo) = auth::mirrored(registry, caller, namespace, asked.as_str()).await? {
        return target.in_project(repo.project());
    }
    let named = format!("{namespace}/{asked}");
    Err(match caller {
        Caller::Anonymous | Caller::Token { .. } => {
            let message = format!("pull of {named} needs a login that may do that");
            Error::new(Code::Unauthorized, message)
        }
        caller => {
            let message = format!(
                "{} may not pull {named}: it has no role in a project that is a cache of {namespace}",
                caller.name()
            );
            let event = Event::new("access_denied", "repository", &named);
            Error::new(Code::Denied, message).with_event(event)
        }
    })
}

/// What has to be allowed for a request.
fn action(target: &Target, method: &Method) -> Action {
    match (target, method) {
        (Target::Uploads(_) | Target::Upload(..), _) => Action::Push,
        (_, &Method::GET | &Method::HEAD) => Action::Pull,
        (_, &Method::DELETE) => Action::Delete,
        _ => Action::Push,
    }
}

/// The caller, if it may do what it asks for, and what it asks for.
async fn admit(
    registry: &Registry,
    seen: &Seen,
    mut target: Target,
    parts: &Parts,
    namespace: Option<&str>,
) -> Result<(Caller, Target), Error> {
    let caller = auth::identify(registry, &parts.headers, seen).await?;
    if let Some(namespace) = namespace {
        let mirrored = in_namespace(registry, &caller, target, namespace).await;
        target = match mirrored {
            Ok(target) => target,
            Err(error) => return Err(error.told(registry.meta(), &caller.who(seen)).await),
        };
    }
    match target.repo() {
        Some(repo) => {
            let action = action(&target, &parts.method);
            auth::authorize(registry, &caller, repo, action, seen).await?;
            describe(&seen.note, &target);
            let is_change = !matches!(parts.method, Method::GET | Method::HEAD);
            if action != Action::Pull && is_change {
                settings::check_writable(registry)?;
            }
            if action == Action::Push {
                refuse_copies(registry, repo).await?;
            }
        }
        None if matches!(caller, Caller::Anonymous) => {
            return Err(Error::new(Code::Unauthorized, "log in first"));
        }
        None => {}
    }
    Ok((caller, target))
}

/// Refuses a push to where everything is a copy.
async fn refuse_copies(registry: &Registry, repo: &RepoName) -> Result<(), Error> {
    let Some(upstream) = registry.meta().upstream_of(repo.project()).await? else {
        return Ok(());
    };
    let message = format!(
        "project {} is a cache of {}: push there, or to another project",
        repo.project(),
        upstream.text.url
    );
    Err(Error::new(Code::Unsupported, message))
}

/// The scope of a token that would do. Which project is a cache of a namespace, not everybody may know.
fn scope(target: &Target, method: &Method, namespace: Option<&str>) -> Option<String> {
    let Some(repo) = target.repo() else {
        let is_catalog = *target == Target::Catalog;
        return is_catalog.then(|| "registry:catalog:*".to_owned());
    };
    let actions = match action(target, method) {
        Action::Pull => "pull",
        Action::Push => "pull,push",
        Action::Delete => "delete",
    };
    Some(match namespace {
        Some(namespace) => format!("repository:{namespace}/{repo}:{actions}"),
        None => format!("repository:{repo}:{actions}"),
    })
}

/// Notes what a request asks for, once its caller may. Whoever likes can make up names.
fn describe(note: &Note, target: &Target) {
    let mut noted = note.edit();
    if let Some(repo) = target.repo() {
        noted.project = Some(repo.project().to_owned());
        noted.repo = Some(repo.as_str().to_owned());
    }
    match target {
        Target::Blob(_, digest) | Target::Referrers(_, digest) => {
            noted.digest = Some(digest.as_str().to_owned());
        }
        Target::Manifest(_, Reference::Digest(digest)) => {
            noted.digest = Some(digest.as_str().to_owned());
        }
        Target::Manifest(_, Reference::Tag(tag)) => {
            noted.reference = Some(tag.as_str().to_owned());
        }
        Target::Upload(_, uuid) => noted.upload_id = Some(uuid.clone()),
        Target::Ping | Target::Catalog | Target::Tags(_) | Target::Uploads(_) => {}
    }
}

/// The route and the action of a request, as its line of log has them.
fn words(target: &Target, method: &Method) -> (&'static str, &'static str) {
    match (target, method) {
        (Target::Ping, _) => ("base", "ping"),
        (Target::Catalog, _) => ("catalog", "catalog"),
        (Target::Tags(_), _) => ("tags", "list"),
        (Target::Referrers(..), _) => ("referrers", "referrers"),
        (Target::Blob(..), &Method::HEAD) => ("blob", "head"),
        (Target::Blob(..), &Method::DELETE) => ("blob", "delete"),
        (Target::Blob(..), _) => ("blob", "pull"),
        (Target::Manifest(..), &Method::HEAD) => ("manifest", "head"),
        (Target::Manifest(..), &Method::DELETE) => ("manifest", "delete"),
        (Target::Manifest(..), &Method::PUT) => ("manifest", "push"),
        (Target::Manifest(..), _) => ("manifest", "pull"),
        (Target::Uploads(_), _) => ("blob_upload", "upload_start"),
        (Target::Upload(..), &Method::PATCH) => ("blob_upload_chunk", "upload_chunk"),
        (Target::Upload(..), &Method::PUT) => ("blob_upload_chunk", "upload_finish"),
        (Target::Upload(..), &Method::DELETE) => ("blob_upload_chunk", "upload_cancel"),
        (Target::Upload(..), _) => ("blob_upload_chunk", "upload_status"),
    }
}
