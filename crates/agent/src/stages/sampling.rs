//! `sampling`: a share of the lines goes on, each by its own throw of the dice.

use prometheus_client::metrics::counter::Counter;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Deserialize;

use super::Metrics;
use super::chain::{Flow, Stage};
use super::row::Row;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    /// The share of lines that goes on.
    rate: f64,
    drop_counter_reason: Option<String>,
}

pub(crate) struct Sampling {
    rate: f64,
    dropped: Counter,
    dice: SmallRng,
    /// From which the dice of forks are made.
    seed: u64,
}

impl Sampling {
    pub(crate) fn new(options: &Options, metrics: &Metrics, seed: u64) -> Result<Self, String> {
        if !(0.0..=1.0).contains(&options.rate) {
            return Err("rate must be between 0 and 1".to_owned());
        }
        let reason = options
            .drop_counter_reason
            .as_deref()
            .filter(|reason| !reason.is_empty());
        Ok(Self {
            rate: options.rate,
            dropped: metrics.dropped(reason.unwrap_or("sampling_stage")),
            dice: SmallRng::seed_from_u64(seed),
            seed,
        })
    }
}

impl Stage for Sampling {
    fn process(&mut self, _row: &mut Row, _now_ns: i64) -> Flow {
        if self.dice.random::<f64>() < self.rate {
            return Flow::On;
        }
        self.dropped.inc();
        Flow::Stop
    }

    fn fork(&self) -> Box<dyn Stage> {
        let seed = self.seed.wrapping_add(rand::random());
        Box::new(Self {
            rate: self.rate,
            dropped: self.dropped.clone(),
            dice: SmallRng::seed_from_u64(seed),
            seed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::testing::{entry, pipeline_with, refused};

    fn kept(rate: f64, metrics: &Metrics) -> usize {
        let options = Options {
            rate,
            drop_counter_reason: None,
        };
        let mut stage = Sampling::new(&options, metrics, 7).unwrap();
        let mut row = Row::new(entry("x"));
        (0..10_000)
            .filter(|_| matches!(stage.process(&mut row, 0), Flow::On))
            .count()
    }

    #[test]
    fn the_share_is_kept_and_the_rest_counted() {
        let metrics = Metrics::default();
        assert_eq!((kept(0.0, &metrics), kept(1.0, &metrics)), (0, 10_000));
        let quarter = kept(0.25, &metrics);
        assert!((2_300..2_700).contains(&quarter), "{quarter}");
        let dropped = usize::try_from(metrics.dropped("sampling_stage").get()).unwrap();
        assert_eq!(dropped, 20_000 - quarter);
    }

    #[test]
    fn what_is_dropped_has_a_reason() {
        let metrics = Metrics::default();
        let stages = "- sampling: {rate: 0, drop_counter_reason: noise}";
        let (mut pipeline, mut out) = (pipeline_with(stages, &metrics), Vec::new());
        pipeline.process(entry("x"), 0, &mut out);
        assert_eq!((out.len(), metrics.dropped("noise").get()), (0, 1));
    }

    #[test]
    fn rates_that_are_no_share_are_refused() {
        for rate in ["-0.1", "1.5"] {
            assert!(refused(&format!("- sampling: {{rate: {rate}}}")).contains("between 0 and 1"));
        }
        assert!(refused("- sampling: {}").contains("missing field `rate`"));
    }
}
