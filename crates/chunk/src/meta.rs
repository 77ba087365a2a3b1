//! What a block says about itself: runs with their counters, frames, and where each column is.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use codec::Codec;
use model::TimeRange;
use smallvec::SmallVec;

use crate::shape::Shape;
use crate::{ChunkError, LevelCounts, Part};

mod wire;

pub(crate) use wire::{parse_blob, put_blob};

/// How the rows of a block are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Columns of time and length, and the lines one after the other.
    Plain,
    /// Lines as templates and columns of their values.
    Text,
    /// As `Text`, and some templates are JSON objects.
    Json,
}

impl Layout {
    fn to_byte(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Text => 1,
            Self::Json => 2,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Plain),
            1 => Some(Self::Text),
            2 => Some(Self::Json),
            _ => None,
        }
    }
}

/// Which columns are wanted. Times always are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Projection {
    /// Structured metadata.
    pub metadata: bool,
    /// How long each line is.
    pub lengths: bool,
    /// The lines, and with them their lengths.
    pub lines: bool,
}

impl Projection {
    /// Times only.
    pub const TIMESTAMPS: Self = Self {
        metadata: false,
        lengths: false,
        lines: false,
    };
    /// Times and line lengths.
    pub const LENGTHS: Self = Self {
        lengths: true,
        ..Self::TIMESTAMPS
    };
    /// Times and structured metadata.
    pub const METADATA: Self = Self {
        metadata: true,
        ..Self::TIMESTAMPS
    };
    /// Everything.
    pub const ALL: Self = Self {
        metadata: true,
        lengths: true,
        lines: true,
    };

    /// Whether a reader that has `self` has all of `other`.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        (self.metadata || !other.metadata)
            && (self.lengths || self.lines || !other.lengths)
            && (self.lines || !other.lines)
    }
}

/// The rows of one stream in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunMeta {
    /// In a stored block the number of its stream in the object's stream table; in a block just
    /// encoded the number of the run.
    pub stream: u32,
    /// The run's first row in the block.
    pub first_row: u32,
    /// Rows; at least one.
    pub rows: u32,
    /// Time of the first row.
    pub min_ts_ns: i64,
    /// Time of the last row.
    pub max_ts_ns: i64,
    /// Where the run's first line starts among the lines of the block.
    pub first_byte: u32,
    /// Bytes of its lines.
    pub raw_bytes: u64,
    /// How much its structured metadata counts in bytes, see [`metadata_bytes`](crate::metadata_bytes);
    /// 0 where it was not counted, in objects that are older than the counter.
    pub metadata_bytes: u64,
    /// Rows per detected level.
    pub levels: LevelCounts,
}

impl RunMeta {
    /// Its rows in the block.
    #[must_use]
    pub fn row_range(&self) -> Range<usize> {
        self.first_row as usize..self.first_row as usize + self.rows as usize
    }

    pub(crate) fn byte_range(&self) -> Range<usize> {
        self.first_byte as usize..self.first_byte as usize + self.raw_bytes as usize
    }
}

/// A structured metadata key of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataKey {
    /// The key.
    pub name: Arc<str>,
    /// Distinct values, or an upper bound of them.
    pub values: u32,
}

/// A compressed piece of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FrameMeta {
    /// From the start of the body.
    pub(crate) offset: u64,
    pub(crate) codec: Codec,
    pub(crate) len: u32,
    pub(crate) raw_len: u32,
    pub(crate) crc: u32,
}

/// Bytes inside a decompressed frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) frame: u32,
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

/// Most columns have one span: a block says where hundreds of them are.
pub(crate) type Spans = SmallVec<[Span; 1]>;

/// A column's bytes: one or more spans, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) spans: Spans,
}

impl Blob {
    pub(crate) fn len(&self) -> usize {
        self.spans.iter().map(|span| span.len as usize).sum()
    }

    /// Some bytes of a blob that lies in one frame.
    pub(crate) fn part(&self, start: usize, len: usize) -> Self {
        let spans = self.spans.first().filter(|_| len > 0);
        let part = spans.map(|span| Span {
            frame: span.frame,
            offset: span.offset + start as u32,
            len: len as u32,
        });
        Self {
            spans: part.into_iter().collect(),
        }
    }
}

/// How the values of a metadata key are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    /// Distinct values once, and per row 0 (absent) or the number of its value plus one.
    Dictionary,
    /// A value per row that has one, and per row 0 (absent) or its length plus one.
    Values,
    /// As `Values`, but a value is a list of name and value pairs: keys too rare for their own
    /// column.
    Pairs,
}

/// Where the values of a metadata key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ColumnMeta {
    /// Empty for `Pairs`.
    pub(crate) name: Arc<str>,
    pub(crate) kind: ColumnKind,
    /// Values in the value table.
    pub(crate) values: u32,
    pub(crate) ids: Blob,
    /// Lengths of the dictionary's values; empty for the other kinds.
    pub(crate) lengths: Blob,
    pub(crate) text: Blob,
}

/// The shape of a block's lines, read when it is first asked for: most queries that only count do
/// not need it.
#[derive(Clone, Debug)]
pub(crate) struct LazyShape {
    bytes: Bytes,
    shape: OnceLock<Shape>,
}

impl LazyShape {
    pub(crate) fn new(shape: Shape) -> Self {
        Self {
            bytes: shape.to_bytes().into(),
            shape: shape.into(),
        }
    }
}

impl PartialEq for LazyShape {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for LazyShape {}

/// Time and position of every 1,024th row but the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) ts_ns: i64,
    /// Where the row's line starts.
    pub(crate) byte: u64,
}

/// Rows from one mark to the next.
pub(crate) const MARK_ROWS: usize = 1024;

/// What a block says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockMeta {
    /// Which block of its object; 0 if it is not stored yet.
    pub(crate) ordinal: u32,
    pub(crate) layout: Layout,
    pub(crate) rows: u32,
    pub(crate) raw_bytes: u64,
    pub(crate) min_ts_ns: i64,
    pub(crate) max_ts_ns: i64,
    /// Where the body starts in the object; 0 if it is not stored yet.
    pub(crate) body_off: u64,
    pub(crate) runs: Vec<RunMeta>,
    pub(crate) frames: Vec<FrameMeta>,
    pub(crate) marks: Vec<Mark>,
    /// The unit of the time column in nanoseconds.
    pub(crate) unit_ns: u64,
    pub(crate) timestamps: Blob,
    pub(crate) lengths: Blob,
    /// Empty unless the layout is plain, as are the lengths.
    pub(crate) lines: Blob,
    /// There unless the layout is plain.
    pub(crate) shape: Option<LazyShape>,
    /// Sorted by name, `Pairs` first.
    pub(crate) columns: Vec<ColumnMeta>,
}

impl BlockMeta {
    /// Which block of its object it is.
    #[must_use]
    pub fn ordinal(&self) -> u32 {
        self.ordinal
    }

    /// How its rows are laid out.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Rows of all runs.
    #[must_use]
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Bytes of all lines.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    /// Time of the oldest row.
    #[must_use]
    pub fn min_ts_ns(&self) -> i64 {
        self.min_ts_ns
    }

    /// Time of the newest row.
    #[must_use]
    pub fn max_ts_ns(&self) -> i64 {
        self.max_ts_ns
    }

    /// The runs in the order of their rows.
    #[must_use]
    pub fn runs(&self) -> &[RunMeta] {
        &self.runs
    }

    /// Where the body is in the object.
    #[must_use]
    pub fn body_range(&self) -> Range<u64> {
        self.body_off..self.body_off + self.body_len()
    }

    /// The structured metadata keys, or `None` if some are so rare that they have no column of
    /// their own and are not listed.
    #[must_use]
    pub fn metadata_keys(&self) -> Option<Vec<MetadataKey>> {
        self.columns
            .iter()
            .map(|column| {
                (column.kind != ColumnKind::Pairs).then(|| MetadataKey {
                    name: Arc::clone(&column.name),
                    values: column.values,
                })
            })
            .collect()
    }

    /// Whether any row has structured metadata.
    #[must_use]
    pub fn has_metadata(&self) -> bool {
        !self.columns.is_empty()
    }

    /// An upper bound of the memory that decoding one run takes, in bytes.
    #[must_use]
    pub fn decoded_bytes(&self, run: usize, projection: Projection) -> u64 {
        let Some(run) = self.runs.get(run) else {
            return 0;
        };
        let mut bytes = u64::from(run.rows) * 8;
        if (projection.lengths || projection.lines) && self.shape.is_some() {
            return bytes
                + self.decoded_lines_bytes()
                + self.decoded_metadata_bytes(projection, run);
        }
        if projection.lengths || projection.lines {
            bytes += u64::from(run.rows) * 4;
        }
        if projection.lines {
            bytes += run.raw_bytes;
        }
        bytes + self.decoded_metadata_bytes(projection, run)
    }

    fn decoded_metadata_bytes(&self, projection: Projection, run: &RunMeta) -> u64 {
        if !projection.metadata {
            return 0;
        }
        let text: usize = self.columns.iter().map(|c| c.text.len()).sum();
        let tables: u64 = self.columns.iter().map(|c| u64::from(c.values) * 4).sum();
        u64::from(run.rows) * 4 * self.columns.len() as u64 + text as u64 + tables
    }

    /// All lines of a structured block, and the columns that they are put together from.
    fn decoded_lines_bytes(&self) -> u64 {
        let values = match self.shape() {
            Ok(Some(shape)) => shape.lines.values(),
            _ => 0,
        };
        let frames = self.frames.iter().map(|frame| u64::from(frame.raw_len));
        self.raw_bytes + u64::from(self.rows) * 6 + values * 8 + frames.sum::<u64>()
    }

    /// The shape of the lines, unless the layout is plain.
    ///
    /// # Errors
    /// If it is damaged.
    pub(crate) fn shape(&self) -> Result<Option<&Shape>, ChunkError> {
        let Some(lazy) = &self.shape else {
            return Ok(None);
        };
        if let Some(shape) = lazy.shape.get() {
            return Ok(Some(shape));
        }
        let part = Part::BlockMeta {
            block: self.ordinal,
        };
        let shape = Shape::parse(&lazy.bytes, &self.frames, self.rows, self.raw_bytes)
            .map_err(ChunkError::at(part))?;
        Ok(Some(lazy.shape.get_or_init(|| shape)))
    }

    /// An upper bound of what an open [`Block`](crate::Block) with several runs keeps for all of
    /// them, in bytes; 0 for one with a single run, which keeps nothing.
    #[must_use]
    pub fn shared_bytes(&self, projection: Projection) -> u64 {
        if self.runs.len() < 2 {
            return 0;
        }
        let frames: u64 = self
            .frames
            .iter()
            .map(|frame| u64::from(frame.raw_len))
            .sum();
        let columns = if projection.metadata {
            self.columns.len() as u64
        } else {
            0
        };
        let used = if self.shape.is_some() && (projection.lines || projection.lengths) {
            frames + self.decoded_lines_bytes()
        } else if projection.lines {
            frames
        } else {
            frames.saturating_sub(self.raw_bytes)
        };
        used + u64::from(self.rows) * (12 + 4 * columns)
    }

    /// The bytes of the object that [`Block::rows`](crate::Block::rows) needs for these runs (none
    /// means all) and times, ascending; ranges that touch are one.
    #[must_use]
    pub fn fetch_ranges(
        &self,
        projection: Projection,
        runs: &[usize],
        range: Option<TimeRange>,
    ) -> Vec<Range<u64>> {
        let mut wanted = vec![false; self.frames.len()];
        let mut want = |spans: &[Span]| {
            for span in spans {
                if let Some(frame) = wanted.get_mut(span.frame as usize) {
                    *frame = true;
                }
            }
        };
        want(&self.timestamps.spans);
        if projection.lengths || projection.lines {
            want(&self.lengths.spans);
            self.want_structure(&mut want);
        }
        if projection.metadata {
            for column in &self.columns {
                want(&column.ids.spans);
                want(&column.lengths.spans);
                want(&column.text.spans);
            }
        }
        if projection.lines {
            let all = 0..self.runs.len();
            let chosen: &mut dyn Iterator<Item = usize> = if runs.is_empty() {
                &mut all.into_iter()
            } else {
                &mut runs.iter().copied()
            };
            for run in chosen.filter_map(|run| self.runs.get(run)) {
                want(self.lines_spans(self.byte_window(run, range)));
            }
        }
        self.ranges_of(&wanted)
    }

    /// All frames of a structured block that are not of other columns.
    fn want_structure(&self, want: &mut dyn FnMut(&[Span])) {
        if self.shape.is_none() {
            return;
        }
        let mut others = vec![false; self.frames.len()];
        let metadata = self.columns.iter();
        let metadata = metadata.flat_map(|column| [&column.ids, &column.lengths, &column.text]);
        for span in metadata
            .chain([&self.timestamps])
            .flat_map(|blob| &blob.spans)
        {
            if let Some(other) = others.get_mut(span.frame as usize) {
                // Everything may be in the pool.
                *other = span.frame > 0;
            }
        }
        for (frame, _) in (0u32..).zip(others).filter(|(_, is_other)| !is_other) {
            let (offset, len) = (0, 0);
            want(&[Span { frame, offset, len }]);
        }
    }

    /// The spans that hold these bytes of the lines.
    fn lines_spans(&self, bytes: Range<u64>) -> &[Span] {
        if bytes.is_empty() {
            return &[];
        }
        let mut end = 0u64;
        let mut ends = Vec::with_capacity(self.lines.spans.len());
        for span in &self.lines.spans {
            end += u64::from(span.len);
            ends.push(end);
        }
        let first = ends.partition_point(|end| *end <= bytes.start);
        let last = ends.partition_point(|end| *end < bytes.end);
        self.lines
            .spans
            .get(first..(last + 1).min(ends.len()))
            .unwrap_or_default()
    }

    /// Bytes of lines that contain all rows of the run inside `range`, as far as the marks tell.
    fn byte_window(&self, run: &RunMeta, range: Option<TimeRange>) -> Range<u64> {
        let (mut start, mut end) = (
            u64::from(run.first_byte),
            u64::from(run.first_byte) + run.raw_bytes,
        );
        let Some(range) = range else {
            return start..end;
        };
        if !range.overlaps(run.min_ts_ns, run.max_ts_ns) {
            return start..start;
        }
        // Mark `i` is row `(i + 1) * MARK_ROWS`.
        let rows = run.row_range();
        let first = (rows.start / MARK_ROWS).min(self.marks.len());
        let last = (rows.end.saturating_sub(1) / MARK_ROWS).clamp(first, self.marks.len());
        let marks = self.marks.get(first..last).unwrap_or_default();
        let before = marks.partition_point(|mark| mark.ts_ns < range.start_ns);
        if let Some(mark) = before.checked_sub(1).and_then(|at| marks.get(at)) {
            start = mark.byte;
        }
        if let Some(mark) = marks.get(marks.partition_point(|mark| mark.ts_ns < range.end_ns)) {
            end = mark.byte;
        }
        start..end
    }

    pub(crate) fn ranges_of(&self, wanted: &[bool]) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for (frame, _) in self
            .frames
            .iter()
            .zip(wanted)
            .filter(|(_, wanted)| **wanted)
        {
            let start = self.body_off + frame.offset;
            let end = start + u64::from(frame.len);
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => ranges.push(start..end),
            }
        }
        ranges
    }

    /// Whether all frames that lie in a part of the object are as they were written.
    #[must_use]
    pub fn is_intact(&self, part: &Range<u64>, bytes: &[u8]) -> bool {
        self.frames.iter().all(|frame| {
            let start = self.body_off + frame.offset;
            let end = start + u64::from(frame.len);
            if start < part.start || part.end < end {
                return true;
            }
            let inside = (start - part.start) as usize..(end - part.start) as usize;
            let stored = bytes.get(inside);
            stored.is_some_and(|stored| codec::frame::checksum(stored) == frame.crc)
        })
    }

    pub(crate) fn body_len(&self) -> u64 {
        self.frames
            .last()
            .map_or(0, |frame| frame.offset + u64::from(frame.len))
    }

    /// Bytes held, for memory accounting.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let spans: usize = self
            .columns
            .iter()
            .map(|c| c.ids.spans.len() + c.lengths.spans.len() + c.text.spans.len())
            .sum::<usize>()
            + self.lines.spans.len();
        size_of::<Self>()
            + self.runs.len() * size_of::<RunMeta>()
            + self.frames.len() * size_of::<FrameMeta>()
            + self.marks.len() * size_of::<Mark>()
            + self.columns.len() * (size_of::<ColumnMeta>() + 32)
            + self.shape.as_ref().map_or(0, |lazy| {
                lazy.bytes.len() + lazy.shape.get().map_or(0, Shape::heap_bytes)
            })
            + spans * size_of::<Span>()
    }
}
