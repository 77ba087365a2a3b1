//! From configuration to stages: the table of what there is.

use serde::Deserialize;

use super::Metrics;
use super::chain::{Chain, Stage};
use super::config::{StageConfig, StageError};
use super::cri::Cri;
use super::decolorize::Decolorize;
use super::docker::Docker;
use super::drop::Drop;
use super::inspect::{Inspect, Inspected};
use super::json::JsonStage;
use super::labelallow::LabelAllow;
use super::labeldrop::LabelDrop;
use super::labels::Labels;
use super::limit::Limit;
use super::logfmt::Logfmt;
use super::match_stage::{self, Match};
use super::metric_stage::MetricStage;
use super::multiline::Multiline;
use super::output::Output;
use super::pack::Pack;
use super::regex::RegexStage;
use super::replace::Replace;
use super::sampling::Sampling;
use super::static_labels::StaticLabels;
use super::structured_metadata::StructuredMetadata;
use super::template::TemplateStage;
use super::tenant::Tenant;
use super::timestamp::Timestamp;

/// How deep `match` stages may be nested.
const DEPTH_MAX: usize = 16;

/// Makes stages of a job.
pub(crate) struct Builder<'a> {
    job: &'a str,
    metrics: &'a Metrics,
    inspect: Option<Inspect>,
    /// The stages around those that are made now, outermost first.
    around: Vec<String>,
}

/// A stage, or why it cannot be made.
type Built = Result<Box<dyn Stage>, String>;

impl<'a> Builder<'a> {
    /// With `inspect`, each stage tells what it does.
    pub(crate) fn new(job: &'a str, metrics: &'a Metrics, inspect: Option<Inspect>) -> Self {
        Self {
            job,
            metrics,
            inspect,
            around: Vec::new(),
        }
    }

    pub(crate) fn chain(&mut self, config: &[StageConfig]) -> Result<Chain, StageError> {
        let mut stages = Vec::with_capacity(config.len());
        for (at, stage) in config.iter().enumerate() {
            self.around.push(format!("{} ({})", at + 1, stage.name));
            let last = at + 1 == config.len() && self.around.len() == 1 && self.inspect.is_none();
            let stage = self.stage(stage, last)?;
            stages.push(self.watched(stage));
            self.around.pop();
        }
        Ok(Chain(stages))
    }

    fn watched(&self, stage: Box<dyn Stage>) -> Box<dyn Stage> {
        match &self.inspect {
            None => stage,
            Some(inspect) => Box::new(Inspected {
                stage,
                place: self.around.join(" / ").into(),
                inspect: inspect.clone(),
            }),
        }
    }

    fn error(&self, reason: String) -> StageError {
        StageError {
            job: self.job.to_owned(),
            place: self.around.join(" / "),
            reason,
        }
    }

    /// `last` says that no stage comes after this one.
    fn stage(&mut self, config: &StageConfig, last: bool) -> Result<Box<dyn Stage>, StageError> {
        if self.around.len() > DEPTH_MAX {
            return Err(self.error(format!("nested too deeply: more than {DEPTH_MAX} stages")));
        }
        if config.name == "match" {
            return self.match_stage(config);
        }
        self.simple(config, last)
            .map_err(|reason| self.error(reason))
    }

    fn match_stage(&mut self, config: &StageConfig) -> Result<Box<dyn Stage>, StageError> {
        let options: match_stage::Options = config.read().map_err(|reason| self.error(reason))?;
        let chain = self.chain(&options.stages)?;
        let dropped = self.metrics.dropped(options.reason());
        boxed(Match::new(&options, chain, dropped)).map_err(|reason| self.error(reason))
    }

    /// A stage that has no others inside.
    fn simple(&self, config: &StageConfig, last: bool) -> Built {
        let metrics = self.metrics;
        match config.name.as_str() {
            "cri" => boxed(Cri::new(&config.read()?, last)),
            "decolorize" => config
                .read()
                .map(|NoOptions {}| Box::new(Decolorize::default()) as _),
            "docker" => config.read().and_then(|NoOptions {}| boxed(Docker::new())),
            "drop" => boxed(Drop::new(config.read()?, metrics)),
            "json" => boxed(JsonStage::new(config.read()?)),
            "labelallow" => boxed(LabelAllow::new(config.read()?)),
            "labeldrop" => boxed(LabelDrop::new(config.read()?)),
            "labels" => boxed(Labels::new(config.read()?)),
            "limit" => boxed(Limit::new(&config.read()?, metrics)),
            "logfmt" => boxed(Logfmt::new(config.read()?)),
            "metrics" => boxed(MetricStage::new(config.read()?, metrics)),
            "multiline" => boxed(Multiline::new(&config.read()?)),
            "output" => boxed(Output::new(&config.read()?)),
            "pack" => boxed(Pack::new(config.read()?)),
            "regex" => boxed(RegexStage::new(config.read()?)),
            "replace" => boxed(Replace::new(config.read()?)),
            "sampling" => boxed(Sampling::new(&config.read()?, metrics, rand::random())),
            "static_labels" => boxed(StaticLabels::new(config.read()?)),
            "structured_metadata" | "non_indexed_labels" => {
                boxed(StructuredMetadata::new(config.read()?))
            }
            "template" => boxed(TemplateStage::new(&config.read()?)),
            "tenant" => boxed(Tenant::new(config.read()?)),
            "timestamp" => boxed(Timestamp::new(config.read()?)),
            "eventlogmessage" | "geoip" => {
                Err("this stage of promtail is not supported".to_owned())
            }
            _ => Err("there is no stage of this name".to_owned()),
        }
    }
}

/// A stage without options.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoOptions {}

fn boxed<S: Stage + 'static>(stage: Result<S, String>) -> Built {
    stage.map(|stage| Box::new(stage) as Box<dyn Stage>)
}
