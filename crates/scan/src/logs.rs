//! Lines of one stream.

use std::borrow::Cow;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use chunk::Projection;
use logql::pipeline::{LineReader, StreamPipeline};
use model::{Direction, LabelSet, RowLabels, TimeRange, row_hash};

use crate::cursor::Cursor;
use crate::merge::{Visitor, merge};
use crate::{CHECK_BYTES, CHECK_ROWS, Context, Prefilter, Pushdown, ScanError, Source};

/// Rows whose lines are put together first.
const LAZY_ROWS: usize = 128;

/// What a log query does to the rows of one stream.
pub trait LogStages {
    /// Line and labels of a row that passes.
    fn process<'a>(
        &'a mut self,
        timestamp_ns: i64,
        line: &'a [u8],
        metadata: &'a LabelSet,
    ) -> Option<(Cow<'a, [u8]>, &'a Arc<RowLabels>)>;

    /// What of a line [`Self::may_pass`] reads, if it can decide by less than all.
    fn reader(&self) -> Option<&LineReader> {
        None
    }

    /// Whether a row may pass of whose line this is what is read.
    fn may_pass(&mut self, timestamp_ns: i64, reduced: &[u8]) -> bool {
        let _ = (timestamp_ns, reduced);
        true
    }
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

    fn reader(&self) -> Option<&LineReader> {
        Self::reader(self)
    }

    fn may_pass(&mut self, timestamp_ns: i64, reduced: &[u8]) -> bool {
        Self::may_pass(self, timestamp_ns, reduced)
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
    /// Whether lines may be reduced to what stages read of them.
    pub pushdown: Pushdown,
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
    fn alone(&mut self, _: &Source, _: &mut Context<'_>) -> Result<bool, ScanError> {
        Ok(false)
    }

    fn projection(&mut self, _: &Source) -> Projection {
        Projection::ALL
    }

    fn prefilter(&self) -> &Prefilter {
        self.scan.prefilter
    }

    fn is_lazy(&self) -> bool {
        true
    }

    fn reader(&self) -> Option<&LineReader> {
        self.scan.pushdown.reader(self.stages.reader())
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
        // Of a source with a limit mostly few rows are wanted, and the last of them may be the last
        // that is put together.
        let (first, most) = if cursor.is_lazy() {
            (LAZY_ROWS, cursor.rows_of(CHECK_BYTES).min(CHECK_ROWS))
        } else {
            (CHECK_ROWS, CHECK_ROWS)
        };
        for part in windows(rows, self.scan.direction, first, most) {
            context.check()?;
            let mut found = std::mem::take(&mut self.found);
            found.clear();
            let flow = self.part(cursor, part, &mut found, context);
            self.found = found;
            if flow?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl<S: LogStages> Lines<'_, S> {
    fn part(
        &mut self,
        cursor: &mut Cursor<'_>,
        rows: Range<usize>,
        found: &mut Vec<usize>,
        context: &mut Context<'_>,
    ) -> Result<ControlFlow<()>, ScanError> {
        context.stats.line_bytes += cursor.line_range(&rows).len() as u64;
        cursor.select(rows, found);
        if cursor.has_reduced_lines() {
            found.retain(|row| {
                let time = cursor.timestamps_ns().get(*row).copied();
                let (line, is_whole) = cursor.reduced_line(cursor.reduced_number(*row));
                is_whole || self.stages.may_pass(time.unwrap_or_default(), line)
            });
        }
        let lines = cursor.lines_of(found, context)?;
        let mut order: &mut dyn Iterator<Item = (usize, &usize)> = &mut found.iter().enumerate();
        let mut backward;
        if self.scan.direction == Direction::Backward {
            backward = found.iter().enumerate().rev();
            order = &mut backward;
        }
        for (at, row) in order {
            let line = lines.as_ref().map(|lines| lines.get(at));
            context.stats.line_bytes += line.map_or(0, |line| line.len() as u64);
            if self.row(cursor, *row, line, context)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Gives a row to the stages, with a line that was put together for it.
    fn row(
        &mut self,
        cursor: &mut Cursor<'_>,
        row: usize,
        line: Option<&[u8]>,
        context: &mut Context<'_>,
    ) -> Result<ControlFlow<()>, ScanError> {
        let Some((timestamp_ns, own, metadata)) = cursor.row(row) else {
            return Ok(ControlFlow::Continue(()));
        };
        context.check()?;
        let line = line.unwrap_or(own);
        context.stats.processed_rows += 1;
        let Some((passed, labels)) = self.stages.process(timestamp_ns, line, metadata) else {
            return Ok(ControlFlow::Continue(()));
        };
        let row_hash = self.scan.hashes.then(|| row_hash(line, metadata));
        context.stats.results += 1;
        let flow = (self.sink)(LogRow {
            timestamp_ns,
            line: &passed,
            labels,
            row_hash,
        });
        self.left -= 1;
        Ok(match flow {
            ControlFlow::Continue(()) if self.left > 0 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        })
    }
}

/// The rows in parts in the direction of the scan: the first of at most `first` rows, each of at
/// most twice as many as the one before, none of more than `most`.
pub(crate) fn windows(
    rows: Range<usize>,
    direction: Direction,
    first: usize,
    most: usize,
) -> impl Iterator<Item = Range<usize>> {
    let (mut left, mut size) = (rows, first.min(most).max(1));
    std::iter::from_fn(move || {
        if left.is_empty() {
            return None;
        }
        let part = match direction {
            Direction::Forward => left.start..(left.start + size).min(left.end),
            Direction::Backward => left.end.saturating_sub(size).max(left.start)..left.end,
        };
        match direction {
            Direction::Forward => left.start = part.end,
            Direction::Backward => left.end = part.start,
        }
        size = (size * 2).min(most).max(1);
        Some(part)
    })
}
