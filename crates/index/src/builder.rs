//! Writing index files.

use std::collections::HashMap;

use bytes::Bytes;
use codec::container::ContainerWriter;
use codec::{CodecError, put_varint};
use model::LabelSet;

use crate::reader::write_objects;
use crate::series::{SeriesRow, write_blocks, write_series};
use crate::{
    BlockRef, Index, IndexError, KIND_BLOCKS, KIND_INFO, KIND_OBJECTS, KIND_SERIES, MAGIC,
    MAX_OBJECTS, MAX_PAGE_BLOCKS, MAX_SERIES, ObjectEntry, PAGE_SERIES, Part, VERSION,
};

mod labels;
mod split;

use labels::NumberedLabels;
pub use split::mergeable;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// A run of a block as the data object describes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunStats {
    /// The run's ordinal in its block.
    pub run: u32,
    /// Time of its first row.
    pub min_ts_ns: i64,
    /// Time of its last row.
    pub max_ts_ns: i64,
    /// Rows.
    pub rows: u64,
    /// Bytes of their lines and of their structured metadata.
    pub raw_bytes: u64,
}

/// Collects objects and blocks, in any order, for one index file.
#[derive(Debug, Default)]
pub struct IndexBuilder {
    objects: Vec<ObjectEntry>,
    object_of: Map<u128, u32>,
    series: Map<LabelSet, Vec<BlockRef>>,
}

impl IndexBuilder {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an object and returns its number; one that was added before keeps its number. Times,
    /// rows and bytes of the entry are not used, they are counted from the blocks.
    pub fn add_object(&mut self, entry: ObjectEntry) -> u32 {
        *self.object_of.entry(entry.id).or_insert_with(|| {
            self.objects.push(ObjectEntry {
                min_ts_ns: i64::MAX,
                max_ts_ns: i64::MIN,
                rows: 0,
                raw_bytes: 0,
                ..entry
            });
            self.objects.len() as u32 - 1
        })
    }

    /// Adds a run of a block of an object. Adding it again changes nothing.
    pub fn add_block(&mut self, labels: &LabelSet, object: u32, block: u32, run: RunStats) {
        let reference = BlockRef {
            min_ts_ns: run.min_ts_ns,
            max_ts_ns: run.max_ts_ns,
            object,
            block,
            run: run.run,
            rows: run.rows,
            raw_bytes: run.raw_bytes,
        };
        match self.series.get_mut(labels) {
            Some(blocks) => blocks.push(reference),
            None => {
                self.series.insert(labels.clone(), vec![reference]);
            }
        }
    }

    /// Whether there is neither object nor block.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty() && self.objects.is_empty()
    }

    /// Writes as few files as hold it all: one, or more if one would have too much of something.
    /// The files have no run in common; of what lies in them nothing is left out.
    ///
    /// # Errors
    /// If a single run is more than a file may have, or is of an object that was not added.
    pub fn build_all(self) -> Result<Vec<Bytes>, IndexError> {
        let (mut files, mut left) = (Vec::new(), vec![self]);
        while let Some(mut builder) = left.pop() {
            match builder.write() {
                Ok(file) => files.push(file),
                Err(error @ IndexError::TooLarge { .. }) => match split::halves(builder) {
                    Some(halves) => left.extend(halves.into_iter().rev()),
                    None => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    /// Writes one file.
    ///
    /// # Errors
    /// If there is more than one file may have, or a block of an object that was not added.
    pub fn build(mut self) -> Result<Bytes, IndexError> {
        self.write()
    }

    fn write(&mut self) -> Result<Bytes, IndexError> {
        cap(Part::Series(0), "series", self.series.len(), MAX_SERIES)?;
        cap(Part::Objects, "objects", self.objects.len(), MAX_OBJECTS)?;
        for blocks in self.series.values_mut() {
            blocks.sort_unstable();
            blocks.dedup_by_key(|block| (block.object, block.block, block.run));
        }
        let objects = self.counted_objects()?;
        let (label_sets, blocks): (Vec<&LabelSet>, Vec<&[BlockRef]>) = self
            .series
            .iter()
            .map(|(labels, blocks)| (labels, blocks.as_slice()))
            .unzip();
        let mut writer = ContainerWriter::new(0);
        let mut info = Vec::new();
        put_varint(&mut info, label_sets.len() as u64);
        add(&mut writer, KIND_INFO, Part::Info, 0, &info)?;
        add(
            &mut writer,
            KIND_OBJECTS,
            Part::Objects,
            0,
            &write_objects(&objects),
        )?;
        let numbered = NumberedLabels::new(&label_sets);
        let order = numbered.order();
        numbered.write(&order, &mut writer)?;
        let mut unsorted: Vec<SeriesRow<'_>> = numbered
            .into_series()
            .into_iter()
            .zip(blocks)
            .map(|(labels, blocks)| SeriesRow { labels, blocks })
            .collect();
        let rows: Vec<SeriesRow<'_>> = order
            .into_iter()
            .filter_map(|at| unsorted.get_mut(at).map(std::mem::take))
            .collect();
        let pages = || rows.chunks(PAGE_SERIES).zip(0u32..);
        for (page, number) in pages() {
            let part = Part::Series(number);
            let series = write_series(page).map_err(IndexError::too_large(part))?;
            add(&mut writer, KIND_SERIES, part, number, &series)?;
        }
        for (page, number) in pages() {
            let blocks = page.iter().map(|row| row.blocks.len()).sum();
            cap(
                Part::Blocks(number),
                "blocks of a page",
                blocks,
                MAX_PAGE_BLOCKS,
            )?;
            add(
                &mut writer,
                KIND_BLOCKS,
                Part::Blocks(number),
                number,
                &write_blocks(page),
            )?;
        }
        Ok(writer.finish(MAGIC, VERSION).into())
    }

    /// The objects with the times, rows and bytes of their blocks.
    fn counted_objects(&self) -> Result<Vec<ObjectEntry>, IndexError> {
        let mut objects = self.objects.clone();
        for block in self.series.values().flatten() {
            let object = objects
                .get_mut(block.object as usize)
                .ok_or(IndexError::NoSuchObject(block.object))?;
            object.min_ts_ns = object.min_ts_ns.min(block.min_ts_ns);
            object.max_ts_ns = object.max_ts_ns.max(block.max_ts_ns);
            object.rows += block.rows;
            object.raw_bytes += block.raw_bytes;
        }
        for object in objects.iter_mut().filter(|object| object.rows == 0) {
            (object.min_ts_ns, object.max_ts_ns) = (0, 0);
        }
        Ok(objects)
    }
}

/// Puts all that several index files say into one, except objects that `keep` refuses and what is
/// in them.
///
/// # Errors
/// If one of them is damaged.
pub fn merge<'a>(
    indexes: impl IntoIterator<Item = &'a Index>,
    keep: impl Fn(u128) -> bool,
) -> Result<IndexBuilder, IndexError> {
    let mut builder = IndexBuilder::new();
    for index in indexes {
        let numbers: Vec<Option<u32>> = index
            .objects()
            .iter()
            .map(|object| keep(object.id).then(|| builder.add_object(object.clone())))
            .collect();
        for series in 0..index.series_count() {
            let kept = index.blocks(series)?.iter().filter_map(|block| {
                let object = numbers.get(block.object as usize).copied().flatten()?;
                Some(BlockRef { object, ..*block })
            });
            let kept: Vec<BlockRef> = kept.collect();
            if !kept.is_empty() {
                builder
                    .series
                    .entry(index.labels(series)?)
                    .or_default()
                    .extend(kept);
            }
        }
    }
    Ok(builder)
}

fn cap(part: Part, what: &'static str, value: usize, limit: usize) -> Result<(), IndexError> {
    CodecError::cap(what, value as u64, limit)
        .map(|_| ())
        .map_err(IndexError::too_large(part))
}

fn add(
    writer: &mut ContainerWriter,
    kind: u8,
    part: Part,
    ordinal: u32,
    raw: &[u8],
) -> Result<(), IndexError> {
    writer
        .add(kind, ordinal, raw)
        .map_err(IndexError::too_large(part))
}
