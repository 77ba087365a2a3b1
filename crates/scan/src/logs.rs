//! Lines of one stream.

use std::borrow::Cow;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use chunk::Projection;
use logql::pipeline::StreamPipeline;
use model::{Direction, LabelSet, RowLabels, TimeRange, row_hash};

use crate::cursor::Cursor;
use crate::merge::{Visitor, merge};
use crate::{CHECK_ROWS, Context, Prefilter, ScanError, Source};

/// What a log query does to the rows of one stream.
pub trait LogStages {
    /// Line and labels of a row that passes.
    fn process<'a>(
        &'a mut self,
        timestamp_ns: i64,
        line: &'a [u8],
        metadata: &'a LabelSet,
    ) -> Option<(Cow<'a, [u8]>, &'a Arc<RowLabels>)>;
}

impl LogStages for StreamPipeline {
    fn process<'a>(
        &'a mut self,
        timestamp_ns: i64,
        line: &'a [u8],
        metadata: &'a LabelSet,
    ) -> Option<(Cow<'a, [u8]>, &'a Arc<RowLabels>)> {
        Self::process(self, timestamp_ns, line, metadata)
    }
}

/// Which lines are wanted, and how.
#[derive(Clone, Copy, Debug)]
pub struct LogScan<'a> {
    /// When.
    pub range: TimeRange,
    /// Which end of the range comes first.
    pub direction: Direction,
    /// At most this many lines; 0 means all.
    pub limit: usize,
    /// Which rows are given to the stages.
    pub prefilter: &'a Prefilter,
    /// Whether [`LogRow::row_hash`] is wanted.
    pub hashes: bool,
}

/// A line that passed.
#[derive(Clone, Copy, Debug)]
pub struct LogRow<'a> {
    /// When it was logged.
    pub timestamp_ns: i64,
    /// The line after the pipeline.
    pub line: &'a [u8],
    /// The labels after the pipeline.
    pub labels: &'a Arc<RowLabels>,
    /// [`row_hash`] of the row as stored, if asked for.
    pub row_hash: Option<u64>,
}

/// Gives the lines of a stream that pass, in the order asked for, until there are `limit` or `sink`
/// breaks off. Rows of the same time come in the order of the sources, backward in the opposite
/// one.
///
/// # Errors
/// If a block cannot be read, memory is short, or the scan is cancelled.
pub fn scan_logs<S: LogStages>(
    sources: &[Source],
    scan: &LogScan<'_>,
    stages: &mut S,
    context: &mut Context<'_>,
    sink: &mut dyn FnMut(LogRow<'_>) -> ControlFlow<()>,
) -> Result<(), ScanError> {
    let left = if scan.limit == 0 {
        usize::MAX
    } else {
        scan.limit
    };
    let mut lines = Lines {
        scan,
        stages,
        sink,
        left,
        found: Vec::new(),
    };
    merge(sources, scan.range, scan.direction, &mut lines, context)
}

struct Lines<'a, S> {
    scan: &'a LogScan<'a>,
    stages: &'a mut S,
    sink: &'a mut dyn FnMut(LogRow<'_>) -> ControlFlow<()>,
    left: usize,
    /// Rows that have the literal; kept to be used again.
    found: Vec<usize>,
}

impl<S: LogStages> Visitor for Lines<'_, S> {
    fn whole(&mut self, _: &Source, _: &mut Context<'_>) -> Result<bool, ScanError> {
        Ok(false)
    }

    fn projection(&mut self, _: &Source) -> Projection {
        Projection::ALL
    }

    fn prefilter(&self) -> &Prefilter {
        self.scan.prefilter
    }

    fn wants_key(&self, _: &str) -> bool {
        true
    }

    fn batch(
        &mut self,
        cursor: &mut Cursor<'_>,
        rows: Range<usize>,
        context: &mut Context<'_>,
    ) -> Result<ControlFlow<()>, ScanError> {
        for part in windows(rows, self.scan.direction) {
            context.check()?;
            let mut found = std::mem::take(&mut self.found);
            found.clear();
            context.stats.line_bytes += cursor.line_range(&part).len() as u64;
            cursor.select(part, &mut found);
            if self.scan.direction == Direction::Backward {
                found.reverse();
            }
            let flow = found
                .iter()
                .try_for_each(|row| self.row(cursor, *row, context));
            self.found = found;
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl<S: LogStages> Lines<'_, S> {
    fn row(
        &mut self,
        cursor: &mut Cursor<'_>,
        row: usize,
        context: &mut Context<'_>,
    ) -> ControlFlow<()> {
        let Some((timestamp_ns, line, metadata)) = cursor.row(row) else {
            return ControlFlow::Continue(());
        };
        context.stats.processed_rows += 1;
        let Some((passed, labels)) = self.stages.process(timestamp_ns, line, metadata) else {
            return ControlFlow::Continue(());
        };
        let row_hash = self.scan.hashes.then(|| row_hash(line, metadata));
        context.stats.results += 1;
        (self.sink)(LogRow {
            timestamp_ns,
            line: &passed,
            labels,
            row_hash,
        })?;
        self.left -= 1;
        if self.left == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

/// The rows in parts of at most [`CHECK_ROWS`], in the direction of the scan.
pub(crate) fn windows(
    rows: Range<usize>,
    direction: Direction,
) -> impl Iterator<Item = Range<usize>> {
    let count = rows.len().div_ceil(CHECK_ROWS);
    (0..count).map(move |number| match direction {
        Direction::Forward => {
            let start = rows.start + number * CHECK_ROWS;
            start..(start + CHECK_ROWS).min(rows.end)
        }
        Direction::Backward => {
            let end = rows.end - number * CHECK_ROWS;
            end.saturating_sub(CHECK_ROWS).max(rows.start)..end
        }
    })
}
