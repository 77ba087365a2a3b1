//! What is wanted of another registry: when it is asked again, and what is given meanwhile.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use http::Method;

use super::ask::Question;
use super::{Failed, fetcher, name_there};
use crate::error::Error;
use crate::meta::Upstream;
use crate::metrics::{Cached, Metrics};
use crate::name::RepoName;
use crate::registry::Registry;
use crate::turns::Turn;
use crate::who::Who;

/// What is given to who asks, and where it was.
pub(crate) struct Found<T> {
    pub(crate) given: T,
    /// `hit` if it was here, `miss` if it was fetched, `stale` if something newer may be there.
    pub(crate) cache: &'static str,
    /// Why it may not be the newest.
    pub(crate) warning: Option<String>,
}

impl<T> Found<T> {
    /// Something of which nothing is to be said.
    pub(super) fn as_it_is(given: T, cache: &'static str) -> Self {
        Self {
            given,
            cache,
            warning: None,
        }
    }

    /// What is here, and what that is, where another registry does not say what it has.
    pub(super) fn stale(here: Option<T>, failed: Failed, what: &str) -> Result<Self, Failed> {
        let warning = failed.reason().map(|reason| format!("{reason}; {what}"));
        match (here, warning) {
            (Some(given), Some(warning)) => Ok(Self {
                given,
                cache: "stale",
                warning: Some(warning),
            }),
            _ => Err(failed),
        }
    }

    /// The same with something else made of what is given.
    pub(super) fn map<U>(self, make: impl FnOnce(T) -> U) -> Found<U> {
        Found {
            given: make(self.given),
            cache: self.cache,
            warning: self.warning,
        }
    }

    /// Counts whether it was here.
    pub(super) fn count(&self, metrics: &Metrics, cached: Cached) {
        match self.cache {
            "miss" => metrics.proxy_missed(cached),
            _ => metrics.proxy_hit(cached),
        }
    }
}

/// What another registry said of what it does not give.
#[derive(Clone)]
pub(super) struct Said {
    message: String,
    as_failed: fn(String) -> Failed,
}

impl Said {
    /// None if it may give it the next time.
    fn of(failed: &Failed) -> Option<Self> {
        let (message, as_failed): (_, fn(String) -> Failed) = match failed {
            Failed::Unknown(message) => (message, Failed::Unknown),
            Failed::Hidden(message) => (message, Failed::Hidden),
            Failed::Refused(message) => (message, Failed::Refused),
            Failed::TooMany { .. } | Failed::Down(_) | Failed::Own(_) => return None,
        };
        Some(Self {
            message: message.clone(),
            as_failed,
        })
    }

    fn failed(self) -> Failed {
        (self.as_failed)(self.message)
    }
}

/// What may be another thing tomorrow, so that it is asked for again and again.
#[async_trait]
pub(super) trait Changing: Clone + Send + Sync + 'static {
    type Given: Send;

    /// What it is called among all that is wanted.
    fn key(&self, repo: &RepoName) -> String;

    /// The same among what several registries say, or one before it was changed.
    fn key_there(&self, wanted: &Wanted) -> String {
        wanted.key_there(&self.key(&wanted.repo))
    }

    /// When it was asked for.
    fn asked(&self, wanted: &Wanted) -> Option<Instant>;

    /// What was given then, if it is here.
    async fn here(&self, wanted: &Wanted) -> Result<Option<Self::Given>, Failed>;

    /// Asks for it; gives it, and whether it had to be fetched.
    async fn ask(&self, wanted: &Wanted) -> Result<(Self::Given, &'static str), Failed>;
}

/// What is wanted of whom.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) registry: Registry,
    pub(super) upstream: Arc<Upstream>,
    pub(super) repo: RepoName,
    /// The repository as it is called there.
    pub(super) name: String,
    pub(super) who: Who,
}

impl Wanted {
    pub(super) fn new(
        registry: &Registry,
        upstream: &Arc<Upstream>,
        repo: &RepoName,
        who: &Who,
    ) -> Result<Self, Error> {
        Ok(Self {
            registry: registry.clone(),
            upstream: Arc::clone(upstream),
            repo: repo.clone(),
            name: name_there(upstream, repo)?,
            who: fetcher(who),
        })
    }

    pub(super) fn question(&self, method: Method, what: String) -> Question<'_> {
        Question {
            method,
            repo: &self.name,
            what,
            is_optional: false,
        }
    }

    /// What something is called among what several registries say, or one before it was changed.
    fn key_there(&self, key: &str) -> String {
        format!("{}:{}:{key}", self.upstream.id, self.upstream.updated_ms)
    }

    /// Asks for something, unless it was said just now that it is not there, or not for us: clients
    /// that were told a wrong name ask again and again.
    pub(super) async fn unless_unknown<T>(
        &self,
        key: &str,
        ask: impl Future<Output = Result<T, Failed>>,
    ) -> Result<T, Failed> {
        let (proxy, key) = (self.registry.proxy(), self.key_there(key));
        let lifetime = proxy.config.unknown_lifetime.as_std();
        if let Some((at, said)) = proxy.unknown.get(&key)
            && at.elapsed() < lifetime
        {
            return Err(said.failed());
        }
        let answer = ask.await;
        if let Err(failed) = &answer
            && let Some(said) = Said::of(failed)
        {
            proxy.unknown.insert(key, (Instant::now(), said));
        }
        answer
    }

    /// What something is now: as it was when it was asked for, if that is not long ago, or as the
    /// other registry says.
    pub(super) async fn current<C: Changing>(&self, what: C) -> Result<Found<C::Given>, Failed> {
        let (proxy, arrived) = (self.registry.proxy(), Instant::now());
        let key = what.key(&self.repo);
        let is_young = |age| what.asked(self).is_some_and(|at| at.elapsed() < age);
        let lifetime = proxy.config.tag_lifetime.as_std();
        let revalidated = lifetime + proxy.config.tag_stale_while_revalidate.as_std();
        if is_young(revalidated)
            && let Some(here) = what.here(self).await?
        {
            if !is_young(lifetime)
                && let Some(turn) = proxy.turns.try_enter(&key)
            {
                self.revalidate(turn, what, key);
            }
            return Ok(Found::as_it_is(here, "hit"));
        }
        let turn = proxy.turn(&key).await;
        if what.asked(self).is_some_and(|at| at >= arrived)
            && let Some(here) = what.here(self).await?
        {
            return Ok(Found::as_it_is(here, "hit"));
        }
        let _turn = turn?;
        let (given, cache) = self.unless_unknown(&key, what.ask(self)).await?;
        Ok(Found::as_it_is(given, cache))
    }

    /// Asks again while who wants to know has been told already.
    fn revalidate(&self, turn: Turn, what: impl Changing, key: String) {
        let wanted = self.clone();
        tokio::spawn(async move {
            let _turn = turn;
            if let Err(failed) = what.ask(&wanted).await {
                tracing::debug!(key, ?failed, "it was not asked for again");
            }
        });
    }
}
