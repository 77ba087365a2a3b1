//! The rows of all sources, in order, each once.
//!
//! Sources are opened when the merge reaches the time of their first row and closed after their
//! last, so that memory holds those that overlap, not all. As long as only one open source has rows
//! before the next row of any other, its rows go on as one batch; at a time that several have, the
//! rows of that time are compared by hash.

use std::collections::HashSet;
use std::ops::{ControlFlow, Range};

use chunk::Projection;
use logql::pipeline::LineReader;
use model::{Direction, TimeRange};

use crate::cursor::{Cursor, Wanted, key};
use crate::{Context, Prefilter, ScanError, Source};

/// What a scan does with the rows.
pub(crate) trait Visitor {
    /// Offered before a source is opened that no other overlaps. Returns whether the source is done
    /// with.
    fn alone(&mut self, source: &Source, context: &mut Context<'_>) -> Result<bool, ScanError>;

    /// What has to be decoded of a source.
    fn projection(&mut self, source: &Source) -> Projection;

    /// Which rows matter; others need not be looked at.
    fn prefilter(&self) -> &Prefilter;

    /// Whether lines are to be put together when rows are reached, not before.
    fn is_lazy(&self) -> bool {
        false
    }

    /// What is read of lines, if that may be less than all.
    fn reader(&self) -> Option<&LineReader> {
        None
    }

    /// Whether values of this metadata key are needed, of the source last asked about.
    fn wants_key(&self, key: &str) -> bool;

    /// Rows of one source, neighbours, to be seen in the direction of the scan.
    fn batch(
        &mut self,
        cursor: &mut Cursor<'_>,
        rows: Range<usize>,
        context: &mut Context<'_>,
    ) -> Result<ControlFlow<()>, ScanError>;
}

/// Steps of the merge between two questions whether to go on.
const CHECK_STEPS: usize = 256;

/// A source not opened yet, with the keys of its first and last row.
struct Waiting {
    number: usize,
    first: i64,
    last: i64,
}

/// Shows all rows inside the range to the visitor.
pub(crate) fn merge(
    sources: &[Source],
    range: TimeRange,
    direction: Direction,
    visitor: &mut dyn Visitor,
    context: &mut Context<'_>,
) -> Result<(), ScanError> {
    let mut merge = Merge {
        sources,
        range,
        direction,
        waiting: waiting(sources, range, direction),
        open: Vec::new(),
    };
    let done = merge.run(visitor, context);
    for cursor in merge.open {
        cursor.close(context);
    }
    done
}

/// Sources with rows in the range, the one that comes first last.
fn waiting(sources: &[Source], range: TimeRange, direction: Direction) -> Vec<Waiting> {
    let mut waiting: Vec<Waiting> = sources
        .iter()
        .enumerate()
        .filter_map(|(number, source)| {
            let (min, max) = source.bounds()?;
            let (first, last) = match direction {
                Direction::Forward => (min, max),
                Direction::Backward => (max, min),
            };
            let (first, last) = (key(first, direction), key(last, direction));
            range.overlaps(min, max).then_some(Waiting {
                number,
                first,
                last,
            })
        })
        .collect();
    waiting.sort_by_key(|source| std::cmp::Reverse((source.first, source.number)));
    waiting
}

struct Merge<'a> {
    sources: &'a [Source],
    range: TimeRange,
    direction: Direction,
    waiting: Vec<Waiting>,
    open: Vec<Cursor<'a>>,
}

impl Merge<'_> {
    fn run(
        &mut self,
        visitor: &mut dyn Visitor,
        context: &mut Context<'_>,
    ) -> Result<(), ScanError> {
        for step in 0usize.. {
            // Steps may be single rows.
            if step.is_multiple_of(CHECK_STEPS) {
                context.check()?;
            }
            let next = self.next_open();
            if let Some(waiting) = self.waiting.last()
                && next.is_none_or(|(_, key)| waiting.first <= key)
            {
                self.open_next(visitor, context)?;
                continue;
            }
            let Some((at, key)) = next else {
                return Ok(());
            };
            let flow = match self.horizon(at) {
                Some(horizon) if horizon <= key => self.tie(key, visitor, context)?,
                horizon => self.batch(at, horizon, visitor, context)?,
            };
            self.close_finished(context);
            if flow.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The open source whose row comes next, and that row's key.
    fn next_open(&self) -> Option<(usize, i64)> {
        let keys = self.open.iter().enumerate();
        keys.filter_map(|(at, cursor)| Some((at, cursor.next_key(self.direction)?)))
            .min_by_key(|(_, key)| *key)
    }

    /// The key of the first row that a source other than `at` has.
    fn horizon(&self, at: usize) -> Option<i64> {
        let others = self
            .open
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != at);
        others
            .filter_map(|(_, cursor)| cursor.next_key(self.direction))
            .chain(self.waiting.last().map(|waiting| waiting.first))
            .min()
    }

    fn open_next(
        &mut self,
        visitor: &mut dyn Visitor,
        context: &mut Context<'_>,
    ) -> Result<(), ScanError> {
        let Some(next) = self.waiting.pop() else {
            return Ok(());
        };
        let Some(source) = self.sources.get(next.number) else {
            return Ok(());
        };
        let alone = self
            .horizon(usize::MAX)
            .is_none_or(|horizon| next.last < horizon);
        let of_source = |error: ScanError| error.of_source(next.number);
        if alone && visitor.alone(source, context).map_err(of_source)? {
            return Ok(());
        }
        let projection = visitor.projection(source);
        let wanted = |key: &str| visitor.wants_key(key);
        let cursor = Cursor::open(
            next.number,
            source,
            self.range,
            &Wanted {
                projection,
                key: &wanted,
                prefilter: visitor.prefilter(),
                reader: visitor.reader(),
                is_lazy: visitor.is_lazy(),
                found: None,
            },
            context,
        )
        .map_err(of_source)?;
        if cursor.left.is_empty() {
            cursor.close(context);
        } else {
            self.open.push(cursor);
            // The source order decides between equal rows.
            self.open.sort_by_key(|cursor| cursor.number);
        }
        Ok(())
    }

    fn close_finished(&mut self, context: &mut Context<'_>) {
        while let Some(at) = self.open.iter().position(|cursor| cursor.left.is_empty()) {
            self.open.remove(at).close(context);
        }
    }

    /// All rows that one source has before any other has one.
    fn batch(
        &mut self,
        at: usize,
        horizon: Option<i64>,
        visitor: &mut dyn Visitor,
        context: &mut Context<'_>,
    ) -> Result<ControlFlow<()>, ScanError> {
        let direction = self.direction;
        let Some(cursor) = self.open.get_mut(at) else {
            return Ok(ControlFlow::Continue(()));
        };
        let rows = match horizon {
            Some(horizon) => cursor.take(horizon, false, direction),
            None => cursor.take(i64::MAX, true, direction),
        };
        context.stats.rows += rows.len() as u64;
        let number = cursor.number;
        let flow = visitor.batch(cursor, rows, context);
        flow.map_err(|error| error.of_source(number))
    }

    /// The rows of a time that several sources have, without repeated ones.
    fn tie(
        &mut self,
        key: i64,
        visitor: &mut dyn Visitor,
        context: &mut Context<'_>,
    ) -> Result<ControlFlow<()>, ScanError> {
        let direction = self.direction;
        let mut seen = HashSet::with_hasher(foldhash::fast::RandomState::default());
        let mut kept: Vec<(usize, usize)> = Vec::new();
        for (at, cursor) in self.open.iter_mut().enumerate() {
            if cursor.next_key(direction) != Some(key) {
                continue;
            }
            let number = cursor.number;
            let completed = cursor.complete(context);
            completed.map_err(|error| error.of_source(number))?;
            for row in cursor.take(key, true, direction) {
                context.stats.rows += 1;
                if !cursor.is_selected(row) {
                    continue;
                }
                if seen.insert(cursor.hash(row)) {
                    kept.push((at, row));
                } else {
                    context.stats.duplicates += 1;
                }
            }
        }
        if direction == Direction::Backward {
            kept.reverse();
        }
        for (at, row) in kept {
            let Some(cursor) = self.open.get_mut(at) else {
                continue;
            };
            let number = cursor.number;
            let flow = visitor.batch(cursor, row..row + 1, context);
            if flow.map_err(|error| error.of_source(number))?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
