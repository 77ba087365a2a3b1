//! Gives out tokens, in the two ways that clients ask for them.
//! <https://distribution.github.io/distribution/spec/auth/token/>

use axum::extract::{DefaultBodyLimit, Extension, Form, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::header::{CACHE_CONTROL, HOST, HeaderName, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use model::units::DurationNs;
use serde_json::json;

use super::token::{Access, Claims};
use super::{Action, Caller, SERVICE, allows, identify, login, mirrored, refresh};
use crate::config::AuthMode;
use crate::error::{Code, Error};
use crate::logs::{Seen, new_id};
use crate::meta::{Event, Tell};
use crate::metrics::TokenResult;
use crate::name::RepoName;
use crate::registry::Registry;

/// Scopes that one token may have.
const SCOPES_MAX: usize = 100;
/// Repositories of one token that the audit trail tells were refused.
const REFUSALS_TOLD_MAX: usize = 10;
/// Bytes of the form that a token is asked for with, which is read before anybody has logged in.
const FORM_BYTES_MAX: usize = 16 << 10;
/// Where a proxy says what its client called.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Where tokens are given out, and the keys that they can be checked with.
pub(crate) fn routes() -> Router<Registry> {
    Router::new()
        .route("/service/token", get(by_get).post(by_post))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .route("/service/keys", get(keys))
}

/// What a client is told that has to show more: where to get a token, and for what. A name and
/// password are taken as well, but not asked for: Docker's client uses every scheme that it is
/// offered, and fails for want of a password where it has a token.
pub(crate) fn challenge(
    error: Error,
    registry: &Registry,
    headers: &HeaderMap,
    scope: Option<String>,
) -> Error {
    if registry.config().auth == AuthMode::None || error.code != Code::Unauthorized {
        return error;
    }
    let url = external_url(registry, headers);
    let mut value = format!("Bearer realm=\"{url}/service/token\",service=\"{SERVICE}\"");
    if let Some(scope) = scope {
        value.push_str(&format!(",scope=\"{scope}\""));
        if headers.contains_key(http::header::AUTHORIZATION) {
            value.push_str(",error=\"insufficient_scope\"");
        }
    }
    error.with_header(WWW_AUTHENTICATE, &value)
}

/// What somebody is told who has to log in with name and password, or may show a token: browsers ask
/// for the former.
pub(crate) fn log_in_challenge(error: Error, registry: &Registry, headers: &HeaderMap) -> Error {
    let is_asked = error.code == Code::Unauthorized;
    let error = challenge(error, registry, headers, None);
    match is_asked && registry.config().auth != AuthMode::None {
        true => error.with_header(WWW_AUTHENTICATE, &format!("Basic realm=\"{SERVICE}\"")),
        false => error,
    }
}

/// What clients reach the registry by.
pub(crate) fn external_url(registry: &Registry, headers: &HeaderMap) -> String {
    let configured = &registry.config().external_url;
    if !configured.is_empty() {
        return configured.trim_end_matches('/').to_owned();
    }
    let text = |name: &HeaderName| headers.get(name)?.to_str().ok();
    let scheme = text(&FORWARDED_PROTO).filter(|scheme| matches!(*scheme, "http" | "https"));
    let is_host = |host: &&str| {
        host.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-:[]_".contains(&b))
    };
    let host = text(&HOST).filter(is_host).unwrap_or("localhost");
    let own = match registry.config().tls.is_enabled() {
        true => "https",
        false => "http",
    };
    format!("{}://{host}", scheme.unwrap_or(own))
}

async fn keys(State(registry): State<Registry>) -> Response {
    Json(registry.auth().keys.public()).into_response()
}

type Params = Vec<(String, String)>;

fn value<'a>(params: &'a Params, name: &str) -> Option<&'a str> {
    let found = params.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_str())
}

async fn by_get(
    State(registry): State<Registry>,
    Extension(seen): Extension<Seen>,
    headers: HeaderMap,
    params: Result<Query<Params>, axum::extract::rejection::QueryRejection>,
) -> Response {
    note(&seen);
    let given = async {
        let revision = registry.meta().revision().await?;
        let caller = identify(&registry, &headers, &seen).await?;
        if let Caller::Token { .. } = caller {
            // It would never end: also for who may not log in any more.
            let message = "a token is given for a name and a password, not for another token";
            return Err(Error::new(Code::Unauthorized, message));
        }
        let params = params.map(|Query(params)| params).unwrap_or_default();
        give(&registry, caller, revision, &params, &seen).await
    };
    answer(given.await, &registry, &headers, &seen)
}

async fn by_post(
    State(registry): State<Registry>,
    Extension(seen): Extension<Seen>,
    headers: HeaderMap,
    params: Result<Form<Params>, axum::extract::rejection::FormRejection>,
) -> Response {
    note(&seen);
    let given = async {
        let Form(params) = params.map_err(|error| {
            let message = format!("the form cannot be read: {error}");
            let status = match error.status() {
                StatusCode::PAYLOAD_TOO_LARGE => StatusCode::PAYLOAD_TOO_LARGE,
                _ => StatusCode::BAD_REQUEST,
            };
            Error::new(Code::Unsupported, message).with_status(status)
        })?;
        let revision = registry.meta().revision().await?;
        let caller = match value(&params, "grant_type") {
            Some("password") => {
                let name = value(&params, "username").unwrap_or_default();
                let password = value(&params, "password").unwrap_or_default();
                login(&registry, name, password, &seen).await?
            }
            Some("refresh_token") => {
                let token = value(&params, "refresh_token").unwrap_or_default();
                refresh::take(&registry, token, &seen).await?
            }
            other => {
                let message = format!(
                    "grant_type {} is not known here; there are password and refresh_token",
                    other.unwrap_or("(none)")
                );
                let error = Error::new(Code::Unsupported, message);
                return Err(error.with_status(StatusCode::BAD_REQUEST));
            }
        };
        give(&registry, caller, revision, &params, &seen).await
    };
    answer(given.await, &registry, &headers, &seen)
}

fn note(seen: &Seen) {
    let mut noted = seen.note.edit();
    noted.route = Some("token");
    noted.action = Some("token");
}

fn answer(
    given: Result<serde_json::Value, Error>,
    registry: &Registry,
    headers: &HeaderMap,
    seen: &Seen,
) -> Response {
    registry.metrics().token(match given {
        Ok(_) => TokenResult::given,
        Err(_) => TokenResult::refused,
    });
    match given {
        Ok(token) => ([(CACHE_CONTROL, "no-store")], Json(token)).into_response(),
        Err(error) => log_in_challenge(error, registry, headers).answer(&seen.rid),
    }
}

/// A token for as much of what is asked for as the caller may do, who was looked up after this
/// revision was known.
async fn give(
    registry: &Registry,
    caller: Caller,
    revision: i64,
    params: &Params,
    seen: &Seen,
) -> Result<serde_json::Value, Error> {
    let scopes = params.iter().filter(|(name, _)| name == "scope");
    let scopes = scopes.flat_map(|(_, scopes)| scopes.split_whitespace());
    let (mut access, mut refused) = (Vec::new(), Vec::new());
    for scope in scopes.take(SCOPES_MAX) {
        access.extend(granted(registry, &caller, scope, &mut refused).await?);
    }
    tell_refused(registry, &caller, &refused, seen).await?;
    let now_s = registry.meta().now_ms() / 1000;
    let claims = Claims::new(SERVICE, now_s, registry.token_lifetime(), new_id());
    let claims = Claims {
        sub: caller.name().to_owned(),
        kind: caller.kind(),
        access,
        revision,
        exp: caller.ends_s().unwrap_or(i64::MAX).min(claims.exp),
        ..claims
    };
    let token = registry.auth().keys.sign(&claims)?;
    let issued_at = jiff::Timestamp::from_second(now_s).unwrap_or_default();
    let mut answer = json!({
        "token": token,
        "access_token": token,
        "expires_in": claims.exp - now_s,
        "issued_at": issued_at.to_string(),
    });
    if let Some(token) = refresh_token(registry, &caller, params).await? {
        answer["refresh_token"] = token.into();
    }
    Ok(answer)
}

/// What a client gets to keep, if it asks for that: the one that it came with, or a new one. With
/// OAuth2 it asks since it wants that; `docker login` always does, and keeps it instead of the password.
async fn refresh_token(
    registry: &Registry,
    caller: &Caller,
    params: &Params,
) -> Result<Option<String>, Error> {
    if let Some(token) = value(params, "refresh_token") {
        return Ok(Some(token.to_owned()));
    }
    let config = registry.config();
    let is_asked = value(params, "access_type") == Some("offline")
        || (config.identity_tokens && value(params, "offline_token") == Some("true"));
    match is_asked && config.refresh_lifetime > DurationNs(0) {
        true => refresh::give(registry, caller).await,
        false => Ok(None),
    }
}

/// Tells what a caller asked for and may not do. The token says only what it may, and what it is good
/// for is not asked again; who has not logged in is no news.
async fn tell_refused(
    registry: &Registry,
    caller: &Caller,
    refused: &[(RepoName, Action)],
    seen: &Seen,
) -> Result<(), Error> {
    if !matches!(caller, Caller::Account(_) | Caller::Robot { .. }) {
        return Ok(());
    }
    for (repo, action) in refused.iter().take(REFUSALS_TOLD_MAX) {
        let event = Event {
            reason: Some(super::may_not(registry, caller, repo, *action).await?),
            ..Event::new("token_denied", "repository", repo.as_str()).in_repo(repo)
        };
        let who = caller.who(seen);
        registry.meta().change(Tell { who, event }).await?;
    }
    Ok(())
}

/// What of a scope, `repository:name:pull,push`, the caller may do, and the first that is named of what
/// it may not. What is no scope of ours gives nothing.
async fn granted(
    registry: &Registry,
    caller: &Caller,
    scope: &str,
    refused: &mut Vec<(RepoName, Action)>,
) -> Result<Vec<Access>, Error> {
    let Some((kind, rest)) = scope.split_once(':') else {
        return Ok(Vec::new());
    };
    let Some((name, actions)) = rest.rsplit_once(':') else {
        return Ok(Vec::new());
    };
    // Of a class, as in `repository(plugin)`, are repositories like any others.
    let kind = kind.split('(').next().unwrap_or(kind);
    let actions: Vec<&str> = actions.split(',').collect();
    let given = match kind {
        "repository" => repository(registry, caller, name, &actions, refused).await?,
        // What is listed depends on who asks.
        "registry" if name == "catalog" && !caller.is_nobody() => {
            vec![(name.to_owned(), vec!["*".to_owned()])]
        }
        _ => Vec::new(),
    };
    let access = given.into_iter().map(|(name, actions)| Access {
        kind: kind.to_owned(),
        name,
        actions,
    });
    Ok(access.collect())
}

/// What the caller may do with the repository that is meant: of this name, or one that has it because
/// the name begins with that of another registry, as in the challenge of a pull with `?ns=`.
async fn repository(
    registry: &Registry,
    caller: &Caller,
    name: &str,
    actions: &[&str],
    refused: &mut Vec<(RepoName, Action)>,
) -> Result<Vec<(String, Vec<String>)>, Error> {
    let is_asked = |action: Action| actions.iter().any(|a| *a == action.name() || *a == "*");
    let mut given = Vec::new();
    if is_asked(Action::Pull)
        && let Some((namespace, name)) = name.split_once('/')
        && let Some(repo) = mirrored(registry, caller, namespace, name).await?
    {
        let pull = Action::Pull.name().to_owned();
        given.push((repo.as_str().to_owned(), vec![pull]));
    }
    let Ok(repo) = RepoName::parse(name) else {
        return Ok(given);
    };
    let (mut allowed, mut missing) = (Vec::new(), None);
    for action in Action::ALL.into_iter().filter(|action| is_asked(*action)) {
        match allows(registry, caller, &repo, action).await? {
            true => allowed.push(action.name().to_owned()),
            false => missing = missing.or(Some(action)),
        }
    }
    if given.is_empty() {
        // Who asks for all takes what there is.
        let missing = missing.filter(|action| actions.contains(&action.name()));
        refused.extend(missing.map(|action| (repo, action)));
    }
    given.push((name.to_owned(), allowed));
    Ok(given)
}
