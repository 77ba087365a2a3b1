//! Pipelines of log queries.

use std::borrow::Cow;
use std::sync::Arc;

use model::{LabelSet, RowLabels};

use super::compile::{Draft, Program};
use super::error::PipelineError;
use super::results::Results;
use super::runner::Runner;
use super::wanted::Wanted;
use crate::syntax::ast::LogExpr;

/// The pipeline of a log query, compiled.
#[derive(Clone, Debug)]
pub struct Pipeline {
    program: Arc<Program>,
}

impl Pipeline {
    /// Compiles the stages of a query. Templates call `now_ns` now: nanoseconds since the Unix
    /// epoch.
    ///
    /// # Errors
    /// If a stage makes no sense or becomes too large.
    pub fn new(log: &LogExpr, now_ns: i64) -> Result<Self, PipelineError> {
        let program = Draft::new(&log.stages, true)?.finish(Wanted::all(), now_ns);
        Ok(Self {
            program: Arc::new(program),
        })
    }

    /// Literals each of which every stored line that passes contains.
    #[must_use]
    pub fn required_literals(&self) -> Vec<Vec<u8>> {
        self.program.literals.clone()
    }

    /// A runner for the rows of one stream.
    #[must_use]
    pub fn for_stream(&self, stream: &LabelSet) -> StreamPipeline {
        StreamPipeline {
            runner: Runner::new(Arc::clone(&self.program), stream),
            plain: None,
            results: Results::default(),
        }
    }
}

/// Runs a pipeline over the rows of one stream.
#[derive(Debug)]
pub struct StreamPipeline {
    runner: Runner,
    /// Metadata of the last row whose labels no stage touched, and the result.
    plain: Option<(LabelSet, Arc<RowLabels>)>,
    results: Results<Arc<RowLabels>>,
}

impl StreamPipeline {
    /// Line and labels of a row that passes. Rows with equal labels share them.
    pub fn process<'a>(
        &'a mut self,
        timestamp_ns: i64,
        line: &'a [u8],
        metadata: &LabelSet,
    ) -> Option<(Cow<'a, [u8]>, &'a Arc<RowLabels>)> {
        if self.runner.begin(metadata) {
            self.results.clear();
        }
        if !self.runner.run(timestamp_ns, line) {
            return None;
        }
        let row = &self.runner.row;
        let labels = if row.is_untouched() {
            if self
                .plain
                .as_ref()
                .is_none_or(|(known, _)| known != metadata)
            {
                self.plain = Some((metadata.clone(), Arc::new(row.to_row_labels())));
            }
            self.plain.as_ref().map(|(_, labels)| labels)
        } else {
            let write = |key: &mut Vec<u8>| row.write_key(key, &[]);
            Some(self.results.get(write, || Arc::new(row.to_row_labels())))
        };
        labels.map(|labels| (Cow::Borrowed(self.runner.line(line)), labels))
    }
}
