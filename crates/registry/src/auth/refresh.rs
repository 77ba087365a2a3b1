//! Refresh tokens: what a client keeps instead of a password. One says who, and nothing about what
//! may be done: that is looked up each time. It ends with its time, its account, and its account's
//! password.

use super::token::Claims;
use super::{Caller, Named, check_token};
use crate::digest::{Algorithm, Digest};
use crate::error::{Code, Error};
use crate::logs::{Seen, new_id};
use crate::meta::{Event, Tell};
use crate::registry::Registry;
use crate::who::{Kind, Who};

/// Who refresh tokens are for: nothing but the token service takes them.
const AUDIENCE: &str = "registry-refresh";

/// What tells one password from another without telling the password.
fn mark(hash: &str) -> String {
    Digest::of(Algorithm::Sha256, hash.as_bytes())
        .as_str()
        .to_owned()
}

/// A refresh token for a caller that showed a password.
pub(super) async fn give(registry: &Registry, caller: &Caller) -> Result<Option<String>, Error> {
    let (name, kind, hash) = match caller {
        Caller::Account(account) => (&account.name, Kind::User, account.password.clone()),
        Caller::Robot { name, .. } => match registry.meta().robot(name).await? {
            Some(robot) => (name, Kind::Robot, robot.secret),
            None => return Ok(None),
        },
        Caller::Everyone | Caller::Anonymous | Caller::Token { .. } => return Ok(None),
    };
    let now_s = registry.meta().now_ms() / 1000;
    let claims = Claims {
        sub: name.clone(),
        kind,
        mark: Some(mark(&hash)),
        ..Claims::new(
            AUDIENCE,
            now_s,
            registry.config().refresh_lifetime,
            new_id(),
        )
    };
    Ok(Some(registry.auth().keys.sign(&claims)?))
}

/// The caller that a refresh token was given to.
///
/// # Errors
/// If it does not hold, or not any more.
pub(super) async fn take(registry: &Registry, token: &str, seen: &Seen) -> Result<Caller, Error> {
    let claims = check_token(registry, token, AUDIENCE).await?;
    let claims = claims.map_err(|reason| Error::new(Code::Unauthorized, reason))?;
    let named = Named::find(registry, &claims.sub).await?;
    let found = (named.hash.as_deref().map(mark), named.caller);
    let reason = match found {
        (hash, Ok(caller)) if hash == claims.mark => return Ok(caller),
        (_, Ok(_)) => "the password was changed",
        (_, Err(reason)) => reason,
    };
    let who = Who {
        name: claims.sub.clone(),
        kind: claims.kind,
        remote: seen.remote.clone(),
        rid: seen.rid.clone(),
    };
    let event = Event {
        reason: Some(reason.to_owned()),
        ..Event::new("token_denied", "user", &claims.sub)
    };
    registry.meta().change(Tell { who, event }).await?;
    let message = "the refresh token does not hold any more; log in again";
    Err(Error::new(Code::Unauthorized, message))
}
