//! Summaries: quantiles of what was observed last. The client library has no metric of this type, so
//! it is written as one of none, and [`name_type`] gives it its name.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Observations that quantiles are of.
const OBSERVED_MAX: usize = 1024;
/// The quantiles that are shown, and as what.
const QUANTILES: [(f64, &str); 3] = [(0.5, "0.5"), (0.9, "0.9"), (0.99, "0.99")];

/// Quantiles of the last observations, and the number and sum of all. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Summary(Arc<Mutex<Observed>>);

#[derive(Debug, Default)]
struct Observed {
    /// The last ones; the oldest is at `next` once there are enough.
    last: Vec<f64>,
    next: usize,
    count: u64,
    sum: f64,
}

impl Summary {
    /// One more observation.
    pub fn observe(&self, value: f64) {
        let mut observed = self.0.lock();
        observed.count += 1;
        observed.sum += value;
        let at = observed.next;
        match observed.last.get_mut(at) {
            Some(oldest) => *oldest = value,
            None => observed.last.push(value),
        }
        observed.next = (at + 1) % OBSERVED_MAX;
    }
}

/// The value that so great a part of sorted ones is not above; none of none.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = (part * sorted.len() as f64).ceil() as usize;
    let value = sorted.get(at.saturating_sub(1));
    value.copied().unwrap_or(f64::NAN)
}

impl EncodeMetric for Summary {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let (mut last, count, sum) = {
            let observed = self.0.lock();
            (observed.last.clone(), observed.count, observed.sum)
        };
        last.sort_unstable_by(f64::total_cmp);
        for (part, name) in QUANTILES {
            let label = [("quantile", name)];
            let mut encoder = encoder.encode_family(&label)?;
            encoder.encode_gauge(&quantile(&last, part))?;
        }
        encoder.encode_histogram::<NoLabelSet>(sum, count, &[], None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Summary {
    const TYPE: MetricType = MetricType::Unknown;
}

/// Gives summaries their type in a text of metrics: nothing else is of none.
pub(super) fn name_type(text: &str) -> String {
    let mut named = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match line.strip_suffix(" unknown\n") {
            Some(start) if start.starts_with("# TYPE ") => {
                named.push_str(start);
                named.push_str(" summary\n");
            }
            _ => named.push_str(line),
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    #[test]
    fn quantiles_are_of_the_last_observations() {
        let metrics = Metrics::new();
        let summary = Summary::default();
        metrics
            .registry()
            .register("took_seconds", "How long it took", summary.clone());
        assert!(metrics.encode().contains("took_seconds_count 0\n"));
        for value in [1e9; OBSERVED_MAX] {
            summary.observe(value);
        }
        for value in 0..OBSERVED_MAX {
            summary.observe(value as f64);
        }
        let text = metrics.encode();
        for line in [
            "# TYPE took_seconds summary",
            "took_seconds{quantile=\"0.5\"} 511.0",
            "took_seconds{quantile=\"0.99\"} 1013.0",
            "took_seconds_count 2048",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}:\n{text}");
        }
    }
}
