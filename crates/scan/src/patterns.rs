//! Patterns of the lines of one stream, counted over time.
//!
//! Blocks with templates know the patterns of their lines without putting them together; other lines
//! are looked at one by one, as many as [`LinesLeft`] allows. So are all where hashes of rows are
//! wanted or some are deleted.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chunk::{Block, LEVEL_KEY, Layout, LinePatterns, Projection, put_pattern};
use model::{Direction, LabelSet, TimeRange, row_hash};

use crate::cursor::{Cursor, Grouping};
use crate::logs::windows;
use crate::merge::{Visitor, merge};
use crate::{CHECK_ROWS, Context, Prefilter, ScanError, Source, StreamDeletes};

/// Which rows are counted.
#[derive(Clone, Copy, Debug)]
pub struct PatternScan<'a> {
    /// When.
    pub range: TimeRange,
    /// Rows count for the beginning of their step.
    pub step_ns: i64,
    /// Whether hashes of the rows are wanted; then they are given one by one.
    pub hashes: bool,
    /// How many lines may be looked at one by one.
    pub lines: &'a LinesLeft,
}

/// Rows of one pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatternRows<'a> {
    /// See [`put_pattern`].
    pub pattern: &'a [u8],
    /// The level that was detected; empty if none was.
    pub level: &'a str,
    /// The beginning of the step that they are in, or the time of a row that comes with its hash.
    pub timestamp_ns: i64,
    /// How many.
    pub rows: u64,
    /// Of the row, if the scan was asked for it.
    pub row_hash: Option<u64>,
}

/// Takes patterns, the same as often as it comes.
pub type PatternSink<'a> = dyn FnMut(PatternRows<'_>) -> ControlFlow<()> + 'a;

/// How many lines may still be looked at one by one, and how many were not because of that.
#[derive(Debug, Default)]
pub struct LinesLeft {
    left: AtomicU64,
    left_out: AtomicU64,
}

impl LinesLeft {
    /// So many may be looked at.
    #[must_use]
    pub fn new(lines: u64) -> Self {
        Self {
            left: lines.into(),
            left_out: AtomicU64::default(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    /// Some lines will not be looked at.
    pub fn leave_out(&self, lines: u64) {
        self.left_out.fetch_add(lines, Ordering::Relaxed);
    }

    /// How many were not looked at.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// How many of so many lines may be looked at.
    fn take(&self, lines: u64) -> u64 {
        let mut taken = 0;
        let take = |left: u64| {
            taken = left.min(lines);
            Some(left - taken)
        };
        // Always gives something to store.
        let _ = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        self.leave_out(lines - taken);
        taken
    }
}

/// Counts the patterns of the rows of a stream that are not deleted, the newest rows first.
///
/// # Errors
/// If a block cannot be read, memory is short, or the scan is cancelled.
pub fn scan_patterns(
    sources: &[Source],
    scan: &PatternScan<'_>,
    deletes: &mut StreamDeletes,
    context: &mut Context<'_>,
    sink: &mut PatternSink<'_>,
) -> Result<(), ScanError> {
    let mut patterns = Patterns {
        is_each: scan.hashes || !deletes.is_empty(),
        scan,
        deletes,
        sink,
        prefilter: Prefilter::default(),
        has_all_keys: true,
        of_source: HashMap::new(),
        counts: Counts::default(),
        pattern: Vec::new(),
    };
    merge(
        sources,
        scan.range,
        Direction::Backward,
        &mut patterns,
        context,
    )
}

struct Patterns<'a> {
    scan: &'a PatternScan<'a>,
    deletes: &'a mut StreamDeletes,
    sink: &'a mut PatternSink<'a>,
    prefilter: Prefilter,
    /// Whether every row is looked at: its hash is wanted, or it may be deleted.
    is_each: bool,
    /// Whether all metadata of the source that is opened is wanted.
    has_all_keys: bool,
    /// By the number of the source.
    of_source: HashMap<usize, Arc<LinePatterns>>,
    counts: Counts,
    /// That of a line.
    pattern: Vec<u8>,
}

impl Visitor for Patterns<'_> {
    fn alone(&mut self, _: &Source, _: &mut Context<'_>) -> Result<bool, ScanError> {
        Ok(false)
    }

    fn projection(&mut self, source: &Source) -> Projection {
        let projection = match source {
            Source::Block { block, .. } if is_structured(block) && !self.is_each => {
                match level_of_all(source) {
                    Some(_) => Projection::TIMESTAMPS,
                    None => Projection::METADATA,
                }
            }
            _ => Projection::ALL,
        };
        self.has_all_keys = projection == Projection::ALL;
        projection
    }

    fn prefilter(&self) -> &Prefilter {
        &self.prefilter
    }

    fn wants_key(&self, key: &str) -> bool {
        self.has_all_keys || key == LEVEL_KEY
    }

    fn batch(
        &mut self,
        cursor: &mut Cursor<'_>,
        rows: Range<usize>,
        context: &mut Context<'_>,
    ) -> Result<ControlFlow<()>, ScanError> {
        let patterns = self.patterns(cursor, context)?;
        if let (Some((patterns, first)), false) = (&patterns, self.is_each) {
            return self.count(cursor, rows, patterns, *first, context);
        }
        let count = self.scan.lines.take(rows.len() as u64) as usize;
        for row in rows.end.saturating_sub(count)..rows.end {
            context.check()?;
            let known = patterns.as_ref();
            let known = known.map(|(patterns, first)| patterns.get(patterns.number(first + row)));
            if self.row(cursor, row, known, context).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

fn is_structured(block: &Block) -> bool {
    block.meta().layout() != Layout::Plain
}

/// The level of all rows of a run, if the counters say that there is one.
fn level_of_all(source: &Source) -> Option<&'static str> {
    let run = source.run_meta()?;
    let (level, rows) = run.levels.iter().next()?;
    (rows == run.rows).then_some(level)
}

fn level_of(metadata: &LabelSet) -> &str {
    metadata.get(LEVEL_KEY).unwrap_or_default()
}

impl Patterns<'_> {
    /// The patterns of the block that a source is a part of, if it knows them, and which row of the
    /// block the source's first one is.
    fn patterns(
        &mut self,
        cursor: &Cursor<'_>,
        context: &mut Context<'_>,
    ) -> Result<Option<(Arc<LinePatterns>, usize)>, ScanError> {
        let Some((block, first)) = cursor.block_rows() else {
            return Ok(None);
        };
        if let Some(known) = self.of_source.get(&cursor.number) {
            return Ok(Some((Arc::clone(known), first)));
        }
        if !is_structured(block) {
            return Ok(None);
        }
        // Given back when the scan ends.
        context.memory.grow(block.meta().patterns_bytes()?)?;
        let patterns = block.patterns()?;
        self.of_source.insert(cursor.number, Arc::clone(&patterns));
        Ok(Some((patterns, first)))
    }

    /// Counts rows by what their block knows of them.
    fn count(
        &mut self,
        cursor: &mut Cursor<'_>,
        rows: Range<usize>,
        patterns: &LinePatterns,
        first: usize,
        context: &mut Context<'_>,
    ) -> Result<ControlFlow<()>, ScanError> {
        let grouping = match &cursor.grouping {
            Some(grouping) => Arc::clone(grouping),
            None => {
                let grouping = Arc::new(levels(cursor));
                cursor.grouping = Some(Arc::clone(&grouping));
                grouping
            }
        };
        let levels = grouping.groups.len();
        self.counts.resize(patterns.count() * levels);
        let mut step = None;
        for part in windows(rows, Direction::Forward, CHECK_ROWS, CHECK_ROWS) {
            context.check()?;
            context.stats.results += part.len() as u64;
            for row in part {
                let time = cursor.timestamps_ns().get(row).copied().unwrap_or_default();
                let of_row = step_of(time, self.scan.step_ns);
                if let Some(before) = step.filter(|step| *step != of_row)
                    && self.give(before, patterns, &grouping).is_break()
                {
                    return Ok(ControlFlow::Break(()));
                }
                step = Some(of_row);
                let pattern = patterns.number(first + row);
                self.counts.add(pattern * levels + grouping.group_of(row));
            }
        }
        Ok(match step {
            Some(step) => self.give(step, patterns, &grouping),
            None => ControlFlow::Continue(()),
        })
    }

    /// Hands over what was counted of a step.
    fn give(
        &mut self,
        step_ns: i64,
        patterns: &LinePatterns,
        grouping: &Grouping,
    ) -> ControlFlow<()> {
        let levels = grouping.groups.len().max(1);
        let sink = &mut self.sink;
        self.counts.drain(|number, rows| {
            sink(PatternRows {
                pattern: patterns.get(number / levels),
                level: grouping.groups.get(number % levels).map_or("", level_of),
                timestamp_ns: step_ns,
                rows,
                row_hash: None,
            })
        })
    }

    /// Counts a row of which all is decoded.
    fn row(
        &mut self,
        cursor: &mut Cursor<'_>,
        row: usize,
        known: Option<&[u8]>,
        context: &mut Context<'_>,
    ) -> ControlFlow<()> {
        let Some((time_ns, line, metadata)) = cursor.row(row) else {
            return ControlFlow::Continue(());
        };
        context.stats.line_bytes += line.len() as u64;
        context.stats.processed_rows += 1;
        if self.deletes.has(time_ns, line, metadata) {
            return ControlFlow::Continue(());
        }
        context.stats.results += 1;
        let pattern = match known {
            Some(known) => known,
            None => {
                self.pattern.clear();
                put_pattern(line, &mut self.pattern);
                &self.pattern
            }
        };
        let row_hash = self.scan.hashes.then(|| row_hash(line, metadata));
        (self.sink)(PatternRows {
            pattern,
            level: level_of(metadata),
            timestamp_ns: match row_hash {
                Some(_) => time_ns,
                None => step_of(time_ns, self.scan.step_ns),
            },
            rows: 1,
            row_hash,
        })
    }
}

fn step_of(time_ns: i64, step_ns: i64) -> i64 {
    let step_ns = step_ns.max(1);
    time_ns.div_euclid(step_ns).saturating_mul(step_ns)
}

/// The rows of a source by their level.
fn levels(cursor: &Cursor<'_>) -> Grouping {
    let named = |level: &str| LabelSet::from_pairs([(LEVEL_KEY, level)]);
    if let Some(level) = level_of_all(cursor.source()) {
        return Grouping {
            groups: vec![named(level)],
            group_of_row: Vec::new(),
        };
    }
    let (set_of_row, sets) = cursor.metadata_sets();
    let mut groups: Vec<LabelSet> = Vec::new();
    let mut known: HashMap<&str, u32> = HashMap::new();
    let group_of_set: Vec<u32> = sets
        .iter()
        .map(|set| {
            *known.entry(level_of(set)).or_insert_with(|| {
                groups.push(named(level_of(set)));
                groups.len() as u32 - 1
            })
        })
        .collect();
    let group = |set: &u32| group_of_set.get(*set as usize).copied().unwrap_or(0);
    Grouping {
        group_of_row: set_of_row.iter().map(group).collect(),
        groups,
    }
}

/// Counts by number, most of which are 0.
#[derive(Default)]
struct Counts {
    counts: Vec<u64>,
    /// Those that are not 0.
    counted: Vec<usize>,
}

impl Counts {
    /// Makes room for numbers below `count`.
    fn resize(&mut self, count: usize) {
        self.counts.resize(count.max(self.counts.len()), 0);
    }

    fn add(&mut self, number: usize) {
        if let Some(count) = self.counts.get_mut(number) {
            if *count == 0 {
                self.counted.push(number);
            }
            *count += 1;
        }
    }

    /// Hands over all that are not 0, and begins anew.
    fn drain(&mut self, mut give: impl FnMut(usize, u64) -> ControlFlow<()>) -> ControlFlow<()> {
        for number in self.counted.drain(..) {
            if let Some(count) = self.counts.get_mut(number) {
                give(number, std::mem::take(count))?;
            }
        }
        ControlFlow::Continue(())
    }
}
