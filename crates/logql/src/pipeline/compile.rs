//! From the stages of a query to a program.

use std::sync::Arc;

use super::early::EarlyFilters;
use super::error::{PipelineError, StageFault};
use super::format::{LabelFormats, LineFormat};
use super::json::lookup::JsonLookup;
use super::label_filter::{Condition, names_in};
use super::line_filter::LineFilter;
use super::logfmt::{Logfmt, LogfmtLookup, Seeker};
use super::names::{FixedNames, NameId};
use super::pattern::Pattern;
use super::pick::{Drop, Keep};
use super::regexp::Regexp;
use super::stage::Stage;
use super::wanted::Wanted;
use crate::syntax::ast::{self, Extraction, LabelFilter};
use crate::syntax::{parse_json_path, parse_logfmt_key};

/// The stages of a query, compiled.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) stages: Vec<Stage>,
    pub(super) names: Arc<FixedNames>,
    pub(super) wanted: Arc<Wanted>,
    /// What templates call now.
    pub(super) now_ns: i64,
}

/// Stages before it is known which labels are wanted.
#[derive(Debug, Default)]
pub(super) struct Draft {
    stages: Vec<Stage>,
    pub(super) names: FixedNames,
    /// The labels that stages read.
    pub(super) reads: Vec<String>,
    /// Whether stages may read any label.
    pub(super) reads_all: bool,
}

impl Draft {
    /// Compiles stages. About `filters_see_removed` see [`EarlyFilters::among`].
    pub(super) fn new(
        stages: &[ast::Stage],
        filters_see_removed: bool,
    ) -> Result<Self, PipelineError> {
        let mut draft = Self::default();
        for stage in ordered(stages) {
            let compiled = draft.stage(stage).map_err(|error| error.of(stage))?;
            draft.stages.push(compiled);
        }
        let mut rest = draft.stages.as_mut_slice();
        while let [stage, behind @ ..] = rest {
            if let Some(early) = stage.early_mut() {
                *early = EarlyFilters::among(behind, filters_see_removed);
            }
            rest = behind;
        }
        Ok(draft)
    }

    /// The program that looks for these labels.
    pub(super) fn finish(mut self, wanted: Wanted, now_ns: i64) -> Program {
        for stage in &mut self.stages {
            match stage {
                Stage::Regexp(regexp, _) => regexp.retain_wanted(&wanted, &self.names),
                Stage::Pattern(pattern, _) => pattern.retain_wanted(&wanted, &self.names),
                _ => {}
            }
        }
        Program {
            stages: self.stages,
            names: Arc::new(self.names),
            wanted: Arc::new(wanted),
            now_ns,
        }
    }

    /// A filter on labels, whose names are noted.
    pub(super) fn condition(&mut self, filter: &LabelFilter) -> Result<Condition, PipelineError> {
        names_in(filter, &mut self.reads);
        Condition::compile(filter, &mut self.names)
    }

    fn stage(&mut self, stage: &ast::Stage) -> Result<Stage, PipelineError> {
        let early = EarlyFilters::default();
        Ok(match stage {
            ast::Stage::LineFilter(filter) => Stage::LineFilter(LineFilter::compile(filter)?),
            ast::Stage::Json(extractions) if extractions.is_empty() => Stage::Json(early),
            ast::Stage::Json(extractions) => {
                Stage::JsonLookup(self.json_lookup(extractions)?, early)
            }
            ast::Stage::Logfmt {
                strict,
                keep_empty,
                extractions,
            } if extractions.is_empty() => {
                let (strict, keep_empty) = (*strict, *keep_empty);
                Stage::Logfmt(Logfmt { strict, keep_empty }, early)
            }
            ast::Stage::Logfmt {
                strict,
                extractions,
                ..
            } => {
                let lookup = self.logfmt_lookup(*strict, extractions)?;
                Stage::LogfmtLookup(lookup, early)
            }
            ast::Stage::Regexp(pattern) => {
                let regexp = Regexp::compile(pattern, &mut self.names)?;
                Stage::Regexp(regexp, early)
            }
            ast::Stage::Pattern(pattern) => {
                let pattern = Pattern::compile(pattern, &mut self.names);
                Stage::Pattern(pattern, early)
            }
            ast::Stage::Unpack => Stage::Unpack,
            ast::Stage::LabelFilter(filter) => Stage::LabelFilter(self.condition(filter)?),
            ast::Stage::LineFormat(template) => {
                let format = LineFormat::compile(template)?;
                self.note(format.labels_read());
                Stage::LineFormat(format)
            }
            ast::Stage::LabelFormat(formats) => {
                let formats = LabelFormats::compile(formats, &mut self.names)?;
                self.note(formats.labels_read(&self.names));
                Stage::LabelFormat(formats)
            }
            ast::Stage::Decolorize => Stage::Decolorize,
            ast::Stage::Drop(picks) => Stage::Drop(Drop::compile(picks, &mut self.names)),
            ast::Stage::Keep(picks) => Stage::Keep(Keep::compile(picks)),
        })
    }

    /// Notes labels that a template reads; `None` is any.
    fn note(&mut self, labels: Option<Vec<String>>) {
        match labels {
            Some(labels) => self.reads.extend(labels),
            None => self.reads_all = true,
        }
    }

    fn json_lookup(&mut self, extractions: &[Extraction]) -> Result<JsonLookup, StageFault> {
        let paths = extractions.iter().map(|Extraction { source, .. }| {
            parse_json_path(source).map_err(|reason| expression_fault(source, reason))
        });
        let paths = paths.collect::<Result<Vec<_>, _>>()?;
        Ok(JsonLookup {
            labels: self.labels(extractions),
            depth: paths.iter().map(Vec::len).max().unwrap_or(0),
            paths,
        })
    }

    fn logfmt_lookup(
        &mut self,
        strict: bool,
        extractions: &[Extraction],
    ) -> Result<LogfmtLookup, StageFault> {
        let sources = extractions.iter().map(|Extraction { source, .. }| {
            parse_logfmt_key(source).map_err(|reason| expression_fault(source, reason))
        });
        let sources = sources.collect::<Result<Vec<String>, _>>()?;
        let keys = sources.iter().map(|key| self.names.intern(key)).collect();
        let labels = self.labels(extractions);
        Ok(LogfmtLookup {
            strict,
            seeker: Seeker::new(sources.iter(), true),
            labels: std::iter::zip(labels, sources).collect(),
            keys,
        })
    }

    fn labels(&mut self, extractions: &[Extraction]) -> Vec<NameId> {
        let labels = extractions.iter().map(|Extraction { label, .. }| label);
        labels.map(|label| self.names.intern(label)).collect()
    }
}

fn expression_fault(source: &str, reason: String) -> StageFault {
    StageFault::Expression {
        expression: source.to_owned(),
        reason,
    }
}

/// The stages with line filters in front of those that leave the line alone.
fn ordered(stages: &[ast::Stage]) -> Vec<&ast::Stage> {
    let rewrites = |stage: &ast::Stage| {
        matches!(
            stage,
            ast::Stage::LineFormat(_) | ast::Stage::Unpack | ast::Stage::Decolorize
        )
    };
    let is_filter = |stage: &&ast::Stage| matches!(stage, ast::Stage::LineFilter(_));
    let parts = stages.split_inclusive(rewrites);
    parts
        .flat_map(|part| {
            let (filters, others): (Vec<_>, Vec<_>) = part.iter().partition(is_filter);
            filters.into_iter().chain(others)
        })
        .collect()
}
