//! Requests to delete lines: kept in storage, an object for each, and obeyed by every query from
//! then on, for stored and recent lines alike. A request that is withdrawn brings its lines back,
//! as long as nobody removed them from storage.

mod hidden;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use logql::syntax;
use logql::syntax::ast::LogExpr;
use model::{Code, CodedError, TenantId, TimeRange};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use storage::{StorageError, key};

use crate::Querier;
pub(crate) use hidden::{Deleting, HiddenRows, Keeping};

/// For so long what is known of a tenant's requests counts as new.
const KNOWN_FOR_NS: i64 = 10_000_000_000;
/// Tenants whose requests are remembered.
const TENANTS_MAX: usize = 10_000;

/// A request to delete lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteRequest {
    /// Its name, a ULID.
    pub id: String,
    /// Which lines: a log query.
    pub query: String,
    /// From this time on.
    pub start_ns: i64,
    /// Up to this time, included.
    pub end_ns: i64,
    /// When it was asked for.
    pub created_ns: i64,
}

impl DeleteRequest {
    /// The times of its lines.
    fn range(&self) -> TimeRange {
        TimeRange::new(self.start_ns, self.end_ns.saturating_add(1))
    }
}

/// When requests were asked for, and which there were.
type Known = (i64, Arc<[DeleteRequest]>);

/// The requests of tenants, as known a short while ago.
#[derive(Debug, Default)]
pub(crate) struct KnownDeletes(Mutex<HashMap<TenantId, Known>>);

fn refused(message: &str) -> CodedError {
    CodedError::new(Code::InvalidArgument, message)
}

fn parse(query: &str) -> Result<LogExpr, CodedError> {
    syntax::parse_log(query).map_err(|_| refused("invalid query expression"))
}

impl Querier {
    fn check_deletion_mode(&self, tenant: &TenantId) -> Result<(), CodedError> {
        if self.limits(tenant).deletion_mode == "disabled" {
            return Err(CodedError::new(
                Code::PermissionDenied,
                "deletion is not available for this tenant",
            ));
        }
        Ok(())
    }

    /// Keeps a request and returns its id.
    ///
    /// # Errors
    /// If it makes no sense, the tenant may not delete or has too many requests, or storage fails.
    pub async fn delete_lines(
        &self,
        tenant: &TenantId,
        query: &str,
        start_ns: i64,
        end_ns: i64,
    ) -> Result<String, CodedError> {
        self.check_deletion_mode(tenant)?;
        parse(query)?;
        let now_ns = self.now_ns();
        if end_ns > now_ns {
            return Err(refused("deletes in the future are not allowed"));
        }
        if start_ns >= end_ns {
            return Err(refused(
                "start time can't be greater than or equal to end time",
            ));
        }
        let max = self.config.delete_requests_per_tenant;
        if self.read_deletes(tenant).await?.len() >= max {
            return Err(CodedError::new(
                Code::ResourceExhausted,
                format!(
                    "too many delete requests: delete_requests_per_tenant is {max}, tenant {tenant}"
                ),
            ));
        }
        let id = key::new_id(now_ns);
        let request = DeleteRequest {
            id: key::id_text(id),
            query: query.to_owned(),
            start_ns,
            end_ns,
            created_ns: now_ns,
        };
        let text = serde_json::to_vec(&request)
            .map_err(|error| CodedError::new(Code::Internal, error.to_string()))?;
        let key = key::delete_key(tenant, id);
        self.catalog().store().put(&key, Bytes::from(text)).await?;
        self.deletes.0.lock().remove(tenant);
        Ok(request.id)
    }

    /// The requests of a tenant, the oldest first.
    ///
    /// # Errors
    /// If the tenant may not delete, or storage fails.
    pub async fn delete_requests(
        &self,
        tenant: &TenantId,
    ) -> Result<Arc<[DeleteRequest]>, CodedError> {
        self.check_deletion_mode(tenant)?;
        self.read_deletes(tenant).await
    }

    /// Withdraws a request.
    ///
    /// # Errors
    /// If there is none of that id, the tenant may not delete, or storage fails.
    pub async fn cancel_delete(&self, tenant: &TenantId, id: &str) -> Result<(), CodedError> {
        self.check_deletion_mode(tenant)?;
        let requests = self.read_deletes(tenant).await?;
        let known = requests.iter().any(|request| request.id == id);
        let Some(id) = key::parse_id(id).filter(|_| known) else {
            return Err(CodedError::new(
                Code::NotFound,
                "could not find delete request with given id",
            ));
        };
        self.catalog()
            .store()
            .delete(&key::delete_key(tenant, id))
            .await?;
        self.deletes.0.lock().remove(tenant);
        Ok(())
    }

    /// The requests as they are in storage.
    async fn read_deletes(&self, tenant: &TenantId) -> Result<Arc<[DeleteRequest]>, CodedError> {
        let asked_ns = self.now_ns();
        let store = self.catalog().store();
        let mut requests = Vec::new();
        for listed in store.list(&key::deletes_directory(tenant), None).await? {
            let text = match store.get(&listed.key).await {
                // Withdrawn meanwhile.
                Err(StorageError::NotFound { .. }) => continue,
                other => other?,
            };
            requests.push(serde_json::from_slice(&text).map_err(|error| {
                CodedError::new(
                    Code::Internal,
                    format!("{} is damaged: {error}", listed.key),
                )
            })?);
        }
        let requests: Arc<[DeleteRequest]> = requests.into();
        let mut known = self.deletes.0.lock();
        if known.len() >= TENANTS_MAX {
            known.clear();
        }
        known.insert(tenant.clone(), (asked_ns, Arc::clone(&requests)));
        Ok(requests)
    }

    /// The requests as known, read again now and then.
    async fn known_deletes(&self, tenant: &TenantId) -> Result<Arc<[DeleteRequest]>, CodedError> {
        let known = self.deletes.0.lock().get(tenant).cloned();
        match known {
            Some((asked_ns, requests)) if self.now_ns() - asked_ns < KNOWN_FOR_NS => Ok(requests),
            _ => self.read_deletes(tenant).await,
        }
    }
}
