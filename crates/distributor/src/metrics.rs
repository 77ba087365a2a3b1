//! What the distributor tells about itself: `skald_distributor_*`.

use model::TenantId;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::report::{Reason, Report};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TenantLabels {
    tenant: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DiscardLabels {
    reason: Reason,
    tenant: String,
}

/// Counters of pushes. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    lines_received: Family<TenantLabels, Counter>,
    bytes_received: Family<TenantLabels, Counter>,
    lines_stored: Family<TenantLabels, Counter>,
    lines_repeated: Family<TenantLabels, Counter>,
    samples_discarded: Family<DiscardLabels, Counter>,
    bytes_discarded: Family<DiscardLabels, Counter>,
    pub(crate) body_bytes: Counter,
    pub(crate) inflight_bytes: Gauge,
    pub(crate) ingester_failures: Counter,
    pub(crate) quorum_failures: Counter,
}

/// The counters of one tenant, looked up once.
#[derive(Clone, Debug)]
pub(crate) struct TenantCounters {
    pub(crate) lines_received: Counter,
    pub(crate) bytes_received: Counter,
    pub(crate) lines_stored: Counter,
    pub(crate) lines_repeated: Counter,
}

impl Metrics {
    /// Metrics that appear in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let to = registry.sub_registry_with_prefix("skald_distributor");
        to.register(
            "lines_received",
            "Lines of pushes that were decoded",
            metrics.lines_received.clone(),
        );
        to.register(
            "bytes_received",
            "Bytes of lines and metadata of pushes that were decoded",
            metrics.bytes_received.clone(),
        );
        to.register(
            "lines_stored",
            "Lines that the write quorum has",
            metrics.lines_stored.clone(),
        );
        to.register(
            "lines_repeated",
            "Lines that were too old, in pushes that may repeat what was stored before",
            metrics.lines_repeated.clone(),
        );
        to.register(
            "discarded_samples",
            "Lines that were refused, by reason",
            metrics.samples_discarded.clone(),
        );
        to.register(
            "discarded_bytes",
            "Bytes of lines and metadata that were refused, by reason",
            metrics.bytes_discarded.clone(),
        );
        to.register(
            "body_bytes",
            "Bytes of request bodies as they were sent",
            metrics.body_bytes.clone(),
        );
        to.register(
            "inflight_bytes",
            "Memory that pushes under way hold",
            metrics.inflight_bytes.clone(),
        );
        to.register(
            "ingester_failures",
            "Pushes to an ingester that failed",
            metrics.ingester_failures.clone(),
        );
        to.register(
            "quorum_failures",
            "Pushes that did not reach their write quorum",
            metrics.quorum_failures.clone(),
        );
        metrics
    }

    pub(crate) fn tenant(&self, tenant: &TenantId) -> TenantCounters {
        let labels = TenantLabels {
            tenant: tenant.to_string(),
        };
        TenantCounters {
            lines_received: self.lines_received.get_or_create(&labels).clone(),
            bytes_received: self.bytes_received.get_or_create(&labels).clone(),
            lines_stored: self.lines_stored.get_or_create(&labels).clone(),
            lines_repeated: self.lines_repeated.get_or_create(&labels).clone(),
        }
    }

    pub(crate) fn discarded(&self, tenant: &TenantId, report: &Report) {
        for (reason, tally) in report.discarded() {
            let labels = DiscardLabels {
                reason,
                tenant: tenant.to_string(),
            };
            self.samples_discarded
                .get_or_create(&labels)
                .inc_by(tally.rows as u64);
            self.bytes_discarded
                .get_or_create(&labels)
                .inc_by(tally.bytes as u64);
        }
    }

    /// Takes a tenant's series away.
    pub(crate) fn forget(&self, tenant: &TenantId) {
        let labels = TenantLabels {
            tenant: tenant.to_string(),
        };
        self.lines_received.remove(&labels);
        self.bytes_received.remove(&labels);
        self.lines_stored.remove(&labels);
        self.lines_repeated.remove(&labels);
        for reason in Reason::ALL {
            let labels = DiscardLabels {
                reason,
                tenant: tenant.to_string(),
            };
            self.samples_discarded.remove(&labels);
            self.bytes_discarded.remove(&labels);
        }
    }
}
