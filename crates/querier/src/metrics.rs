//! Metrics of the querier, `skald_querier_*`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// What kind of query, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct QueryLabels {
    /// `logs`, `metric`, `instant` or `metadata`.
    pub kind: &'static str,
    /// `ok`, or the HTTP status of the error.
    pub outcome: String,
}

/// Counters and histograms of all queries.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Queries by kind and outcome.
    pub queries: Family<QueryLabels, Counter>,
    /// Time from the beginning of a query to its answer, in seconds.
    pub duration: Option<Histogram>,
    /// Time that queries waited for their turn, in seconds.
    pub queued: Option<Histogram>,
    /// Bytes of lines looked at.
    pub bytes_processed: Counter,
    /// Lines looked at.
    pub lines_processed: Counter,
    /// Memory that queries hold.
    pub memory_bytes: Gauge,
    /// Tails under way.
    pub tails: Gauge,
}

impl Metrics {
    /// Registers all.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let histogram = || Histogram::new(exponential_buckets(0.001, 2.5, 12));
        let metrics = Self {
            duration: Some(histogram()),
            queued: Some(histogram()),
            ..Self::default()
        };
        let registry = registry.sub_registry_with_prefix("skald_querier");
        registry.register(
            "queries",
            "Queries by kind and outcome",
            metrics.queries.clone(),
        );
        if let (Some(duration), Some(queued)) = (&metrics.duration, &metrics.queued) {
            registry.register(
                "query_duration_seconds",
                "Time to an answer",
                duration.clone(),
            );
            registry.register(
                "query_queued_seconds",
                "Time waited for a turn",
                queued.clone(),
            );
        }
        registry.register(
            "bytes_processed",
            "Bytes of lines looked at",
            metrics.bytes_processed.clone(),
        );
        registry.register(
            "lines_processed",
            "Lines looked at",
            metrics.lines_processed.clone(),
        );
        registry.register(
            "memory_bytes",
            "Memory held by queries",
            metrics.memory_bytes.clone(),
        );
        registry.register("tails", "Tails under way", metrics.tails.clone());
        metrics
    }
}
