//! Requests to delete lines: kept in storage and obeyed by every query from then on, for stored and
//! recent lines alike. Ingesters are told with every question, so that what they answer and what
//! storage has are looked at by the same rules. A request that is withdrawn brings its lines back,
//! as long as the compactor has not taken them out of the data.

use logql::syntax;
use model::{Code, CodedError, DeletionMode, TenantId, TimeRange};
use proto::role::Deletion;
use scan::Deletes;
use storage::{DeleteRequest, DeleteRequests, key};

use crate::Querier;
use crate::query::Context;

/// The requests that matter to one query of one tenant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deleting {
    /// For ingesters.
    pub(crate) deletions: Vec<Deletion>,
    /// For what is stored.
    pub(crate) stored: Deletes,
}

/// Whether a request makes no sense to this version: nothing is deleted because of it.
pub(crate) fn is_damaged(request: &DeleteRequest) -> bool {
    compiled(request, request.range()).is_err()
}

fn compiled(request: &DeleteRequest, range: TimeRange) -> Result<Deletes, String> {
    Deletes::new([(request.query.as_str(), range, request.created_ns)])
}

fn refused(message: &str) -> CodedError {
    CodedError::new(Code::InvalidArgument, message)
}

impl Querier {
    fn may_delete(&self, tenant: &TenantId) -> bool {
        self.limits(tenant).deletion_mode != DeletionMode::Disabled
    }

    fn check_deletion_mode(&self, tenant: &TenantId) -> Result<(), CodedError> {
        if self.may_delete(tenant) {
            return Ok(());
        }
        Err(CodedError::new(
            Code::PermissionDenied,
            "deletion is not available for this tenant",
        ))
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
    ) -> Result<u128, CodedError> {
        self.check_deletion_mode(tenant)?;
        if syntax::parse_log_of_any_streams(query).is_err() {
            return Err(refused("invalid query expression"));
        }
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
        let kept = self.read_deletes(tenant).await?;
        if kept.requests.len() + kept.damaged.len() >= max {
            return Err(CodedError::new(
                Code::ResourceExhausted,
                format!(
                    "too many delete requests: delete_requests_per_tenant is {max}, tenant {tenant}"
                ),
            ));
        }
        let request = DeleteRequest {
            id: key::new_id(now_ns),
            query: query.to_owned(),
            start_ns,
            end_ns,
            created_ns: now_ns,
            processed_ns: None,
        };
        self.catalog().add_delete(tenant, &request).await?;
        self.raise_cache_generation(tenant).await?;
        Ok(request.id)
    }

    /// The requests of a tenant, the oldest first, and those that cannot be read.
    ///
    /// # Errors
    /// If the tenant may not delete, or storage fails.
    pub async fn delete_requests(&self, tenant: &TenantId) -> Result<DeleteRequests, CodedError> {
        self.check_deletion_mode(tenant)?;
        self.read_deletes(tenant).await
    }

    /// Withdraws a request.
    ///
    /// # Errors
    /// If there is none of that id, or its lines are gone, the tenant may not delete, or storage
    /// fails. One that cannot be read can be withdrawn.
    pub async fn cancel_delete(&self, tenant: &TenantId, id: &str) -> Result<(), CodedError> {
        self.check_deletion_mode(tenant)?;
        let kept = self.read_deletes(tenant).await?;
        let not_found = || {
            let text = "could not find delete request with given id";
            CodedError::new(Code::NotFound, text)
        };
        let id = key::parse_id(id).ok_or_else(not_found)?;
        let is_damaged = kept.damaged.contains(&id);
        let mut requests = kept.requests.iter();
        match requests.find(|request| request.id == id) {
            Some(request) if request.processed_ns.is_some() => {
                return Err(refused(
                    "deletion of request which is in process or already processed is not allowed",
                ));
            }
            None if !is_damaged => return Err(not_found()),
            _ => {}
        }
        self.catalog().remove_delete(tenant, id).await?;
        self.raise_cache_generation(tenant).await
    }

    /// The requests as they are in storage.
    async fn read_deletes(&self, tenant: &TenantId) -> Result<DeleteRequests, CodedError> {
        Ok(self.catalog().latest_deletes(tenant).await?)
    }

    /// When the last of the requests that are kept was made; 0 if there is none.
    ///
    /// # Errors
    /// If storage fails.
    pub(crate) async fn deletes_changed_ns(&self, tenant: &TenantId) -> Result<i64, CodedError> {
        let known = self.catalog().known_deletes(tenant).await?;
        let made = known.requests.iter().map(|request| request.created_ns);
        Ok(made.max().unwrap_or(0))
    }

    /// A tenant's requests about a range.
    ///
    /// # Errors
    /// If storage fails.
    pub(crate) async fn deleting(
        &self,
        tenant: &TenantId,
        range: TimeRange,
    ) -> Result<Deleting, CodedError> {
        if !self.may_delete(tenant) {
            return Ok(Deleting::default());
        }
        let known = self.catalog().known_deletes(tenant).await?;
        let requests = known.requests.iter();
        let mut deleting = Deleting::default();
        for request in requests.filter(|request| self.catalog().obeys(request)) {
            let range = request.range().intersect(&range);
            // What makes no sense to this version is listed as damaged, and stops no query.
            if !range.is_empty()
                && let Ok(stored) = compiled(request, range)
            {
                deleting.stored.extend(stored);
                deleting.deletions.push(Deletion {
                    query: request.query.clone(),
                    range,
                    created_ns: request.created_ns,
                });
            }
        }
        Ok(deleting)
    }
}

impl Context {
    /// The tenant's requests about a range.
    ///
    /// # Errors
    /// If storage fails.
    pub(crate) async fn deleting(&self, range: TimeRange) -> Result<Deleting, CodedError> {
        self.querier.deleting(&self.tenant, range).await
    }
}
