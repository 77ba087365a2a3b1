//! What is kept for each tenant: its token bucket and its counters.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use foldhash::fast::RandomState;
use model::{Limits, TenantId};
use parking_lot::Mutex;

use crate::metrics::{Metrics, TenantCounters};

/// Tenants that are kept. One more takes the place of the one that has been silent longest.
const TENANTS_MAX: usize = 10_000;

/// Tokens that flow in at a rate up to a burst. One token is one byte.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled_ns: i64,
}

impl Bucket {
    /// Takes `bytes` if they are there. A bucket begins full.
    fn take(&mut self, rate: f64, burst: f64, bytes: f64, now_ns: i64) -> bool {
        let since_ns = now_ns.saturating_sub(self.filled_ns).max(0);
        self.tokens = (self.tokens + since_ns as f64 / 1e9 * rate).min(burst);
        self.filled_ns = now_ns;
        let enough = bytes <= self.tokens;
        if enough {
            self.tokens -= bytes;
        }
        enough
    }
}

/// One tenant.
pub(crate) struct Tenant {
    bucket: Mutex<Bucket>,
    seen_ns: AtomicI64,
    pub(crate) counters: TenantCounters,
}

impl Tenant {
    /// Takes `bytes` of the tenant's rate, which it shares with `distributors`.
    ///
    /// # Errors
    /// With the bytes per second that this process allows, if there are not enough.
    pub(crate) fn take(
        &self,
        limits: &Limits,
        distributors: usize,
        bytes: usize,
        now_ns: i64,
    ) -> Result<(), u64> {
        const MIB: f64 = 1_048_576.0;
        if limits.ingestion_rate_mb <= 0.0 {
            return Ok(());
        }
        let shares = match limits.ingestion_rate_strategy.as_str() {
            "local" => 1,
            _ => distributors.max(1),
        };
        let rate = limits.ingestion_rate_mb * MIB / shares as f64;
        let burst = limits.ingestion_burst_size_mb * MIB;
        if self.bucket.lock().take(rate, burst, bytes as f64, now_ns) {
            Ok(())
        } else {
            Err(rate as u64)
        }
    }
}

/// All tenants that pushed lately.
pub(crate) struct Tenants {
    known: Mutex<HashMap<TenantId, Arc<Tenant>, RandomState>>,
    metrics: Metrics,
}

impl Tenants {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self {
            known: Mutex::default(),
            metrics,
        }
    }

    pub(crate) fn get(&self, id: &TenantId, now_ns: i64) -> Arc<Tenant> {
        let mut known = self.known.lock();
        if let Some(tenant) = known.get(id) {
            tenant.seen_ns.store(now_ns, Ordering::Relaxed);
            return Arc::clone(tenant);
        }
        if known.len() >= TENANTS_MAX {
            let silent = known
                .iter()
                .min_by_key(|(_, tenant)| tenant.seen_ns.load(Ordering::Relaxed))
                .map(|(id, _)| id.clone());
            if let Some(silent) = silent {
                known.remove(&silent);
                self.metrics.forget(&silent);
            }
        }
        let tenant = Arc::new(Tenant {
            bucket: Mutex::new(Bucket {
                tokens: f64::INFINITY,
                filled_ns: now_ns,
            }),
            seen_ns: AtomicI64::new(now_ns),
            counters: self.metrics.tenant(id),
        });
        known.insert(id.clone(), Arc::clone(&tenant));
        tenant
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: i64 = 1_000_000_000;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let tenants = Tenants::new(Metrics::default());
        let tenant = tenants.get(&TenantId::single(), 0);
        let limits = Limits {
            ingestion_rate_mb: 1.0,
            ingestion_burst_size_mb: 2.0,
            ..Limits::default()
        };
        let mib = 1 << 20;
        assert_eq!(tenant.take(&limits, 1, 2 * mib, 0), Ok(()));
        assert_eq!(tenant.take(&limits, 1, 1, 0), Err(1 << 20));
        assert_eq!(tenant.take(&limits, 1, mib, SECOND_NS), Ok(()));
        assert_eq!(tenant.take(&limits, 1, mib, SECOND_NS), Err(1 << 20));
        // The clock went back: nothing flows in, nothing breaks.
        assert_eq!(tenant.take(&limits, 1, mib, 0), Err(1 << 20));
        // Shared by two distributors, half of the rate is ours.
        assert_eq!(tenant.take(&limits, 2, 3 * mib, 0), Err(1 << 19));
        assert_eq!(tenant.take(&limits, 2, 2 * mib, 100 * SECOND_NS), Ok(()));
    }

    #[test]
    fn no_rate_is_no_limit() {
        let tenants = Tenants::new(Metrics::default());
        let limits = Limits {
            ingestion_rate_mb: 0.0,
            ..Limits::default()
        };
        assert_eq!(
            tenants
                .get(&TenantId::single(), 0)
                .take(&limits, 1, usize::MAX, 0),
            Ok(())
        );
    }
}
