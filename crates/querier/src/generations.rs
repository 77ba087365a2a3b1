//! Generations of what others cache of a tenant's answers.
//!
//! Answers about the past change when lines are deleted and when such a request is withdrawn, else
//! never. A generation is the second of the last such change. Requests are kept in storage, for all
//! queriers; what is not to be seen there (a request that was withdrawn, or who asked for a new
//! generation) is remembered here. Who starts knows nothing of that, so a generation is never older
//! than the process: a cache is emptied in vain then, but never used though it is wrong.

use std::collections::HashMap;

use model::{CodedError, TenantId};
use parking_lot::Mutex;

use crate::Querier;

const SECOND_NS: i64 = 1_000_000_000;
/// Tenants whose generations are remembered.
const TENANTS_MAX: usize = 10_000;

/// The generations that were raised here.
#[derive(Debug)]
pub(crate) struct Generations(Mutex<Raised>);

#[derive(Debug)]
struct Raised {
    /// That of all others.
    least: i64,
    by_tenant: HashMap<TenantId, i64>,
}

impl Generations {
    /// Those of a process that starts now.
    pub(crate) fn new(now_ns: i64) -> Self {
        Self(Mutex::new(Raised {
            least: now_ns / SECOND_NS,
            by_tenant: HashMap::new(),
        }))
    }

    fn get(&self, tenant: &TenantId) -> i64 {
        let raised = self.0.lock();
        raised
            .by_tenant
            .get(tenant)
            .copied()
            .unwrap_or(raised.least)
    }

    /// Gives a tenant a generation that it did not have; `known` is the last.
    fn raise(&self, tenant: &TenantId, known: i64, now_ns: i64) {
        let mut raised = self.0.lock();
        let own = raised
            .by_tenant
            .get(tenant)
            .copied()
            .unwrap_or(raised.least);
        let next = (known.max(own) + 1).max(now_ns / SECOND_NS);
        if raised.by_tenant.len() >= TENANTS_MAX && !raised.by_tenant.contains_key(tenant) {
            let newest = raised.by_tenant.drain().map(|(_, own)| own).max();
            raised.least = newest.unwrap_or(raised.least).max(next);
        }
        raised.by_tenant.insert(tenant.clone(), next);
    }
}

impl Querier {
    /// The generation of what others may have cached of a tenant's answers.
    ///
    /// # Errors
    /// If storage fails.
    pub async fn cache_generation(&self, tenant: &TenantId) -> Result<i64, CodedError> {
        let changed_ns = self.deletes_changed_ns(tenant).await?;
        Ok(self.generations.get(tenant).max(changed_ns / SECOND_NS))
    }

    /// Raises it.
    ///
    /// # Errors
    /// If storage fails.
    pub async fn raise_cache_generation(&self, tenant: &TenantId) -> Result<(), CodedError> {
        let known = self.cache_generation(tenant).await?;
        self.generations.raise(tenant, known, self.now_ns());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_only_go_up() {
        let tenant = |n: usize| TenantId::new(&format!("t{n}")).unwrap();
        let generations = Generations::new(5 * SECOND_NS);
        assert_eq!(generations.get(&tenant(1)), 5);
        generations.raise(&tenant(1), 5, 5 * SECOND_NS);
        assert_eq!(generations.get(&tenant(1)), 6);
        generations.raise(&tenant(1), 20, 9 * SECOND_NS);
        assert_eq!(generations.get(&tenant(1)), 21);
        assert_eq!(generations.get(&tenant(2)), 5);
        for n in 2..=TENANTS_MAX {
            generations.raise(&tenant(n), 0, 7 * SECOND_NS);
        }
        generations.raise(&tenant(0), 0, 7 * SECOND_NS);
        // The first tenant's place was needed.
        assert_eq!(generations.get(&tenant(1)), 21);
        assert_eq!(generations.0.lock().by_tenant.len(), 1);
    }
}
