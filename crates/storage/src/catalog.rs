//! What exists: the manifests of all partitions, read, remembered, extended.

mod claims;
mod commit;
mod days;
mod deletes;
mod files;
mod log;
mod poll;
mod reconcile;
mod repair;
mod slot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Weak};

use futures::{StreamExt, TryStreamExt};
use index::Index;
use model::{TenantId, TimeRange};
use parking_lot::Mutex;

use crate::cache::ByteCache;
use crate::clock::Clock;
use crate::config::{CatalogConfig, StorageConfig};
use crate::disk::{FileId, FileKind};
use crate::error::StorageError;
use crate::key::{DATA_ROOT, DELETES_ROOT, INDEX_ROOT, MANIFEST_ROOT};
use crate::manifest::PartitionState;
use crate::metrics::CacheName;
use crate::objects::Objects;
use crate::snapshot::{Partition, Snapshot};
use crate::store::Store;
pub use claims::Claim;
pub(crate) use claims::ClaimFile;
use days::DayBook;
pub use deletes::DeleteRequests;
pub use files::add_to_index;
use log::ManifestLog;
use slot::{Slot, Slots};

/// Partitions of one snapshot that are brought up to date at once.
const PARTITIONS_AT_ONCE: usize = 16;
/// What is known of a partition may be this many polls old before a reader looks for itself.
const POLLS_MISSED_MAX: i64 = 3;
/// A day that ended this long ago changes rarely.
const OLD_DAY_NS: i64 = 3_600_000_000_000;

/// What exists. Cloning shares it.
#[derive(Clone)]
pub struct Catalog(Arc<Inner>);

struct Inner {
    store: Store,
    objects: Objects,
    indexes: ByteCache<u128, Index>,
    /// Those that were given out since they were weighed last.
    used_indexes: Mutex<HashMap<u128, Weak<Index>>>,
    config: CatalogConfig,
    clock: Clock,
    slots: Slots,
    book: DayBook,
    deletes: deletes::ReadDeletes,
    known_deletes: deletes::KnownDeletes,
}

impl Catalog {
    /// A catalog of what lies in `store`. Reads nothing yet. Somebody must drive [`Self::run`].
    #[must_use]
    pub fn new(store: Store, config: &StorageConfig, clock: Clock) -> Self {
        let (metrics, index_bytes) = (store.metrics().clone(), config.cache.index.0);
        Self(Arc::new(Inner {
            indexes: ByteCache::new(CacheName::Index, index_bytes, 1, metrics),
            used_indexes: Mutex::default(),
            objects: Objects::new(store.clone(), &config.cache),
            config: config.catalog.clone(),
            store,
            clock,
            slots: Slots::default(),
            book: DayBook::default(),
            deletes: deletes::ReadDeletes::default(),
            known_deletes: deletes::KnownDeletes::default(),
        }))
    }

    /// The store below.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Data objects, cached.
    #[must_use]
    pub fn objects(&self) -> &Objects {
        &self.0.objects
    }

    /// The clock that the catalog goes by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// What a tenant has in a time range: every partition as of some moment not long ago, and not
    /// before the manifest entries `at_least` (day, sequence), which may name a day more than once.
    ///
    /// A partition in memory is taken as it is if it was looked at within the last polls; else, or
    /// if it is behind `at_least`, the store is asked.
    ///
    /// # Errors
    /// If the store has to be asked and fails, or a manifest is damaged.
    pub async fn snapshot(
        &self,
        tenant: &TenantId,
        range: TimeRange,
        at_least: &[(i64, u64)],
    ) -> Result<Snapshot, StorageError> {
        let days_touched = range.days();
        let mut wanted: BTreeMap<i64, u64> = BTreeMap::new();
        for (day, seq) in at_least {
            if days_touched.contains(day) {
                let most = wanted.entry(*day).or_default();
                *most = (*seq).max(*most);
            }
        }
        for day in self.known_days(tenant).await?.within(days_touched) {
            wanted.entry(day).or_default();
        }
        let loads = wanted.into_iter().map(|(day, seq)| async move {
            let state = self.partition_state(tenant, day, seq).await?;
            Ok::<_, StorageError>(Partition::new(tenant.clone(), day, range, state))
        });
        let partitions: Vec<Partition> = futures::stream::iter(loads)
            .buffered(PARTITIONS_AT_ONCE)
            .try_filter(|partition| futures::future::ready(partition.indexes().next().is_some()))
            .try_collect()
            .await?;
        Ok(Snapshot::new(tenant.clone(), partitions))
    }

    /// A partition as of now: the end of its manifest is looked for. This is for those who write: a
    /// damaged manifest is repaired.
    ///
    /// # Errors
    /// If the store fails, or the manifest is damaged so that it cannot be repaired.
    pub async fn latest(
        &self,
        tenant: &TenantId,
        day: i64,
    ) -> Result<Arc<PartitionState>, StorageError> {
        let slot = self.0.slots.slot(tenant, day);
        slot.touch(self.0.clock.now_ns());
        let _reading = slot.log.lock().await;
        self.catch_up_or_repair(&slot).await
    }

    /// The number of the newest manifest entry of a day, as of `since_ns` or later. Asks the store if
    /// nobody has since then.
    ///
    /// # Errors
    /// As [`Self::latest`].
    pub async fn newest_since(
        &self,
        tenant: &TenantId,
        day: i64,
        since_ns: i64,
    ) -> Result<u64, StorageError> {
        let known = self.0.slots.slot(tenant, day).known();
        if known.checked_ns >= since_ns.max(1) {
            return Ok(known.state.seq);
        }
        Ok(self.latest(tenant, day).await?.seq)
    }

    /// As [`Self::catch_up`] to the end, for those who write.
    async fn catch_up_or_repair(&self, slot: &Slot) -> Result<Arc<PartitionState>, StorageError> {
        match self.catch_up(slot, None).await {
            Err(error @ StorageError::Corrupt { .. }) => self.repair(slot, error).await,
            other => other,
        }
    }

    async fn partition_state(
        &self,
        tenant: &TenantId,
        day: i64,
        at_least: u64,
    ) -> Result<Arc<PartitionState>, StorageError> {
        let now_ns = self.0.clock.now_ns();
        let slot = self.0.slots.slot(tenant, day);
        slot.touch(now_ns);
        let fresh_ns = self.fresh_since_ns(day, now_ns);
        let satisfied = || {
            let known = slot.known();
            (known.checked_ns >= fresh_ns && known.state.seq >= at_least).then_some(known.state)
        };
        if let Some(state) = satisfied() {
            return Ok(state);
        }
        let _reading = slot.log.lock().await;
        // Whoever held the lock before may have read what we want.
        if let Some(state) = satisfied() {
            return Ok(state);
        }
        let known = slot.known();
        let blind = known.checked_ns >= fresh_ns && known.state.seq < at_least;
        self.catch_up(&slot, blind.then_some(at_least)).await
    }

    /// Since when a day must have been looked at to count as known.
    fn fresh_since_ns(&self, day: i64, now_ns: i64) -> i64 {
        let interval_ns = self.poll_interval_ns(day, now_ns);
        now_ns
            .saturating_sub(interval_ns.saturating_mul(POLLS_MISSED_MAX))
            .max(1)
    }

    fn poll_interval_ns(&self, day: i64, now_ns: i64) -> i64 {
        let end_ns = crate::snapshot::day_range(day).end_ns;
        if end_ns.saturating_add(OLD_DAY_NS) < now_ns {
            self.0.config.poll_interval_old.0
        } else {
            self.0.config.poll_interval.0
        }
    }

    /// Reads what follows the known state; the slot's log lock is held. With `until`, reading up
    /// to there is enough, and does not count as having seen the end.
    async fn catch_up(
        &self,
        slot: &Slot,
        until: Option<u64>,
    ) -> Result<Arc<PartitionState>, StorageError> {
        let started_ns = self.0.clock.now_ns();
        let known = slot.known().state;
        let log = self.log(&slot.tenant, slot.day);
        let state = log.catch_up(Arc::clone(&known), until).await?;
        self.0.store.forget(removed(&known, &state)).await;
        if state.seq > 0 {
            self.0.book.days(&slot.tenant).insert(slot.day);
        }
        slot.set(Arc::clone(&state), until.is_none().then_some(started_ns));
        Ok(state)
    }

    fn log<'a>(&'a self, tenant: &'a TenantId, day: i64) -> ManifestLog<'a> {
        ManifestLog {
            store: &self.0.store,
            tenant,
            day,
        }
    }

    async fn known_days(&self, tenant: &TenantId) -> Result<Arc<days::Days>, StorageError> {
        let now_ns = self.0.clock.now_ns();
        let interval_ns = self.0.config.poll_interval.0;
        let fresh_ns = now_ns
            .saturating_sub(interval_ns.saturating_mul(POLLS_MISSED_MAX))
            .max(1);
        self.0
            .book
            .fresh_days(&self.0.store, tenant, now_ns, fresh_ns)
            .await
    }

    /// Tenants that have a manifest, asked of the store.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn tenants(&self) -> Result<Vec<TenantId>, StorageError> {
        tenants_under(&self.0.store, MANIFEST_ROOT).await
    }

    /// Tenants that have any file, committed or not, or asked to delete something; asked of the
    /// store.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn tenants_with_files(&self) -> Result<Vec<TenantId>, StorageError> {
        let mut tenants = Vec::new();
        for root in [MANIFEST_ROOT, DATA_ROOT, INDEX_ROOT, DELETES_ROOT] {
            tenants.extend(tenants_under(&self.0.store, root).await?);
        }
        tenants.sort();
        tenants.dedup();
        Ok(tenants)
    }

    /// Days of a tenant that have a manifest, in order, asked of the store.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn days(&self, tenant: &TenantId) -> Result<Vec<i64>, StorageError> {
        days::list_days(&self.0.store, tenant).await
    }

    /// The same, as of `since_ns` or later. Asks the store if nobody has since then.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn days_since(
        &self,
        tenant: &TenantId,
        since_ns: i64,
    ) -> Result<Vec<i64>, StorageError> {
        let (store, now_ns) = (&self.0.store, self.0.clock.now_ns());
        let listed = self
            .0
            .book
            .listed_days(store, tenant, now_ns, since_ns.max(1));
        Ok(listed.await?.within(i64::MIN..=i64::MAX))
    }
}

/// The files that were live and are not any more.
fn removed(before: &Arc<PartitionState>, after: &Arc<PartitionState>) -> Vec<FileId> {
    if Arc::ptr_eq(before, after) {
        return Vec::new();
    }
    let is_live = |file: &FileId| match file.kind {
        FileKind::Data => after.objects.contains_key(&file.id),
        FileKind::Index => after.indexes.contains_key(&file.id),
    };
    live(before).filter(|file| !is_live(file)).collect()
}

/// The files that are live.
fn live(state: &PartitionState) -> impl Iterator<Item = FileId> {
    let of = |kind| move |id: &u128| FileId { kind, id: *id };
    let objects = state.objects.keys().map(of(FileKind::Data));
    objects.chain(state.indexes.keys().map(of(FileKind::Index)))
}

async fn tenants_under(store: &Store, root: &str) -> Result<Vec<TenantId>, StorageError> {
    let names = store.list_directories(root).await?;
    let tenant = |name: &String| TenantId::new(name).ok();
    Ok(names.iter().filter_map(tenant).collect())
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Catalog({:?})", self.0.store)
    }
}
