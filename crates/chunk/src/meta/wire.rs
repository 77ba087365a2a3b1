//! A block's meta as bytes.
//!
//! Column-wise where there is one value per run or frame, because the whole is compressed and
//! equal fields next to each other compress better.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use codec::frame::MAX_RAW_BYTES;
use codec::{Codec, CodecError, Reader, put_bytes, put_varint, put_zigzag};

use super::{
    Blob, BlockMeta, ColumnKind, ColumnMeta, FrameMeta, Layout, LazyShape, MARK_ROWS, Mark,
    RunMeta, Span, Spans,
};
use crate::{
    ChunkError, LevelCounts, MAX_BLOCK_RAW_BYTES, MAX_BLOCK_ROWS, MAX_BLOCK_RUNS,
    MAX_BODY_RAW_BYTES, MAX_COLUMNS, Part, shape,
};

/// Flag: bytes of metadata are counted per run.
const FLAG_METADATA_BYTES: u8 = 1;

/// Frames of one block: 1 MiB each, three for each metadata key and ten for each column of lines.
const MAX_FRAMES: usize = 3 * MAX_COLUMNS + 10 * shape::MAX_COLUMNS + (MAX_BODY_RAW_BYTES >> 20);

impl BlockMeta {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![self.layout.to_byte(), self.flags()];
        put_varint(&mut out, u64::from(self.rows));
        put_varint(&mut out, self.raw_bytes);
        put_zigzag(&mut out, self.min_ts_ns);
        put_varint(&mut out, distance(self.min_ts_ns, self.max_ts_ns));
        put_varint(&mut out, self.body_off);
        self.put_runs(&mut out);
        self.put_frames(&mut out);
        self.put_marks(&mut out);
        put_varint(&mut out, self.unit_ns);
        put_blob(&mut out, &self.timestamps);
        put_blob(&mut out, &self.lengths);
        put_blob(&mut out, &self.lines);
        self.put_columns(&mut out);
        if let Some(shape) = &self.shape {
            out.extend_from_slice(&shape.bytes);
        }
        out
    }

    fn flags(&self) -> u8 {
        if self.runs.iter().any(|run| run.metadata_bytes > 0) {
            FLAG_METADATA_BYTES
        } else {
            0
        }
    }

    fn put_runs(&self, out: &mut Vec<u8>) {
        put_varint(out, self.runs.len() as u64);
        self.runs
            .iter()
            .for_each(|run| put_varint(out, u64::from(run.stream)));
        self.runs
            .iter()
            .for_each(|run| put_varint(out, u64::from(run.rows)));
        let since_first = |run: &RunMeta| distance(self.min_ts_ns, run.min_ts_ns);
        self.runs
            .iter()
            .for_each(|run| put_varint(out, since_first(run)));
        self.runs
            .iter()
            .for_each(|run| put_varint(out, distance(run.min_ts_ns, run.max_ts_ns)));
        self.runs
            .iter()
            .for_each(|run| put_varint(out, run.raw_bytes));
        if self.flags() & FLAG_METADATA_BYTES != 0 {
            self.runs
                .iter()
                .for_each(|run| put_varint(out, run.metadata_bytes));
        }
        for run in &self.runs {
            let counts = run.levels.0;
            let mask = (0..8)
                .filter(|i| counts[*i] > 0)
                .fold(0u8, |mask, i| mask | 1 << i);
            out.push(mask);
            counts
                .iter()
                .filter(|n| **n > 0)
                .for_each(|n| put_varint(out, u64::from(*n)));
        }
    }

    fn put_frames(&self, out: &mut Vec<u8>) {
        put_varint(out, self.frames.len() as u64);
        self.frames
            .iter()
            .for_each(|frame| out.push(frame.codec.to_byte()));
        self.frames
            .iter()
            .for_each(|frame| put_varint(out, u64::from(frame.len)));
        self.frames
            .iter()
            .for_each(|frame| put_varint(out, u64::from(frame.raw_len)));
        self.frames
            .iter()
            .for_each(|frame| out.extend_from_slice(&frame.crc.to_le_bytes()));
    }

    fn put_marks(&self, out: &mut Vec<u8>) {
        let mut last = Mark {
            ts_ns: self.min_ts_ns,
            byte: 0,
        };
        for mark in &self.marks {
            put_zigzag(out, mark.ts_ns.wrapping_sub(last.ts_ns));
            put_varint(out, mark.byte - last.byte);
            last = *mark;
        }
    }

    fn put_columns(&self, out: &mut Vec<u8>) {
        put_varint(out, self.columns.len() as u64);
        for column in &self.columns {
            put_bytes(out, column.name.as_bytes());
            out.push(column.kind.to_byte());
            put_varint(out, u64::from(column.values));
            put_blob(out, &column.ids);
            put_blob(out, &column.lengths);
            put_blob(out, &column.text);
        }
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub(crate) fn parse(ordinal: u32, bytes: &Bytes) -> Result<Self, ChunkError> {
        let part = Part::BlockMeta { block: ordinal };
        let layout = bytes.first().copied().unwrap_or_default();
        match Layout::from_byte(layout) {
            Some(layout) => parse(ordinal, layout, bytes).map_err(ChunkError::at(part)),
            None => Err(ChunkError::UnsupportedLayout { part, layout }),
        }
    }
}

fn parse(ordinal: u32, layout: Layout, bytes: &Bytes) -> Result<BlockMeta, CodecError> {
    let mut reader = Reader::new(bytes);
    let [_, flags] = reader.array::<2>()?;
    if flags & !FLAG_METADATA_BYTES != 0 {
        return Err(CodecError::Invalid("unknown flags"));
    }
    let rows = reader.count("rows", MAX_BLOCK_ROWS)?;
    let raw_bytes = reader.count("line bytes", MAX_BLOCK_RAW_BYTES)?;
    let min_ts_ns = reader.zigzag()?;
    let max_ts_ns = min_ts_ns.wrapping_add_unsigned(reader.varint()?);
    let body_off = reader.varint()?;
    let runs = parse_runs(&mut reader, min_ts_ns, flags)?;
    let frames = parse_frames(&mut reader)?;
    let marks = parse_marks(&mut reader, rows, min_ts_ns)?;
    let unit_ns = reader.varint()?;
    let timestamps = parse_blob(&mut reader, &frames)?;
    let lengths = parse_blob(&mut reader, &frames)?;
    let lines = parse_blob(&mut reader, &frames)?;
    let columns = parse_columns(&mut reader, &frames)?;
    let shape = (layout != Layout::Plain).then(|| LazyShape {
        // Most of a meta is shape: little else is kept in memory with it.
        bytes: bytes.slice(bytes.len() - reader.remaining()..),
        shape: OnceLock::new(),
    });
    if shape.is_none() {
        reader.finish()?;
    }
    let meta = BlockMeta {
        ordinal,
        layout,
        rows: rows as u32,
        raw_bytes: raw_bytes as u64,
        min_ts_ns,
        max_ts_ns,
        body_off,
        runs,
        frames,
        marks,
        unit_ns,
        timestamps,
        lengths,
        lines,
        shape,
        columns,
    };
    check(&meta)?;
    Ok(meta)
}

/// What later code relies on without looking again.
fn check(meta: &BlockMeta) -> Result<(), CodecError> {
    let rows: u64 = meta.runs.iter().map(|run| u64::from(run.rows)).sum();
    let bytes: u64 = meta.runs.iter().map(|run| run.raw_bytes).sum();
    let min = meta.runs.iter().map(|run| run.min_ts_ns).min();
    let max = meta.runs.iter().map(|run| run.max_ts_ns).max();
    let plain_bytes = if meta.shape.is_none() {
        meta.raw_bytes
    } else {
        0
    };
    let levels = |run: &RunMeta| run.levels.total() <= u64::from(run.rows);
    let agrees = rows == u64::from(meta.rows)
        && bytes == meta.raw_bytes
        && min == Some(meta.min_ts_ns)
        && max == Some(meta.max_ts_ns)
        && meta.min_ts_ns <= meta.max_ts_ns
        && meta
            .runs
            .iter()
            .all(|run| run.rows > 0 && run.min_ts_ns <= run.max_ts_ns)
        && meta.runs.iter().all(levels)
        && meta.lines.len() as u64 == plain_bytes
        && (meta.shape.is_none() || meta.lengths.spans.is_empty())
        && meta.unit_ns > 0
        && meta.body_off.checked_add(meta.body_len()).is_some();
    if agrees {
        Ok(())
    } else {
        Err(CodecError::Invalid("counters do not agree"))
    }
}

fn parse_runs(
    reader: &mut Reader<'_>,
    block_min_ts_ns: i64,
    flags: u8,
) -> Result<Vec<RunMeta>, CodecError> {
    let count = reader.items("runs", MAX_BLOCK_RUNS)?;
    let mut column = |what, limit| -> Result<Vec<u64>, CodecError> {
        (0..count)
            .map(|_| reader.count(what, limit).map(|n| n as u64))
            .collect()
    };
    let streams = column("stream number", u32::MAX as usize)?;
    let rows = column("rows", MAX_BLOCK_ROWS)?;
    let mins = column("time", usize::MAX)?;
    let spans = column("time", usize::MAX)?;
    let bytes = column("line bytes", MAX_BLOCK_RAW_BYTES)?;
    let metadata_bytes = if flags & FLAG_METADATA_BYTES != 0 {
        column("metadata bytes", usize::MAX)?
    } else {
        vec![0; count]
    };
    let mut runs = Vec::with_capacity(count);
    let (mut first_row, mut first_byte) = (0u64, 0u64);
    for ((((stream, rows), min), span), (raw_bytes, metadata_bytes)) in streams
        .into_iter()
        .zip(rows)
        .zip(mins)
        .zip(spans)
        .zip(bytes.into_iter().zip(metadata_bytes))
    {
        let min_ts_ns = block_min_ts_ns.wrapping_add_unsigned(min);
        runs.push(RunMeta {
            stream: stream as u32,
            first_row: CodecError::cap("rows", first_row, MAX_BLOCK_ROWS)? as u32,
            rows: rows as u32,
            min_ts_ns,
            max_ts_ns: min_ts_ns.wrapping_add_unsigned(span),
            first_byte: CodecError::cap("line bytes", first_byte, MAX_BLOCK_RAW_BYTES)? as u32,
            raw_bytes,
            metadata_bytes,
            levels: parse_levels(reader)?,
        });
        first_row += rows;
        first_byte += raw_bytes;
    }
    Ok(runs)
}

fn parse_levels(reader: &mut Reader<'_>) -> Result<LevelCounts, CodecError> {
    let mask = reader.u8()?;
    let mut levels = LevelCounts::default();
    for (i, count) in levels.0.iter_mut().enumerate() {
        if mask & 1 << i != 0 {
            *count = reader.count("rows of a level", MAX_BLOCK_ROWS)? as u32;
        }
    }
    Ok(levels)
}

fn parse_frames(reader: &mut Reader<'_>) -> Result<Vec<FrameMeta>, CodecError> {
    let count = reader.items("frames", MAX_FRAMES)?;
    let codecs: Vec<Codec> = reader
        .take(count)?
        .iter()
        .map(|byte| Codec::from_byte(*byte))
        .collect::<Result<_, _>>()?;
    let lens: Vec<usize> = (0..count)
        .map(|_| reader.count("frame length", MAX_RAW_BYTES))
        .collect::<Result<_, _>>()?;
    let raw_lens: Vec<usize> = (0..count)
        .map(|_| reader.count("uncompressed length", MAX_RAW_BYTES))
        .collect::<Result<_, _>>()?;
    let raw_bytes: usize = raw_lens.iter().sum();
    CodecError::cap("uncompressed length", raw_bytes as u64, MAX_BODY_RAW_BYTES)?;
    let mut offset = 0;
    let mut frames = Vec::with_capacity(count);
    for ((codec, len), raw_len) in codecs.into_iter().zip(lens).zip(raw_lens) {
        let crc = reader.u32()?;
        frames.push(FrameMeta {
            offset,
            codec,
            len: len as u32,
            raw_len: raw_len as u32,
            crc,
        });
        offset += len as u64;
    }
    Ok(frames)
}

fn parse_marks(
    reader: &mut Reader<'_>,
    rows: usize,
    min_ts_ns: i64,
) -> Result<Vec<Mark>, CodecError> {
    let count = rows.saturating_sub(1) / MARK_ROWS;
    if count > reader.remaining() {
        return Err(CodecError::Truncated);
    }
    let mut last = Mark {
        ts_ns: min_ts_ns,
        byte: 0,
    };
    (0..count)
        .map(|_| {
            let ts_ns = last.ts_ns.wrapping_add(reader.zigzag()?);
            let byte = last.byte + reader.count("line bytes", MAX_BLOCK_RAW_BYTES)? as u64;
            last = Mark { ts_ns, byte };
            Ok(last)
        })
        .collect()
}

fn parse_columns(
    reader: &mut Reader<'_>,
    frames: &[FrameMeta],
) -> Result<Vec<ColumnMeta>, CodecError> {
    let count = reader.items("metadata keys", MAX_COLUMNS)?;
    let columns = (0..count)
        .map(|_| {
            Ok(ColumnMeta {
                name: Arc::from(reader.text()?),
                kind: ColumnKind::from_byte(reader.u8()?)?,
                values: reader.count("metadata values", MAX_BLOCK_ROWS)? as u32,
                ids: parse_blob(reader, frames)?,
                lengths: parse_blob(reader, frames)?,
                text: parse_blob(reader, frames)?,
            })
        })
        .collect::<Result<Vec<_>, CodecError>>()?;
    if !columns.is_sorted_by(|a, b| a.name < b.name) {
        return Err(CodecError::Invalid("metadata keys are not in order"));
    }
    Ok(columns)
}

impl ColumnKind {
    fn to_byte(self) -> u8 {
        match self {
            Self::Dictionary => 0,
            Self::Values => 1,
            Self::Pairs => 2,
        }
    }

    fn from_byte(byte: u8) -> Result<Self, CodecError> {
        match byte {
            0 => Ok(Self::Dictionary),
            1 => Ok(Self::Values),
            2 => Ok(Self::Pairs),
            _ => Err(CodecError::Invalid("unknown kind of column")),
        }
    }
}

pub(crate) fn put_blob(out: &mut Vec<u8>, blob: &Blob) {
    put_varint(out, blob.spans.len() as u64);
    for span in &blob.spans {
        put_varint(out, u64::from(span.frame));
        put_varint(out, u64::from(span.offset));
        put_varint(out, u64::from(span.len));
    }
}

pub(crate) fn parse_blob(
    reader: &mut Reader<'_>,
    frames: &[FrameMeta],
) -> Result<Blob, CodecError> {
    let count = reader.items("spans", MAX_FRAMES)?;
    let mut left = MAX_BLOCK_RAW_BYTES;
    let mut spans = Spans::with_capacity(count);
    for _ in 0..count {
        let frame = reader.varint()?;
        let raw_len = usize::try_from(frame)
            .ok()
            .and_then(|frame| frames.get(frame))
            .map(|frame| frame.raw_len as usize)
            .ok_or(CodecError::Invalid("span of a frame that is not there"))?;
        let offset = reader.count("offset in frame", raw_len)?;
        let len = reader.count("length in frame", (raw_len - offset).min(left))?;
        left -= len;
        spans.push(Span {
            frame: frame as u32,
            offset: offset as u32,
            len: len as u32,
        });
    }
    Ok(Blob { spans })
}

/// From `a` to `b`, which is not before it; any two times have one.
fn distance(a: i64, b: i64) -> u64 {
    b.wrapping_sub(a) as u64
}
