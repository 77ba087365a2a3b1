//! Who asks, and what they may do.
//!
//! A request shows a token, a name with a password, or nothing. Tokens say themselves what they
//! allow and are checked without asking the database; they are given out by `service`. Names are
//! those of people (accounts, with roles in projects) and of robots (with permissions of their own).
//! Nobody in particular may pull from public projects.

mod admin;
mod password;
mod refresh;
mod role;
mod rotation;
mod service;
mod throttle;
mod token;

use std::sync::Arc;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

pub(crate) use admin::FirstAdmin;
use password::Passwords;
pub(crate) use password::{generate, hash};
pub(crate) use role::{Action, Permission, Role};
use rotation::Lookups;
pub(crate) use rotation::{rotate, run};
pub(crate) use service::{challenge, routes};
use throttle::Throttle;
use token::{Access, UNKNOWN_KEY};
pub(crate) use token::{Claims, Keys, SigningKey};

use crate::config::AuthMode;
use crate::error::{Code, Error};
use crate::logs::Seen;
use crate::meta::{Account, EnsureKey, Event, Meta, Robot, Tell};
use crate::name::RepoName;
use crate::registry::Registry;
use crate::who::{Kind, Who};

/// What robots' names begin with.
pub(crate) const ROBOT_PREFIX: &str = "robot$";
/// Attempts to guess a password that cost nothing.
const FREE_FAILURES: u32 = 5;
/// Who tokens are for.
const SERVICE: &str = "registry";

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
            Self::Everyone | Self::Anonymous => "anonymous",
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
            throttle: Throttle::new(FREE_FAILURES),
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
            let claims = claims.map_err(unauthorized)?;
            Caller::Token {
                name: claims.sub,
                kind: claims.kind,
                access: claims.access,
            }
        }
        Shown::Password(name, password) => login(registry, &name, &password, seen).await?,
    };
    Ok(noted(caller, seen))
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

/// Checks a name and a password, or a robot's secret.
pub(crate) async fn login(
    registry: &Registry,
    name: &str,
    password: &str,
    seen: &Seen,
) -> Result<Caller, Error> {
    let auth = registry.auth();
    let keys = [
        format!("account:{name}"),
        format!("address:{}", seen.remote),
    ];
    auth.throttle.check(&keys, Instant::now())?;
    let found = match name.starts_with(ROBOT_PREFIX) {
        true => robot(registry, name, password).await?,
        false => account(registry, name, password).await?,
    };
    match found {
        Ok(caller) => {
            let [account, _] = &keys;
            auth.throttle.succeeded(account);
            Ok(caller)
        }
        Err(reason) => {
            auth.throttle.failed(&keys, Instant::now());
            let who = Who {
                name: name.chars().take(128).collect(),
                ..Caller::Anonymous.who(seen)
            };
            let event = Event {
                reason: Some(reason.to_owned()),
                ..Event::new("login_failed", "user", &who.name)
            };
            registry.meta().change(Tell { who, event }).await?;
            // The client learns no more than that, so that names cannot be found out.
            let message = "the name or the password is wrong, or the account may not be used";
            Err(Error::new(Code::Unauthorized, message))
        }
    }
}

async fn account(
    registry: &Registry,
    name: &str,
    password: &str,
) -> Result<Result<Caller, &'static str>, Error> {
    let account = registry.meta().account(name).await?;
    let hash = account.as_ref().map(|account| account.password.as_str());
    let is_right = registry.auth().passwords.check(password, hash).await?;
    Ok(match account {
        Some(_) if !is_right => Err("the password is wrong"),
        account => usable_account(account),
    })
}

/// An account as a caller, unless it may not be used.
fn usable_account(account: Option<Account>) -> Result<Caller, &'static str> {
    match account {
        Some(account) if account.is_disabled => Err("the account is disabled"),
        Some(account) => Ok(Caller::Account(account)),
        None => Err("there is no such account"),
    }
}

async fn robot(
    registry: &Registry,
    name: &str,
    secret: &str,
) -> Result<Result<Caller, &'static str>, Error> {
    let robot = registry.meta().robot(name).await?;
    let hash = robot.as_ref().map(|robot| robot.secret.as_str());
    let is_right = registry.auth().passwords.check(secret, hash).await?;
    Ok(match robot {
        Some(_) if !is_right => Err("the secret is wrong"),
        robot => usable_robot(registry, robot),
    })
}

/// A robot as a caller, unless it may not be used.
fn usable_robot(registry: &Registry, robot: Option<Robot>) -> Result<Caller, &'static str> {
    let now_ms = registry.meta().now_ms();
    match robot {
        Some(robot) if robot.is_disabled => Err("the robot is disabled"),
        Some(robot) if robot.expires_ms.is_some_and(|at| at <= now_ms) => {
            Err("the robot has expired")
        }
        Some(robot) => Ok(Caller::Robot {
            name: robot.name,
            permissions: robot.permissions,
        }),
        None => Err("there is no such robot"),
    }
}

/// Whom a token was given to, with all that they may do now; none for who shows no token.
pub(crate) async fn owner(registry: &Registry, caller: &Caller) -> Result<Option<Caller>, Error> {
    let Caller::Token { name, kind, .. } = caller else {
        return Ok(None);
    };
    let found = match kind {
        Kind::User => usable_account(registry.meta().account(name).await?),
        Kind::Robot => usable_robot(registry, registry.meta().robot(name).await?),
        Kind::Anonymous | Kind::System => return Ok(None),
    };
    Ok(found.ok())
}

/// Whether a caller may do something with a repository.
pub(crate) async fn allows(
    registry: &Registry,
    caller: &Caller,
    repo: &RepoName,
    action: Action,
) -> Result<bool, Error> {
    let project = repo.project();
    let public = async || {
        let standing = registry.meta().standing(None, project).await?;
        Ok(action == Action::Pull && standing.is_public)
    };
    match caller {
        Caller::Everyone => Ok(true),
        Caller::Anonymous => public().await,
        Caller::Account(account) if account.is_admin => Ok(true),
        Caller::Account(account) => {
            let standing = registry.meta().standing(Some(account.id), project).await?;
            let by_role = standing.role.is_some_and(|role| role.allows(action));
            Ok(by_role || (action == Action::Pull && standing.is_public))
        }
        Caller::Robot { permissions, .. } => {
            let given = permissions
                .iter()
                .any(|given| given.allows(project, action));
            Ok(given || public().await?)
        }
        Caller::Token { access, .. } => Ok(access.iter().any(|access| {
            let named = access.kind == "repository" && access.name == repo.as_str();
            named && access.actions.iter().any(|name| name == action.name())
        })),
    }
}

/// Whether a caller may know that there is a repository.
pub(crate) async fn sees(
    registry: &Registry,
    caller: &Caller,
    repo: &RepoName,
) -> Result<bool, Error> {
    if let Caller::Token { access, .. } = caller
        && access
            .iter()
            .any(|access| access.kind == "registry" && access.name == "catalog")
    {
        return Ok(true);
    }
    allows(registry, caller, repo, Action::Pull).await
}

/// What a caller has in a project, and what it would need to do something there.
async fn why_not(
    registry: &Registry,
    caller: &Caller,
    project: &str,
    action: Action,
) -> Result<String, Error> {
    if let Caller::Robot { permissions, .. } = caller {
        let given = Action::ALL.into_iter().filter(|action| {
            let mut given = permissions.iter();
            given.any(|given| given.allows(project, *action))
        });
        let given: Vec<&str> = given.map(Action::name).collect();
        return Ok(match given.is_empty() {
            true => format!("this robot has no permission in project {project}"),
            false => format!(
                "this robot may only {} in project {project}",
                given.join(", ")
            ),
        });
    }
    let account = match caller {
        Caller::Account(account) => Some(account.id),
        _ => None,
    };
    let standing = registry.meta().standing(account, project).await?;
    let least = Role::least(action).name();
    Ok(match standing.role {
        Some(role) => {
            let role = role.name();
            format!("the role in project {project} is {role}, and it takes {least}")
        }
        None => format!("there is no role in project {project}, and it takes {least}"),
    })
}

/// Refuses what a caller may not do with a repository, and says so in the audit trail.
pub(crate) async fn authorize(
    registry: &Registry,
    caller: &Caller,
    repo: &RepoName,
    action: Action,
    seen: &Seen,
) -> Result<(), Error> {
    if allows(registry, caller, repo, action).await? {
        return Ok(());
    }
    let name = action.name();
    match caller {
        // Who has shown nothing, or too weak a token, may show more.
        Caller::Anonymous | Caller::Token { .. } => {
            let message = format!("{name} of {repo} needs a login that may do that");
            Err(Error::new(Code::Unauthorized, message))
        }
        _ => {
            let why = why_not(registry, caller, repo.project(), action).await?;
            let message = format!("{} may not {name} {repo}: {why}", caller.name());
            let event = Event {
                reason: Some(message.clone()),
                ..Event::new("access_denied", "repository", repo.as_str()).in_repo(repo)
            };
            let who = caller.who(seen);
            registry.meta().change(Tell { who, event }).await?;
            Err(Error::new(Code::Denied, message))
        }
    }
}
