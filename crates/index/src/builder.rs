//! Writing index files.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use codec::container::ContainerWriter;
use codec::{CodecError, put_varint};
use model::LabelSet;

use crate::names::{Name, write_names, write_values};
use crate::reader::write_objects;
use crate::series::{SeriesRow, write_blocks, write_series};
use crate::{
    BlockRef, Index, IndexError, KIND_BLOCKS, KIND_INFO, KIND_NAMES, KIND_OBJECTS, KIND_POSTINGS,
    KIND_SERIES, KIND_VALUES, MAGIC, MAX_NAMES, MAX_OBJECTS, MAX_PAGE_BLOCKS, MAX_SERIES,
    MAX_VALUES, ObjectEntry, PAGE_SERIES, PAGE_VALUES, Part, VERSION, postings,
};

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
    /// Bytes of their lines.
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

    /// Writes the file.
    ///
    /// # Errors
    /// If there is more than one file may have, or a block of an object that was not added.
    pub fn build(mut self) -> Result<Bytes, IndexError> {
        cap(Part::Series(0), "series", self.series.len(), MAX_SERIES)?;
        cap(Part::Objects, "objects", self.objects.len(), MAX_OBJECTS)?;
        let mut series: Vec<(LabelSet, Vec<BlockRef>)> =
            std::mem::take(&mut self.series).into_iter().collect();
        series.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (_, blocks) in &mut series {
            blocks.sort_unstable();
            blocks.dedup_by_key(|block| (block.object, block.block, block.run));
            self.count(blocks)?;
        }
        for object in self.objects.iter_mut().filter(|object| object.rows == 0) {
            (object.min_ts_ns, object.max_ts_ns) = (0, 0);
        }
        let mut writer = ContainerWriter::new(0);
        let mut info = Vec::new();
        put_varint(&mut info, series.len() as u64);
        add(&mut writer, KIND_INFO, Part::Info, 0, &info)?;
        add(
            &mut writer,
            KIND_OBJECTS,
            Part::Objects,
            0,
            &write_objects(&self.objects),
        )?;
        let label_sets: Vec<&LabelSet> = series.iter().map(|(labels, _)| labels).collect();
        let labels = write_labels(&mut writer, &label_sets)?;
        let rows: Vec<SeriesRow> = labels
            .into_iter()
            .zip(series)
            .map(|(labels, (_, blocks))| SeriesRow { labels, blocks })
            .collect();
        let pages = || rows.chunks(PAGE_SERIES).zip(0u32..);
        for (page, number) in pages() {
            add(
                &mut writer,
                KIND_SERIES,
                Part::Series(number),
                number,
                &write_series(page),
            )?;
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

    fn count(&mut self, blocks: &[BlockRef]) -> Result<(), IndexError> {
        for block in blocks {
            let object = self.objects.get_mut(block.object as usize).ok_or_else(|| {
                IndexError::too_large(Part::Objects)(CodecError::Invalid("object was not added"))
            })?;
            object.min_ts_ns = object.min_ts_ns.min(block.min_ts_ns);
            object.max_ts_ns = object.max_ts_ns.max(block.max_ts_ns);
            object.rows += block.rows;
            object.raw_bytes += block.raw_bytes;
        }
        Ok(())
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

/// The values of one name while they are collected.
#[derive(Default)]
struct NameBuilder<'a> {
    number_of: Map<&'a str, u32>,
    /// Per value, in order of appearance: the value and its series.
    values: Vec<(&'a str, Vec<u32>)>,
}

/// Writes names, values and postings; returns per series the numbers of its names and values.
fn write_labels(
    writer: &mut ContainerWriter,
    series: &[&LabelSet],
) -> Result<Vec<Vec<(u32, u32)>>, IndexError> {
    let mut number_of_name: Map<&str, usize> = Map::default();
    let mut builders: Vec<(&str, NameBuilder<'_>)> = Vec::new();
    let mut labels_of = Vec::with_capacity(series.len());
    for (labels, number) in series.iter().zip(0u32..) {
        let mut numbers = Vec::with_capacity(labels.len());
        for label in labels.iter() {
            let name = *number_of_name.entry(&label.name).or_insert_with(|| {
                builders.push((&label.name, NameBuilder::default()));
                builders.len() - 1
            });
            let Some((_, builder)) = builders.get_mut(name) else {
                continue;
            };
            let value = *builder.number_of.entry(&label.value).or_insert_with(|| {
                builder.values.push((&label.value, Vec::new()));
                builder.values.len() as u32 - 1
            });
            if let Some((_, series)) = builder.values.get_mut(value as usize) {
                series.push(number);
            }
            numbers.push((name as u32, value));
        }
        labels_of.push(numbers);
    }
    cap(Part::Names, "label names", builders.len(), MAX_NAMES)?;
    let order = sorted(&builders, |(name, _)| *name);
    let mut names = Vec::with_capacity(builders.len());
    let mut value_orders = Vec::with_capacity(builders.len());
    let mut pages = Vec::new();
    for at in &order {
        let Some((name, builder)) = builders.get(*at) else {
            continue;
        };
        let values = sorted(&builder.values, |(value, _)| *value);
        names.push(write_name(
            name,
            builder,
            &values,
            series.len(),
            &mut pages,
        )?);
        value_orders.push(inverse(&values));
    }
    add(writer, KIND_NAMES, Part::Names, 0, &write_names(&names))?;
    for ((values, _), page) in pages.iter().zip(0u32..) {
        add(writer, KIND_VALUES, Part::Values(page), page, values)?;
    }
    for ((_, postings), page) in pages.iter().zip(0u32..) {
        add(writer, KIND_POSTINGS, Part::Postings(page), page, postings)?;
    }
    let name_order = inverse(&order);
    for (name, value) in labels_of.iter_mut().flatten() {
        *name = name_order.get(*name as usize).copied().unwrap_or(0);
        let values = value_orders.get(*name as usize);
        *value = values
            .and_then(|values| values.get(*value as usize))
            .map_or(0, |at| at + 1);
    }
    labels_of
        .iter_mut()
        .for_each(|labels| labels.sort_unstable());
    Ok(labels_of)
}

/// Appends the pages of a name, values and postings.
fn write_name(
    name: &str,
    builder: &NameBuilder<'_>,
    order: &[usize],
    series: usize,
    pages: &mut Vec<(Vec<u8>, Vec<u8>)>,
) -> Result<Name, IndexError> {
    cap(Part::Names, "label values", order.len(), MAX_VALUES)?;
    let mut first_values = Vec::new();
    let mut present = Vec::new();
    let first_page = pages.len() as u32;
    for page in order.chunks(PAGE_VALUES) {
        let values: Vec<&(&str, Vec<u32>)> = page
            .iter()
            .filter_map(|at| builder.values.get(*at))
            .collect();
        let texts: Vec<&str> = values.iter().map(|(value, _)| *value).collect();
        first_values.extend(texts.first().map(|first| Arc::from(*first)));
        let mut lists = Vec::new();
        for (_, series) in values {
            postings::put(&mut lists, series);
            present.extend_from_slice(series);
        }
        pages.push((write_values(&texts), lists));
    }
    let everywhere = present.len() == series;
    let present = (!everywhere).then(|| {
        present.sort_unstable();
        let mut bitmap: roaring::RoaringBitmap = present.into_iter().collect();
        bitmap.optimize();
        bitmap
    });
    Ok(Name {
        name: Arc::from(name),
        values: order.len() as u32,
        first_page,
        first_values,
        present,
    })
}

/// Positions in the order of their key.
fn sorted<'a, T, K: Ord + ?Sized + 'a>(items: &'a [T], key: impl Fn(&'a T) -> &'a K) -> Vec<usize> {
    let mut order: Vec<(&K, usize)> = items.iter().map(key).zip(0..).collect();
    order.sort_unstable_by(|a, b| a.0.cmp(b.0));
    order.into_iter().map(|(_, at)| at).collect()
}

/// Where each position went.
fn inverse(order: &[usize]) -> Vec<u32> {
    let mut places = vec![0; order.len()];
    for (at, place) in order.iter().zip(0u32..) {
        if let Some(slot) = places.get_mut(*at) {
            *slot = place;
        }
    }
    places
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
