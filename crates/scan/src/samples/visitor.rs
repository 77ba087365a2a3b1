//! Rows given to the stages one by one.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use chunk::{Projection, RunMeta};
use logql::pipeline::LineReader;
use model::{Direction, LabelSet, row_hash};

use super::reduced::Groups;
use super::{SampleScan, SampleSink, SampleStages};
use crate::cursor::Cursor;
use crate::logs::windows;
use crate::merge::Visitor;
use crate::{CHECK_ROWS, Context, Prefilter, SampleValue, ScanError, Source};

pub(super) struct Samples<'a, S> {
    pub(super) scan: &'a SampleScan<'a>,
    pub(super) stages: &'a mut S,
    pub(super) sink: &'a mut dyn SampleSink,
    /// Labels of a row without metadata; `None` until asked for.
    pub(super) plain: Option<Option<LabelSet>>,
    /// Whether a metadata key changes the labels of a sample.
    pub(super) key_matters: HashMap<Arc<str>, bool, foldhash::fast::RandomState>,
    pub(super) stopped: bool,
    pub(super) scratch: Scratch,
    pub(super) groups: Groups,
}

/// Kept to be used again.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) found: Vec<usize>,
    pub(super) times: Vec<Vec<i64>>,
    pub(super) values: Vec<Vec<f64>>,
    pub(super) zeros: Vec<u8>,
}

impl<S: SampleStages> Visitor for Samples<'_, S> {
    fn alone(&mut self, source: &Source, context: &mut Context<'_>) -> Result<bool, ScanError> {
        let (Source::Block { block, run: number }, Some(run)) = (source, source.run_meta()) else {
            return Ok(false);
        };
        if self.count(block.meta(), run) {
            context.stats.counted_sources += 1;
            return Ok(true);
        }
        let projection = Projection {
            lengths: self.scan.shape.value == SampleValue::Bytes,
            ..Projection::TIMESTAMPS
        };
        let bytes = block.meta().decoded_bytes(*number, projection);
        context.memory.grow(bytes)?;
        let counted = self.count_between(block, *number, run);
        context.stats.counted_sources += u64::from(matches!(counted, Ok(true)));
        let summed = match counted {
            Ok(false) => self.sum_between(block, *number, run, context),
            counted => counted.map_err(ScanError::from),
        };
        context.memory.shrink(bytes);
        summed
    }

    fn projection(&mut self, source: &Source) -> Projection {
        match source {
            // Nothing has to be decoded.
            Source::Rows(_) => Projection::ALL,
            Source::Block { block, .. } => self.projection_of(block.meta()),
        }
    }

    fn reader(&self) -> Option<&LineReader> {
        self.scan.reader.filter(|_| !self.scan.hashes)
    }

    fn prefilter(&self) -> &Prefilter {
        self.scan.prefilter
    }

    fn wants_key(&self, key: &str) -> bool {
        !self.is_bulk() || self.key_matters.get(key).copied().unwrap_or(true)
    }

    fn batch(
        &mut self,
        cursor: &mut Cursor<'_>,
        rows: Range<usize>,
        context: &mut Context<'_>,
    ) -> Result<ControlFlow<()>, ScanError> {
        if self.stopped {
            return Ok(ControlFlow::Break(()));
        }
        if self.is_bulk() {
            return self.bulk(cursor, rows, context);
        }
        if cursor.has_reduced_lines() {
            return self.reduced(cursor, rows, context);
        }
        for part in windows(rows, Direction::Forward, CHECK_ROWS, CHECK_ROWS) {
            context.check()?;
            if self.rows(cursor, part, context)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl<'a, S: SampleStages> Samples<'a, S> {
    pub(super) fn new(
        scan: &'a SampleScan<'a>,
        stages: &'a mut S,
        sink: &'a mut dyn SampleSink,
    ) -> Self {
        Self {
            scan,
            stages,
            sink,
            plain: None,
            key_matters: HashMap::default(),
            stopped: false,
            scratch: Scratch::default(),
            groups: Groups::default(),
        }
    }

    /// The times between which rows of a run are in the range; it has some.
    pub(super) fn times_of(&self, run: &RunMeta) -> (i64, i64) {
        let range = self.scan.range;
        let last_ns = range.end_ns.saturating_sub(1);
        (
            run.min_ts_ns.max(range.start_ns),
            run.max_ts_ns.min(last_ns),
        )
    }

    /// Whether samples can be counted without giving rows to the stages.
    pub(super) fn is_bulk(&self) -> bool {
        self.scan.shape.takes_all
            && self.scan.shape.value != SampleValue::Stages
            && !self.scan.hashes
    }

    /// The labels of a sample whose row has this metadata.
    pub(super) fn labels(&mut self, metadata: &LabelSet) -> Option<LabelSet> {
        match self.stages.process(self.scan.range.start_ns, b"", metadata) {
            Some(Ok((_, labels))) => Some(labels.clone()),
            _ => None,
        }
    }

    pub(super) fn plain_labels(&mut self) -> Option<LabelSet> {
        if self.plain.is_none() {
            self.plain = Some(self.labels(&LabelSet::default()));
        }
        self.plain.clone().flatten()
    }

    /// Whether a metadata key changes the labels of a sample: asks the stages with a made-up value.
    pub(super) fn matters(&mut self, key: &str) -> bool {
        if let Some(matters) = self.key_matters.get(key) {
            return *matters;
        }
        let plain = self.plain_labels();
        let matters =
            plain.is_none() || self.labels(&LabelSet::from_pairs([(key, "\u{1}")])) != plain;
        self.key_matters.insert(Arc::from(key), matters);
        matters
    }

    pub(super) fn rows(
        &mut self,
        cursor: &mut Cursor<'_>,
        rows: Range<usize>,
        context: &mut Context<'_>,
    ) -> Result<ControlFlow<()>, ScanError> {
        let mut found = std::mem::take(&mut self.scratch.found);
        found.clear();
        cursor.select(rows.clone(), &mut found);
        if self.scan.shape.reads_lines {
            context.stats.line_bytes += cursor.line_range(&rows).len() as u64;
        }
        let mut flow = Ok(ControlFlow::Continue(()));
        for row in &found {
            flow = self.row(cursor, *row, context);
            if !matches!(flow, Ok(ControlFlow::Continue(()))) {
                break;
            }
        }
        self.scratch.found = found;
        flow
    }

    fn row(
        &mut self,
        cursor: &mut Cursor<'_>,
        row: usize,
        context: &mut Context<'_>,
    ) -> Result<ControlFlow<()>, ScanError> {
        context.check()?;
        let range = cursor.line_range(&(row..row + 1));
        let decoded = range.end <= cursor.lines().len();
        let Some((timestamp_ns, mut line, metadata)) = cursor.row(row) else {
            return Ok(ControlFlow::Continue(()));
        };
        if !decoded {
            // Only the length counts where lines were not decoded.
            let zeros = &mut self.scratch.zeros;
            zeros.resize(range.len().max(zeros.len()), 0);
            line = zeros.get(..range.len()).unwrap_or_default();
        }
        context.stats.processed_rows += 1;
        let row_hash = self.scan.hashes.then(|| row_hash(line, metadata));
        match self.stages.process(timestamp_ns, line, metadata) {
            None => Ok(ControlFlow::Continue(())),
            Some(Err(error)) => Err(ScanError::Sample(error)),
            Some(Ok((value, labels))) => {
                context.stats.results += 1;
                Ok(self.sink.sample(labels, timestamp_ns, value, row_hash))
            }
        }
    }
}
