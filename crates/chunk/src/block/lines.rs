//! Lines and their lengths.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use codec::CodecError;

use super::{Block, keep};
use crate::meta::{Blob, RunMeta, Span};
use crate::shape::Shape;
use crate::values::{Decoded, Store, TextCursor};
use crate::{ChunkError, Projection, RowSet, RunRows};

/// Passing over a line costs a hundredth of putting it together.
const WALKS_MAX: u32 = 64;
/// Fewer than one of so many rows of a shared block are put together alone.
const FEW: usize = 8;

impl Block {
    /// Decodes ends and lines of the rows `kept` of a run, all lines or at least those of rows of
    /// the block that are in `found`.
    pub(super) fn run_lines(
        &self,
        run: &RunMeta,
        kept: &Range<usize>,
        projection: Projection,
        found: Option<&RowSet>,
        rows: &mut RunRows,
    ) -> Result<(), ChunkError> {
        let shape = self.meta.shape()?;
        if let Some(shape) = shape {
            // The runs of a block share all lines, unless few are wanted.
            let few = found.filter(|found| found.count() * FEW < found.len());
            if !self.is_shared() || (few.is_some() && self.lines.get().is_none()) {
                let first = run.row_range().start;
                let kept = first + kept.start..first + kept.end;
                (rows.line_ends, rows.lines) = self.put_together(shape, kept, found)?;
                return Ok(());
            }
        }
        let mut ends = self.of_run(&self.ends, || self.decode_ends(shape), run)?;
        ends.iter_mut().for_each(|end| *end -= run.first_byte);
        let end_of = |row: usize| ends.get(row).copied().unwrap_or(0);
        let start = kept.start.checked_sub(1).map_or(0, end_of);
        let end = kept.end.checked_sub(1).map_or(0, end_of).max(start);
        keep(&mut ends, kept);
        ends.iter_mut().for_each(|end| *end -= start);
        rows.line_ends = ends;
        if projection.lines {
            let bytes = (run.first_byte + start) as usize..(run.first_byte + end) as usize;
            rows.lines = match (shape, self.lines.get()) {
                (Some(_), Some(lines)) => lines.slice(bytes),
                _ => self.bytes(&self.meta.lines, bytes)?,
            };
        }
        Ok(())
    }

    /// Whether it is better to put some lines together by [`Block::lines_of`] than to decode all
    /// that runs share: these are not there, and it did not happen so often that all would have cost
    /// less.
    #[must_use]
    pub fn is_worth_a_walk(&self) -> bool {
        let walks = self.walks.load(Ordering::Relaxed);
        !self.is_shared() || (self.lines.get().is_none() && walks < WALKS_MAX)
    }

    /// Bytes of the lines of some rows of a run, numbered in it. What is decoded to know it is kept,
    /// four bytes a row where the run is the whole block.
    ///
    /// # Errors
    /// If the block has no such run, or lines or lengths were not fetched or are damaged.
    pub fn line_bytes(&self, run: usize, rows: Range<usize>) -> Result<u64, ChunkError> {
        let run = self.meta.runs.get(run).ok_or(ChunkError::NoSuch {
            what: "run",
            ordinal: run,
        })?;
        if self.ends.get().is_none() {
            let ends = self.decode_ends(self.meta.shape()?)?;
            self.ends.get_or_init(|| ends);
        }
        let ends = self.ends.get().and_then(|ends| ends.get(run.row_range()));
        let ends = ends.unwrap_or_default();
        let end_of = |row: usize| match row.checked_sub(1) {
            Some(before) => ends.get(before).copied().unwrap_or(run.first_byte),
            None => run.first_byte,
        };
        Ok(u64::from(
            end_of(rows.end).saturating_sub(end_of(rows.start)),
        ))
    }

    /// Ends of all lines. Those of a structured block are known when the lines are, which are kept if
    /// it is shared.
    fn decode_ends(&self, shape: Option<&Shape>) -> Result<Vec<u32>, ChunkError> {
        let rows = self.meta.rows as usize;
        let ends = if let Some(shape) = shape {
            let (ends, lines) = self.put_together(shape, 0..rows, None)?;
            if self.is_shared() {
                self.lines.get_or_init(|| lines);
            }
            ends
        } else {
            let mut end = 0u64;
            self.ints(&self.meta.lengths, rows, "length", |len| {
                end = end.saturating_add(len).min(u64::from(u32::MAX));
                end as u32
            })?
        };
        let last = |run: &RunMeta| ends.get(run.row_range().end.checked_sub(1)?).copied();
        let agree = self
            .meta
            .runs
            .iter()
            .all(|run| last(run).is_some_and(|last| last as usize == run.byte_range().end));
        if agree {
            Ok(ends)
        } else {
            let part = self.column_part("length");
            Err(ChunkError::invalid(part, "lengths do not agree"))
        }
    }

    /// The lines of some rows of a structured block, those not in `found` empty, and where each
    /// ends.
    fn put_together(
        &self,
        shape: &Shape,
        rows: Range<usize>,
        found: Option<&RowSet>,
    ) -> Result<(Vec<u32>, Bytes), ChunkError> {
        let once;
        let decoded = match self.decoded.get() {
            Some(kept) => kept,
            None => {
                once = Decoded::new(shape);
                &once
            }
        };
        let most = self.meta.raw_bytes as usize;
        let is_all = found.is_none() && rows.len() == self.meta.rows as usize;
        let mut cursor = TextCursor::new(Store::new(self, shape, decoded).lines(), most)?;
        let mut ends = Vec::with_capacity(rows.len());
        let mut lines = Vec::with_capacity(if is_all { most } else { 0 });
        for row in rows {
            if found.is_none_or(|found| found.contains(row)) {
                cursor.put(row, &mut lines)?;
            }
            ends.push(lines.len() as u32);
        }
        if lines.len() > most || (is_all && lines.len() != most) {
            return Err(self.damaged_lines("lengths do not agree"));
        }
        Ok((ends, lines.into()))
    }

    /// Ends of all lines of a plain block, and the lines.
    pub(crate) fn plain_lines(&self) -> Result<(Vec<u32>, Bytes), ChunkError> {
        let lines = &self.meta.lines;
        Ok((self.decode_ends(None)?, self.bytes(lines, 0..lines.len())?))
    }

    /// All of a payload. The frame that it shares with others is decompressed once, and kept in
    /// `together`; the pool the block keeps itself.
    pub(crate) fn payload(
        &self,
        blob: &Blob,
        together: &OnceLock<(u32, Bytes)>,
    ) -> Result<Bytes, ChunkError> {
        let shared = match blob.spans.as_slice() {
            [span] if span.frame > 0 && self.is_part(span) => span,
            _ => return self.bytes(blob, 0..blob.len()),
        };
        let frame = match together.get() {
            Some((number, frame)) if *number == shared.frame => frame.clone(),
            _ => {
                let frame = self.frame(shared.frame)?;
                // If another is kept already, it is the one that most payloads lie in.
                let _ = together.set((shared.frame, frame.clone()));
                frame
            }
        };
        // The meta was checked: spans lie inside their frames.
        let start = shared.offset as usize;
        Ok(frame.slice(start..start + shared.len as usize))
    }

    /// Whether there is more in its frame than a span.
    fn is_part(&self, span: &Span) -> bool {
        let frame = self.meta.frames.get(span.frame as usize);
        frame.is_some_and(|frame| span.len < frame.raw_len)
    }

    pub(crate) fn damaged_lines(&self, why: &'static str) -> ChunkError {
        self.at_lines(CodecError::Invalid(why))
    }

    pub(crate) fn at_lines(&self, reason: CodecError) -> ChunkError {
        ChunkError::at(self.column_part("line"))(reason)
    }
}
