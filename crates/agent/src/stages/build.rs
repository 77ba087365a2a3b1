//! From configuration to stages: the table of what there is.

use serde::Deserialize;

use super::Metrics;
use super::chain::{Chain, Stage};
use super::config::{StageConfig, StageError};
use super::cri::Cri;
use super::docker::Docker;
use super::json::JsonStage;
use super::labels::Labels;
use super::output::Output;
use super::regex::RegexStage;
use super::timestamp::Timestamp;

/// Makes stages of a job.
pub(crate) struct Builder<'a> {
    job: &'a str,
    metrics: &'a Metrics,
    /// The stages around those that are made now, outermost first.
    around: Vec<String>,
}

/// A stage, or why it cannot be made.
type Built = Result<Box<dyn Stage>, String>;

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
            let last = at + 1 == config.len() && self.around.len() == 1;
            stages.push(self.stage(stage, last)?);
            self.around.pop();
        }
        Ok(Chain(stages))
    }

    fn error(&self, reason: String) -> StageError {
        StageError { job: self.job.to_owned(), place: self.around.join(" / "), reason }
    }

    /// `last` says that no stage comes after this one.
    fn stage(&mut self, config: &StageConfig, last: bool) -> Result<Box<dyn Stage>, StageError> {
        let built = match config.name.as_str() {
            "cri" => config.read().and_then(|options| boxed(Cri::new(&options, last))),
            "docker" => config.read().and_then(|NoOptions {}| boxed(Docker::new())),
            "json" => config.read().and_then(|options| boxed(JsonStage::new(options))),
            "labels" => config.read().and_then(|options| boxed(Labels::new(options))),
            "output" => config.read().and_then(|options| boxed(Output::new(&options))),
            "regex" => config.read().and_then(|options| boxed(RegexStage::new(options))),
            "timestamp" => config.read().and_then(|options| boxed(Timestamp::new(options))),
            "eventlogmessage" | "geoip" => Err("this stage of promtail is not supported".to_owned()),
            _ => Err("there is no stage of this name".to_owned()),
        };
        built.map_err(|reason| self.error(reason))
    }
}

/// A stage without options.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoOptions {}

fn boxed<S: Stage + 'static>(stage: Result<S, String>) -> Built {
    stage.map(|stage| Box::new(stage) as Box<dyn Stage>)
}
