//! From rows to a block.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use codec::frame::{Compressor, checksum};
use codec::{Codec, ints};
use model::{Entries, LabelSet};

use crate::meta::{Blob, BlockMeta, ColumnMeta, FrameMeta, MARK_ROWS, Mark, RunMeta, Span, Spans};
use crate::outline::Outline;
use crate::{
    Block, ChunkError, LevelCounts, MAX_BLOCK_RAW_BYTES, MAX_BLOCK_ROWS, MAX_BLOCK_RUNS,
    MAX_BODY_RAW_BYTES, Piece, Search, metadata,
};

mod lines;
mod memory;

pub use memory::LinesMemory;

use lines::Lines;

/// Columns are cut into frames of this size, so that a part can be read alone.
pub(crate) const FRAME_BYTES: usize = 1 << 20;
/// Columns smaller than this share the pool, the first frame.
const POOLED_BYTES: usize = 2 << 10;
/// What a pair of structured metadata counts besides its text.
const PAIR_BYTES: u64 = 8;
/// Units of the time column, largest first: many programs log whole milliseconds.
const UNITS_NS: [u64; 4] = [1_000_000_000, 1_000_000, 1_000, 1];

/// The rows of one stream, in time order.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    labels: &'a LabelSet,
    parts: Vec<&'a Entries>,
}

impl<'a> Run<'a> {
    /// Rows of a stream.
    #[must_use]
    pub fn new(labels: &'a LabelSet, entries: &'a Entries) -> Self {
        Self::of_parts(labels, std::iter::once(entries))
    }

    /// Rows of a stream that lie in several places, each of which starts where the one before ends,
    /// or later.
    pub fn of_parts(labels: &'a LabelSet, parts: impl IntoIterator<Item = &'a Entries>) -> Self {
        let parts = parts.into_iter().filter(|part| !part.is_empty());
        Self {
            labels,
            parts: parts.collect(),
        }
    }

    fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    fn line_bytes(&self) -> usize {
        self.parts.iter().map(|part| part.lines().len()).sum()
    }

    fn times(&self) -> impl Iterator<Item = i64> {
        self.parts
            .iter()
            .flat_map(|part| part.timestamps_ns())
            .copied()
    }

    /// First and last time; `None` if there is no row.
    fn span(&self) -> Option<(i64, i64)> {
        let first = self.parts.first()?.timestamps_ns().first()?;
        let last = self.parts.last()?.timestamps_ns().last()?;
        Some((*first, *last))
    }

    fn is_time_ordered(&self) -> bool {
        let is_before =
            |a: &&Entries, b: &&Entries| a.timestamps_ns().last() <= b.timestamps_ns().first();
        self.parts.iter().all(|part| part.is_time_ordered()) && self.parts.is_sorted_by(is_before)
    }
}

/// All parts of some runs, one after the other.
fn parts<'a>(runs: &[Run<'a>]) -> impl Iterator<Item = &'a Entries> {
    runs.iter().flat_map(|run| &run.parts).copied()
}

/// How to encode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    /// How frames are compressed, unless that gains less than 6 %.
    pub codec: Codec,
    /// How lines are laid out.
    pub lines: LinesPolicy,
}

/// How the lines of a block are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinesPolicy {
    /// One after the other.
    #[default]
    Plain,
    /// As templates and columns, unless much of them fits no template.
    Structured,
    /// As `Structured` if that makes a part of them smaller. The layout of the block says what was
    /// chosen: what a stream's lines look like rarely changes, so who encodes its next block can
    /// ask for the same and save the trial.
    Probe,
}

/// A block in memory, complete and searchable, not part of an object yet.
#[derive(Clone, Debug)]
pub struct EncodedBlock {
    pub(crate) meta: Arc<BlockMeta>,
    pub(crate) streams: Vec<LabelSet>,
    pub(crate) body: Bytes,
    /// What may be in its lines; none if they are plain.
    pub(crate) outline: Option<Outline>,
}

impl EncodedBlock {
    /// Runs and counters; `stream` of a run is its position in [`Self::streams`].
    #[must_use]
    pub fn meta(&self) -> &Arc<BlockMeta> {
        &self.meta
    }

    /// The stream of each run.
    #[must_use]
    pub fn streams(&self) -> &[LabelSet] {
        &self.streams
    }

    /// The frames.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Whether a line may meet all conditions, as far as its outline tells.
    #[must_use]
    pub fn may_have(&self, search: &Search) -> bool {
        let outline = self.outline.as_ref();
        outline.is_none_or(|outline| outline.may_have(search))
    }

    /// Opens it for reading, as if it had been fetched whole.
    #[must_use]
    pub fn open(&self) -> Block {
        let piece = Piece {
            offset: self.meta.body_off,
            bytes: self.body.clone(),
        };
        Block::new(Arc::clone(&self.meta), vec![piece])
    }

    /// Bytes held, for memory accounting.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.body.len()
            + self.meta.heap_bytes()
            + self.streams.len() * size_of::<LabelSet>()
            + self.outline.as_ref().map_or(0, Outline::heap_bytes)
    }
}

/// Encodes the runs, in this order, as one block. Each must be in time order; the caller decides
/// which streams share a block and sorts them.
///
/// # Errors
/// If a run is empty or not in time order, or there is more than a block may hold.
pub fn encode_block(runs: &[Run<'_>], options: &EncodeOptions) -> Result<EncodedBlock, ChunkError> {
    let metas = run_metas(runs)?;
    let (Some(min_ts_ns), Some(max_ts_ns)) = (
        metas.iter().map(|run| run.min_ts_ns).min(),
        metas.iter().map(|run| run.max_ts_ns).max(),
    ) else {
        return Err(ChunkError::Empty);
    };
    let mut body = Body::new(options.codec);
    let (unit_ns, timestamps) = timestamps(runs, &mut body);
    let columns = columns(runs, &mut body)?;
    let Lines {
        layout,
        lengths,
        lines,
        shape,
        outline,
    } = lines::lines(runs, options, &mut body);
    let (frames, body) = body.finish();
    let raw: usize = frames.iter().map(|frame| frame.raw_len as usize).sum();
    ChunkError::cap("bytes of all columns of a block", raw, MAX_BODY_RAW_BYTES)?;
    let meta = BlockMeta {
        ordinal: 0,
        layout,
        rows: metas.iter().map(|run| run.rows).sum(),
        raw_bytes: metas.iter().map(|run| run.raw_bytes).sum(),
        min_ts_ns,
        max_ts_ns,
        body_off: 0,
        marks: marks(runs),
        runs: metas,
        frames,
        unit_ns,
        timestamps,
        lengths,
        lines,
        shape,
        columns,
    };
    Ok(EncodedBlock {
        meta: Arc::new(meta),
        streams: runs.iter().map(|run| run.labels.clone()).collect(),
        body,
        outline,
    })
}

fn run_metas(runs: &[Run<'_>]) -> Result<Vec<RunMeta>, ChunkError> {
    ChunkError::cap("runs of a block", runs.len(), MAX_BLOCK_RUNS)?;
    let (mut first_row, mut first_byte) = (0, 0);
    let mut metas = Vec::with_capacity(runs.len());
    for (number, run) in runs.iter().enumerate() {
        let (rows, raw_bytes) = (run.rows(), run.line_bytes());
        let Some((min_ts_ns, max_ts_ns)) = run.span() else {
            return Err(ChunkError::Empty);
        };
        if !run.is_time_ordered() {
            return Err(ChunkError::Unordered { run: number });
        }
        metas.push(RunMeta {
            stream: number as u32,
            first_row: first_row as u32,
            rows: rows as u32,
            min_ts_ns,
            max_ts_ns,
            first_byte: first_byte as u32,
            raw_bytes: raw_bytes as u64,
            metadata_bytes: metadata_of_parts(run.parts.iter().map(|part| (*part, 0..part.len()))),
            levels: levels(run),
        });
        first_row += rows;
        first_byte += raw_bytes;
        ChunkError::cap("rows of a block", first_row, MAX_BLOCK_ROWS)?;
        ChunkError::cap("line bytes of a block", first_byte, MAX_BLOCK_RAW_BYTES)?;
    }
    Ok(metas)
}

/// How much the structured metadata of `rows` counts in bytes: the text of names and values once,
/// and [`PAIR_BYTES`] for every pair of every row. That is what Loki's chunks take for it, and so
/// what its clients know as the size of a stream.
#[must_use]
pub fn metadata_bytes(entries: &Entries, rows: Range<usize>) -> u64 {
    metadata_of_parts(std::iter::once((entries, rows)))
}

/// As [`metadata_bytes`], of some rows in several places.
fn metadata_of_parts<'a>(parts: impl Iterator<Item = (&'a Entries, Range<usize>)>) -> u64 {
    let mut texts = HashSet::new();
    let mut bytes = 0u64;
    for (entries, rows) in parts {
        let sets = entries.metadata_sets();
        let mut rows_of = vec![0u64; sets.len()];
        for id in entries.metadata_ids().get(rows).unwrap_or_default() {
            if let Some(rows) = rows_of.get_mut(*id as usize) {
                *rows += 1;
            }
        }
        for (set, rows) in sets.iter().zip(rows_of).filter(|(_, rows)| *rows > 0) {
            bytes = bytes.saturating_add(set.len() as u64 * PAIR_BYTES * rows);
            let of_set = set.iter().flat_map(|label| [&*label.name, &*label.value]);
            let new = of_set.filter(|text| texts.insert(*text));
            bytes = new.fold(bytes, |sum, text| sum.saturating_add(text.len() as u64));
        }
    }
    bytes
}

fn levels(run: &Run<'_>) -> LevelCounts {
    let mut counts = LevelCounts::default();
    for entries in &run.parts {
        let sets = entries.metadata_sets();
        if sets.len() < 2 {
            continue;
        }
        let of_set: Vec<Option<usize>> = sets.iter().map(LevelCounts::position).collect();
        for id in entries.metadata_ids() {
            let level = of_set.get(*id as usize).copied().flatten();
            if let Some(count) = level.and_then(|level| counts.0.get_mut(level)) {
                *count += 1;
            }
        }
    }
    counts
}

/// Time since the row before, in the largest unit that divides all; 0 for a run's first row,
/// whose time its meta has.
fn timestamps(runs: &[Run<'_>], body: &mut Body) -> (u64, Blob) {
    let mut deltas = Vec::with_capacity(runs.iter().map(Run::rows).sum());
    for run in runs {
        let mut last = run.span().map_or(0, |(first, _)| first);
        deltas.extend(run.times().map(|time| {
            let delta = time.wrapping_sub(last) as u64;
            last = time;
            delta
        }));
    }
    let divides = |unit: &&u64| deltas.iter().all(|delta| delta % **unit == 0);
    let unit_ns = UNITS_NS.iter().find(divides).copied().unwrap_or(1);
    if unit_ns > 1 {
        deltas.iter_mut().for_each(|delta| *delta /= unit_ns);
    }
    (unit_ns, body.add_ints(&deltas))
}

fn columns(runs: &[Run<'_>], body: &mut Body) -> Result<Vec<ColumnMeta>, ChunkError> {
    let mut metas = Vec::new();
    if parts(runs).all(|part| part.metadata_sets().len() < 2) {
        return Ok(metas);
    }
    metadata::columns(parts(runs), |column| {
        metas.push(ColumnMeta {
            name: column.name.into(),
            kind: column.kind,
            values: column.values,
            ids: body.add(&column.ids),
            lengths: body.add(&column.lengths),
            text: body.add(&column.text),
        });
        Ok(())
    })?;
    Ok(metas)
}

fn marks(runs: &[Run<'_>]) -> Vec<Mark> {
    let mut marks = Vec::new();
    let (mut first_row, mut first_byte) = (0usize, 0u64);
    for entries in parts(runs) {
        let mut row = (first_row.div_ceil(MARK_ROWS) * MARK_ROWS).max(MARK_ROWS) - first_row;
        while let Some(ts_ns) = entries.timestamps_ns().get(row) {
            let before = row
                .checked_sub(1)
                .and_then(|before| entries.line_ends().get(before));
            let byte = first_byte + u64::from(before.copied().unwrap_or(0));
            marks.push(Mark {
                ts_ns: *ts_ns,
                byte,
            });
            row += MARK_ROWS;
        }
        first_row += entries.len();
        first_byte += entries.lines().len() as u64;
    }
    marks
}

/// How hard a frame is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    Little,
    /// Text of many rows becomes a twelfth smaller by it, for several times the work.
    Much,
}

/// The level of zstd for [`Effort::Much`].
const MUCH_EFFORT_LEVEL: i32 = 5;

/// Collects frames.
pub(crate) struct Body {
    codec: Codec,
    little: Compressor,
    much: Compressor,
    pool: Vec<u8>,
    /// All but the pool.
    frames: Vec<FrameMeta>,
    bytes: Vec<u8>,
}

impl Body {
    fn new(codec: Codec) -> Self {
        Self {
            codec,
            little: Compressor::default(),
            much: Compressor::at_level(MUCH_EFFORT_LEVEL),
            pool: Vec::new(),
            frames: Vec::new(),
            bytes: Vec::new(),
        }
    }

    fn add_ints(&mut self, values: &[u64]) -> Blob {
        let mut packed = Vec::with_capacity(values.len() * 3);
        ints::pack(values, &mut packed);
        self.add(&packed)
    }

    pub(crate) fn add(&mut self, raw: &[u8]) -> Blob {
        self.add_with(raw, Effort::Little)
    }

    pub(crate) fn add_with(&mut self, raw: &[u8], effort: Effort) -> Blob {
        if raw.is_empty() {
            return Blob::default();
        }
        if raw.len() < POOLED_BYTES && self.pool.len() < FRAME_BYTES {
            let span = Span {
                frame: 0,
                offset: self.pool.len() as u32,
                len: raw.len() as u32,
            };
            self.pool.extend_from_slice(raw);
            return Blob {
                spans: Spans::from_slice(&[span]),
            };
        }
        let add_frame = |raw: &[u8]| {
            let frame = self.append_frame(raw, effort);
            self.frames.push(frame);
            Span {
                frame: self.frames.len() as u32,
                offset: 0,
                len: raw.len() as u32,
            }
        };
        Blob {
            spans: raw.chunks(FRAME_BYTES).map(add_frame).collect(),
        }
    }

    fn append_frame(&mut self, raw: &[u8], effort: Effort) -> FrameMeta {
        let start = self.bytes.len();
        let compressor = match effort {
            Effort::Little => &mut self.little,
            Effort::Much => &mut self.much,
        };
        let codec = compressor.append(self.codec, raw, &mut self.bytes);
        let stored = self.bytes.get(start..).unwrap_or_default();
        FrameMeta {
            offset: start as u64,
            codec,
            len: stored.len() as u32,
            raw_len: raw.len() as u32,
            crc: checksum(stored),
        }
    }

    /// Puts the pool in front.
    fn finish(mut self) -> (Vec<FrameMeta>, Bytes) {
        let others = std::mem::take(&mut self.bytes);
        let pool = std::mem::take(&mut self.pool);
        let pool = self.append_frame(&pool, Effort::Little);
        let shift = u64::from(pool.len);
        self.bytes.reserve_exact(others.len());
        self.bytes.extend_from_slice(&others);
        let shifted = |frame: FrameMeta| FrameMeta {
            offset: frame.offset + shift,
            ..frame
        };
        let frames = std::iter::once(pool)
            .chain(self.frames.into_iter().map(shifted))
            .collect();
        (frames, self.bytes.into())
    }
}
