//! `limit`: so many lines per second, for the job or for each value of a label.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use serde::Deserialize;

use super::Metrics;
use super::chain::{Flow, Stage};
use super::row::Row;

/// The least `max_distinct_labels` that makes sense.
const VALUES_MIN: usize = 10_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    /// Lines per second.
    rate: f64,
    burst: u32,
    #[serde(default)]
    drop: bool,
    #[serde(default)]
    by_label_name: String,
    #[serde(default)]
    max_distinct_labels: usize,
}

#[derive(Clone)]
pub(crate) struct Limit {
    rate: Rate,
    /// Shared by all files of the job.
    buckets: Arc<Mutex<Buckets>>,
    action: Action,
    paused_until_ns: Option<i64>,
}

#[derive(Clone)]
enum Action {
    /// Lets lines through on credit and asks for a pause.
    Wait,
    Drop(Counter),
    DropByLabel {
        label: Arc<str>,
        values_max: usize,
        dropped: Counter,
        metrics: Metrics,
    },
}

#[derive(Clone, Copy)]
struct Rate {
    per_s: f64,
    burst: f64,
}

#[derive(Default)]
struct Buckets {
    job: Option<Bucket>,
    /// By value of the label, in two generations: when the young ones are too many they become the
    /// old ones, and what is still old then is forgotten.
    young: HashMap<String, Bucket>,
    old: HashMap<String, Bucket>,
}

#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    filled_ns: i64,
}

impl Rate {
    fn fill(self, bucket: Option<Bucket>, now_ns: i64) -> Bucket {
        let Some(bucket) = bucket else {
            return Bucket {
                tokens: self.burst,
                filled_ns: now_ns,
            };
        };
        let passed_ns = now_ns.saturating_sub(bucket.filled_ns).max(0);
        let tokens = bucket.tokens + passed_ns as f64 / 1e9 * self.per_s;
        Bucket {
            tokens: tokens.min(self.burst),
            filled_ns: bucket.filled_ns.max(now_ns),
        }
    }
}

impl Limit {
    pub(crate) fn new(options: &Options, metrics: &Metrics) -> Result<Self, String> {
        if !options.rate.is_finite() || options.rate <= 0.0 || options.burst == 0 {
            return Err("rate and burst must be above 0".to_owned());
        }
        let by_label = !options.by_label_name.is_empty();
        if by_label && !options.drop {
            return Err("by_label_name needs drop: true".to_owned());
        }
        let dropped = metrics.dropped("ratelimit_drop_stage");
        let action = match (options.drop, by_label) {
            (_, true) => Action::DropByLabel {
                label: options.by_label_name.as_str().into(),
                values_max: options.max_distinct_labels.max(VALUES_MIN),
                dropped,
                metrics: metrics.clone(),
            },
            (true, false) => Action::Drop(dropped),
            (false, false) => Action::Wait,
        };
        Ok(Self {
            rate: Rate {
                per_s: options.rate,
                burst: f64::from(options.burst),
            },
            buckets: Arc::default(),
            action,
            paused_until_ns: None,
        })
    }
}

impl Stage for Limit {
    fn process(&mut self, row: &mut Row, now_ns: i64) -> Flow {
        let mut buckets = self.buckets.lock();
        match &self.action {
            Action::Wait => {
                let bucket = buckets.of_job(self.rate, now_ns);
                bucket.tokens -= 1.0;
                let owed_ns = (-bucket.tokens / self.rate.per_s * 1e9) as i64;
                self.paused_until_ns = (owed_ns > 0).then(|| now_ns.saturating_add(owed_ns));
                Flow::On
            }
            Action::Drop(dropped) => {
                let bucket = buckets.of_job(self.rate, now_ns);
                if bucket.take() {
                    return Flow::On;
                }
                dropped.inc();
                Flow::Stop
            }
            Action::DropByLabel {
                label,
                values_max,
                dropped,
                metrics,
            } => {
                let Some(value) = row.labels().get(&**label) else {
                    return Flow::On;
                };
                if buckets.of_value(value, *values_max, self.rate, now_ns, metrics) {
                    return Flow::On;
                }
                dropped.inc();
                metrics.dropped_by_label(label, value);
                Flow::Stop
            }
        }
    }

    fn paused_until_ns(&self) -> Option<i64> {
        self.paused_until_ns
    }

    fn fork(&self) -> Box<dyn Stage> {
        Box::new(Self {
            paused_until_ns: None,
            ..self.clone()
        })
    }
}

impl Bucket {
    fn take(&mut self) -> bool {
        let has = self.tokens >= 1.0;
        if has {
            self.tokens -= 1.0;
        }
        has
    }
}

impl Buckets {
    /// The bucket of the job as it is now.
    fn of_job(&mut self, rate: Rate, now_ns: i64) -> &mut Bucket {
        let filled = rate.fill(self.job, now_ns);
        self.job.insert(filled)
    }

    /// Takes a token of a label's value, if there is one.
    fn of_value(
        &mut self,
        value: &str,
        values_max: usize,
        rate: Rate,
        now_ns: i64,
        metrics: &Metrics,
    ) -> bool {
        if let Some(bucket) = self.young.get_mut(value) {
            *bucket = rate.fill(Some(*bucket), now_ns);
            return bucket.take();
        }
        let held = self.old.remove(value);
        if self.young.len() >= values_max {
            self.old = std::mem::take(&mut self.young);
            metrics.forget_dropped_by_label();
        }
        let mut bucket = rate.fill(held, now_ns);
        let has = bucket.take();
        self.young.insert(value.to_owned(), bucket);
        has
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::testing::{NOW_NS, entry, labelled, pipeline, pipeline_with, refused};

    const S: i64 = 1_000_000_000;

    #[test]
    fn what_is_above_the_rate_is_dropped_for_all_files_of_a_job() {
        let metrics = Metrics::default();
        let stages = "- limit: {rate: 2, burst: 3, drop: true}";
        let (mut first, mut out) = (pipeline_with(stages, &metrics), Vec::new());
        let mut second = first.fork();
        for at_ns in [0, 0, S / 4] {
            first.process(entry("x"), NOW_NS + at_ns, &mut out);
            second.process(entry("x"), NOW_NS + at_ns, &mut out);
        }
        assert_eq!(
            (out.len(), metrics.dropped("ratelimit_drop_stage").get()),
            (3, 3)
        );
        second.process(entry("x"), NOW_NS + S, &mut out);
        assert_eq!(out.len(), 4);
    }

    #[test]
    fn without_drop_reading_pauses() {
        let (mut pipeline, mut out) = (pipeline("- limit: {rate: 10, burst: 1}"), Vec::new());
        pipeline.process(entry("a"), NOW_NS, &mut out);
        assert_eq!(pipeline.paused_until_ns(), None);
        pipeline.process(entry("b"), NOW_NS, &mut out);
        pipeline.process(entry("c"), NOW_NS, &mut out);
        assert_eq!(
            (out.len(), pipeline.paused_until_ns()),
            (3, Some(NOW_NS + S / 5))
        );
        // The pause is over once the pipeline knows that time has passed.
        pipeline.idle(NOW_NS + S / 5, &mut out);
        assert_eq!(pipeline.paused_until_ns(), None);
    }

    #[test]
    fn each_value_of_a_label_has_its_own_rate() {
        let metrics = Metrics::default();
        let stages = "- limit: {rate: 1, burst: 1, drop: true, by_label_name: app}";
        let (mut pipeline, mut out) = (pipeline_with(stages, &metrics), Vec::new());
        for app in ["a", "b", "a", "c", "a"] {
            pipeline.process(labelled("x", &[("app", app)]), NOW_NS, &mut out);
        }
        pipeline.process(entry("no label"), NOW_NS, &mut out);
        assert_eq!(
            (out.len(), metrics.dropped("ratelimit_drop_stage").get()),
            (4, 2)
        );
    }

    #[test]
    fn values_of_a_label_are_bounded() {
        let rate = Rate {
            per_s: 1.0,
            burst: 1.0,
        };
        let (mut buckets, metrics) = (Buckets::default(), Metrics::default());
        for value in 0..100 {
            assert!(buckets.of_value(&value.to_string(), 10, rate, NOW_NS, &metrics));
        }
        assert!(buckets.young.len() + buckets.old.len() <= 20);
        assert!(!buckets.of_value("99", 10, rate, NOW_NS, &metrics));
        // One of the old generation is remembered as well.
        assert!(!buckets.of_value("85", 10, rate, NOW_NS, &metrics));
    }

    #[test]
    fn as_many_values_are_remembered_as_there_may_be() {
        for (max, is_remembered) in [(VALUES_MIN, false), (2 * VALUES_MIN, true)] {
            let stages = format!(
                "- limit: {{rate: 1, burst: 1, drop: true, by_label_name: app, \
                 max_distinct_labels: {max}}}"
            );
            let (mut pipeline, mut out) = (pipeline(&stages), Vec::new());
            let values = (0..2 * VALUES_MIN + 1).chain([0]);
            for value in values.map(|value| value.to_string()) {
                pipeline.process(labelled("x", &[("app", &value)]), NOW_NS, &mut out);
            }
            assert_eq!(out.len() == 2 * VALUES_MIN + 1, is_remembered, "{max}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (options, error) in [
            ("{rate: 0, burst: 1}", "above 0"),
            ("{rate: 1, burst: 0}", "above 0"),
            ("{rate: 1}", "missing field `burst`"),
            ("{rate: 1, burst: 1, by_label_name: a}", "needs drop: true"),
        ] {
            let message = refused(&format!("- limit: {options}"));
            assert!(message.contains(error), "{message}");
        }
    }
}
