//! Pipelines of log queries.

use std::borrow::Cow;
use std::sync::Arc;

use model::{LabelSet, RowLabels};

use super::compile::{Draft, Program};
use super::error::PipelineError;
use super::reduce::LineReader;
use super::results::Results;
use super::runner::Runner;
use super::samples::{Extractor, StreamExtractor};
use super::wanted::Wanted;
use crate::syntax::ast::{Grouping, LogExpr, RangeAggregation, RangeOp};

/// The pipeline of a log query, compiled.
#[derive(Clone, Debug)]
pub struct Pipeline {
    program: Arc<Program>,
    /// Decides about rows by a part of their lines.
    decider: Option<Extractor>,
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
            decider: decider(log, now_ns),
        })
    }

    /// A runner for the rows of one stream.
    #[must_use]
    pub fn for_stream(&self, stream: &LabelSet) -> StreamPipeline {
        StreamPipeline {
            runner: Runner::new(Arc::clone(&self.program), stream),
            plain: None,
            results: Results::default(),
            decider: self.decider.as_ref().map(|decider| {
                let reader = decider.reader(stream).cloned();
                (reader, decider.for_stream(stream))
            }),
        }
    }
}

/// Counts the rows that the first stages of a query let through, if these read little of lines.
fn decider(log: &LogExpr, now_ns: i64) -> Option<Extractor> {
    let stages = LineReader::deciding(&log.stages)?.to_vec();
    let count = RangeAggregation {
        op: RangeOp::Count,
        parameter: None,
        log: LogExpr {
            matchers: log.matchers.clone(),
            stages,
        },
        unwrap: None,
        range_ns: 1,
        offset_ns: 0,
        grouping: Some(Grouping {
            without: false,
            labels: Vec::new(),
        }),
    };
    let decider = Extractor::new(&count, None, now_ns).ok()?;
    // What goes wrong behind the last label that is read would not be noticed.
    let is_exact = decider
        .reader(&LabelSet::default())
        .is_some_and(|reader| !reader.reads_errors());
    is_exact.then_some(decider)
}

/// Runs a pipeline over the rows of one stream.
#[derive(Debug)]
pub struct StreamPipeline {
    runner: Runner,
    /// Metadata of the last row whose labels no stage touched, and the result.
    plain: Option<(LabelSet, Arc<RowLabels>)>,
    results: Results<Arc<RowLabels>>,
    decider: Option<(Option<LineReader>, StreamExtractor)>,
}

impl StreamPipeline {
    /// What of a line [`Self::may_pass`] reads, if it can decide by less than all.
    #[must_use]
    pub fn reader(&self) -> Option<&LineReader> {
        self.decider.as_ref()?.0.as_ref()
    }

    /// Whether a row may pass of whose line this is what is read. Not to be asked of rows with
    /// metadata that is read.
    pub fn may_pass(&mut self, timestamp_ns: i64, reduced: &[u8]) -> bool {
        self.decider.as_mut().is_none_or(|(_, decider)| {
            let metadata = LabelSet::default();
            decider.process(timestamp_ns, reduced, &metadata).is_some()
        })
    }

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
