//! How many blobs are fetched at once: from one registry, so that a slow one does not take what the
//! others need, and from all of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Failed;
use super::shares::Shares;
use crate::config::ProxyConfig;
use crate::meta::Upstream;

/// Blobs that are being fetched.
pub(super) struct Fetches {
    all: Arc<Semaphore>,
    each: Shares,
    wait_max: Duration,
}

/// The right to fetch one, until it is dropped.
pub(super) struct FetchTurn {
    _each: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Fetches {
    pub(super) fn new(config: &ProxyConfig) -> Self {
        Self {
            all: Arc::new(Semaphore::new(config.fetches_max.max(1))),
            each: Shares::new(config.upstream_fetches_max.max(1)),
            wait_max: config.answer_timeout.as_std(),
        }
    }

    /// Waits, but not for ever, until one may be fetched from a registry.
    pub(super) async fn enter(&self, upstream: &Upstream) -> Result<FetchTurn, Failed> {
        let each = self.wait(self.each.of(upstream.id)).await;
        let each = each.ok_or_else(|| {
            let name = &upstream.text.name;
            too_many("upstream_fetches_max", &format!(" from {name}"))
        })?;
        let all = self.wait(Arc::clone(&self.all)).await;
        let all = all.ok_or_else(|| too_many("fetches_max", ""))?;
        Ok(FetchTurn {
            _each: each,
            _all: all,
        })
    }

    async fn wait(&self, turns: Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        let turn = tokio::time::timeout(self.wait_max, turns.acquire_owned()).await;
        turn.ok()?.ok()
    }
}

fn too_many(setting: &str, place: &str) -> Failed {
    Failed::TooMany {
        message: format!("registry.proxy.{setting}: too many blobs are on their way{place}"),
        after: Duration::from_secs(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::UpstreamText;

    fn upstream(id: i64) -> Upstream {
        Upstream {
            id,
            text: UpstreamText::default(),
            created_ms: 0,
            updated_ms: 0,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_registry_does_not_take_what_others_need() {
        let fetches = Fetches::new(&ProxyConfig {
            fetches_max: 3,
            upstream_fetches_max: 2,
            ..ProxyConfig::default()
        });
        let (slow, well) = (upstream(1), upstream(2));
        let enter = async |upstream: &Upstream| fetches.enter(upstream).await.ok();
        let first = enter(&slow).await.unwrap();
        let second = enter(&slow).await.unwrap();
        assert!(enter(&slow).await.is_none());
        let third = enter(&well).await.unwrap();
        assert!(enter(&well).await.is_none(), "of all there are enough");
        drop((first, second, third));
        assert!(enter(&well).await.is_some());
    }
}
