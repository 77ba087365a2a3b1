//! From configuration to stages: the table of what there is.

use super::Metrics;
use super::chain::{Chain, Stage};
use super::config::{StageConfig, StageError};

/// Makes stages of a job.
pub(crate) struct Builder<'a> {
    job: &'a str,
    metrics: &'a Metrics,
    /// The stages around those that are made now, outermost first.
    around: Vec<String>,
}

/// A stage, or why it cannot be made.
pub(crate) type Built = Result<Box<dyn Stage>, String>;

impl<'a> Builder<'a> {
    pub(crate) fn new(job: &'a str, metrics: &'a Metrics) -> Self {
        Self { job, metrics, around: Vec::new() }
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        self.metrics
    }

    pub(crate) fn chain(&mut self, config: &[StageConfig]) -> Result<Chain, StageError> {
        let mut stages = Vec::with_capacity(config.len());
        for (at, stage) in config.iter().enumerate() {
            self.around.push(format!("{} ({})", at + 1, stage.name));
            stages.push(self.stage(stage).map_err(|reason| self.error(reason))?);
            self.around.pop();
        }
        Ok(Chain(stages))
    }

    fn error(&self, reason: String) -> StageError {
        StageError { job: self.job.to_owned(), place: self.around.join(" / "), reason }
    }

    fn stage(&self, config: &StageConfig) -> Built {
        match config.name.as_str() {
            "eventlogmessage" | "geoip" => Err("this stage of promtail is not supported".to_owned()),
            _ => Err("there is no stage of this name".to_owned()),
        }
    }
}
