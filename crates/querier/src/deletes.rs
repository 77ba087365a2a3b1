//! Requests to delete lines: kept in storage and obeyed by every query from then on, for stored and
//! recent lines alike. Ingesters are told with every question, so that what they answer and what
//! storage has are looked at by the same rules. A request that is withdrawn brings its lines back,
//! as long as the compactor has not taken them out of the data.

use std::sync::Arc;

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
    Deletes::weight(&request.query).is_err()
}

/// A request about those of its lines that are in a range.
fn within(request: &DeleteRequest, range: TimeRange) -> Deletion {
    Deletion {
        query: request.query.clone(),
        range,
        created_ns: request.created_ns,
    }
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
        let weight = Deletes::weight(query).map_err(|_| refused("invalid query expression"))?;
        let now_ns = self.now_ns();
        if end_ns > now_ns {
            return Err(refused("deletes in the future are not allowed"));
        }
        if start_ns >= end_ns {
            return Err(refused(
                "start time can't be greater than or equal to end time",
            ));
        }
        self.check_room_for(tenant, weight).await?;
        let request = DeleteRequest {
            id: key::new_id(now_ns),
            query: query.to_owned(),
            start_ns,
            end_ns,
            created_ns: now_ns,
            processed_ns: None,
        };
        let asked = Arc::from([within(&request, request.range())]);
        if let Some(Err(error)) = self.compiled(asked).await?.pop() {
            return Err(refused(&error));
        }
        self.catalog().add_delete(tenant, &request).await?;
        self.raise_cache_generation(tenant).await?;
        Ok(request.id)
    }

    /// Whether a tenant may have another request, of this weight. Those that were carried out long
    /// ago do not count.
    async fn check_room_for(&self, tenant: &TenantId, weight: u64) -> Result<(), CodedError> {
        let kept = self.read_deletes(tenant).await?;
        let requests = kept.requests.iter();
        let in_force = requests.filter(|request| self.catalog().obeys(request));
        let (mut count, mut weights) = (kept.damaged.len() + 1, weight);
        for request in in_force {
            count += 1;
            weights = weights.saturating_add(Deletes::weight(&request.query).unwrap_or(0));
        }
        let refused = |name: &str, max: u64| {
            let text = format!("too many delete requests: {name} is {max}, tenant {tenant}");
            Err(CodedError::new(Code::ResourceExhausted, text))
        };
        let max = self.config.delete_requests_per_tenant;
        if count > max {
            return refused("delete_requests_per_tenant", max as u64);
        }
        let max = self.config.delete_requests_weight_per_tenant;
        if weights > max {
            return refused("delete_requests_weight_per_tenant", max);
        }
        Ok(())
    }

    /// What each of the deletions leaves out, or why it makes no sense.
    async fn compiled(
        &self,
        asked: Arc<[Deletion]>,
    ) -> Result<Vec<Result<Deletes, String>>, CodedError> {
        let compiled = Arc::clone(&self.compiled_deletes);
        if let Some(known) = compiled.known(parts(&asked)) {
            return Ok(known);
        }
        let compiling = tokio::task::spawn_blocking(move || compiled.compile(parts(&asked)));
        let failed = |_| CodedError::new(Code::Internal, "compiling deletions ended abnormally");
        compiling.await.map_err(failed)
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
        let touching = requests.filter_map(|request| {
            let range = request.range().intersect(&range);
            let is_obeyed = !range.is_empty() && self.catalog().obeys(request);
            is_obeyed.then(|| within(request, range))
        });
        let asked: Arc<[Deletion]> = touching.collect();
        if asked.is_empty() {
            return Ok(Deleting::default());
        }
        let compiled = self.compiled(Arc::clone(&asked)).await?;
        // What makes no sense to this version is listed as damaged, and stops no query.
        let both = asked.iter().cloned().zip(compiled);
        let (deletions, stored): (_, Vec<Deletes>) = both
            .filter_map(|(deletion, stored)| Some((deletion, stored.ok()?)))
            .unzip();
        Ok(Deleting {
            deletions,
            stored: stored.into_iter().collect(),
        })
    }
}

/// Deletions as they are compiled.
fn parts(asked: &[Deletion]) -> impl Iterator<Item = (&str, TimeRange, i64)> {
    asked
        .iter()
        .map(|asked| (asked.query.as_str(), asked.range, asked.created_ns))
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
