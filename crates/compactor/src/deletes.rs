//! Which objects still have rows that were asked to be deleted.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use model::{LabelSet, Reservation, TenantId, TimeRange};
use parking_lot::Mutex;
use scan::{
    Deletes, LogScan, LogStages, Prefilter, Pushdown, ScanError, ScanStats, Source, StreamDeletes,
    scan_logs,
};
use storage::{DeleteRequest, PartitionState};

use crate::open::OpenBlocks;
use crate::plan::is_ripe;
use crate::survey::{RunRef, Survey};
use crate::{CompactError, Compactor};

/// Pairs of object and request that are remembered.
const CHECKED_MAX: usize = 100_000;
/// The mode of tenants whose rows are taken out of the data.
const MODE_DELETE: &str = "filter-and-delete";
/// Requests are listed for so long after they were carried out.
const LISTED_NS: i64 = 30 * TimeRange::DAY_NS;

/// Objects that were found to have no row of a request. Nothing is added to an object, so that
/// holds for ever; what is forgotten is looked at again.
#[derive(Debug, Default)]
pub(crate) struct Checked(Mutex<HashSet<(u128, u128)>>);

impl Checked {
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
}

impl Due {
    fn new(requests: Vec<DeleteRequest>) -> Result<Self, CompactError> {
        let queries = requests
            .iter()
            .map(|request| (request.query.as_str(), request.range(), request.created_ns));
        Ok(Self {
            deletes: Deletes::new(queries).map_err(CompactError::Deletion)?,
            requests,
        })
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
        if self.overrides.limits(tenant).deletion_mode != MODE_DELETE {
            return Ok(Due::default());
        }
        let now_ns = self.now_ns();
        let wait_ns = self.config.delete_request_cancel_period.0;
        let mut requests = self.catalog.latest_deletes(tenant).await?;
        for done in requests.iter().filter(|request| {
            let processed_ns = request.processed_ns;
            processed_ns.is_some_and(|at_ns| at_ns.saturating_add(LISTED_NS) < now_ns)
        }) {
            self.catalog.remove_delete(tenant, done.id).await?;
        }
        requests.retain(|request| {
            request.processed_ns.is_none() && request.created_ns.saturating_add(wait_ns) <= now_ns
        });
        Due::new(requests)
    }

    /// Notes that requests are carried out, all days that they touch having been looked at.
    /// `failed_days` could not be.
    pub(crate) async fn finish_deletes(
        &self,
        tenant: &TenantId,
        due: &Due,
        failed_days: &[i64],
    ) -> Result<(), CompactError> {
        let config = &self.config;
        let wait_ns = config.delete_request_cancel_period.0 + config.delete_settle.0;
        for request in &due.requests {
            let days = request.range().days();
            let is_settled = request.created_ns.saturating_add(wait_ns) <= self.now_ns();
            if is_settled && !failed_days.iter().any(|day| days.contains(day)) {
                self.catalog.finish_delete(tenant, request.id).await?;
                self.metrics.deletes_processed.inc();
            }
        }
        Ok(())
    }

    /// Those of the objects that have a row which is to be deleted, but for those that were just
    /// flushed.
    pub(crate) async fn with_deleted_rows(
        &self,
        tenant: &TenantId,
        day: i64,
        state: &PartitionState,
        streams: &Survey,
        due: &Due,
    ) -> Result<BTreeSet<u128>, CompactError> {
        let now_ns = self.now_ns();
        let is_ripe = |object: &u128| {
            let file = state.objects.get(object);
            file.is_some_and(|file| is_ripe(file, &self.config, now_ns))
                && !self.damaged.has(*object)
        };
        let mut found = BTreeSet::new();
        let memory = self.config.open_bytes();
        let mut open = OpenBlocks::new(&self.catalog, tenant, day, state, memory);
        for (labels, runs) in streams {
            for run in runs {
                let deletes = &due.deletes;
                let is_touched = is_ripe(&run.object)
                    && !found.contains(&run.object)
                    && deletes.touch(labels, run.min_ts_ns, run.max_ts_ns)
                    && !self.checked.has(run.object, &due.requests);
                if is_touched && self.has_deleted_row(labels, run, due, &mut open).await? {
                    found.insert(run.object);
                }
            }
        }
        let is_clean = |id: &&u128| is_ripe(id) && !found.contains(id);
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
        let memory = self.memory.reservation();
        let looked =
            tokio::task::spawn_blocking(move || look(&source, range, deletes, memory)).await;
        let looked = looked.map_err(|_| CompactError::Worker)?;
        looked.map_err(|source| match source {
            ScanError::Block(source) => open.damaged(run, source),
            source => CompactError::Scan {
                stream: labels.to_string(),
                source,
            },
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
