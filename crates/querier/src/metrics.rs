//! Metrics of the querier, `skald_querier_*`.

use std::fmt;
use std::sync::Arc;

use admission::Admission;
use model::{Budget, Code};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

const PREFIX: &str = "skald_querier";

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum QueryKind {
    /// Lines.
    Logs,
    /// Series over time.
    Range,
    /// Series at one time.
    Instant,
    /// Lines to look into: fields, patterns.
    Samples,
    /// Labels, streams and sizes: no block is read.
    Metadata,
}

impl QueryKind {
    /// Whether it is so much work that it has to wait for its turn.
    pub(crate) fn waits_for_turn(self) -> bool {
        self != Self::Metadata
    }
}

/// How a query ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    /// Well.
    Ok,
    /// Refused: it is wrong, or asks for too much.
    Refused,
    /// It took too long.
    TimedOut,
    /// Ingesters, storage or the querier failed.
    Failed,
}

impl Outcome {
    pub(crate) fn of(error: Option<Code>) -> Self {
        match error {
            None => Self::Ok,
            Some(Code::DeadlineExceeded) => Self::TimedOut,
            Some(Code::Internal | Code::Unavailable | Code::Cancelled) => Self::Failed,
            Some(_) => Self::Refused,
        }
    }
}

/// What was asked for, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct QueryLabels {
    /// What is asked for.
    pub kind: QueryKind,
    /// How it ended.
    pub outcome: Outcome,
}

/// Counters and histograms of all queries.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Queries by kind and outcome.
    pub queries: Family<QueryLabels, Counter>,
    /// Time from the beginning of a query to its answer, in seconds.
    pub duration: Histogram,
    /// Time that queries waited for their turn, in seconds.
    pub queued: Histogram,
    /// Bytes of lines looked at.
    pub bytes_processed: Counter,
    /// Lines looked at.
    pub lines_processed: Counter,
    /// Tails under way.
    pub tails: Gauge,
    /// Damaged or lost parts of storage that answers lack, each once for an answer.
    pub damaged: Counter,
}

impl Metrics {
    /// Registers all.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let histogram = || Histogram::new(exponential_buckets(0.001, 2.5, 12));
        let metrics = Self {
            queries: Family::default(),
            duration: histogram(),
            queued: histogram(),
            bytes_processed: Counter::default(),
            lines_processed: Counter::default(),
            tails: Gauge::default(),
            damaged: Counter::default(),
        };
        let registry = registry.sub_registry_with_prefix(PREFIX);
        registry.register("queries", "Queries", metrics.queries.clone());
        let (duration, queued) = (metrics.duration.clone(), metrics.queued.clone());
        registry.register("query_duration_seconds", "Time to an answer", duration);
        registry.register("query_queued_seconds", "Time waited for a turn", queued);
        let (bytes, lines) = (
            metrics.bytes_processed.clone(),
            metrics.lines_processed.clone(),
        );
        registry.register("processed_bytes", "Bytes of lines looked at", bytes);
        registry.register("processed_lines", "Lines looked at", lines);
        registry.register("tails", "Tails under way", metrics.tails.clone());
        let damaged = metrics.damaged.clone();
        let help = "Damaged or lost parts of storage that answers lack";
        registry.register("damaged", help, damaged);
        metrics
    }
}

/// What queries hold and wait for at the moment, read at each scrape.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) memory: Arc<Budget>,
    pub(crate) admission: Arc<Admission>,
}

impl Held {
    pub(crate) fn register(self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix(PREFIX);
        registry.register_collector(Box::new(self));
    }
}

impl Collector for Held {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (memory, waiting) = (self.memory.used_bytes(), self.admission.waiting());
        let mut gauge = |name: &str, help: &str, value: i64| {
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)
        };
        gauge("memory_bytes", "Memory held by queries", memory as i64)?;
        let help = "Queries that wait for their turn";
        gauge("waiting_queries", help, waiting as i64)
    }
}
