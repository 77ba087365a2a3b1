//! Answers queries: parses, checks, asks ingesters for what is recent and reads storage for the
//! rest, merges both, and speaks Loki's HTTP API.
//!
//! A query goes from [`http`] (parameters) to [`query`] (its turn, time and memory) to `logs` or
//! `samples`, which ask the ingesters (`recent`) before they take a snapshot of storage (`stored`)
//! and let `scan` run over blocks on a bounded number of threads. Labels, series and sizes come
//! from the index alone (`metadata`). `tail` passes on what is pushed.
//!
//! *Invariants.* Every row counts once and none is missed, also while it moves from an ingester to
//! storage and where replicas have copies. All memory of a query that grows with its data comes
//! from one budget. A query whose client went away ends. What is damaged fails no query: an answer
//! says what it lacks.

mod check;
mod config;
mod damage;
mod deletes;
mod encode;
mod explain;
mod fields;
mod generations;
mod http;
mod lines;
mod logs;
mod metadata;
mod metrics;
mod params;
mod patterns;
mod query;
mod recent;
mod request_limits;
mod results;
mod rules;
mod samples;
mod stats;
mod stored;
mod tail;
mod tenancy;
mod top;
mod workers;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use model::{Budget, CodedError, Limits, TenantId, TimeRange};
use scan::CompiledDeletes;
use server::Overrides;
use storage::{Catalog, Clock};

use admission::{Admission, Permit};
pub use config::Config;
pub use encode::{Answer, LabelStyle};
pub use explain::{Actual, Explanation, Part, Reading};
pub use fields::{Field, FieldKind, FieldsQuery};
use generations::Generations;
pub use http::{open_routes, routes};
pub use metadata::{Aggregate, Shards, SizedShard, Sum, VolumeQuery, VolumeSeries};

pub use metrics::Metrics;
pub use patterns::{Pattern, PatternsQuery};
pub use query::{Answered, InstantQuery, RangeQuery};
pub use recent::{ReadSet, Readers};
use results::Results;
pub use rules::{Namespaces, Rule, RuleGroup};
pub use stats::Report;
use tail::Tails;

/// Of the queries that run at once a tenant leaves one of so many to others.
const LEFT_TO_OTHERS: usize = 4;
/// The limit of what one query may hold.
const QUERY_MEMORY: &str = "max_query_memory";

/// Answers queries.
pub struct Querier {
    config: Config,
    catalog: Catalog,
    readers: ReadSet,
    overrides: Overrides,
    clock: Clock,
    memory: Arc<Budget>,
    admission: Arc<Admission>,
    /// The right to use a core; tenants take turns.
    scans: Arc<Admission>,
    scan_threads: usize,
    tails: Arc<Tails>,
    results: Results,
    generations: Generations,
    compiled_deletes: Arc<CompiledDeletes>,
    metrics: Metrics,
}

impl Querier {
    /// A querier of what `catalog` and the ingesters of `readers` have.
    pub fn new(
        config: Config,
        catalog: Catalog,
        readers: ReadSet,
        overrides: Overrides,
        metrics: Metrics,
    ) -> Arc<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let scan_threads = if config.scan_threads == 0 {
            cores
        } else {
            config.scan_threads
        };
        let started_ns = catalog.clock().now_ns();
        Arc::new(Self {
            clock: catalog.clock().clone(),
            results: Results::new(config.result_cache.0, catalog.store().metrics().clone()),
            catalog,
            readers,
            overrides,
            memory: Budget::new("querier.memory", config.memory.0),
            admission: Admission::with_tenant_max(
                config.max_concurrent,
                config.max_concurrent - config.max_concurrent / LEFT_TO_OTHERS,
                config.max_waiting_per_tenant,
            ),
            // Who is admitted has few parts that wait.
            scans: Admission::new(scan_threads, usize::MAX),
            scan_threads,
            tails: Arc::default(),
            generations: Generations::new(started_ns),
            compiled_deletes: Arc::default(),
            metrics,
            config,
        })
    }

    /// Registers gauges of what queries hold and wait for.
    pub fn register_gauges(&self, registry: &mut prometheus_client::registry::Registry) {
        let held = metrics::Held {
            memory: Arc::clone(&self.memory),
            admission: Arc::clone(&self.admission),
        };
        held.register(registry);
    }

    fn now_ns(&self) -> i64 {
        self.clock.now_ns()
    }

    fn limits(&self, tenant: &TenantId) -> Arc<Limits> {
        request_limits::tightened(self.overrides.limits(tenant))
    }

    /// The part of a range that all tenants may ask about.
    fn allowed_range(
        &self,
        tenants: &[TenantId],
        range: TimeRange,
    ) -> Result<TimeRange, CodedError> {
        let now_ns = self.now_ns();
        let allowed =
            |range, tenant| check::time_range(range, &self.limits(tenant), tenant, now_ns);
        tenants.iter().try_fold(range, allowed)
    }

    fn readers(&self) -> Readers {
        (self.readers)()
    }

    fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn memory(&self) -> &Arc<Budget> {
        &self.memory
    }

    fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    fn tails(&self) -> &Arc<Tails> {
        &self.tails
    }

    fn results(&self) -> &Results {
        &self.results
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn ingester_timeout(&self) -> Duration {
        self.config.ingester_timeout.as_std()
    }

    /// Parts of one query that run at once.
    fn scan_threads(&self) -> usize {
        self.scan_threads
    }

    /// How much of queries is carried out inside blocks.
    fn pushdown(&self) -> scan::Pushdown {
        self.config.pushdown.into()
    }

    /// The right to use a core; the tenants that want one take turns.
    async fn scan_permit(&self, tenant: &TenantId) -> Result<Permit, CodedError> {
        self.scans.acquire(tenant).await
    }
}
