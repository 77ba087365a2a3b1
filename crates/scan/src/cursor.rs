//! An open source: decoded rows, and which of them are still to be seen.

use std::ops::Range;
use std::sync::Arc;

use chunk::{Block, ChunkError, Layout, MetadataReader, Projection, RunRows};
use model::{Direction, Entries, LabelSet, TimeRange, row_hash};

use crate::{Context, Prefilter, ScanError, Source};

/// The rows themselves.
enum Rows {
    Entries(Arc<Entries>),
    Run {
        rows: RunRows,
        metadata: MetadataReader,
        projection: Projection,
    },
}

pub(crate) struct Cursor<'a> {
    /// Position among the sources, which decides between rows of the same time.
    pub(crate) number: usize,
    source: &'a Source,
    range: TimeRange,
    rows: Rows,
    /// Rows not seen yet.
    pub(crate) left: Range<usize>,
    /// Rows that are in the range.
    inside: Range<usize>,
    /// Kept here by who counts rows, and dropped with the rows.
    pub(crate) grouping: Option<Arc<Grouping>>,
    reserved_bytes: u64,
}

/// What is needed of a source.
pub(crate) struct Wanted<'a> {
    /// The columns.
    pub(crate) projection: Projection,
    /// Whether values of a metadata key are.
    pub(crate) key: &'a dyn Fn(&str) -> bool,
    /// What a row must have in its line to matter, if lines are decoded.
    pub(crate) prefilter: &'a Prefilter,
}

/// The rows of a source by the labels of their samples.
#[derive(Debug)]
pub(crate) struct Grouping {
    /// The labels of each group; none if only the stages can tell.
    pub(crate) groups: Vec<LabelSet>,
    /// Per row its group; empty if there is one group only.
    pub(crate) group_of_row: Vec<u32>,
}

impl<'a> Cursor<'a> {
    /// Decodes the rows of a source that are in the range. Of rows that do not matter the line may
    /// be empty; if none does, there is no row.
    pub(crate) fn open(
        number: usize,
        source: &'a Source,
        range: TimeRange,
        wanted: &Wanted<'_>,
        context: &mut Context<'_>,
    ) -> Result<Self, ScanError> {
        context.stats.sources += 1;
        let (rows, reserved_bytes) = match source {
            Source::Rows(entries) if entries.is_time_ordered() => {
                (Rows::Entries(Arc::clone(entries)), 0)
            }
            Source::Rows(entries) => {
                let bytes = entries.heap_bytes() as u64;
                context.memory.grow(bytes)?;
                (
                    Rows::Entries(Arc::new(Entries::clone(entries).into_time_ordered())),
                    bytes,
                )
            }
            Source::Block { .. } => decode(source, range, wanted, context)?,
        };
        let mut cursor = Self {
            number,
            source,
            range,
            rows,
            left: 0..0,
            inside: 0..0,
            grouping: None,
            reserved_bytes,
        };
        let times = cursor.timestamps_ns();
        let start = times.partition_point(|time| *time < range.start_ns);
        let end = times.partition_point(|time| *time < range.end_ns);
        cursor.inside = start..end.max(start);
        cursor.left = cursor.inside.clone();
        Ok(cursor)
    }

    /// Gives the memory back.
    pub(crate) fn close(self, context: &mut Context<'_>) {
        context.memory.shrink(self.reserved_bytes);
    }

    /// Makes sure that lines and metadata are there.
    pub(crate) fn complete(&mut self, context: &mut Context<'_>) -> Result<(), ScanError> {
        match &self.rows {
            Rows::Run { projection, .. } if *projection != Projection::ALL => {}
            _ => return Ok(()),
        }
        // The same range gives the same rows, so positions stay what they are.
        let all = Wanted {
            projection: Projection::ALL,
            key: &|_| true,
            prefilter: &Prefilter::default(),
        };
        let (rows, bytes) = decode(self.source, self.range, &all, context)?;
        context.memory.shrink(self.reserved_bytes);
        (self.rows, self.reserved_bytes) = (rows, bytes);
        Ok(())
    }

    /// All rows that are in the range, whether seen or not.
    pub(crate) fn inside(&self) -> Range<usize> {
        self.inside.clone()
    }

    pub(crate) fn timestamps_ns(&self) -> &[i64] {
        match &self.rows {
            Rows::Entries(entries) => entries.timestamps_ns(),
            Rows::Run { rows, .. } => rows.timestamps_ns(),
        }
    }

    /// Where lines end; empty if lengths were not decoded.
    pub(crate) fn line_ends(&self) -> &[u32] {
        match &self.rows {
            Rows::Entries(entries) => entries.line_ends(),
            Rows::Run { rows, .. } => rows.line_ends(),
        }
    }

    /// All lines, one after the other.
    pub(crate) fn lines(&self) -> &[u8] {
        match &self.rows {
            Rows::Entries(entries) => entries.lines(),
            Rows::Run { rows, .. } => rows.lines(),
        }
    }

    /// Bytes of the lines of these rows, as a part of [`Self::lines`].
    pub(crate) fn line_range(&self, rows: &Range<usize>) -> Range<usize> {
        let end_of = |row: usize| self.line_ends().get(row).map_or(0, |end| *end as usize);
        let start = rows.start.checked_sub(1).map_or(0, end_of);
        start..rows.end.checked_sub(1).map_or(0, end_of).max(start)
    }

    /// Per row of the source the number of its metadata set, and the sets.
    pub(crate) fn metadata_sets(&self) -> (Vec<u32>, Vec<LabelSet>) {
        match &self.rows {
            Rows::Entries(entries) => (
                entries.metadata_ids().to_vec(),
                entries.metadata_sets().to_vec(),
            ),
            Rows::Run { rows, .. } => rows.metadata().to_sets(rows.len()),
        }
    }

    /// A row: time, line (empty if not decoded), metadata.
    pub(crate) fn row(&mut self, row: usize) -> Option<(i64, &[u8], &LabelSet)> {
        let line = self.line_range(&(row..row + 1));
        match &mut self.rows {
            Rows::Entries(entries) => {
                let row = entries.get(row)?;
                Some((row.timestamp_ns, row.line, row.metadata))
            }
            Rows::Run { rows, metadata, .. } => {
                let time = *rows.timestamps_ns().get(row)?;
                Some((
                    time,
                    rows.lines().get(line).unwrap_or_default(),
                    metadata.get(row),
                ))
            }
        }
    }

    /// What tells the row from others of its stream and time. Needs lines and metadata.
    pub(crate) fn hash(&mut self, row: usize) -> u64 {
        self.row(row)
            .map_or(0, |(_, line, metadata)| row_hash(line, metadata))
    }

    // --- order

    /// The time of the next row, as [`key`] orders it.
    pub(crate) fn next_key(&self, direction: Direction) -> Option<i64> {
        let next = match direction {
            Direction::Forward => self.left.start,
            Direction::Backward => self.left.end.checked_sub(1)?,
        };
        if self.left.is_empty() {
            return None;
        }
        self.timestamps_ns()
            .get(next)
            .map(|time| key(*time, direction))
    }

    /// Takes the next rows whose key is below `horizon`, or equal to it if `inclusive`.
    pub(crate) fn take(
        &mut self,
        horizon: i64,
        inclusive: bool,
        direction: Direction,
    ) -> Range<usize> {
        let left = self
            .timestamps_ns()
            .get(self.left.clone())
            .unwrap_or_default();
        let before = |time: &i64| {
            let key = key(*time, direction);
            key < horizon || (inclusive && key == horizon)
        };
        match direction {
            Direction::Forward => {
                let split = self.left.start + left.partition_point(before);
                let taken = self.left.start..split;
                self.left.start = split;
                taken
            }
            Direction::Backward => {
                let split = self.left.start + left.partition_point(|time| !before(time));
                let taken = split..self.left.end;
                self.left.end = split;
                taken
            }
        }
    }
}

/// A number that grows in the order in which rows are wanted.
pub(crate) fn key(timestamp_ns: i64, direction: Direction) -> i64 {
    match direction {
        Direction::Forward => timestamp_ns,
        // The complement, unlike the negation, exists for every number.
        Direction::Backward => !timestamp_ns,
    }
}

fn decode(
    source: &Source,
    range: TimeRange,
    wanted: &Wanted<'_>,
    context: &mut Context<'_>,
) -> Result<(Rows, u64), ScanError> {
    let Source::Block { block, run } = source else {
        return Ok((Rows::Entries(Arc::default()), 0));
    };
    let projection = wanted.projection;
    let bytes = block.meta().decoded_bytes(*run, projection);
    context.memory.grow(bytes)?;
    let rows = rows_of(block, *run, range, wanted).inspect_err(|_| context.memory.shrink(bytes))?;
    let Some(rows) = rows else {
        context.memory.shrink(bytes);
        return Ok((Rows::Entries(Arc::default()), 0));
    };
    context.stats.decoded_bytes += rows.heap_bytes() as u64;
    let metadata = rows.metadata().reader();
    Ok((
        Rows::Run {
            rows,
            metadata,
            projection,
        },
        bytes,
    ))
}

/// Rows of a run; `None` if no line has what the rows that matter have, which structured blocks
/// tell without putting lines together.
fn rows_of(
    block: &Block,
    run: usize,
    range: TimeRange,
    wanted: &Wanted<'_>,
) -> Result<Option<RunRows>, ChunkError> {
    let (projection, needles) = (wanted.projection, wanted.prefilter.needles());
    if !projection.lines || needles.is_empty() || block.meta().layout() == Layout::Plain {
        let rows = block.rows_with_keys(run, projection, Some(range), wanted.key);
        return rows.map(Some);
    }
    let found = block.find_all(needles)?;
    let meta = block.meta().runs().get(run);
    if !meta.is_some_and(|run| found.has_any(run.row_range())) {
        return Ok(None);
    }
    let rows = block.rows_found(run, projection, Some(range), &found, wanted.key);
    rows.map(Some)
}
