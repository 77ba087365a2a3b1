//! Which objects still have rows that were asked to be deleted.
//!
//! A request is done when every object of its days was looked at and has none of its rows. What
//! comes later, from an ingester that was away, is treated like what queries make of it: as long as
//! they obey a request that is done, its rows are taken out of new objects too.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use model::{DeletionMode, LabelSet, Reservation, TenantId, TimeRange};
use parking_lot::Mutex;
use scan::{
    Deletes, LogScan, LogStages, Prefilter, Pushdown, ScanError, ScanStats, Source, StreamDeletes,
    scan_logs,
};
use storage::{DeleteRequest, PartitionState, key};

use crate::open::OpenBlocks;
use crate::plan::is_ripe;
use crate::survey::{RunRef, Survey};
use crate::{CompactError, Compactor};

/// Pairs of object and request that are remembered.
const CHECKED_MAX: usize = 100_000;
/// Requests are listed for so long after they were carried out.
const LISTED_NS: i64 = 30 * TimeRange::DAY_NS;

/// Objects that were found to have no row of a request. Nothing is added to an object, so that
/// holds for ever; what is forgotten is looked at again.
#[derive(Debug, Default)]
pub(crate) struct Checked(Mutex<HashSet<(u128, u128)>>);

impl Checked {
    /// Whether no object of a partition has a row of the requests.
    pub(crate) fn has_all(&self, state: &PartitionState, due: &Due) -> bool {
        let mut objects = state.objects.keys();
        objects.all(|object| self.has(*object, &due.requests))
    }

    fn has(&self, object: u128, requests: &[DeleteRequest]) -> bool {
        let checked = self.0.lock();
        requests
            .iter()
            .all(|request| checked.contains(&(object, request.id)))
    }

    /// Notes that an object has no row of these requests.
    pub(crate) fn add(&self, object: u128, requests: &[DeleteRequest]) {
        let mut checked = self.0.lock();
        if checked.len() >= CHECKED_MAX {
            checked.clear();
        }
        checked.extend(requests.iter().map(|request| (object, request.id)));
    }
}

/// Delete requests of a tenant that are to be carried out.
#[derive(Debug, Default)]
pub(crate) struct Due {
    pub(crate) requests: Vec<DeleteRequest>,
    pub(crate) deletes: Deletes,
    /// How many others cannot be read, or make no sense.
    pub(crate) damaged: usize,
}

/// What a partition has of rows that are to be deleted.
#[derive(Debug, Default)]
pub(crate) struct Deleted {
    /// Objects with such rows.
    pub(crate) objects: BTreeSet<u128>,
    /// Whether other objects may have some: those that were just flushed or cannot be read.
    pub(crate) may_be_left: bool,
}

impl Due {
    /// Takes those requests that make sense to this version.
    fn new(tenant: &TenantId, requests: Vec<DeleteRequest>) -> Self {
        let mut due = Self::default();
        for request in requests {
            let asked = (request.query.as_str(), request.range(), request.created_ns);
            match Deletes::new([asked]) {
                Ok(deletes) => {
                    due.deletes.extend(deletes);
                    due.requests.push(request);
                }
                Err(error) => {
                    let id = key::id_text(request.id);
                    tracing::warn!(%tenant, id, error, "a delete request makes no sense");
                    due.damaged += 1;
                }
            }
        }
        due
    }

    /// Whether some request is about a day.
    pub(crate) fn touches(&self, day: i64) -> bool {
        self.requests
            .iter()
            .any(|request| request.range().days().contains(&day))
    }
}

impl Compactor {
    /// What a tenant has asked to delete and cannot cancel without loss any more.
    pub(crate) async fn due_deletes(&self, tenant: &TenantId) -> Result<Due, CompactError> {
        if self.overrides.limits(tenant).deletion_mode != DeletionMode::FilterAndDelete {
            return Ok(Due::default());
        }
        let now_ns = self.now_ns();
        let wait_ns = self.config.delete_request_cancel_period.0;
        let deletes = self.catalog.latest_deletes(tenant).await?;
        for id in &deletes.damaged {
            let key = key::delete_key(tenant, *id);
            tracing::warn!(%tenant, key, "a delete request cannot be read");
        }
        let mut requests = deletes.requests;
        for done in requests.iter().filter(|request| {
            let processed_ns = request.processed_ns;
            processed_ns.is_some_and(|at_ns| at_ns.saturating_add(LISTED_NS) < now_ns)
                && !self.catalog.obeys(request)
        }) {
            self.catalog.remove_delete(tenant, done.id).await?;
        }
        requests.retain(|request| {
            request.created_ns.saturating_add(wait_ns) <= now_ns && self.catalog.obeys(request)
        });
        // Compiling them may take a second or two.
        let of = tenant.clone();
        let compiling = tokio::task::spawn_blocking(move || Due::new(&of, requests));
        let mut due = compiling.await.map_err(|_| CompactError::Worker)?;
        due.damaged += deletes.damaged.len();
        Ok(due)
    }

    /// Notes that requests are carried out, all days that they touch having been looked at.
    /// On `open_days` some of their rows may be left.
    pub(crate) async fn finish_deletes(&self, tenant: &TenantId, due: &Due, open_days: &[i64]) {
        let config = &self.config;
        let wait_ns = config.delete_request_cancel_period.0 + config.delete_settle.0;
        let open = due
            .requests
            .iter()
            .filter(|request| request.processed_ns.is_none());
        for request in open {
            let days = request.range().days();
            let is_settled = request.created_ns.saturating_add(wait_ns) <= self.now_ns();
            if is_settled && !open_days.iter().any(|day| days.contains(day)) {
                match self.catalog.finish_delete(tenant, request.id).await {
                    Ok(()) => _ = self.metrics.deletes_processed.inc(),
                    Err(error) => {
                        tracing::warn!(%tenant, %error, "cannot note that a request is done");
                    }
                }
            }
        }
    }

    /// Which objects have rows that are to be deleted.
    pub(crate) async fn deleted(
        &self,
        tenant: &TenantId,
        day: i64,
        state: &PartitionState,
        streams: &Survey,
        due: &Due,
    ) -> Result<Deleted, CompactError> {
        let now_ns = self.now_ns();
        let can_be_looked_at = |object: &u128| {
            let file = state.objects.get(object);
            file.is_some_and(|file| is_ripe(file, &self.config, now_ns)) && !self.is_aside(*object)
        };
        let mut found = Deleted::default();
        let memory = self.config.open_bytes();
        let mut open = OpenBlocks::new(&self.catalog, (tenant, day), state, streams, memory);
        for (number, (labels, runs)) in (0u32..).zip(streams) {
            open.reach(number);
            for run in runs {
                let is_touched = !found.objects.contains(&run.object)
                    && due.deletes.touch(labels, run.min_ts_ns, run.max_ts_ns)
                    && !self.checked.has(run.object, &due.requests);
                if !is_touched {
                    continue;
                }
                if !can_be_looked_at(&run.object) {
                    found.may_be_left = true;
                } else if self.has_deleted_row(labels, run, due, &mut open).await? {
                    found.objects.insert(run.object);
                }
            }
        }
        let is_clean = |id: &&u128| can_be_looked_at(id) && !found.objects.contains(id);
        for object in state.objects.keys().filter(is_clean) {
            self.checked.add(*object, &due.requests);
        }
        Ok(found)
    }

    async fn has_deleted_row(
        &self,
        labels: &LabelSet,
        run: &RunRef,
        due: &Due,
        open: &mut OpenBlocks<'_>,
    ) -> Result<bool, CompactError> {
        if due.deletes.cover(labels, run.min_ts_ns, run.max_ts_ns) {
            return Ok(true);
        }
        let source = Source::Block {
            block: open.block(run).await?,
            run: run.run as usize,
        };
        let range = TimeRange::new(run.min_ts_ns, run.max_ts_ns.saturating_add(1));
        let deletes = due.deletes.for_stream(labels, run.min_ts_ns, run.max_ts_ns);
        let memory = self.job_memory().reservation();
        let looked =
            tokio::task::spawn_blocking(move || look(&source, range, deletes, memory)).await;
        let looked = looked.map_err(|_| CompactError::Worker)?;
        looked.map_err(|source| match source {
            ScanError::Block { error, .. } => open.damaged(run, error),
            source => {
                self.put_aside([run.object]);
                CompactError::Scan {
                    stream: labels.to_string(),
                    source,
                }
            }
        })
    }
}

/// Whether a row of the source is to be deleted.
fn look(
    source: &Source,
    range: TimeRange,
    deletes: StreamDeletes,
    mut memory: Reservation,
) -> Result<bool, ScanError> {
    let prefilter = Prefilter::default();
    let scan = LogScan {
        range,
        direction: model::Direction::Forward,
        limit: 1,
        prefilter: &prefilter,
        hashes: false,
        pushdown: Pushdown::On,
    };
    let mut stats = ScanStats::default();
    let mut context = scan::Context {
        is_cancelled: &|| false,
        memory: &mut memory,
        stats: &mut stats,
    };
    let mut looking = Looking {
        deletes,
        labels: Arc::default(),
    };
    let mut found = false;
    let mut stop = |_: scan::LogRow<'_>| {
        found = true;
        std::ops::ControlFlow::Break(())
    };
    let sources = std::slice::from_ref(source);
    scan_logs(sources, &scan, &mut looking, &mut context, &mut stop)?;
    Ok(found)
}

/// Passes rows that are to be deleted.
struct Looking {
    deletes: StreamDeletes,
    labels: Arc<model::RowLabels>,
}

impl LogStages for Looking {
    fn process<'a>(
        &'a mut self,
        timestamp_ns: i64,
        line: &'a [u8],
        metadata: &'a LabelSet,
    ) -> Option<(std::borrow::Cow<'a, [u8]>, &'a Arc<model::RowLabels>)> {
        let is_deleted = self.deletes.has(timestamp_ns, line, metadata);
        is_deleted.then_some((line.into(), &self.labels))
    }
}
