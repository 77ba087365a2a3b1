//! Metrics that users define with `metrics` stages: series by label set, forgotten when idle.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use foldhash::quality::RandomState;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;

/// Series that one metric of a `metrics` stage may have, unless something else is said.
pub const SERIES_MAX: usize = 10_000;

/// What a metric is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    /// Upper bounds of the buckets, rising, the last one infinite.
    Histogram(Vec<f64>),
}

/// A metric as a stage defines it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Definition {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) kind: Kind,
    /// How long a series is shown after its last change.
    pub(crate) idle_ns: i64,
}

/// What happens to a series.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Update {
    Add(f64),
    Set(f64),
    Observe(f64),
}

/// All metrics of all pipelines. Cloning shares them.
#[derive(Clone, Debug)]
pub(crate) struct CustomMetrics(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    metrics: Mutex<BTreeMap<String, Arc<CustomMetric>>>,
    /// The latest time that any line brought, which is the time for what is idle.
    now_ns: AtomicI64,
    series_max: usize,
    refused: Counter,
}

/// One metric with its series.
#[derive(Debug)]
pub(crate) struct CustomMetric {
    definition: Definition,
    hasher: RandomState,
    /// By the hash of the labels.
    series: Mutex<HashMap<u64, Series>>,
}

#[derive(Debug)]
struct Series {
    labels: Vec<(String, String)>,
    changed_ns: i64,
    /// Value of a counter or gauge, sum of a histogram.
    value: f64,
    /// Counts of the buckets of a histogram.
    buckets: Vec<u64>,
}

impl CustomMetrics {
    /// `refused` counts updates of series that are too many.
    pub(crate) fn new(series_max: usize, refused: Counter) -> Self {
        Self(Arc::new(Shared {
            metrics: Mutex::default(),
            now_ns: AtomicI64::new(i64::MIN),
            series_max,
            refused,
        }))
    }

    /// A metric. Stages that define the same one share it.
    pub(crate) fn define(&self, definition: Definition) -> Result<Arc<CustomMetric>, String> {
        let mut metrics = self.0.metrics.lock();
        if let Some(known) = metrics.get(&definition.name) {
            if known.definition == definition {
                return Ok(Arc::clone(known));
            }
            return Err(format!(
                "metric {} is defined differently elsewhere",
                definition.name
            ));
        }
        let name = definition.name.clone();
        let metric = Arc::new(CustomMetric {
            definition,
            hasher: RandomState::default(),
            series: Mutex::default(),
        });
        metrics.insert(name, Arc::clone(&metric));
        Ok(metric)
    }

    /// Changes the series of a label set. Internal labels, which begin with `__`, do not count.
    pub(crate) fn update(
        &self,
        metric: &CustomMetric,
        labels: &BTreeMap<String, String>,
        update: Update,
        now_ns: i64,
    ) {
        self.0.now_ns.fetch_max(now_ns, Ordering::Relaxed);
        if !metric.update(labels, update, now_ns, self.0.series_max) {
            self.0.refused.inc();
        }
    }
}

impl CustomMetric {
    pub(crate) fn kind(&self) -> &Kind {
        &self.definition.kind
    }

    /// `false` if it would be one series too many.
    fn update(
        &self,
        labels: &BTreeMap<String, String>,
        update: Update,
        now_ns: i64,
        series_max: usize,
    ) -> bool {
        let outer = || labels.iter().filter(|(name, _)| !name.starts_with("__"));
        let mut hasher = self.hasher.build_hasher();
        outer().for_each(|label| label.hash(&mut hasher));
        let key = hasher.finish();
        let mut series = self.series.lock();
        if series.len() >= series_max && !series.contains_key(&key) {
            self.forget_idle(&mut series, now_ns);
            if series.len() >= series_max {
                return false;
            }
        }
        let bounds: &[f64] = match &self.definition.kind {
            Kind::Histogram(bounds) => bounds,
            _ => &[],
        };
        let one = series.entry(key).or_insert_with(|| Series {
            labels: outer()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            changed_ns: now_ns,
            value: 0.0,
            buckets: vec![0; bounds.len()],
        });
        one.changed_ns = now_ns;
        match update {
            Update::Set(value) => one.value = value,
            Update::Add(value) => one.value += value,
            Update::Observe(value) => {
                one.value += value;
                // What is not a number is in no bucket but the last.
                let at = bounds.iter().position(|bound| value <= *bound);
                let at = at.unwrap_or(bounds.len().saturating_sub(1));
                if let Some(count) = one.buckets.get_mut(at) {
                    *count += 1;
                }
            }
        }
        true
    }

    fn forget_idle(&self, series: &mut HashMap<u64, Series>, now_ns: i64) {
        let idle_ns = self.definition.idle_ns;
        series.retain(|_, series| now_ns.saturating_sub(series.changed_ns) < idle_ns);
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>, now_ns: i64) -> fmt::Result {
        let mut series = self.series.lock();
        self.forget_idle(&mut series, now_ns);
        if series.is_empty() {
            return Ok(());
        }
        let Definition {
            name,
            description,
            kind,
            ..
        } = &self.definition;
        // OpenMetrics has no counters whose names do not end with `_total`.
        let (name, kind) = match (kind, name.strip_suffix("_total")) {
            (Kind::Counter, Some(name)) => (name, MetricType::Counter),
            (Kind::Counter, None) => (name.as_str(), MetricType::Unknown),
            (Kind::Gauge, _) => (name.as_str(), MetricType::Gauge),
            (Kind::Histogram(_), _) => (name.as_str(), MetricType::Histogram),
        };
        let mut metric = encoder.encode_descriptor(name, description, None, kind)?;
        for series in series.values() {
            // A set of no labels would be written as empty braces.
            if series.labels.is_empty() {
                self.encode_series(series, kind, &mut metric)?;
            } else {
                self.encode_series(series, kind, &mut metric.encode_family(&series.labels)?)?;
            }
        }
        Ok(())
    }

    fn encode_series(
        &self,
        series: &Series,
        kind: MetricType,
        encoder: &mut MetricEncoder<'_>,
    ) -> fmt::Result {
        match (&self.definition.kind, kind) {
            (Kind::Histogram(bounds), _) => {
                let pairs = bounds.iter().copied().zip(series.buckets.iter().copied());
                let buckets: Vec<(f64, u64)> = pairs.collect();
                let count = series.buckets.iter().sum();
                encoder.encode_histogram::<NoLabelSet>(series.value, count, &buckets, None)
            }
            (_, MetricType::Counter) => {
                encoder.encode_counter::<NoLabelSet, _, u64>(&series.value, None)
            }
            _ => encoder.encode_gauge(&series.value),
        }
    }
}

impl Collector for CustomMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let metrics: Vec<_> = self.0.metrics.lock().values().cloned().collect();
        let now_ns = self.0.now_ns.load(Ordering::Relaxed);
        metrics
            .iter()
            .try_for_each(|metric| metric.encode(&mut encoder, now_ns))
    }
}
