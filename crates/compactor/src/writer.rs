//! From rows to large objects. Pure CPU.
//!
//! A stream with much has blocks alone; streams with little share one, next to streams with similar
//! labels, because small blocks compress badly. Every block that is encoded is decoded again and
//! compared with the rows that it was made of.

use chunk::{
    Block, EncodeOptions, EncodedBlock, FinishedObject, LinesPolicy, ObjectWriter, Projection, Run,
};
use model::{Entries, LabelSet};

use crate::CompactError;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) rows: u64,
    pub(crate) blocks_copied: u64,
    pub(crate) blocks_encoded: u64,
}

/// Collects rows, stream by stream in the order of their labels.
#[derive(Debug)]
pub(crate) struct Writer {
    object: ObjectWriter,
    block_bytes: usize,
    /// The stream whose rows are being taken.
    stream: LabelSet,
    rows: Entries,
    /// Streams with little that are complete.
    small: Vec<(LabelSet, Entries)>,
    small_bytes: usize,
    pub(crate) written: Written,
}

impl Writer {
    /// Nothing yet; the first object will have this id.
    pub(crate) fn new(object_id: u128, block_bytes: usize) -> Self {
        Self {
            object: ObjectWriter::new(object_id),
            block_bytes: block_bytes.max(1),
            stream: LabelSet::default(),
            rows: Entries::default(),
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
        self.stream.clone_from(stream);
    }

    /// Takes a row, not older than the one before.
    pub(crate) fn row(
        &mut self,
        timestamp_ns: i64,
        line: &[u8],
        metadata: &LabelSet,
    ) -> Result<(), CompactError> {
        if !self.rows.push(timestamp_ns, line, metadata) {
            return Err(CompactError::Unequal("a block without end".to_owned()));
        }
        self.written.rows += 1;
        if self.rows.heap_bytes() >= self.block_bytes {
            self.cut()?;
        }
        Ok(())
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
        let bytes = self.rows.heap_bytes();
        if bytes >= self.block_bytes / 2 {
            return self.cut();
        }
        if self.rows.is_empty() {
            return Ok(());
        }
        if self.small_bytes + bytes > self.block_bytes {
            self.cut_small()?;
        }
        self.small_bytes += bytes;
        let rows = std::mem::take(&mut self.rows);
        self.small.push((self.stream.clone(), rows));
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
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        let stream = self.stream.clone();
        self.encode(&[(stream, rows)])
    }

    fn cut_small(&mut self) -> Result<(), CompactError> {
        self.small_bytes = 0;
        match std::mem::take(&mut self.small) {
            small if small.is_empty() => Ok(()),
            small => self.encode(&small),
        }
    }

    fn encode(&mut self, streams: &[(LabelSet, Entries)]) -> Result<(), CompactError> {
        let runs: Vec<Run<'_>> = streams
            .iter()
            .map(|(labels, entries)| Run::new(labels, entries))
            .collect();
        let options = EncodeOptions {
            lines: LinesPolicy::Probe,
            ..EncodeOptions::default()
        };
        let block = chunk::encode_block(&runs, &options).map_err(CompactError::Encode)?;
        verify(&block.open(), streams)?;
        self.written.blocks_encoded += 1;
        self.object.add_block(block);
        Ok(())
    }
}

/// Compares a block with the rows that it was made of.
fn verify(block: &Block, streams: &[(LabelSet, Entries)]) -> Result<(), CompactError> {
    let unequal = |labels: &LabelSet| CompactError::Unequal(format!("rows of {labels}"));
    for (run, (labels, rows)) in streams.iter().enumerate() {
        let decoded = block
            .rows(run, Projection::ALL, None)
            .map_err(CompactError::Encode)?;
        let decoded = decoded.to_entries().ok_or_else(|| unequal(labels))?;
        let equal = decoded.len() == rows.len()
            && decoded.iter().zip(rows.iter()).all(|(a, b)| {
                a.timestamp_ns == b.timestamp_ns && a.line == b.line && a.metadata == b.metadata
            });
        if !equal {
            return Err(unequal(labels));
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

    fn write(writer: &mut Writer, app: &str, rows: i64) {
        writer.start(&labels(app));
        for row in 0..rows {
            let line = format!("{app} {row}");
            let metadata = LabelSet::from_pairs([("n", (row % 3).to_string().as_str())]);
            writer.row(row, line.as_bytes(), &metadata).unwrap();
        }
        writer.end().unwrap();
    }

    #[test]
    fn lines_that_suit_templates_are_laid_out_so() {
        let mut writer = Writer::new(1, 1 << 20);
        for stream in ["a", "b"] {
            writer.start(&labels(stream));
            for row in 0..3000 {
                let line = format!("GET /items/{} took {} ms", row % 7, row * 31 % 997);
                let metadata = LabelSet::default();
                writer.row(row, line.as_bytes(), &metadata).unwrap();
            }
            writer.end().unwrap();
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
        let mut rows = Entries::default();
        assert!(rows.push(1, b"line", &LabelSet::default()));
        let labels = labels("a");
        let run = Run::new(&labels, &rows);
        let block = chunk::encode_block(&[run], &EncodeOptions::default()).unwrap();
        assert!(verify(&block.open(), &[(labels.clone(), rows.clone())]).is_ok());
        let mut other = Entries::default();
        assert!(other.push(1, b"Line", &LabelSet::default()));
        assert!(verify(&block.open(), &[(labels.clone(), other)]).is_err());
    }
}
