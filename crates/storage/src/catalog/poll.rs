//! Looking for what others committed.

use std::sync::Arc;

use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::Catalog;
use super::deletes::DELETES_INTERVAL_NS;
use super::slot::Slot;

/// Partitions polled at once.
const POLLS_AT_ONCE: usize = 8;
/// Partitions and tenants not asked for within this time are not polled; the next reader asks.
const IN_USE_NS: i64 = 600_000_000_000;

impl Catalog {
    /// Keeps partitions in use up to date until `token` is cancelled, and looks once for what went
    /// while no process ran.
    pub async fn run(&self, token: CancellationToken) {
        let reconciled = async {
            if let Some(Err(error)) = token.run_until_cancelled(self.forget_removed()).await {
                tracing::warn!(%error, "cannot tell which parts of files the local disk should not have");
            }
        };
        let polling = self.keep_polling(&token);
        tokio::join!(polling, self.keep_deletes_known(&token), reconciled);
    }

    async fn keep_deletes_known(&self, token: &CancellationToken) {
        let interval = std::time::Duration::from_nanos(DELETES_INTERVAL_NS as u64);
        while token
            .run_until_cancelled(tokio::time::sleep(interval))
            .await
            .is_some()
        {
            if token
                .run_until_cancelled(self.poll_deletes())
                .await
                .is_none()
            {
                break;
            }
        }
    }

    /// Looks once for requests to delete lines of the tenants that were asked about lately.
    /// Failures are counted and logged; the next poll comes.
    pub async fn poll_deletes(&self) {
        let now_ns = self.0.clock.now_ns();
        let tenants = self.0.known_deletes.in_use(now_ns);
        futures::stream::iter(tenants)
            .for_each_concurrent(POLLS_AT_ONCE, |tenant| async move {
                if let Err(error) = self.list_deletes(&tenant).await {
                    self.0.store.metrics().poll_failures.inc();
                    tracing::warn!(%tenant, %error, "cannot list the requests to delete lines");
                }
            })
            .await;
    }

    async fn keep_polling(&self, token: &CancellationToken) {
        let interval = self.0.config.poll_interval.as_std();
        let interval = interval.max(std::time::Duration::from_millis(10));
        while token
            .run_until_cancelled(tokio::time::sleep(interval))
            .await
            .is_some()
        {
            if token.run_until_cancelled(self.poll()).await.is_none() {
                break;
            }
        }
    }

    /// Looks once for what others committed to the days and partitions in use, and drops from
    /// memory what was not in use for long. Failures are counted and logged; the next poll comes.
    pub async fn poll(&self) {
        self.weigh_indexes();
        let now_ns = self.0.clock.now_ns();
        let in_use_since_ns = now_ns.saturating_sub(IN_USE_NS);
        let tenants = self.0.book.in_use(in_use_since_ns);
        futures::stream::iter(tenants)
            .for_each_concurrent(POLLS_AT_ONCE, |tenant| async move {
                let listed = self.0.book.refresh(&self.0.store, &tenant, now_ns).await;
                if let Err(error) = listed {
                    self.0.store.metrics().poll_failures.inc();
                    tracing::warn!(%tenant, %error, "cannot list the days of a tenant");
                }
            })
            .await;
        let idle_since_ns = now_ns.saturating_sub(self.0.config.partition_idle.0);
        let max = self.0.config.partitions_max;
        let slots = self.0.slots.trim(idle_since_ns, max);
        let metrics = self.0.store.metrics();
        metrics
            .partitions
            .set(i64::try_from(slots.len()).unwrap_or(i64::MAX));
        let due = slots.into_iter().filter(|slot| {
            let interval_ns = self.poll_interval_ns(slot.day, now_ns);
            let looked_ns = slot.known().checked_ns;
            // A little early is better than a whole interval late.
            slot.is_touched_since(in_use_since_ns)
                && looked_ns.saturating_add(interval_ns / 2) <= now_ns
        });
        futures::stream::iter(due)
            .for_each_concurrent(POLLS_AT_ONCE, |slot| self.poll_slot(slot))
            .await;
    }

    async fn poll_slot(&self, slot: Arc<Slot>) {
        let _reading = slot.log.lock().await;
        if let Err(error) = self.catch_up(&slot, None).await {
            self.0.store.metrics().poll_failures.inc();
            tracing::warn!(
                tenant = %slot.tenant,
                day = crate::key::day_text(slot.day),
                error = %error,
                "cannot read a manifest"
            );
        }
    }
}
