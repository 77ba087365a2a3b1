//! Which days a tenant has, remembered so that a warm query lists nothing.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use model::TenantId;
use parking_lot::{Mutex, RwLock};

use crate::error::StorageError;
use crate::key::{MANIFEST_ROOT, parse_day};
use crate::store::Store;

/// The days of one tenant.
#[derive(Debug, Default)]
pub(crate) struct Days {
    known: RwLock<BTreeSet<i64>>,
    /// When the store was last listed; 0 before the first time.
    listed_ns: AtomicI64,
    touched_ns: AtomicI64,
    listing: tokio::sync::Mutex<()>,
}

impl Days {
    /// Known days in a range.
    pub(crate) fn within(&self, days: RangeInclusive<i64>) -> Vec<i64> {
        if days.is_empty() {
            return Vec::new();
        }
        self.known.read().range(days).copied().collect()
    }

    pub(crate) fn insert(&self, day: i64) {
        if !self.known.read().contains(&day) {
            self.known.write().insert(day);
        }
    }

    pub(crate) fn touched_ns(&self) -> i64 {
        self.touched_ns.load(Ordering::Relaxed)
    }
}

/// The days of all tenants that were asked for.
#[derive(Debug, Default)]
pub(crate) struct DayBook {
    tenants: Mutex<HashMap<TenantId, Arc<Days>>>,
}

impl DayBook {
    /// A tenant's days as far as they are known.
    pub(crate) fn days(&self, tenant: &TenantId) -> Arc<Days> {
        let mut tenants = self.tenants.lock();
        Arc::clone(tenants.entry(tenant.clone()).or_default())
    }

    /// A tenant's days as listed not before `fresh_ns`. From now on the tenant is in use.
    pub(crate) async fn fresh_days(
        &self,
        store: &Store,
        tenant: &TenantId,
        now_ns: i64,
        fresh_ns: i64,
    ) -> Result<Arc<Days>, StorageError> {
        let days = self.days(tenant);
        days.touched_ns.store(now_ns, Ordering::Relaxed);
        self.listed_days(store, tenant, now_ns, fresh_ns).await
    }

    /// The same, without counting as a use.
    pub(crate) async fn listed_days(
        &self,
        store: &Store,
        tenant: &TenantId,
        now_ns: i64,
        fresh_ns: i64,
    ) -> Result<Arc<Days>, StorageError> {
        let days = self.days(tenant);
        if days.listed_ns.load(Ordering::Relaxed) >= fresh_ns {
            return Ok(days);
        }
        let _one_at_a_time = days.listing.lock().await;
        if days.listed_ns.load(Ordering::Relaxed) < fresh_ns {
            list(store, tenant, &days, now_ns).await?;
        }
        Ok(Arc::clone(&days))
    }

    /// Tenants asked for since `since_ns`; forgets the others.
    pub(crate) fn in_use(&self, since_ns: i64) -> Vec<TenantId> {
        let mut tenants = self.tenants.lock();
        tenants.retain(|_, days| days.touched_ns() >= since_ns);
        tenants.keys().cloned().collect()
    }

    /// Lists a tenant's days again, without counting as a use.
    pub(crate) async fn refresh(
        &self,
        store: &Store,
        tenant: &TenantId,
        now_ns: i64,
    ) -> Result<(), StorageError> {
        let days = self.days(tenant);
        let _one_at_a_time = days.listing.lock().await;
        list(store, tenant, &days, now_ns).await
    }
}

/// Days are only ever added here: a day that is gone from the store loads as an empty partition,
/// and a day committed during the listing must not be lost.
async fn list(
    store: &Store,
    tenant: &TenantId,
    days: &Days,
    now_ns: i64,
) -> Result<(), StorageError> {
    let listed = list_days(store, tenant).await?;
    days.known.write().extend(listed);
    days.listed_ns.store(now_ns, Ordering::Relaxed);
    Ok(())
}

/// The days under a tenant's manifest.
pub(crate) async fn list_days(store: &Store, tenant: &TenantId) -> Result<Vec<i64>, StorageError> {
    let names = store
        .list_directories(&format!("{MANIFEST_ROOT}/{tenant}"))
        .await?;
    Ok(names.iter().filter_map(|name| parse_day(name)).collect())
}
