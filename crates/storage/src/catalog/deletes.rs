//! Requests to delete lines: listed, added, finished, cancelled.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use model::TenantId;
use parking_lot::Mutex;

use super::Catalog;
use crate::delete_request::DeleteRequest;
use crate::error::StorageError;
use crate::key::{
    DeleteFile, delete_key, deletes_directory, finished_delete_key, parse_delete_key,
};
use crate::manifest::{decode_delete, encode_delete};

/// Requests that are read at once.
const READS_AT_ONCE: usize = 16;
/// Requests that are remembered. They never change, so that each is read once.
const REMEMBERED_MAX: usize = 10_000;

/// Whoever reads has a view of a partition that is no older.
const OBEYED_MIN_NS: i64 = 3_600_000_000_000;

/// A tenant's requests to delete lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteRequests {
    /// The oldest first.
    pub requests: Vec<DeleteRequest>,
    /// Ids of those that cannot be read: what they are about is not known.
    pub damaged: Vec<u128>,
}

/// How often a tenant's requests are looked for while it asks.
pub(super) const DELETES_INTERVAL_NS: i64 = 1_000_000_000;
/// What is known of a tenant's requests may be so old before a reader looks for itself.
const KNOWN_FOR_NS: i64 = 3 * DELETES_INTERVAL_NS;
/// Tenants that did not ask for so long are not looked after.
const IN_USE_NS: i64 = 60 * DELETES_INTERVAL_NS;
/// Tenants whose requests are known.
const TENANTS_MAX: usize = 10_000;

/// The requests of tenants that ask, as known a short while ago.
#[derive(Debug, Default)]
pub(super) struct KnownDeletes(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    by_tenant: HashMap<TenantId, KnownOf>,
    /// Goes up with each change that this process makes: what was listed before is not kept.
    changes: u64,
}

#[derive(Debug)]
struct KnownOf {
    /// When a query last asked.
    asked_ns: i64,
    /// When it was begun to list them, and which there were.
    listed: Option<(i64, Arc<DeleteRequests>)>,
}

impl KnownDeletes {
    /// What is known of a tenant that asks, if it is new enough.
    fn ask(&self, tenant: &TenantId, now_ns: i64) -> Option<Arc<DeleteRequests>> {
        let mut known = self.0.lock();
        if known.by_tenant.len() >= TENANTS_MAX && !known.by_tenant.contains_key(tenant) {
            known.by_tenant.clear();
        }
        let unknown = || KnownOf {
            asked_ns: now_ns,
            listed: None,
        };
        let of = known
            .by_tenant
            .entry(tenant.clone())
            .or_insert_with(unknown);
        of.asked_ns = now_ns;
        let listed = of.listed.as_ref();
        listed
            .filter(|(listed_ns, _)| now_ns.saturating_sub(*listed_ns) < KNOWN_FOR_NS)
            .map(|(_, requests)| Arc::clone(requests))
    }

    fn changes(&self) -> u64 {
        self.0.lock().changes
    }

    /// Takes in what was listed, unless something was changed since then.
    fn keep(
        &self,
        tenant: &TenantId,
        changes: u64,
        listed_ns: i64,
        requests: &Arc<DeleteRequests>,
    ) {
        let mut known = self.0.lock();
        if known.changes == changes
            && let Some(of) = known.by_tenant.get_mut(tenant)
        {
            of.listed = Some((listed_ns, Arc::clone(requests)));
        }
    }

    /// Forgets what is known of a tenant, as this process changed it.
    fn changed(&self, tenant: &TenantId) {
        let mut known = self.0.lock();
        known.changes += 1;
        if let Some(of) = known.by_tenant.get_mut(tenant) {
            of.listed = None;
        }
    }

    /// Tenants that asked lately; forgets the others.
    pub(super) fn in_use(&self, now_ns: i64) -> Vec<TenantId> {
        let mut known = self.0.lock();
        let since_ns = now_ns.saturating_sub(IN_USE_NS);
        known.by_tenant.retain(|_, of| of.asked_ns >= since_ns);
        known.by_tenant.keys().cloned().collect()
    }
}

/// Requests by key.
#[derive(Debug, Default)]
pub(super) struct ReadDeletes(Mutex<HashMap<String, DeleteRequest>>);

impl ReadDeletes {
    fn get(&self, key: &str) -> Option<DeleteRequest> {
        self.0.lock().get(key).cloned()
    }

    fn keep(&self, key: String, request: DeleteRequest) {
        let mut read = self.0.lock();
        if read.len() >= REMEMBERED_MAX {
            read.clear();
        }
        read.insert(key, request);
    }
}

impl Catalog {
    /// A tenant's requests to delete lines, the oldest first: those that were made or withdrawn by
    /// this process as they are, others as they were a short while ago. While somebody drives
    /// [`Self::run`], a tenant that goes on asking does not wait for the store.
    ///
    /// # Errors
    /// If the store has to be asked and fails.
    pub async fn known_deletes(
        &self,
        tenant: &TenantId,
    ) -> Result<Arc<DeleteRequests>, StorageError> {
        match self.0.known_deletes.ask(tenant, self.0.clock.now_ns()) {
            Some(requests) => Ok(requests),
            None => self.list_deletes(tenant).await,
        }
    }

    pub(super) async fn list_deletes(
        &self,
        tenant: &TenantId,
    ) -> Result<Arc<DeleteRequests>, StorageError> {
        let known = &self.0.known_deletes;
        let (changes, began_ns) = (known.changes(), self.0.clock.now_ns());
        let requests = Arc::new(self.latest_deletes(tenant).await?);
        known.keep(tenant, changes, began_ns, &requests);
        Ok(requests)
    }

    /// A tenant's requests to delete lines, asked of the store.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn latest_deletes(&self, tenant: &TenantId) -> Result<DeleteRequests, StorageError> {
        let (mut requests, mut finished) = (BTreeSet::new(), HashSet::new());
        for file in self.0.store.list(&deletes_directory(tenant), None).await? {
            match parse_delete_key(&file.key) {
                Some(DeleteFile::Request(id)) => _ = requests.insert(id),
                Some(DeleteFile::Finished(id)) => _ = finished.insert(id),
                None => {}
            }
        }
        let read = requests.into_iter().map(|id| {
            let is_finished = finished.contains(&id);
            async move {
                // Of a request that is finished the second file says all; alone it means nothing.
                if is_finished {
                    match self.delete_of(finished_delete_key(tenant, id)).await {
                        // The first says what it is about.
                        Err(StorageError::Corrupt { .. }) => {}
                        other => return other.map(Ok),
                    }
                }
                match self.delete_of(delete_key(tenant, id)).await {
                    Err(StorageError::Corrupt { .. }) => Ok(Err(id)),
                    other => other.map(Ok),
                }
            }
        });
        let read: Vec<Result<Option<DeleteRequest>, u128>> = futures::stream::iter(read)
            .buffered(READS_AT_ONCE)
            .try_collect()
            .await?;
        let mut deletes = DeleteRequests::default();
        for request in read {
            match request {
                Ok(request) => deletes.requests.extend(request),
                Err(id) => deletes.damaged.push(id),
            }
        }
        Ok(deletes)
    }

    /// Whether queries and compactions leave the lines of a request out now.
    #[must_use]
    pub fn obeys(&self, request: &DeleteRequest) -> bool {
        let after_ns = self.0.config.deletes_obeyed.0.max(OBEYED_MIN_NS);
        request.is_in_force(self.0.clock.now_ns(), after_ns)
    }

    /// Keeps a new request. Made again after a failure, it has no further effect.
    ///
    /// # Errors
    /// If the store fails; the request may be there all the same.
    pub async fn add_delete(
        &self,
        tenant: &TenantId,
        request: &DeleteRequest,
    ) -> Result<(), StorageError> {
        let created = self.create_delete(delete_key(tenant, request.id), request);
        let created = created.await;
        self.0.known_deletes.changed(tenant);
        created
    }

    /// Notes that the rows of a request are out of the data. If it was cancelled meanwhile, or
    /// somebody noted it before, nothing changes.
    ///
    /// # Errors
    /// If the store fails, or the request is damaged.
    pub async fn finish_delete(&self, tenant: &TenantId, id: u128) -> Result<(), StorageError> {
        let Some(request) = self.read_delete(&delete_key(tenant, id)).await? else {
            return Ok(());
        };
        let finished = DeleteRequest {
            processed_ns: Some(self.0.clock.now_ns()),
            ..request
        };
        let created = self.create_delete(finished_delete_key(tenant, id), &finished);
        let created = created.await;
        self.0.known_deletes.changed(tenant);
        created
    }

    /// Forgets a request. That there is none is no error.
    ///
    /// # Errors
    /// If the store fails; the request may be there then, and not be finished any more.
    pub async fn remove_delete(&self, tenant: &TenantId, id: u128) -> Result<(), StorageError> {
        // In this order: the second file alone would stay for ever.
        for key in [finished_delete_key(tenant, id), delete_key(tenant, id)] {
            let removed = self.0.store.delete(&key).await;
            self.0.known_deletes.changed(tenant);
            removed?;
        }
        Ok(())
    }

    async fn create_delete(
        &self,
        key: String,
        request: &DeleteRequest,
    ) -> Result<(), StorageError> {
        match self.0.store.create(&key, encode_delete(request)?).await {
            // The id is the maker's own, so this is an attempt of which it did not hear.
            Ok(()) | Err(StorageError::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A request by its key; `None` if it was cancelled meanwhile.
    async fn delete_of(&self, key: String) -> Result<Option<DeleteRequest>, StorageError> {
        if let Some(request) = self.0.deletes.get(&key) {
            return Ok(Some(request));
        }
        let request = self.read_delete(&key).await?;
        if let Some(request) = &request {
            self.0.deletes.keep(key, request.clone());
        }
        Ok(request)
    }

    async fn read_delete(&self, key: &str) -> Result<Option<DeleteRequest>, StorageError> {
        let bytes = match self.0.store.get(key).await {
            Err(StorageError::NotFound { .. }) => return Ok(None),
            other => other?,
        };
        let request = decode_delete(&bytes).map_err(|reason| StorageError::corrupt(key, reason))?;
        Ok(Some(request))
    }
}
