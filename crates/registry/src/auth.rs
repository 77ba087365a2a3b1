//! Who asks, and what they may do.
//!
//! A request shows a token, a name with a password, or nothing. Tokens say themselves what they
//! allow and are checked without asking the database; they are given out by `service`, and end
//! before their time if rights were taken away since (`meta::Subject`). Names are
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
pub(crate) use role::{Action, Permission, Role, Said};
use rotation::Lookups;
pub(crate) use rotation::{rotate, run};
pub(crate) use service::{challenge, log_in_challenge, routes};
use throttle::{Guesser, Throttle};
use token::{Access, UNKNOWN_KEY};
pub(crate) use token::{Claims, Keys, SigningKey};

use crate::config::AuthMode;
use crate::error::{Code, Error};
use crate::gather::Sender;
use crate::logs::Seen;
use crate::meta::{Account, EnsureKey, Event, Meta, Reach, Robot, Subject, Tell};
use crate::name::RepoName;
use crate::registry::Registry;
use crate::who::{Kind, Who};

/// The name of nobody in particular.
pub(crate) const ANONYMOUS: &str = "anonymous";
/// What robots' names begin with.
pub(crate) const ROBOT_PREFIX: &str = "robot$";
/// Characters of the name of who did not log in that are written down.
const NAME_CHARS_MAX: usize = 128;
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

    /// Whose room the bodies of its requests take.
    pub(crate) fn sender(&self) -> Sender {
        Sender(match self {
            Self::Everyone => None,
            caller => Some(caller.name().to_owned()),
        })
    }

    /// When it may do nothing any more, in seconds since 1970.
    fn ends_s(&self) -> Option<i64> {
        match self {
            Self::Robot { expires_ms, .. } => expires_ms.map(|at| at / 1000),
            _ => None,
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

/// Checks a name and a password, or a robot's secret.
pub(crate) async fn login(
    registry: &Registry,
    name: &str,
    password: &str,
    seen: &Seen,
) -> Result<Caller, Error> {
    let who = Who {
        name: name.chars().take(NAME_CHARS_MAX).collect(),
        ..Caller::Anonymous.who(seen)
    };
    // Who it says that it is, also if it is not.
    {
        let mut noted = seen.note.edit();
        noted.user = Some(who.name.clone());
        noted.auth = Some("basic");
    }
    let named = Named::find(registry, name).await?;
    let hash = named.hash.as_deref();
    let is_right = check(registry, &who, password, hash).await?;
    let reason = match named.caller {
        Ok(caller) if is_right => return Ok(caller),
        Ok(_) => "the password is wrong",
        Err(reason) => reason,
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

/// Whether a password is right. One that was is not waited with, whoever else guesses.
async fn check(
    registry: &Registry,
    who: &Who,
    password: &str,
    hash: Option<&str>,
) -> Result<bool, Error> {
    let Auth {
        passwords,
        throttle,
        ..
    } = registry.auth();
    if passwords.was_right(password, hash) {
        return passwords.check(password, hash).await;
    }
    let guesser = Guesser::new(&who.name, &who.remote);
    let turn = throttle.turn(&guesser).await;
    let _turn = turn.map_err(|refused| refused.error())?;
    if passwords.was_right(password, hash) {
        return passwords.check(password, hash).await;
    }
    let attempt = match throttle.attempt(guesser, Instant::now()) {
        Ok(attempt) => attempt,
        Err(refused) => {
            let error = refused.error();
            // Of many that have to wait the first is told of.
            if refused.is_news {
                let event = Event {
                    reason: Some(error.message.clone()),
                    ..Event::new("login_throttled", "user", &who.name)
                };
                let who = who.clone();
                registry.meta().change(Tell { who, event }).await?;
            }
            return Err(error);
        }
    };
    let is_right = passwords.check(password, hash).await?;
    if is_right {
        throttle.succeeded(&attempt);
    }
    Ok(is_right)
}

/// Who has a name.
struct Named {
    /// The hash of the password, if there is anybody.
    hash: Option<String>,
    /// The caller, or why it may not be one.
    caller: Result<Caller, &'static str>,
}

impl Named {
    async fn find(registry: &Registry, name: &str) -> Result<Self, Error> {
        let meta = registry.meta();
        Ok(if name.starts_with(ROBOT_PREFIX) {
            let robot = meta.robot(name).await?;
            Self {
                hash: robot.as_ref().map(|robot| robot.secret.clone()),
                caller: usable_robot(robot, meta.now_ms()),
            }
        } else {
            let account = meta.account(name).await?;
            Self {
                hash: account.as_ref().map(|account| account.password.clone()),
                caller: usable_account(account),
            }
        })
    }
}

/// An account as a caller, unless it may not be used.
fn usable_account(account: Option<Account>) -> Result<Caller, &'static str> {
    match account {
        Some(account) if account.is_disabled => Err("the account is disabled"),
        Some(account) => Ok(Caller::Account(account)),
        None => Err("there is no such account"),
    }
}

/// A robot as a caller, unless it may not be used now.
fn usable_robot(robot: Option<Robot>, now_ms: i64) -> Result<Caller, &'static str> {
    match robot {
        Some(robot) if robot.is_disabled => Err("the robot is disabled"),
        Some(robot) if robot.expires_ms.is_some_and(|at| at <= now_ms) => {
            Err("the robot has expired")
        }
        Some(robot) => Ok(Caller::Robot {
            name: robot.name,
            permissions: robot.permissions,
            expires_ms: robot.expires_ms,
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
        Kind::Robot => {
            let robot = registry.meta().robot(name).await?;
            usable_robot(robot, registry.meta().now_ms())
        }
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

/// The repositories that a caller may pull from.
pub(crate) fn reach(caller: &Caller) -> Reach {
    let pulls = |permission: &&Permission| permission.actions.contains(&Action::Pull);
    match caller {
        caller if caller.is_admin() => Reach::All,
        Caller::Account(account) => Reach::Account(account.id),
        Caller::Robot { permissions, .. } => {
            let given = permissions.iter().filter(pulls);
            let projects: Vec<String> = given.map(|given| given.project.clone()).collect();
            match projects.iter().any(|project| project == "*") {
                true => Reach::All,
                false => Reach::Projects(projects),
            }
        }
        Caller::Token { access, .. } => {
            let pulls = |access: &&Access| {
                access.kind == "repository" && access.actions.iter().any(|name| name == "pull")
            };
            let given = access.iter().filter(pulls);
            Reach::Repos(given.map(|access| access.name.clone()).collect())
        }
        Caller::Everyone | Caller::Anonymous => Reach::Projects(Vec::new()),
    }
}

/// The repositories that a caller may know of. Who shows a token that says that it is for the catalog
/// knows of what whom it was given to may pull.
pub(crate) async fn listed(registry: &Registry, caller: &Caller) -> Result<Reach, Error> {
    match caller {
        Caller::Token { access, .. } => {
            let is_catalog = |access: &Access| {
                access.kind == "registry"
                    && access.name == "catalog"
                    && access.actions.iter().any(|name| name == "*")
            };
            if !access.iter().any(is_catalog) {
                let message = "the list of repositories needs a token that is for it";
                return Err(Error::new(Code::Unauthorized, message));
            }
            let owner = owner(registry, caller).await?;
            Ok(owner.map_or(Reach::Projects(Vec::new()), |owner| reach(&owner)))
        }
        caller => Ok(reach(caller)),
    }
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

/// Why a caller may not do something with a repository.
async fn may_not(
    registry: &Registry,
    caller: &Caller,
    repo: &RepoName,
    action: Action,
) -> Result<String, Error> {
    let why = why_not(registry, caller, repo.project(), action).await?;
    let (who, name) = (caller.name(), action.name());
    Ok(format!("{who} may not {name} {repo}: {why}"))
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
            let message = may_not(registry, caller, repo, action).await?;
            let event = Event::new("access_denied", "repository", repo.as_str()).in_repo(repo);
            let error = Error::new(Code::Denied, message).with_event(event);
            Err(error.told(registry.meta(), &caller.who(seen)).await)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_robot_may_be_used_until_it_expires() {
        let robot = |expires_ms| Robot {
            name: "robot$ci".to_owned(),
            secret: String::new(),
            permissions: Vec::new(),
            is_disabled: false,
            expires_ms,
        };
        for (expires_ms, is_usable) in [(None, true), (Some(101), true), (Some(100), false)] {
            let usable = usable_robot(Some(robot(expires_ms)), 100);
            assert_eq!(usable.is_ok(), is_usable, "{expires_ms:?}");
        }
        let disabled = Robot {
            is_disabled: true,
            ..robot(None)
        };
        assert!(usable_robot(Some(disabled), 100).is_err());
        assert!(usable_robot(None, 100).is_err());
    }
}
