//! What administrators may change while the registry runs. It is in the database, so that all processes
//! which serve a registry do the same, each a few seconds later at most. What the configuration says
//! comes first: it is in a file because it is not to be changed otherwise.

use std::sync::Arc;
use std::time::Duration;

use model::units::DurationNs;
use parking_lot::RwLock;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::error::{Code, Error};
use crate::registry::Registry;

/// How often is looked for what another process was told.
const POLL: Duration = Duration::from_secs(2);
/// Days that a robot has of which none are said.
const ROBOT_DAYS: i64 = 30;

/// Who may make projects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Creators {
    /// Everybody who has an account.
    Everyone,
    /// System administrators.
    AdminOnly,
}

/// What was said, under Harbor's names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    /// Who may make projects.
    pub(crate) project_creation_restriction: Option<Creators>,
    /// Whether nothing is pushed, moved or removed. Asked when a request begins, as Harbor does: what
    /// is under way then comes to its end.
    pub(crate) read_only: Option<bool>,
    /// Days until a robot expires of which none are said.
    pub(crate) robot_token_duration: Option<i64>,
    /// Bytes that a project may have of which nothing else is said; below zero is no bound.
    pub(crate) storage_per_project: Option<i64>,
    /// Minutes that a token holds.
    pub(crate) token_expiration: Option<i64>,
}

impl Settings {
    /// Who may make projects.
    pub(crate) fn creators(&self) -> Creators {
        self.project_creation_restriction
            .unwrap_or(Creators::AdminOnly)
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only.unwrap_or(false)
    }

    /// Days until a robot expires of which none are said.
    pub(crate) fn robot_days(&self) -> i64 {
        self.robot_token_duration.unwrap_or(ROBOT_DAYS)
    }

    /// How long a token holds.
    pub(crate) fn token_lifetime(&self, config: &Config) -> DurationNs {
        match self.token_expiration {
            Some(minutes) if !has_token_lifetime(config) => {
                DurationNs::from_secs(minutes.saturating_mul(60))
            }
            _ => config.token_lifetime,
        }
    }
}

/// Whether the configuration says how long a token holds.
pub(crate) fn has_token_lifetime(config: &Config) -> bool {
    config.token_lifetime != Config::default().token_lifetime
}

/// Whether the configuration says what projects may have at first.
pub(crate) fn has_quota(config: &Config) -> bool {
    config.projects.quota.0 > 0
}

/// What was said last, as far as is known here.
#[derive(Debug, Default)]
pub(crate) struct Known(RwLock<(u64, Arc<Settings>)>);

impl Known {
    pub(crate) fn get(&self) -> Arc<Settings> {
        Arc::clone(&self.0.read().1)
    }

    /// How often something was said here.
    pub(crate) fn times(&self) -> u64 {
        self.0.read().0
    }

    /// Takes what was said here.
    pub(crate) fn set(&self, settings: Settings) {
        let mut known = self.0.write();
        *known = (known.0 + 1, Arc::new(settings));
    }

    /// Takes what was looked up, unless something was said here since it was said so often.
    pub(crate) fn refresh(&self, times: u64, settings: Settings) {
        let mut known = self.0.write();
        if known.0 == times {
            known.1 = Arc::new(settings);
        }
    }
}

/// Refuses what changes what can be pulled while that is not to be changed.
pub(crate) fn check_writable(registry: &Registry) -> Result<(), Error> {
    if !registry.settings().is_read_only() {
        return Ok(());
    }
    let message = "the registry is read-only: nothing is pushed, moved or removed until an \
         administrator sets read_only to false";
    Err(Error::new(Code::Denied, message))
}

/// Runs until the stop.
pub(crate) async fn run(registry: &Registry, stop: &CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = stop.cancelled() => return,
        }
        if let Err(error) = registry.load_settings().await {
            tracing::warn!(
                %error,
                "it was not looked up what was set while the registry runs"
            );
        }
        if let Err(error) = registry.meta().load_revocations().await {
            tracing::warn!(%error, "it was not looked up whose tokens hold no more");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_looked_up_before_something_was_said_counts_no_more() {
        let known = Known::default();
        let times = known.times();
        let read_only = |is: bool| Settings {
            read_only: Some(is),
            ..Settings::default()
        };
        known.set(read_only(true));
        known.refresh(times, read_only(false));
        assert!(known.get().is_read_only());
        known.refresh(known.times(), read_only(false));
        assert!(!known.get().is_read_only());
    }

    #[test]
    fn what_the_configuration_says_comes_first() {
        let settings = Settings {
            token_expiration: Some(7),
            ..Settings::default()
        };
        let config = Config::default();
        assert_eq!(settings.token_lifetime(&config), DurationNs::from_secs(420));
        let config = Config {
            token_lifetime: DurationNs::from_secs(60),
            ..config
        };
        assert_eq!(settings.token_lifetime(&config), DurationNs::from_secs(60));
        let none = Settings::default();
        assert_eq!(
            none.token_lifetime(&Config::default()),
            DurationNs::from_secs(300)
        );
        assert_eq!(
            (none.robot_days(), none.creators()),
            (30, Creators::AdminOnly)
        );
    }
}
