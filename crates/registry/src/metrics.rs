//! Metrics of a registry. Nothing that users choose is a label, but for a bounded number of projects.

mod project;
mod proxy;

use std::time::Duration;

use http::Method;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use server::{Registry, Summary};

use project::ProjectBytes;
pub(crate) use proxy::Cached;
use proxy::ProxyMetrics;

use crate::meta::{Backlog, Removed};

/// What garbage collection removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the names are the label's values")]
enum Kind {
    manifest,
    link,
    blob,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: Kind,
}

/// Upper bounds of the duration histogram's buckets.
const DURATION_BUCKETS_SECONDS: [f64; 10] = [
    0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 1.0, 10.0, 60.0, 600.0,
];

/// Methods that the specification knows; others count as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the names are the label's values")]
enum MethodLabel {
    get,
    head,
    post,
    put,
    patch,
    delete,
    other,
}

impl From<&Method> for MethodLabel {
    fn from(method: &Method) -> Self {
        match *method {
            Method::GET => Self::get,
            Method::HEAD => Self::head,
            Method::POST => Self::post,
            Method::PUT => Self::put,
            Method::PATCH => Self::patch,
            Method::DELETE => Self::delete,
            _ => Self::other,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    handler: &'static str,
    method: MethodLabel,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandlerLabels {
    handler: &'static str,
    method: MethodLabel,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandlerLabel {
    handler: &'static str,
}

/// What is asked of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the names are the label's values")]
pub(crate) enum StoreAction {
    open,
    write,
    save,
    finish,
    read,
    remove,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StoreLabel {
    action: StoreAction,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OpLabel {
    /// `read`, or the name of a change.
    op: &'static str,
}

/// What came of asking for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the names are the label's values")]
pub(crate) enum TokenResult {
    given,
    refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabel {
    result: TokenResult,
}

/// A request under way; counts down again however it ends.
pub(crate) struct InFlight(Metrics);

impl InFlight {
    /// The answer is over. `bytes` are those of the request's and of the answer's body.
    pub(crate) fn end(
        &self,
        handler: &'static str,
        method: &Method,
        code: u16,
        took: Duration,
        bytes: (u64, u64),
    ) {
        let method = MethodLabel::from(method);
        let labels = RequestLabels {
            handler,
            method,
            code,
        };
        self.0.requests.get_or_create(&labels).inc();
        let durations = self
            .0
            .durations
            .get_or_create(&HandlerLabels { handler, method });
        durations.observe(took.as_secs_f64());
        self.0.latency.observe(took.as_secs_f64());
        for (sizes, bytes) in [
            (&self.0.request_bytes, bytes.0),
            (&self.0.response_bytes, bytes.1),
        ] {
            let sizes = sizes.get_or_create(&HandlerLabel { handler });
            sizes.observe(bytes as f64);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

/// Metrics of a registry.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<HandlerLabels, Histogram>,
    latency: Summary,
    request_bytes: Family<HandlerLabel, Histogram>,
    response_bytes: Family<HandlerLabel, Histogram>,
    in_flight: Gauge,
    log_lines_dropped: Counter,
    audit_files_lost: Counter,
    gc_removed: Family<KindLabel, Counter>,
    gc_freed_bytes: Counter,
    gc_candidates: Gauge,
    gc_oldest_seconds: Gauge,
    gc_dead_bytes: Gauge,
    gc_sweeps_failed: Counter,
    gc_removals_failed: Counter,
    store_seconds: Family<StoreLabel, Histogram>,
    meta_seconds: Family<OpLabel, Histogram>,
    tokens: Family<TokenLabel, Counter>,
    uploads: Gauge,
    project_bytes: ProjectBytes,
    proxy: ProxyMetrics,
}

impl Metrics {
    /// The metrics, registered.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let new_histogram: fn() -> Histogram = || Histogram::new(DURATION_BUCKETS_SECONDS);
        let new_sizes: fn() -> Histogram = || Histogram::new(exponential_buckets(1024.0, 4.0, 13));
        let metrics = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(new_histogram),
            latency: Summary::default(),
            request_bytes: Family::new_with_constructor(new_sizes),
            response_bytes: Family::new_with_constructor(new_sizes),
            in_flight: Gauge::default(),
            log_lines_dropped: Counter::default(),
            audit_files_lost: Counter::default(),
            gc_removed: Family::default(),
            gc_freed_bytes: Counter::default(),
            gc_candidates: Gauge::default(),
            gc_oldest_seconds: Gauge::default(),
            gc_dead_bytes: Gauge::default(),
            gc_sweeps_failed: Counter::default(),
            gc_removals_failed: Counter::default(),
            store_seconds: Family::new_with_constructor(new_histogram),
            meta_seconds: Family::new_with_constructor(new_histogram),
            tokens: Family::default(),
            uploads: Gauge::default(),
            project_bytes: ProjectBytes::default(),
            proxy: ProxyMetrics::default(),
        };
        metrics.register_requests(registry);
        metrics.register_parts(registry);
        registry.register(
            "registry_gc_removed",
            "What garbage collection has removed",
            metrics.gc_removed.clone(),
        );
        registry.register(
            "registry_gc_deleted_bytes",
            "Bytes that garbage collection has removed from the store",
            metrics.gc_freed_bytes.clone(),
        );
        registry.register(
            "registry_gc_candidates",
            "What waits to be looked at by garbage collection",
            metrics.gc_candidates.clone(),
        );
        registry.register(
            "registry_gc_oldest_seconds",
            "For how long the oldest candidate has been due",
            metrics.gc_oldest_seconds.clone(),
        );
        registry.register(
            "registry_gc_dead_bytes",
            "Bytes in the store that no row names and that will be removed",
            metrics.gc_dead_bytes.clone(),
        );
        registry.register(
            "registry_gc_sweeps_failed",
            "Comparisons of the store with the database that were broken off or refused",
            metrics.gc_sweeps_failed.clone(),
        );
        registry.register(
            "registry_gc_removals_failed",
            "Objects that the store did not remove when it was asked to",
            metrics.gc_removals_failed.clone(),
        );
        metrics
    }

    fn register_requests(&self, registry: &mut Registry) {
        registry.register(
            "registry_http_requests",
            "Requests by what they ask for",
            self.requests.clone(),
        );
        registry.register(
            "registry_http_request_duration_seconds",
            "Time from the headers of a request to the last byte of its answer",
            self.durations.clone(),
        );
        registry.register(
            "registry_http_request_latency_seconds",
            "The same of the last requests, whatever they asked for",
            self.latency.clone(),
        );
        registry.register(
            "registry_http_request_size_bytes",
            "Bytes of the bodies of requests",
            self.request_bytes.clone(),
        );
        registry.register(
            "registry_http_response_size_bytes",
            "Bytes of the bodies of answers",
            self.response_bytes.clone(),
        );
        registry.register(
            "registry_http_in_flight_requests",
            "Requests whose answer is not over",
            self.in_flight.clone(),
        );
        registry.register(
            "registry_log_lines_dropped",
            "Lines of requests that were dropped because the disk was too slow",
            self.log_lines_dropped.clone(),
        );
        registry.register(
            "registry_audit_files_lost",
            "Files of the audit trail that went to make room for newer ones",
            self.audit_files_lost.clone(),
        );
    }

    fn register_parts(&self, registry: &mut Registry) {
        registry.register(
            "registry_storage_action_seconds",
            "Time that the store took for what was asked of it",
            self.store_seconds.clone(),
        );
        registry.register(
            "registry_meta_query_seconds",
            "Time that the database took, with the wait for it",
            self.meta_seconds.clone(),
        );
        registry.register(
            "registry_token_issued",
            "Tokens that were asked for",
            self.tokens.clone(),
        );
        registry.register(
            "registry_upload_sessions",
            "Uploads under way, also those that nobody continues",
            self.uploads.clone(),
        );
        self.project_bytes.register(registry);
        self.proxy.register(registry);
    }

    /// The histogram of an action of the store.
    pub(crate) fn store_seconds(&self, action: StoreAction) -> Histogram {
        let label = StoreLabel { action };
        self.store_seconds.get_or_create(&label).clone()
    }

    /// The histogram of an operation of the database.
    pub(crate) fn meta_seconds(&self, op: &'static str) -> Histogram {
        self.meta_seconds.get_or_create(&OpLabel { op }).clone()
    }

    pub(crate) fn token(&self, result: TokenResult) {
        self.tokens.get_or_create(&TokenLabel { result }).inc();
    }

    /// How many projects have metrics of their own.
    pub(crate) fn bound_projects(&self, projects_max: usize) {
        self.project_bytes.bound(projects_max);
    }

    /// Bytes went to or from a project, by what the line of the request calls it.
    pub(crate) fn moved(&self, project: &str, action: &str, bytes_in: u64, bytes_out: u64) {
        match action {
            "pull" => self.project_bytes.pulled(project, bytes_out),
            "push" | "upload_start" | "upload_chunk" | "upload_finish" => {
                self.project_bytes.pushed(project, bytes_in);
            }
            _ => {}
        }
    }

    /// A request has begun.
    pub(crate) fn begin(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.clone())
    }

    pub(crate) fn log_lines_dropped(&self) -> Counter {
        self.log_lines_dropped.clone()
    }

    pub(crate) fn audit_files_lost(&self, count: u64) {
        self.audit_files_lost.inc_by(count);
    }

    pub(crate) fn removed(&self, removed: &Removed) {
        for (kind, count) in [
            (Kind::manifest, removed.manifests),
            (Kind::link, removed.links),
            (Kind::blob, removed.blobs),
        ] {
            self.gc_removed
                .get_or_create(&KindLabel { kind })
                .inc_by(count);
        }
    }

    pub(crate) fn removals_failed(&self, count: u64) {
        self.gc_removals_failed.inc_by(count);
    }

    pub(crate) fn sweep_failed(&self) {
        self.gc_sweeps_failed.inc();
    }

    pub(crate) fn freed(&self, bytes: u64) {
        self.gc_freed_bytes.inc_by(bytes);
    }

    pub(crate) fn backlog(&self, backlog: &Backlog, now_ms: i64) {
        self.gc_candidates.set(backlog.reviews);
        self.gc_dead_bytes.set(backlog.dead_bytes);
        self.uploads.set(backlog.uploads);
        let due_ms = backlog.first_due_ms.unwrap_or(now_ms);
        self.gc_oldest_seconds.set((now_ms - due_ms).max(0) / 1000);
    }
}
