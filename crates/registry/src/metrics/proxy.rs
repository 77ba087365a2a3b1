//! What caches of other registries do, by the names of the reference implementation.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use server::Registry;

use super::DURATION_BUCKETS_SECONDS;

/// What is cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the names are the label's values")]
pub(crate) enum Cached {
    manifest,
    blob,
    tags,
    referrers,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CachedLabel {
    r#type: Cached,
}

/// Administrators name upstreams, and there is a bound for how many.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabel {
    upstream: String,
}

/// What caches do.
#[derive(Clone, Debug)]
pub(super) struct ProxyMetrics {
    requests: Family<CachedLabel, Counter>,
    hits: Family<CachedLabel, Counter>,
    misses: Family<CachedLabel, Counter>,
    pulled: Family<CachedLabel, Counter>,
    pushed: Family<CachedLabel, Counter>,
    upstream_seconds: Family<UpstreamLabel, Histogram>,
}

impl Default for ProxyMetrics {
    fn default() -> Self {
        let new_histogram: fn() -> Histogram = || Histogram::new(DURATION_BUCKETS_SECONDS);
        Self {
            requests: Family::default(),
            hits: Family::default(),
            misses: Family::default(),
            pulled: Family::default(),
            pushed: Family::default(),
            upstream_seconds: Family::new_with_constructor(new_histogram),
        }
    }
}

impl ProxyMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let counters = [
            ("requests", "Pulls from caches", &self.requests),
            ("hits", "Pulls from caches that had it", &self.hits),
            (
                "misses",
                "Pulls from caches that had to fetch it",
                &self.misses,
            ),
            ("pulled_bytes", "Bytes that caches fetched", &self.pulled),
            ("pushed_bytes", "Bytes that caches sent of it", &self.pushed),
        ];
        for (name, help, counter) in counters {
            registry.register(format!("registry_proxy_{name}"), help, counter.clone());
        }
        registry.register(
            "registry_proxy_upstream_seconds",
            "Time until other registries began to answer",
            self.upstream_seconds.clone(),
        );
    }
}

impl super::Metrics {
    pub(crate) fn proxy_hit(&self, cached: Cached) {
        let label = CachedLabel { r#type: cached };
        self.proxy.requests.get_or_create(&label).inc();
        self.proxy.hits.get_or_create(&label).inc();
    }

    pub(crate) fn proxy_missed(&self, cached: Cached) {
        let label = CachedLabel { r#type: cached };
        self.proxy.requests.get_or_create(&label).inc();
        self.proxy.misses.get_or_create(&label).inc();
    }

    /// Bytes came from another registry.
    pub(crate) fn proxy_fetched(&self, cached: Cached, bytes: u64) {
        let label = CachedLabel { r#type: cached };
        self.proxy.pulled.get_or_create(&label).inc_by(bytes);
    }

    /// Bytes of another registry went to who asked.
    pub(crate) fn proxy_sent(&self, cached: Cached, bytes: u64) {
        let label = CachedLabel { r#type: cached };
        self.proxy.pushed.get_or_create(&label).inc_by(bytes);
    }

    /// Another registry has begun to answer, or has not.
    pub(crate) fn upstream_seconds(&self, upstream: &str, seconds: f64) {
        let upstream = upstream.to_owned();
        let label = UpstreamLabel { upstream };
        let histogram = self.proxy.upstream_seconds.get_or_create(&label);
        histogram.observe(seconds);
    }
}
