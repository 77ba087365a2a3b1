//! Stages that cannot be compiled.

use std::fmt;

use model::re2::Re2Error;
use model::units::quote;

use crate::template::TemplateError;

/// A stage that cannot be compiled. Parsing refuses nearly all of them; what is left are
/// expressions that grow too large.
#[derive(Debug)]
pub struct PipelineError {
    /// The stage as it prints, if known.
    stage: Option<String>,
    fault: StageFault,
}

impl PipelineError {
    /// Says which stage it is.
    pub(super) fn of(self, stage: impl fmt::Display) -> Self {
        Self {
            stage: Some(stage.to_string()),
            ..self
        }
    }
}

impl From<StageFault> for PipelineError {
    fn from(fault: StageFault) -> Self {
        Self { stage: None, fault }
    }
}

impl fmt::Display for PipelineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stage {
            Some(stage) => write!(f, "parse error : stage '{stage}' : {}", self.fault),
            None => write!(f, "parse error : {}", self.fault),
        }
    }
}

impl std::error::Error for PipelineError {}

/// What is wrong with a stage.
#[derive(Debug, thiserror::Error)]
pub enum StageFault {
    /// A regular expression that RE2 refuses.
    #[error("{0}")]
    Syntax(Re2Error),
    /// A regular expression that becomes too large.
    #[error("error parsing regexp: expression too large: `{pattern}`")]
    Regex {
        /// The expression.
        pattern: String,
        /// Why it is refused.
        #[source]
        source: Box<regex::Error>,
    },
    /// Neither an address, nor a network, nor a range.
    #[error("ip: invalid pattern: {}", quote(.0))]
    Ip(String),
    /// A path or key that cannot be read.
    #[error("cannot parse expression [{expression}]: {reason}")]
    Expression {
        /// The expression.
        expression: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A template of a line that cannot be read.
    #[error("invalid line template: {0}")]
    LineTemplate(TemplateError),
    /// A template of a label that cannot be read.
    #[error("invalid template for label '{label}': {error}")]
    LabelTemplate {
        /// The label.
        label: String,
        /// What is wrong with its template.
        error: TemplateError,
    },
}

impl StageFault {
    pub(super) fn regex(error: Re2Error) -> Self {
        Self::Syntax(error)
    }

    pub(super) fn ip(pattern: &str) -> Self {
        Self::Ip(pattern.to_owned())
    }
}
