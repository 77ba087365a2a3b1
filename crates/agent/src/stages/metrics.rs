//! What the stages tell about themselves, under promtail's names.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::custom::{CustomMetrics, SERIES_MAX};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ValueLabels {
    label_name: Arc<str>,
    label_value: String,
}

/// Counters of all pipelines of a process. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Metrics {
    dropped: Family<ReasonLabels, Counter>,
    dropped_by_label: Family<ValueLabels, Counter>,
    series_refused: Counter,
    custom: CustomMetrics,
}

impl Metrics {
    /// Metrics that nobody sees, but for those who look into `custom`.
    pub(crate) fn new(series_max: usize) -> Self {
        let series_refused = Counter::default();
        Self {
            dropped: Family::default(),
            dropped_by_label: Family::default(),
            custom: CustomMetrics::new(series_max, series_refused.clone()),
            series_refused,
        }
    }

    /// Metrics that appear in `registry`, which must not add a prefix to names. Each metric that
    /// users define has at most [`SERIES_MAX`] series.
    pub fn register(registry: &mut Registry) -> Self {
        Self::register_bounded(registry, SERIES_MAX)
    }

    /// As [`Metrics::register`], with another bound for the series of each metric that users
    /// define.
    pub fn register_bounded(registry: &mut Registry, series_max: usize) -> Self {
        let metrics = Self::new(series_max);
        registry.register(
            "logentry_dropped_lines",
            "Lines that pipeline stages dropped, by reason",
            metrics.dropped.clone(),
        );
        registry.register(
            "logentry_dropped_lines_by_label",
            "Lines that limit stages dropped, by the label that they are limited by",
            metrics.dropped_by_label.clone(),
        );
        registry.register(
            "logentry_custom_series_refused",
            "Changes of series that metrics stages would have made although they had too many",
            metrics.series_refused.clone(),
        );
        registry.register_collector(Box::new(metrics.custom.clone()));
        metrics
    }

    /// The metrics that users define.
    pub(crate) fn custom(&self) -> &CustomMetrics {
        &self.custom
    }

    /// Counts a line that was dropped because of the value of a label.
    pub(crate) fn dropped_by_label(&self, name: &Arc<str>, value: &str) {
        let labels = ValueLabels {
            label_name: Arc::clone(name),
            label_value: value.to_owned(),
        };
        self.dropped_by_label.get_or_create_owned(&labels).inc();
    }

    /// Forgets the counts by label, whose values have become too many.
    pub(crate) fn forget_dropped_by_label(&self) {
        self.dropped_by_label.clear();
    }

    /// The counter of lines that are dropped for a reason.
    pub(crate) fn dropped(&self, reason: &str) -> Counter {
        let labels = ReasonLabels {
            reason: reason.to_owned(),
        };
        self.dropped.get_or_create_owned(&labels)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(SERIES_MAX)
    }
}
