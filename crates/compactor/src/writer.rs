//! From rows to large objects. Pure CPU.
//!
//! A stream with much has blocks alone; streams with little share one, next to streams with similar
//! labels, because small blocks compress badly. Every block that is encoded is decoded again and
//! compared with the rows that it was made of.

use std::ops::Range;

use chunk::{
    Block, EncodeOptions, EncodedBlock, FinishedObject, Layout, LinesMemory, LinesPolicy,
    ObjectWriter, Projection, Run,
};
use model::{Entries, KnownSets, LabelSet};

use crate::CompactError;
use crate::check::{Digest, HashedRows};

/// What a row takes beside its line: its time, where it ends, its metadata's number.
const ROW_BYTES: usize = 16;
/// Streams with less than this part of a block share one.
const ALONE_PART: usize = 4;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) rows: u64,
    pub(crate) blocks_copied: u64,
    pub(crate) blocks_encoded: u64,
}

/// Rows of a stream, for one block.
#[derive(Debug, Default)]
struct Taken {
    stream: LabelSet,
    rows: Entries,
    /// What they were when they were read.
    digest: Digest,
    /// How lines of the stream are laid out.
    lines: LinesMemory,
}

impl Taken {
    /// How many of some rows, one at least, there is room for.
    fn fitting(&self, from: &Entries, rows: &Range<usize>, block_bytes: usize) -> usize {
        let room = block_bytes.saturating_sub(self.rows.lines().len());
        let start = from.line_range(rows).start;
        let ends = from.line_ends().get(rows.clone()).unwrap_or_default();
        let by_bytes = ends.partition_point(|end| *end as usize - start < room) + 1;
        let by_rows = (block_bytes / ROW_BYTES).saturating_sub(self.rows.len());
        by_bytes.min(by_rows).max(1).min(rows.len())
    }

    /// Bytes of lines, or of all else if that is more.
    fn bytes(&self) -> usize {
        self.rows.lines().len().max(self.rows.len() * ROW_BYTES)
    }
}

/// Collects rows, stream by stream in the order of their labels.
#[derive(Debug)]
pub(crate) struct Writer {
    object: ObjectWriter,
    block_bytes: usize,
    /// Of the stream whose rows are being taken.
    taken: Taken,
    /// Per source, what is known of its metadata in the rows that were taken.
    known: Vec<KnownSets>,
    /// Streams with little that are complete.
    small: Vec<Taken>,
    small_bytes: usize,
    pub(crate) written: Written,
}

impl Writer {
    /// Nothing yet; the first object will have this id.
    pub(crate) fn new(object_id: u128, block_bytes: usize) -> Self {
        Self {
            object: ObjectWriter::new(object_id),
            block_bytes: block_bytes.max(1),
            taken: Taken::default(),
            known: Vec::new(),
            small: Vec::new(),
            small_bytes: 0,
            written: Written::default(),
        }
    }

    /// Bytes of the object so far.
    pub(crate) fn len(&self) -> u64 {
        self.object.len()
    }

    /// What follows are rows of this stream.
    pub(crate) fn start(&mut self, stream: &LabelSet) {
        self.taken.stream.clone_from(stream);
        self.taken.lines = LinesMemory::default();
    }

    /// What follows of the stream comes from so many other sources than what came before.
    pub(crate) fn begin_sources(&mut self, sources: usize) {
        self.known.clear();
        self.known.resize(sources, KnownSets::default());
    }

    /// Notes how a block of the stream was laid out by who had its choice: that need not be tried
    /// again.
    pub(crate) fn learn(&mut self, layout: Layout) {
        if layout != Layout::Plain && self.taken.lines.policy() == LinesPolicy::Probe {
            self.taken.lines.learn(layout);
        }
    }

    /// Takes rows of a source, not older than those before, and says what they are.
    pub(crate) fn take(
        &mut self,
        source: usize,
        from: &HashedRows,
        mut rows: Range<usize>,
    ) -> Result<Digest, CompactError> {
        let mut digest = Digest::default();
        while !rows.is_empty() {
            let fitting = self.taken.fitting(from.rows(), &rows, self.block_bytes);
            let part = rows.start..rows.start + fitting;
            let known = self.known.get_mut(source);
            let is_taken = known.is_some_and(|known| {
                let taken = &mut self.taken.rows;
                taken.extend_from(from.rows(), part.clone(), known)
            });
            if !is_taken {
                return Err(CompactError::Unequal("a block without end".to_owned()));
            }
            rows.start = part.end;
            let of_part = from.digest(part);
            self.taken.digest += of_part;
            digest += of_part;
            if self.taken.bytes() >= self.block_bytes {
                self.cut()?;
            }
        }
        self.written.rows += digest.rows;
        Ok(digest)
    }

    /// Takes a block of the stream as it is. Rows before it are in blocks of their own then, so
    /// that blocks of a stream do not overlap in time.
    pub(crate) fn copy(&mut self, block: EncodedBlock) -> Result<(), CompactError> {
        self.cut()?;
        self.written.rows += u64::from(block.meta().rows());
        self.written.blocks_copied += 1;
        self.object.add_block(block);
        Ok(())
    }

    /// The stream has no more rows.
    pub(crate) fn end(&mut self) -> Result<(), CompactError> {
        let bytes = self.taken.bytes();
        if bytes >= self.block_bytes / ALONE_PART {
            return self.cut();
        }
        if self.taken.rows.is_empty() {
            return Ok(());
        }
        if self.small_bytes + bytes > self.block_bytes {
            self.cut_small()?;
        }
        self.small_bytes += bytes;
        self.small.push(std::mem::take(&mut self.taken));
        Ok(())
    }

    /// The object as it is, and an empty one with the next id in its place; `None` if there is no
    /// row.
    pub(crate) fn finish(&mut self, next_id: u128) -> Result<Option<FinishedObject>, CompactError> {
        self.cut()?;
        self.cut_small()?;
        if self.object.is_empty() {
            return Ok(None);
        }
        let object = std::mem::replace(&mut self.object, ObjectWriter::new(next_id));
        object.finish().map(Some).map_err(CompactError::Encode)
    }

    /// The rows of the stream become a block.
    fn cut(&mut self) -> Result<(), CompactError> {
        if self.taken.rows.is_empty() {
            return Ok(());
        }
        let mut taken = std::mem::take(&mut self.taken);
        self.encode(std::slice::from_ref(&taken))?;
        taken.rows.clear();
        taken.digest = Digest::default();
        self.taken = taken;
        self.known.iter_mut().for_each(KnownSets::clear);
        Ok(())
    }

    fn cut_small(&mut self) -> Result<(), CompactError> {
        self.small_bytes = 0;
        match std::mem::take(&mut self.small) {
            small if small.is_empty() => Ok(()),
            small => self.encode(&small),
        }
    }

    fn encode(&mut self, streams: &[Taken]) -> Result<(), CompactError> {
        let runs: Vec<Run<'_>> = streams
            .iter()
            .map(|taken| Run::new(&taken.stream, &taken.rows))
            .collect();
        let mut policies = streams.iter().map(|taken| taken.lines.policy());
        let first = policies.next().unwrap_or_default();
        let options = EncodeOptions {
            lines: if policies.all(|policy| policy == first) {
                first
            } else {
                LinesPolicy::Probe
            },
            ..EncodeOptions::default()
        };
        let block = chunk::encode_block(&runs, &options).map_err(CompactError::Encode)?;
        verify(&block.open(), streams)?;
        for taken in streams {
            taken.lines.learn(block.meta().layout());
        }
        self.written.blocks_encoded += 1;
        self.object.add_block(block);
        Ok(())
    }
}

/// Decodes a block and compares its rows with those that were read for it.
fn verify(block: &Block, streams: &[Taken]) -> Result<(), CompactError> {
    for (run, taken) in streams.iter().enumerate() {
        let decoded = block
            .rows(run, Projection::ALL, None)
            .map_err(CompactError::Encode)?;
        let digest = decoded.into_entries().map(|rows| Digest::of(&rows));
        if digest != Some(taken.digest) {
            let text = format!("rows of {}", taken.stream);
            return Err(CompactError::Unequal(text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(app: &str) -> LabelSet {
        LabelSet::from_pairs([("app", app)])
    }

    fn write_lines(writer: &mut Writer, app: &str, lines: impl Iterator<Item = String>) {
        let mut rows = Entries::default();
        for (row, line) in (0i64..).zip(lines) {
            let metadata = LabelSet::from_pairs([("n", (row % 3).to_string().as_str())]);
            assert!(rows.push(row, line.as_bytes(), &metadata));
        }
        let rows = HashedRows::new(rows);
        writer.start(&labels(app));
        writer.begin_sources(1);
        let taken = writer.take(0, &rows, 0..rows.len()).unwrap();
        assert_eq!(taken.rows, rows.len() as u64);
        writer.end().unwrap();
    }

    fn write(writer: &mut Writer, app: &str, rows: i64) {
        let lines = (0..rows).map(|row| format!("{app} {row}"));
        write_lines(writer, app, lines);
    }

    #[test]
    fn lines_that_suit_templates_are_laid_out_so() {
        let mut writer = Writer::new(1, 1 << 20);
        for stream in ["a", "b"] {
            let line = |row| format!("GET /items/{} took {} ms", row % 7, row * 31 % 997);
            write_lines(&mut writer, stream, (0..3000).map(line));
        }
        let object = writer.finish(2).unwrap().unwrap();
        let layouts: Vec<_> = object.blocks.iter().map(|b| b.meta.layout()).collect();
        assert!(!layouts.is_empty());
        assert!(layouts.iter().all(|layout| *layout == chunk::Layout::Text));
    }

    #[test]
    fn large_streams_have_blocks_alone_and_small_ones_share() {
        let mut writer = Writer::new(1, 4096);
        for (app, rows) in [("a", 1), ("b", 1000), ("c", 1), ("d", 1)] {
            write(&mut writer, app, rows);
        }
        let object = writer.finish(2).unwrap().unwrap();
        let streams = |block: &chunk::BlockInfo| block.streams.len();
        let shared: Vec<usize> = object.blocks.iter().map(streams).collect();
        let (last, alone) = shared.split_last().unwrap();
        assert!(alone.iter().all(|streams| *streams == 1) && alone.len() > 2);
        assert!(*last >= 3, "{shared:?}");
        let rows: u32 = object.blocks.iter().map(|block| block.meta.rows()).sum();
        assert_eq!((rows, writer.written.rows), (1003, 1003));
        assert!(writer.finish(3).unwrap().is_none());
    }

    #[test]
    fn a_block_that_differs_is_found() {
        let taken = |line: &[u8]| {
            let mut rows = Entries::default();
            assert!(rows.push(1, line, &LabelSet::default()));
            Taken {
                stream: labels("a"),
                digest: Digest::of(&rows),
                rows,
                ..Taken::default()
            }
        };
        let (written, other) = (taken(b"line"), taken(b"Line"));
        let run = Run::new(&written.stream, &written.rows);
        let block = chunk::encode_block(&[run], &EncodeOptions::default()).unwrap();
        assert!(verify(&block.open(), &[written]).is_ok());
        assert!(verify(&block.open(), &[other]).is_err());
    }

    #[test]
    fn blocks_are_of_their_size_whatever_the_lines() {
        for (line, rows) in [("", 3000), ("0123456789", 3000), ("0123456789 12", 7)] {
            let mut writer = Writer::new(1, 4096);
            let line = line.repeat(if rows == 7 { 100 } else { 1 });
            write_lines(&mut writer, "a", (0..rows).map(|_| line.clone()));
            let object = writer.finish(2).unwrap().unwrap();
            let found: u32 = object.blocks.iter().map(|block| block.meta.rows()).sum();
            assert_eq!(found, rows);
            for block in &object.blocks {
                let rows = block.meta.rows() as usize;
                assert!(rows <= 4096 / ROW_BYTES);
                assert!(rows.saturating_sub(1) * line.len() < 4096);
            }
        }
    }
}
