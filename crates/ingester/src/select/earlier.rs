//! What an earlier run of this process committed.
//!
//! It is not in this process's memory any more, and readers of the store may not have seen it yet.
//! So for some time after the start manifests are asked for what there is, once: what this process
//! has read of them since it started, for whatever reason, has all that an earlier run committed.

use futures::{StreamExt, stream};
use model::{TenantId, TimeRange};

use crate::ingester::Inner;
use crate::tenant::READER_LAG_MAX;

/// Days before today in which an earlier run may have committed something.
const DAYS_MAX: i64 = 31;
/// Manifests asked at once.
const ASKED_AT_ONCE: usize = 8;

impl Inner {
    /// The newest manifest entries of the days of a range, as (day, sequence), as far as they have
    /// to be asked for. Of a tenant that has rows here they are remembered.
    pub(super) async fn earlier_commits(
        &self,
        tenant: &TenantId,
        range: TimeRange,
    ) -> Vec<(i64, u64)> {
        let now_ns = self.clock.now_ns();
        if now_ns.saturating_sub(self.started_ns) > READER_LAG_MAX.0 {
            return Vec::new();
        }
        let owner = self.tenants.get(tenant);
        let is_known = |day: i64| owner.as_ref().is_some_and(|owner| owner.knows_day(day));
        let (days, today) = (range.days(), TimeRange::day_of(now_ns));
        let days = *days.start().max(&(today - DAYS_MAX))..=*days.end().min(&(today + 1));
        let unknown: Vec<i64> = days.filter(|day| !is_known(*day)).collect();
        if unknown.is_empty() {
            return Vec::new();
        }
        // If the store cannot be read, the querier cannot read it either, and says so.
        let there = match self.catalog.days_since(tenant, self.started_ns).await {
            Ok(there) => there,
            Err(error) => {
                tracing::debug!(%error, "cannot list manifests");
                return Vec::new();
            }
        };
        let asked = stream::iter(unknown).map(|day| self.newest(tenant, day, &there));
        let asked = asked.buffer_unordered(ASKED_AT_ONCE);
        let newest: Vec<(i64, u64)> = asked.filter_map(std::future::ready).collect().await;
        if let Some(owner) = owner {
            for (day, seq) in &newest {
                owner.learn_day(*day, *seq);
            }
        }
        newest
    }

    /// The newest manifest entry of a day, 0 if the day is not among those that have any.
    async fn newest(&self, tenant: &TenantId, day: i64, there: &[i64]) -> Option<(i64, u64)> {
        if there.binary_search(&day).is_err() {
            return Some((day, 0));
        }
        let newest = self.catalog.newest_since(tenant, day, self.started_ns);
        match newest.await {
            Ok(seq) => Some((day, seq)),
            Err(error) => {
                tracing::debug!(%error, day, "cannot read a manifest");
                None
            }
        }
    }
}
