//! What the stages tell about themselves, under promtail's names.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

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
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    dropped: Family<ReasonLabels, Counter>,
    dropped_by_label: Family<ValueLabels, Counter>,
}

impl Metrics {
    /// Metrics that appear in `registry`, which must not add a prefix to names.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
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
        metrics
    }

    /// The counter of lines that are dropped for a reason.
    pub(crate) fn dropped(&self, reason: &str) -> Counter {
        let labels = ReasonLabels { reason: reason.to_owned() };
        self.dropped.get_or_create_owned(&labels)
    }
}
