//! Names and passwords, of people and of robots.

use std::time::Instant;

use super::throttle::Guesser;
use super::{Auth, Caller, ROBOT_PREFIX};
use crate::error::{Code, Error};
use crate::logs::Seen;
use crate::meta::{Account, Event, Robot, Tell};
use crate::registry::Registry;
use crate::who::Who;

/// Characters of the name of who did not log in that are written down.
const NAME_CHARS_MAX: usize = 128;

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
    // Who does not wait for the answer has not guessed wrong.
    let (registry, password) = (registry.clone(), password.to_owned());
    let hash = hash.map(str::to_owned);
    let checked = tokio::spawn(async move {
        let Auth {
            passwords,
            throttle,
            ..
        } = registry.auth();
        let is_right = passwords.check(&password, hash.as_deref()).await?;
        if is_right {
            throttle.succeeded(&attempt);
        }
        Ok(is_right)
    });
    let checked = checked.await;
    checked.unwrap_or_else(|error| Err(Error::internal("checking the password", &error)))
}

/// Who has a name.
pub(super) struct Named {
    /// The hash of the password, if there is anybody.
    pub(super) hash: Option<String>,
    /// The caller, or why it may not be one.
    pub(super) caller: Result<Caller, &'static str>,
}

impl Named {
    pub(super) async fn find(registry: &Registry, name: &str) -> Result<Self, Error> {
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
pub(super) fn usable_account(account: Option<Account>) -> Result<Caller, &'static str> {
    match account {
        Some(account) if account.is_disabled => Err("the account is disabled"),
        Some(account) => Ok(Caller::Account(account)),
        None => Err("there is no such account"),
    }
}

/// A robot as a caller, unless it may not be used now.
pub(super) fn usable_robot(robot: Option<Robot>, now_ms: i64) -> Result<Caller, &'static str> {
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
