//! An open source: decoded rows, and which of them are still to be seen.

use std::ops::Range;
use std::sync::Arc;

use chunk::{
    Block, BlockMeta, ChunkError, FoundLines, Layout, MetadataReader, Projection, ReducedLines,
    RowSet, RunRows, WholeLines,
};
use logql::pipeline::LineReader;
use model::{Direction, Entries, LabelSet, TimeRange, row_hash};

use crate::reduced::{lines_of_run, reduction};
use crate::{Context, Prefilter, ScanError, Source};

/// How often lines of a source are put together for some rows, before all are.
const ASKED_MAX: usize = 32;

/// More reduced lines than so many for each row are not remembered.
const REMEMBERED_PER_ROW_MAX: usize = 8;

/// The rows themselves.
enum Rows {
    Entries(Arc<Entries>),
    Run {
        rows: RunRows,
        metadata: MetadataReader,
        /// Whether lines and metadata are there.
        has_all: bool,
    },
}

/// Lines reduced to what is read of them.
struct Reduced {
    lines: Arc<ReducedLines>,
    /// Which of them is that of the first row of the source.
    first_row: usize,
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
    /// Rows that the prefilter lets through; `None` is all. Of others the line may be empty.
    selected: Option<RowSet>,
    /// The same, of the whole block, if it told: of other rows not even the bytes need be there.
    found: Option<Arc<RowSet>>,
    /// What is read of lines, if they were reduced to that.
    reduced: Option<Reduced>,
    /// Where the rows are in their block, if lines are put together when they are asked for.
    lazy: Option<Range<usize>>,
    /// How often they were asked for.
    asked: usize,
    /// Kept here by who counts rows, and dropped with the rows.
    pub(crate) grouping: Option<Arc<Grouping>>,
    /// As [`Self::grouping`], what became of reduced lines, by number.
    pub(crate) outcomes: Vec<Outcome>,
    reserved_bytes: u64,
}

/// What is needed of a source.
pub(crate) struct Wanted<'a> {
    /// The columns.
    pub(crate) projection: Projection,
    /// Whether values of a metadata key are.
    pub(crate) key: &'a dyn Fn(&str) -> bool,
    /// Which rows matter.
    pub(crate) prefilter: &'a Prefilter,
    /// What is read of lines, if that may be less than all.
    pub(crate) reader: Option<&'a LineReader>,
    /// Whether lines are put together by [`Cursor::lines_of`] only, where that is possible.
    pub(crate) is_lazy: bool,
    /// Which rows of the block matter, if that is known already.
    pub(crate) found: Option<Arc<RowSet>>,
}

/// Whether it pays to remember what became of each of the reduced lines of a block for so many rows:
/// lines repeat, and those of other runs are not many more than the rows.
fn has_few(lines: &ReducedLines, rows: usize) -> bool {
    lines.count() < lines.len() && lines.count() / REMEMBERED_PER_ROW_MAX < rows
}

/// What became of a reduced line.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Outcome {
    #[default]
    Unknown,
    Dropped,
    /// A sample of a group that who counts has a number for.
    Sample {
        group: u32,
        value: f64,
    },
}

/// The rows of a source by the labels of their samples.
#[derive(Debug)]
pub(crate) struct Grouping {
    /// The labels of each group; none if only the stages can tell.
    pub(crate) groups: Vec<LabelSet>,
    /// Per row its group; empty if there is one group only.
    pub(crate) group_of_row: Vec<u32>,
}

impl Grouping {
    /// The group of a row.
    pub(crate) fn group_of(&self, row: usize) -> usize {
        self.group_of_row
            .get(row)
            .map_or(0, |group| *group as usize)
    }

    /// The labels of a row's sample.
    pub(crate) fn labels_of(&self, row: usize) -> Option<&LabelSet> {
        self.groups.get(self.group_of(row))
    }
}

impl<'a> Cursor<'a> {
    /// Decodes the rows of a source that are in the range. If the prefilter lets none through, there
    /// is none.
    pub(crate) fn open(
        number: usize,
        source: &'a Source,
        range: TimeRange,
        wanted: &Wanted<'_>,
        context: &mut Context<'_>,
    ) -> Result<Self, ScanError> {
        context.stats.sources += 1;
        let decoded = match source {
            Source::Rows(entries) if entries.is_time_ordered() => Decoded::of(Arc::clone(entries)),
            Source::Rows(entries) => {
                let bytes = entries.heap_bytes() as u64;
                context.memory.grow(bytes)?;
                Decoded {
                    bytes,
                    ..Decoded::of(Arc::new(Entries::clone(entries).into_time_ordered()))
                }
            }
            Source::Block { .. } => decode(source, range, wanted, context)?,
        };
        let mut cursor = Self {
            number,
            source,
            range,
            rows: decoded.rows,
            left: 0..0,
            inside: 0..0,
            selected: decoded.selected,
            found: decoded.found,
            reduced: decoded.reduced,
            lazy: decoded.lazy,
            asked: 0,
            grouping: None,
            outcomes: Vec::new(),
            reserved_bytes: decoded.bytes,
        };
        let times = cursor.timestamps_ns();
        let start = times.partition_point(|time| *time < range.start_ns);
        let end = times.partition_point(|time| *time < range.end_ns);
        cursor.inside = start..end.max(start);
        if cursor.selected.is_none() && !wanted.prefilter.is_empty() {
            let search = wanted.prefilter.search();
            let (lines, ends) = (cursor.lines(), cursor.line_ends());
            cursor.selected = Some(search.find_in(lines, ends, cursor.inside()));
        }
        let none = |selected: &RowSet| !selected.has_any(cursor.inside());
        if !cursor.selected.as_ref().is_some_and(none) {
            cursor.left = cursor.inside.clone();
        }
        Ok(cursor)
    }

    /// Gives the memory back.
    pub(crate) fn close(self, context: &mut Context<'_>) {
        context.memory.shrink(self.reserved_bytes);
    }

    /// Makes sure that lines and metadata are there, of those rows that the prefilter lets through.
    pub(crate) fn complete(&mut self, context: &mut Context<'_>) -> Result<(), ScanError> {
        match &self.rows {
            Rows::Run { has_all: false, .. } => {}
            _ => return Ok(()),
        }
        // The same range gives the same rows, so positions stay what they are.
        let all = Wanted {
            projection: Projection::ALL,
            key: &|_| true,
            prefilter: &Prefilter::default(),
            reader: None,
            is_lazy: false,
            found: self.found.clone(),
        };
        let decoded = decode(self.source, self.range, &all, context)?;
        context.memory.shrink(self.reserved_bytes);
        (self.rows, self.reserved_bytes) = (decoded.rows, decoded.bytes);
        self.lazy = None;
        Ok(())
    }

    /// Where the rows come from.
    pub(crate) fn source(&self) -> &Source {
        self.source
    }

    /// The block that the rows are decoded from, and which of its rows is the first one here.
    pub(crate) fn block_rows(&self) -> Option<(&Block, usize)> {
        match (&self.rows, self.source) {
            (Rows::Run { rows, .. }, Source::Block { block, .. }) => {
                let run = self.source.run_meta()?;
                Some((block, run.row_range().start + rows.first_row()))
            }
            _ => None,
        }
    }

    /// All rows that are in the range, whether seen or not.
    pub(crate) fn inside(&self) -> Range<usize> {
        self.inside.clone()
    }

    /// Whether the prefilter lets a row through.
    pub(crate) fn is_selected(&self, row: usize) -> bool {
        let selected = self.selected.as_ref();
        selected.is_none_or(|selected| selected.contains(row))
    }

    /// Whether the prefilter lets every row through.
    pub(crate) fn selects_all(&self) -> bool {
        self.selected.is_none()
    }

    /// Appends those of the rows that the prefilter lets through.
    pub(crate) fn select(&self, rows: Range<usize>, found: &mut Vec<usize>) {
        match &self.selected {
            Some(selected) => found.extend(selected.iter_in(rows)),
            None => found.extend(rows),
        }
    }

    /// Whether lines were reduced to what is read of them.
    pub(crate) fn has_reduced_lines(&self) -> bool {
        self.reduced.is_some()
    }

    /// The number by which what is read of the line of a row is known; rows for which it is the same have the same.
    pub(crate) fn reduced_number(&self, row: usize) -> usize {
        let reduced = self.reduced.as_ref();
        reduced.map_or(0, |reduced| reduced.lines.number(reduced.first_row + row))
    }

    /// The number that was taken out of what is read of the line of a row: it counts in place of the
    /// value of the sample that the line is.
    pub(crate) fn reduced_value(&self, row: usize) -> Option<f64> {
        let reduced = self.reduced.as_ref()?;
        reduced.lines.value(reduced.first_row + row)
    }

    /// How many numbers of lines there are at most.
    pub(crate) fn reduced_count(&self) -> usize {
        self.reduced
            .as_ref()
            .map_or(0, |reduced| reduced.lines.count())
    }

    /// Whether there are so few that it pays to remember what became of each.
    pub(crate) fn has_few_reduced(&self) -> bool {
        let reduced = self.reduced.as_ref();
        reduced.is_some_and(|reduced| has_few(&reduced.lines, self.inside.len()))
    }

    /// What is read of lines, by number, and whether that is all of them.
    pub(crate) fn reduced_line(&self, number: usize) -> (&[u8], bool) {
        let lines = self.reduced.as_ref().map(|reduced| &reduced.lines);
        lines.map_or((&[], false), |lines| {
            (lines.get(number), lines.is_whole(number))
        })
    }

    /// Whether lines have to be asked for.
    pub(crate) fn is_lazy(&self) -> bool {
        self.lazy.is_some()
    }

    /// Rows of so many bytes of lines, by the mean of all of the source.
    pub(crate) fn rows_of(&self, bytes: usize) -> usize {
        let run = self.source.run_meta();
        let mean = run.and_then(|run| run.raw_bytes.checked_div(u64::from(run.rows)));
        let rows = mean.and_then(|mean| (bytes as u64).checked_div(mean));
        rows.map_or(usize::MAX, |rows| rows.max(1) as usize)
    }

    /// The lines of some rows, ascending, if they have to be asked for.
    pub(crate) fn lines_of(
        &mut self,
        rows: &[usize],
        context: &mut Context<'_>,
    ) -> Result<Option<FoundLines>, ScanError> {
        if self.is_lazy() {
            self.asked += 1;
        }
        if self.asked > ASKED_MAX {
            // Each time costs a walk through the block: the source alternates with others.
            self.complete(context)?;
        }
        let (Some(of_block), Source::Block { block, .. }) = (&self.lazy, self.source) else {
            return Ok(None);
        };
        let mut wanted = RowSet::none(block.meta().rows() as usize);
        rows.iter()
            .for_each(|row| wanted.insert(of_block.start + row));
        Ok(Some(block.lines_of(&wanted)?))
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

/// What a cursor starts with.
struct Decoded {
    rows: Rows,
    /// Those that the prefilter lets through, if that is known already.
    selected: Option<RowSet>,
    /// The same, of the whole block.
    found: Option<Arc<RowSet>>,
    reduced: Option<Reduced>,
    lazy: Option<Range<usize>>,
    /// Memory taken.
    bytes: u64,
}

impl Decoded {
    fn of(entries: Arc<Entries>) -> Self {
        Self {
            rows: Rows::Entries(entries),
            selected: None,
            found: None,
            reduced: None,
            lazy: None,
            bytes: 0,
        }
    }
}

fn decode(
    source: &Source,
    range: TimeRange,
    wanted: &Wanted<'_>,
    context: &mut Context<'_>,
) -> Result<Decoded, ScanError> {
    let Source::Block { block, run } = source else {
        return Ok(Decoded::of(Arc::default()));
    };
    let bytes = block
        .meta()
        .decoded_bytes(*run, wanted.columns(block.meta()));
    context.memory.grow(bytes)?;
    let decoded = decode_block(block, *run, range, wanted);
    let decoded = decoded.inspect_err(|_| context.memory.shrink(bytes))?;
    let Some(mut decoded) = decoded else {
        context.memory.shrink(bytes);
        return Ok(Decoded::of(Arc::default()));
    };
    decoded.bytes = bytes;
    if let Rows::Run { rows, .. } = &decoded.rows {
        context.stats.decoded_bytes += rows.heap_bytes() as u64;
    }
    Ok(decoded)
}

impl Wanted<'_> {
    fn is_searched(&self) -> bool {
        !self.prefilter.is_empty()
    }

    /// The columns to decode of a block; plain lines are searched when they are decoded.
    fn columns(&self, block: &BlockMeta) -> Projection {
        let lines = self.is_searched() && block.layout() == Layout::Plain;
        Projection {
            lines: self.projection.lines || lines,
            ..self.projection
        }
    }
}

/// The rows of a run; `None` if the prefilter lets none through.
fn decode_block(
    block: &Block,
    run: usize,
    range: TimeRange,
    wanted: &Wanted<'_>,
) -> Result<Option<Decoded>, ChunkError> {
    let Some(meta) = block.meta().runs().get(run) else {
        return Ok(None);
    };
    let mut columns = wanted.columns(block.meta());
    let is_structured = block.meta().layout() != Layout::Plain;
    // Asked once: what others decode meanwhile may change the answer.
    let is_lazy = wanted.is_lazy && is_structured && block.is_worth_a_walk();
    let reduction = match wanted.reader {
        // Who would have asked for lines gets them all, and has to find them, unless that is done.
        Some(reader) if is_lazy || !wanted.is_lazy => {
            let is_searched = wanted.is_searched();
            reduction(reader, block.meta(), Some(block), meta, is_searched)?
        }
        Some(reader) if !wanted.is_searched() => block.known_reduction(reader.known_by()),
        _ => None,
    };
    if is_lazy {
        (columns.lines, columns.lengths) = (false, false);
    } else if reduction.is_some() && !wanted.is_lazy {
        columns = Projection::TIMESTAMPS;
    }
    let found = match (&wanted.found, wanted.is_searched() && is_structured) {
        (Some(found), _) => Some(Arc::clone(found)),
        (None, true) => Some(block.search(wanted.prefilter.search())?),
        (None, false) => None,
    };
    let rows = match &found {
        Some(found) if !found.has_any(meta.row_range()) => return Ok(None),
        Some(found) => block.rows_found(run, columns, Some(range), found, wanted.key)?,
        None => block.rows_with_keys(run, columns, Some(range), wanted.key)?,
    };
    let first = meta.row_range().start + rows.first_row();
    let of_block = first..first + rows.len();
    let selected = found.as_ref().map(|found| found.among(of_block.clone()));
    let reduced = match (&reduction, &found) {
        (None, _) => None,
        // Who looks at lines later needs none that are read whole.
        (Some(reduction), None) if wanted.is_lazy => Some(Reduced {
            lines: block.reduced_lines(reduction, WholeLines::LeftOut)?,
            first_row: of_block.start,
        }),
        (Some(reduction), None) => {
            let (lines, first) = lines_of_run(reduction, block, meta)?;
            Some(Reduced {
                lines,
                first_row: first + rows.first_row(),
            })
        }
        (Some(reduction), found) => Some(Reduced {
            lines: Arc::new(block.reduced_lines_of(
                reduction,
                of_block.clone(),
                found.as_deref(),
            )?),
            first_row: 0,
        }),
    };
    let metadata = rows.metadata().reader();
    Ok(Some(Decoded {
        rows: Rows::Run {
            rows,
            metadata,
            // Of less than all, keys that are not wanted were left out too.
            has_all: wanted.projection == Projection::ALL && columns == Projection::ALL,
        },
        selected,
        found,
        reduced,
        lazy: is_lazy.then_some(of_block),
        bytes: 0,
    }))
}
