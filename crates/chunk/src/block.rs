//! An open block: decodes what was fetched of it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use bytes::Bytes;
use codec::frame::Decompressor;
use codec::{Reader, ints};
use model::{LabelSet, TimeRange};

use crate::meta::{Blob, BlockMeta, ColumnKind, ColumnMeta, FrameMeta, Layout, RunMeta, Span};
use crate::metadata::{RunColumn, ValueTable};
use crate::outline::Outline;
use crate::values::Decoded;
use crate::{ChunkError, EncodedBlock, Part, Projection, RowSet, RunMetadata, RunRows, Search};

mod held;
mod lines;
mod patterns;
mod reduction;
mod samples;
mod templates;
mod times;

pub use patterns::LinePatterns;
pub use reduction::{KeptParts, Reduction};
use samples::Remembered;
pub use samples::RunSamples;
pub use templates::{LineTemplate, ReducedLines, WholeLines};
use times::CoarseTimes;
pub use times::RowTimes;

/// A fetched part of an object.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Where it starts in the object.
    pub offset: u64,
    /// Its bytes.
    pub bytes: Bytes,
}

/// Ids and values of a metadata column, for all rows of the block.
type SharedColumn = (Vec<u32>, Arc<ValueTable>);

/// What was searched, and the rows that have it.
type Found = (Search, Arc<RowSet>);

/// A block and the bytes of it that were fetched.
///
/// Share it (`Arc`) between the readers of its runs and between queries: it keeps what it decoded in
/// order to be searched, and a block of several runs all it decoded, because the next run needs it
/// again. [`Block::heap_bytes`] says how much that is.
#[derive(Debug)]
pub struct Block {
    meta: Arc<BlockMeta>,
    pieces: RwLock<Vec<Piece>>,
    frames: Vec<OnceLock<Bytes>>,
    /// Many small frames are read one after the other, and setting up costs more than reading.
    timestamps: OnceLock<Vec<i64>>,
    /// What rows are counted by.
    coarse_times: OnceLock<Arc<CoarseTimes>>,
    /// Ends of all lines of the block.
    ends: OnceLock<Vec<u32>>,
    /// All lines of a structured block of several runs.
    lines: OnceLock<Bytes>,
    /// How often some lines were put together without the others.
    pub(crate) walks: AtomicU32,
    /// What was decoded of a structured block in order to search it.
    pub(crate) decoded: OnceLock<Decoded>,
    /// Whether a search began, even if it kept nothing.
    pub(crate) was_searched: AtomicBool,
    /// What was found last, the latest first.
    pub(crate) found: Mutex<VecDeque<Found>>,
    /// What was kept of all lines last, the latest first.
    reduced: Mutex<VecDeque<(Reduction, WholeLines, Arc<ReducedLines>)>>,
    /// Which samples queries took from rows.
    remembered: Mutex<Remembered>,
    /// Patterns of all lines.
    patterns: OnceLock<Arc<LinePatterns>>,
    /// Who has it reduces the lines; others that want to, wait.
    reducing: Mutex<()>,
    columns: Vec<OnceLock<SharedColumn>>,
}

impl Block {
    /// Opens a block whose body is in `pieces`, as far as it was fetched.
    #[must_use]
    pub fn new(meta: Arc<BlockMeta>, mut pieces: Vec<Piece>) -> Self {
        pieces.sort_by_key(|piece| piece.offset);
        Self {
            frames: meta.frames.iter().map(|_| OnceLock::new()).collect(),
            timestamps: OnceLock::new(),
            coarse_times: OnceLock::new(),
            ends: OnceLock::new(),
            lines: OnceLock::new(),
            walks: AtomicU32::new(0),
            decoded: OnceLock::new(),
            was_searched: AtomicBool::new(false),
            found: Mutex::default(),
            reduced: Mutex::default(),
            remembered: Mutex::default(),
            patterns: OnceLock::new(),
            reducing: Mutex::default(),
            columns: meta.columns.iter().map(|_| OnceLock::new()).collect(),
            meta,
            pieces: RwLock::new(pieces),
        }
    }

    /// What the block says about itself.
    #[must_use]
    pub fn meta(&self) -> &Arc<BlockMeta> {
        &self.meta
    }

    /// Decodes the rows of a run, those inside `range` if one is given.
    ///
    /// # Errors
    /// If the block has no such run, needed bytes were not fetched, or they are damaged.
    pub fn rows(
        &self,
        run: usize,
        projection: Projection,
        range: Option<TimeRange>,
    ) -> Result<RunRows, ChunkError> {
        self.rows_with_keys(run, projection, range, |_| true)
    }

    /// As [`Self::rows`], but of the metadata only the keys that `wanted` accepts; keys too rare
    /// for a column of their own always come with it.
    ///
    /// # Errors
    /// As [`Self::rows`].
    pub fn rows_with_keys(
        &self,
        run: usize,
        projection: Projection,
        range: Option<TimeRange>,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<RunRows, ChunkError> {
        self.decode_rows(run, projection, range, None, wanted)
    }

    /// As [`Self::rows_with_keys`], but of the lines only those of rows in `found`, which are rows
    /// of the block, are sure to be there; others may be empty.
    ///
    /// # Errors
    /// As [`Self::rows`].
    pub fn rows_found(
        &self,
        run: usize,
        projection: Projection,
        range: Option<TimeRange>,
        found: &RowSet,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<RunRows, ChunkError> {
        self.decode_rows(run, projection, range, Some(found), wanted)
    }

    fn decode_rows(
        &self,
        run: usize,
        projection: Projection,
        range: Option<TimeRange>,
        found: Option<&RowSet>,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<RunRows, ChunkError> {
        let meta = self.meta.runs.get(run).ok_or(ChunkError::NoSuch {
            what: "run",
            ordinal: run,
        })?;
        let mut timestamps_ns = self.run_timestamps(meta)?;
        let kept = range.map_or(0..timestamps_ns.len(), |range| {
            let start = timestamps_ns.partition_point(|ts| *ts < range.start_ns);
            start
                ..timestamps_ns
                    .partition_point(|ts| *ts < range.end_ns)
                    .max(start)
        });
        keep(&mut timestamps_ns, &kept);
        let mut rows = RunRows {
            first_row: kept.start,
            timestamps_ns,
            ..RunRows::default()
        };
        if projection.lengths || projection.lines {
            self.run_lines(meta, &kept, projection, found, &mut rows)?;
        }
        if projection.metadata {
            let mut metadata = self.run_metadata(meta, wanted)?;
            metadata.keep(kept);
            rows.metadata = Arc::new(metadata);
        }
        Ok(rows)
    }

    /// Checks every frame and returns the block to be put into another object, byte for byte.
    /// `streams` are the streams of its runs.
    ///
    /// # Errors
    /// If the body was not fetched whole or is damaged, or the number of streams is another.
    pub fn copy(&self, streams: Vec<LabelSet>) -> Result<EncodedBlock, ChunkError> {
        let count = self.meta.runs.len();
        if streams.len() != count {
            return Err(ChunkError::NoSuch {
                what: "run",
                ordinal: streams.len().min(count),
            });
        }
        let mut decompressor = Decompressor::default();
        let mut body = Vec::with_capacity(self.meta.body_len() as usize);
        for number in 0..self.meta.frames.len() {
            let (frame, stored) = self.stored(number as u32)?;
            let raw_len = frame.raw_len as usize;
            decompressor
                .read(frame.codec, &stored, frame.crc, raw_len)
                .map_err(ChunkError::at(self.frame_part(number as u32)))?;
            body.extend_from_slice(&stored);
        }
        let mut meta = BlockMeta::clone(&self.meta);
        (meta.ordinal, meta.body_off) = (0, 0);
        for (number, run) in meta.runs.iter_mut().enumerate() {
            run.stream = number as u32;
        }
        Ok(EncodedBlock {
            outline: self.outline()?,
            meta: Arc::new(meta),
            streams,
            body: body.into(),
        })
    }

    /// What may be in its lines, made again: a block of an older object has none.
    fn outline(&self) -> Result<Option<Outline>, ChunkError> {
        let store = self.store()?;
        Ok(store.and_then(|store| {
            let payload = |number| store.payload(number).ok();
            Outline::of(&store.shape.lines, &store.shape.ids, payload)
        }))
    }

    fn is_shared(&self) -> bool {
        self.meta.runs.len() > 1
    }

    fn frame_part(&self, frame: u32) -> Part {
        Part::Frame {
            block: self.meta.ordinal,
            frame,
        }
    }

    fn column_part(&self, column: &'static str) -> Part {
        Part::Column {
            block: self.meta.ordinal,
            column,
        }
    }

    // --- frames

    fn stored(&self, number: u32) -> Result<(&FrameMeta, Bytes), ChunkError> {
        let part = self.frame_part(number);
        let frame = self
            .meta
            .frames
            .get(number as usize)
            .ok_or(ChunkError::invalid(part, "there is no such frame"))?;
        let start = self.meta.body_off + frame.offset;
        let pieces = self.pieces.read().unwrap_or_else(PoisonError::into_inner);
        let after = pieces.partition_point(|piece| piece.offset <= start);
        let before = pieces.iter().take(after).rev();
        before
            .filter_map(|piece| {
                let from = usize::try_from(start - piece.offset).ok()?;
                let to = from.checked_add(frame.len as usize)?;
                (to <= piece.bytes.len()).then(|| piece.bytes.slice(from..to))
            })
            .next()
            .map(|stored| (frame, stored))
            .ok_or(ChunkError::NotFetched { part })
    }

    /// A whole frame, decompressed; kept if others will want it.
    fn frame(&self, number: u32) -> Result<Bytes, ChunkError> {
        let cell = self.frames.get(number as usize);
        if let Some(raw) = cell.and_then(OnceLock::get) {
            return Ok(raw.clone());
        }
        let (frame, stored) = self.stored(number)?;
        let raw_len = frame.raw_len as usize;
        let raw = Decompressor::default().read(frame.codec, &stored, frame.crc, raw_len);
        let raw = raw.map_err(ChunkError::at(self.frame_part(number)))?;
        match cell {
            Some(cell) if self.keeps_frames() || number == 0 => {
                Ok(cell.get_or_init(|| raw).clone())
            }
            _ => Ok(raw),
        }
    }

    /// Whether the next run is likely to need the same frame. It has parts of lines only where these
    /// are plain; all else is decoded for the whole block, and that is kept.
    fn keeps_frames(&self) -> bool {
        self.is_shared() && self.meta.layout() == Layout::Plain
    }

    /// Some bytes of a column, without a copy if they are in one frame.
    fn bytes(&self, blob: &Blob, wanted: Range<usize>) -> Result<Bytes, ChunkError> {
        let mut parts = Vec::new();
        let mut start = 0;
        for span in &blob.spans {
            let end = start + span.len as usize;
            let (from, to) = (wanted.start.max(start), wanted.end.min(end));
            if from < to {
                parts.push((span, from - start..to - start));
            }
            start = end;
        }
        if wanted.end > start {
            return Err(ChunkError::invalid(
                Part::BlockMeta {
                    block: self.meta.ordinal,
                },
                "column shorter than its rows",
            ));
        }
        match parts.as_slice() {
            [] => Ok(Bytes::new()),
            [(span, part)] => self.span(span, part),
            _ => self.joined(&parts, wanted.len()),
        }
    }

    fn span(&self, span: &Span, part: &Range<usize>) -> Result<Bytes, ChunkError> {
        let raw = self.frame(span.frame)?;
        let offset = span.offset as usize;
        // The meta was checked: spans lie inside their frames.
        Ok(raw.slice(offset + part.start..offset + part.end))
    }

    fn joined(&self, parts: &[(&Span, Range<usize>)], len: usize) -> Result<Bytes, ChunkError> {
        let mut joined = vec![0; len];
        let mut rest = joined.as_mut_slice();
        let mut decompressor = Decompressor::default();
        for (span, part) in parts {
            let (target, after) = rest.split_at_mut(part.len());
            rest = after;
            let (frame, stored) = self.stored(span.frame)?;
            if !self.keeps_frames() && part.len() == frame.raw_len as usize {
                decompressor
                    .read_into(frame.codec, &stored, frame.crc, target)
                    .map_err(ChunkError::at(self.frame_part(span.frame)))?;
            } else {
                target.copy_from_slice(&self.span(span, part)?);
            }
        }
        Ok(joined.into())
    }

    // --- columns

    /// All values of a column of integers.
    fn ints<T>(
        &self,
        blob: &Blob,
        count: usize,
        column: &'static str,
        mut convert: impl FnMut(u64) -> T,
    ) -> Result<Vec<T>, ChunkError> {
        let packed = self.bytes(blob, 0..blob.len())?;
        let mut reader = Reader::new(&packed);
        // A group of 128 takes at least two bytes.
        let most = packed.len().saturating_mul(ints::GROUP / 2);
        let mut values = Vec::with_capacity(count.min(most));
        ints::unpack(&mut reader, count, |group| {
            values.extend(group.iter().map(|value| convert(*value)));
        })
        .and_then(|()| reader.finish())
        .map_err(ChunkError::at(self.column_part(column)))?;
        Ok(values)
    }

    /// The rows of a run, of a column that is decoded for the whole block: taken from what is kept,
    /// or, if the run is the whole block, without keeping.
    fn of_run<T: Clone>(
        &self,
        cell: &OnceLock<Vec<T>>,
        decode: impl FnOnce() -> Result<Vec<T>, ChunkError>,
        run: &RunMeta,
    ) -> Result<Vec<T>, ChunkError> {
        if !self.is_shared() {
            return decode();
        }
        if cell.get().is_none() {
            let decoded = decode()?;
            cell.get_or_init(|| decoded);
        }
        let all = cell.get().map(Vec::as_slice).unwrap_or_default();
        Ok(all.get(run.row_range()).unwrap_or_default().to_vec())
    }

    fn run_metadata(
        &self,
        run: &RunMeta,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<RunMetadata, ChunkError> {
        let mut columns = Vec::with_capacity(self.meta.columns.len());
        for (column, cell) in self.meta.columns.iter().zip(&self.columns) {
            if column.kind != ColumnKind::Pairs && !wanted(&column.name) {
                continue;
            }
            let (ids, table) = if !self.is_shared() {
                self.decode_column(column)?
            } else {
                if cell.get().is_none() {
                    let decoded = self.decode_column(column)?;
                    cell.get_or_init(|| decoded);
                }
                let Some((ids, table)) = cell.get() else {
                    continue;
                };
                (
                    ids.get(run.row_range()).unwrap_or_default().to_vec(),
                    Arc::clone(table),
                )
            };
            columns.push(RunColumn {
                name: Arc::clone(&column.name),
                ids,
                table,
            });
        }
        Ok(RunMetadata { columns })
    }

    fn decode_column(&self, column: &ColumnMeta) -> Result<SharedColumn, ChunkError> {
        let part = self.column_part("metadata");
        let rows = self.meta.rows as usize;
        let count = column.values as usize;
        let mut end = 0u64;
        let mut ends = Vec::new();
        let mut ids = if column.kind == ColumnKind::Values {
            self.ints(&column.ids, rows, "metadata", |len| {
                let Some(len) = len.checked_sub(1) else {
                    return 0;
                };
                end = end.saturating_add(len);
                ends.push(end.min(u64::from(u32::MAX)) as u32);
                ends.len() as u32
            })?
        } else {
            ends = self.ints(&column.lengths, count, "metadata", |len| {
                end = end.saturating_add(len);
                end.min(u64::from(u32::MAX)) as u32
            })?;
            self.ints(&column.ids, rows, "metadata", |id| {
                u32::try_from(id).unwrap_or(u32::MAX)
            })?
        };
        if ends.len() != count || ids.iter().any(|id| *id > column.values) {
            return Err(ChunkError::invalid(part, "values do not agree"));
        }
        let text = Vec::from(self.bytes(&column.text, 0..column.text.len())?);
        let table = ValueTable::new(column.kind, ends, text).map_err(ChunkError::at(part))?;
        ids.shrink_to_fit();
        Ok((ids, Arc::new(table)))
    }
}

fn keep<T>(values: &mut Vec<T>, kept: &Range<usize>) {
    values.truncate(kept.end);
    values.drain(..kept.start.min(values.len()));
}
