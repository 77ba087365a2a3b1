//! Who asks, and what they may do.
//!
//! A request shows a token, a name with a password, or nothing. Tokens say themselves what they
//! allow and are checked without asking the database; they are given out by `service`, and end
//! before their time if rights were taken away since (`meta::Subject`). Names are
//! those of people (accounts, with roles in projects) and of robots (with permissions of their own).
//! Nobody in particular may pull from public projects.

mod admin;
mod allowed;
mod login;
mod mirrored;
mod password;
mod refresh;
mod role;
mod rotation;
mod service;
mod throttle;
mod token;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

pub(crate) use admin::FirstAdmin;
use allowed::may_not;
pub(crate) use allowed::{allows, authorize, listed, reach};
pub(crate) use login::login;
use login::{Named, usable_account, usable_robot};
pub(crate) use mirrored::mirrored;
use password::Passwords;
pub(crate) use password::{generate, hash};
pub(crate) use role::{Action, Permission, Role, SYSTEM, Said};
use rotation::Lookups;
pub(crate) use rotation::{rotate, run};
pub(crate) use service::{challenge, external_url, log_in_challenge, routes};
use throttle::Throttle;
use token::{Access, UNKNOWN_KEY};
pub(crate) use token::{Claims, Keys, SigningKey};

use crate::config::AuthMode;
use crate::error::{Code, Error};
use crate::logs::Seen;
use crate::meta::{Account, EnsureKey, Meta, Subject};
use crate::registry::Registry;
use crate::who::{Kind, Who};

/// The name of nobody in particular.
pub(crate) const ANONYMOUS: &str = "anonymous";
/// What robots' names begin with.
pub(crate) const ROBOT_PREFIX: &str = "robot$";
/// Who tokens are for.
const SERVICE: &str = "registry";
/// Why a token does not hold that was taken back.
const REVOKED: &str = "the password or the rights of whom the token was given to are others now; \
    log in again";

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// Everybody may do everything here.
    Everyone,
    /// Nobody in particular.
    Anonymous,
    /// A person.
    Account(Account),
    /// A program.
    Robot {
        name: String,
        permissions: Vec<Permission>,
        /// When it may be used no more, in milliseconds since 1970.
        expires_ms: Option<i64>,
    },
    /// Whoever the token was given to.
    Token {
        name: String,
        kind: Kind,
        access: Vec<Access>,
    },
}

impl Caller {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Everyone | Self::Anonymous => ANONYMOUS,
            Self::Account(account) => &account.name,
            Self::Robot { name, .. } | Self::Token { name, .. } => name,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Everyone | Self::Anonymous => Kind::Anonymous,
            Self::Account(_) => Kind::User,
            Self::Robot { .. } => Kind::Robot,
            Self::Token { kind, .. } => *kind,
        }
    }

    /// How the caller showed who it is, as the log has it.
    fn auth(&self) -> &'static str {
        match self {
            Self::Everyone | Self::Anonymous => "anonymous",
            Self::Account(_) => "basic",
            Self::Robot { .. } => "robot",
            Self::Token { .. } => "token",
        }
    }

    /// The caller of a request, for history and audit.
    pub(crate) fn who(&self, seen: &Seen) -> Who {
        Who {
            name: self.name().to_owned(),
            kind: self.kind(),
            remote: seen.remote.clone(),
            rid: seen.rid.clone(),
        }
    }

    /// Whether it is nobody in particular, also if it shows a token that everybody gets.
    pub(crate) fn is_nobody(&self) -> bool {
        match self {
            Self::Anonymous => true,
            Self::Token { kind, .. } => *kind == Kind::Anonymous,
            Self::Everyone | Self::Account(_) | Self::Robot { .. } => false,
        }
    }

    /// When it may do nothing any more, in seconds since 1970.
    fn ends_s(&self) -> Option<i64> {
        match self {
            Self::Robot { expires_ms, .. } => expires_ms.map(|at| at / 1000),
            _ => None,
        }
    }

    /// Whether it is a robot that may do this with the registry as a whole.
    pub(crate) fn was_given(&self, access: (&str, &str)) -> bool {
        match self {
            Self::Robot { permissions, .. } => permissions.iter().any(|given| given.gives(access)),
            Self::Everyone | Self::Anonymous | Self::Account(_) | Self::Token { .. } => false,
        }
    }

    /// Whether it may do everything.
    pub(crate) fn is_admin(&self) -> bool {
        match self {
            Self::Everyone => true,
            Self::Account(account) => account.is_admin,
            Self::Anonymous | Self::Robot { .. } | Self::Token { .. } => false,
        }
    }
}

/// What the registry needs to know callers.
pub(crate) struct Auth {
    pub(crate) keys: Keys,
    passwords: Arc<Passwords>,
    throttle: Throttle,
    lookups: Lookups,
}

impl Auth {
    /// Loads the keys that sign tokens, making the first one if there is none.
    pub(crate) async fn open(meta: &Meta) -> Result<Self, Error> {
        let (kid, pkcs8) = SigningKey::generate()?;
        meta.change(EnsureKey { kid, pkcs8 }).await?;
        let keys = meta.signing_keys().await?;
        let keys = keys.iter().map(|pkcs8| SigningKey::read(pkcs8));
        let auth = Self {
            keys: Keys::default(),
            passwords: Arc::new(Passwords::new()),
            throttle: Throttle::new(),
            lookups: Lookups::default(),
        };
        auth.keys.set(keys.collect::<Result<_, _>>()?);
        Ok(auth)
    }
}

/// What a request shows.
enum Shown<'a> {
    Nothing,
    Token(&'a str),
    Password(String, String),
}

fn shown(headers: &HeaderMap) -> Result<Shown<'_>, &'static str> {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Ok(Shown::Nothing);
    };
    let malformed = "the header Authorization cannot be read";
    let value = value.to_str().map_err(|_| malformed)?;
    let (scheme, rest) = value.split_once(' ').ok_or(malformed)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Shown::Token(rest.trim()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err("there are Basic and Bearer");
    }
    let decoded = STANDARD.decode(rest.trim()).map_err(|_| malformed)?;
    let decoded = String::from_utf8(decoded).map_err(|_| malformed)?;
    let (name, password) = decoded.split_once(':').ok_or(malformed)?;
    Ok(Shown::Password(name.to_owned(), password.to_owned()))
}

/// Who a request is from.
///
/// # Errors
/// If what it shows does not hold.
pub(crate) async fn identify(
    registry: &Registry,
    headers: &HeaderMap,
    seen: &Seen,
) -> Result<Caller, Error> {
    if registry.config().auth == AuthMode::None {
        return Ok(noted(Caller::Everyone, seen));
    }
    let unauthorized = |why: &str| Error::new(Code::Unauthorized, why);
    let caller = match shown(headers).map_err(unauthorized)? {
        Shown::Nothing => Caller::Anonymous,
        Shown::Token(token) => {
            let claims = check_token(registry, token, SERVICE).await?;
            bearer(registry.meta(), claims.map_err(unauthorized)?).await?
        }
        Shown::Password(name, password) => login(registry, &name, &password, seen).await?,
    };
    Ok(noted(caller, seen))
}

/// Who shows a token, with what of it was not taken back since it was given.
async fn bearer(meta: &Meta, claims: Claims) -> Result<Caller, Error> {
    let subject = match claims.kind {
        Kind::User => Some(Subject::Account(&claims.sub)),
        Kind::Robot => Some(Subject::Robot(&claims.sub)),
        Kind::Anonymous | Kind::System => None,
    };
    if let Some(subject) = subject
        && meta.is_revoked(subject, claims.revision).await?
    {
        return Err(Error::new(Code::Unauthorized, REVOKED));
    }
    let mut access = Vec::with_capacity(claims.access.len());
    for given in claims.access {
        let project = given.name.split('/').next().unwrap_or_default();
        let project = Subject::Project(project);
        if given.kind != "repository" || !meta.is_revoked(project, claims.revision).await? {
            access.push(given);
        }
    }
    Ok(Caller::Token {
        name: claims.sub,
        kind: claims.kind,
        access,
    })
}

/// What a token says, or why it does not hold. One of a key that is not known may be of a key that
/// another process made a moment ago.
async fn check_token(
    registry: &Registry,
    token: &str,
    audience: &str,
) -> Result<Result<Claims, &'static str>, Error> {
    let auth = registry.auth();
    let now_s = registry.meta().now_ms() / 1000;
    let checked = auth.keys.check(token, audience, now_s);
    if checked != Err(UNKNOWN_KEY) || !auth.lookups.may() {
        return Ok(checked);
    }
    rotation::load(registry).await?;
    Ok(auth.keys.check(token, audience, now_s))
}

fn noted(caller: Caller, seen: &Seen) -> Caller {
    let mut noted = seen.note.edit();
    noted.user = Some(caller.name().to_owned());
    noted.auth = Some(caller.auth());
    drop(noted);
    caller
}

/// Whom a token was given to, with all that they may do now; none for who shows no token.
pub(crate) async fn owner(registry: &Registry, caller: &Caller) -> Result<Option<Caller>, Error> {
    let Caller::Token { name, kind, .. } = caller else {
        return Ok(None);
    };
    let found = match kind {
        Kind::User => usable_account(registry.meta().account(name).await?),
        Kind::Robot => {
            let robot = registry.meta().robot(name).await?;
            usable_robot(robot, registry.meta().now_ms())
        }
        Kind::Anonymous | Kind::System => return Ok(None),
    };
    Ok(found.ok())
}
