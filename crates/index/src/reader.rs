//! An index file in memory.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use codec::container::Container;
use codec::{CodecError, Reader, put_bytes, put_varint, put_zigzag};
use model::{Label, LabelSet};
use roaring::RoaringBitmap;

use crate::names::{Name, parse_names, parse_values};
use crate::series::{SeriesPage, Totals, parse_blocks};
use crate::{
    BlockRef, IndexError, KIND_BLOCKS, KIND_INFO, KIND_NAMES, KIND_OBJECTS, KIND_POSTINGS,
    KIND_SERIES, KIND_VALUES, MAGIC, MAX_OBJECTS, MAX_SERIES, PAGE_SERIES, PAGE_VALUES, Part,
    SeriesEntry, SeriesRef, VERSION,
};

/// A data object that an index refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectEntry {
    /// Its name in the store.
    pub key: String,
    /// Its identity.
    pub id: u128,
    /// Bytes of the whole object.
    pub size: u64,
    /// Where what describes it starts.
    pub meta_off: u64,
    /// Bytes from there to the end.
    pub meta_len: u64,
    /// Time of its oldest row.
    pub min_ts_ns: i64,
    /// Time of its newest row.
    pub max_ts_ns: i64,
    /// Rows.
    pub rows: u64,
    /// Bytes of their lines and of their structured metadata.
    pub raw_bytes: u64,
}

pub(crate) fn write_objects(objects: &[ObjectEntry]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, objects.len() as u64);
    for object in objects {
        put_bytes(&mut out, object.key.as_bytes());
        out.extend_from_slice(&object.id.to_le_bytes());
        put_varint(&mut out, object.size);
        put_varint(&mut out, object.meta_off);
        put_varint(&mut out, object.meta_len);
        put_zigzag(&mut out, object.min_ts_ns);
        put_zigzag(&mut out, object.max_ts_ns);
        put_varint(&mut out, object.rows);
        put_varint(&mut out, object.raw_bytes);
    }
    out
}

fn parse_objects(bytes: &[u8]) -> Result<Vec<ObjectEntry>, CodecError> {
    let mut reader = Reader::new(bytes);
    let count = reader.items("objects", MAX_OBJECTS)?;
    let objects = (0..count)
        .map(|_| {
            Ok(ObjectEntry {
                key: reader.text()?.to_owned(),
                id: u128::from_le_bytes(reader.array()?),
                size: reader.varint()?,
                meta_off: reader.varint()?,
                meta_len: reader.varint()?,
                min_ts_ns: reader.zigzag()?,
                max_ts_ns: reader.zigzag()?,
                rows: reader.varint()?,
                raw_bytes: reader.varint()?,
            })
        })
        .collect::<Result<_, CodecError>>()?;
    reader.finish()?;
    Ok(objects)
}

/// A label index file. Pages are decompressed when first needed; those of values, series and
/// blocks are kept.
#[derive(Debug)]
pub struct Index {
    container: Container,
    series: u32,
    objects: Vec<ObjectEntry>,
    names: Vec<Name>,
    value_pages: Vec<OnceLock<Vec<Arc<str>>>>,
    series_pages: Vec<OnceLock<SeriesPage>>,
    block_pages: Vec<OnceLock<Vec<BlockRef>>>,
    /// Bytes of what was read at once, and of the pages and label sets that are kept since.
    held_bytes: AtomicUsize,
}

impl Index {
    /// Whether a file is as it was written.
    #[must_use]
    pub fn is_intact(file: &Bytes) -> bool {
        let container = Container::parse(file.clone(), MAGIC, VERSION);
        container.is_ok_and(|container| container.is_intact())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If the bytes are anything else, or damaged where it is read at once.
    pub fn parse(file: Bytes) -> Result<Self, IndexError> {
        let container =
            Container::parse(file, MAGIC, VERSION).map_err(IndexError::at(Part::Directory))?;
        let series = container
            .read(KIND_INFO, 0)
            .and_then(|raw| {
                let mut reader = Reader::new(&raw);
                let series = reader.count("series", MAX_SERIES)?;
                reader.finish().map(|()| series as u32)
            })
            .map_err(IndexError::at(Part::Info))?;
        let objects = container
            .read(KIND_OBJECTS, 0)
            .and_then(|raw| parse_objects(&raw))
            .map_err(IndexError::at(Part::Objects))?;
        let names = container
            .read(KIND_NAMES, 0)
            .and_then(|raw| parse_names(&raw, series))
            .map_err(IndexError::at(Part::Names))?;
        let value_pages = names.last().map_or(0, |name| name.pages().end as usize);
        let series_pages = (series as usize).div_ceil(PAGE_SERIES);
        for (kind, pages) in [
            (KIND_VALUES, value_pages),
            (KIND_POSTINGS, value_pages),
            (KIND_SERIES, series_pages),
            (KIND_BLOCKS, series_pages),
        ] {
            if container.count(kind) != pages {
                return Err(IndexError::at(Part::Directory)(CodecError::Missing));
            }
        }
        let of_objects = |object: &ObjectEntry| size_of::<ObjectEntry>() + object.key.len();
        let pages = value_pages * size_of::<OnceLock<Vec<Arc<str>>>>()
            + series_pages * size_of::<(OnceLock<SeriesPage>, OnceLock<Vec<BlockRef>>)>();
        let held_bytes = container.heap_bytes()
            + objects.iter().map(of_objects).sum::<usize>()
            + names.iter().map(Name::heap_bytes).sum::<usize>()
            + pages;
        Ok(Self {
            container,
            series,
            objects,
            names,
            value_pages: (0..value_pages).map(|_| OnceLock::new()).collect(),
            series_pages: (0..series_pages).map(|_| OnceLock::new()).collect(),
            block_pages: (0..series_pages).map(|_| OnceLock::new()).collect(),
            held_bytes: AtomicUsize::new(held_bytes),
        })
    }

    /// Keeps a page that was read, unless somebody else did meanwhile.
    fn keep<'a, T>(&self, cell: &'a OnceLock<T>, page: T, bytes: impl Fn(&T) -> usize) -> &'a T {
        cell.get_or_init(|| {
            self.held_bytes.fetch_add(bytes(&page), Ordering::Relaxed);
            page
        })
    }

    /// How many series there are; they are numbered from 0.
    #[must_use]
    pub fn series_count(&self) -> u32 {
        self.series
    }

    /// All series.
    #[must_use]
    pub fn all(&self) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.series);
        all
    }

    /// The data objects.
    #[must_use]
    pub fn objects(&self) -> &[ObjectEntry] {
        &self.objects
    }

    /// A data object by its number in a [`BlockRef`].
    #[must_use]
    pub fn object(&self, number: u32) -> Option<&ObjectEntry> {
        self.objects.get(number as usize)
    }

    /// A series: labels and totals.
    ///
    /// # Errors
    /// If there is none of this number, or its pages are damaged.
    pub fn series(&self, series: SeriesRef) -> Result<SeriesEntry, IndexError> {
        let totals = self.totals(series)?;
        Ok(SeriesEntry {
            labels: self.labels(series)?,
            min_ts_ns: totals.min_ts_ns,
            max_ts_ns: totals.max_ts_ns,
            rows: totals.rows,
            raw_bytes: totals.raw_bytes,
        })
    }

    /// The labels of a series.
    ///
    /// # Errors
    /// As [`Self::series`].
    pub fn labels(&self, series: SeriesRef) -> Result<LabelSet, IndexError> {
        self.stream(series).map(|(labels, _)| labels)
    }

    /// The labels of a series and their fingerprint. They are made once.
    ///
    /// # Errors
    /// As [`Self::series`].
    pub fn stream(&self, series: SeriesRef) -> Result<(LabelSet, u64), IndexError> {
        let (page, at) = self.series_page(series)?;
        let known = page.known.get(at);
        if let Some(known) = known.and_then(OnceLock::get) {
            return Ok(known.clone());
        }
        let labels = self.read_labels(page, at, series)?;
        let fingerprint = labels.fingerprint();
        if let Some(cell) = known {
            let kept = self.keep(cell, (labels, fingerprint), |(labels, _)| {
                2 * size_of::<usize>() + labels.len() * size_of::<Label>()
            });
            return Ok(kept.clone());
        }
        Ok((labels, fingerprint))
    }

    fn read_labels(
        &self,
        page: &SeriesPage,
        at: usize,
        series: SeriesRef,
    ) -> Result<LabelSet, IndexError> {
        let numbers = page.labels(at);
        let mut labels = Vec::with_capacity(numbers.len());
        for (name, value) in numbers {
            let name = self
                .names
                .get(*name as usize)
                .ok_or_else(|| self.no_label(series))?;
            labels.push(Label {
                name: Arc::clone(&name.name),
                value: self.value(name, *value)?,
            });
        }
        Ok(labels.into_iter().collect())
    }

    /// The blocks of a series, by time of their first row.
    ///
    /// # Errors
    /// As [`Self::series`].
    pub fn blocks(&self, series: SeriesRef) -> Result<&[BlockRef], IndexError> {
        let (page, at) = self.series_page(series)?;
        let number = series as usize / PAGE_SERIES;
        let cell = self
            .block_pages
            .get(number)
            .ok_or(IndexError::NoSuchSeries(series))?;
        if cell.get().is_none() {
            let part = Part::Blocks(number as u32);
            let blocks = self
                .container
                .read(KIND_BLOCKS, number as u32)
                .and_then(|raw| parse_blocks(&raw, page, self.objects.len()))
                .map_err(IndexError::at(part))?;
            self.keep(cell, blocks, |blocks| blocks.len() * size_of::<BlockRef>());
        }
        let end_of = |at: usize| page.block_ends.get(at).map_or(0, |end| *end as usize);
        let start = at.checked_sub(1).map_or(0, end_of);
        let blocks = cell.get().and_then(|blocks| blocks.get(start..end_of(at)));
        Ok(blocks.unwrap_or_default())
    }

    pub(crate) fn totals(&self, series: SeriesRef) -> Result<Totals, IndexError> {
        let (page, at) = self.series_page(series)?;
        page.totals
            .get(at)
            .copied()
            .ok_or(IndexError::NoSuchSeries(series))
    }

    fn series_page(&self, series: SeriesRef) -> Result<(&SeriesPage, usize), IndexError> {
        if series >= self.series {
            return Err(IndexError::NoSuchSeries(series));
        }
        let number = series as usize / PAGE_SERIES;
        let at = series as usize % PAGE_SERIES;
        let cell = self
            .series_pages
            .get(number)
            .ok_or(IndexError::NoSuchSeries(series))?;
        if let Some(page) = cell.get() {
            return Ok((page, at));
        }
        let count = (self.series as usize - number * PAGE_SERIES).min(PAGE_SERIES);
        let page = self
            .container
            .read(KIND_SERIES, number as u32)
            .and_then(|raw| SeriesPage::parse(&raw, count))
            .map_err(IndexError::at(Part::Series(number as u32)))?;
        Ok((self.keep(cell, page, SeriesPage::heap_bytes), at))
    }

    fn no_label(&self, series: SeriesRef) -> IndexError {
        let part = Part::Series((series as usize / PAGE_SERIES) as u32);
        IndexError::at(part)(CodecError::Invalid("label that is not in the table"))
    }

    // --- names and values

    pub(crate) fn names(&self) -> &[Name] {
        &self.names
    }

    pub(crate) fn name(&self, name: &str) -> Option<(u32, &Name)> {
        let at = self
            .names
            .binary_search_by(|known| (*known.name).cmp(name))
            .ok()?;
        Some((at as u32, self.names.get(at)?))
    }

    /// Value `number` of a name.
    pub(crate) fn value(&self, name: &Name, number: u32) -> Result<Arc<str>, IndexError> {
        let page = name.first_page + number / PAGE_VALUES as u32;
        if number >= name.values {
            return Err(IndexError::at(Part::Values(page))(CodecError::Missing));
        }
        let values = self.values(name, page)?;
        let value = values.get(number as usize % PAGE_VALUES);
        value
            .cloned()
            .ok_or(IndexError::at(Part::Values(page))(CodecError::Missing))
    }

    /// A page of values of a name.
    pub(crate) fn values(&self, name: &Name, page: u32) -> Result<&[Arc<str>], IndexError> {
        let part = IndexError::at(Part::Values(page));
        let cell = self
            .value_pages
            .get(page as usize)
            .ok_or(part(CodecError::Missing))?;
        if let Some(values) = cell.get() {
            return Ok(values);
        }
        let values = self
            .container
            .read(KIND_VALUES, page)
            .and_then(|raw| parse_values(&raw, name.values_of(page)))
            .map_err(part)?;
        // A text of its own is an allocation with two counters.
        let bytes = |values: &Vec<Arc<str>>| values.iter().map(|v| v.len() + 48).sum::<usize>();
        let kept: &Vec<Arc<str>> = self.keep(cell, values, bytes);
        Ok(kept)
    }

    pub(crate) fn postings_page(&self, page: u32) -> Result<Bytes, IndexError> {
        self.container
            .read(KIND_POSTINGS, page)
            .map_err(IndexError::at(Part::Postings(page)))
    }

    /// The number of the value that a series has of a name.
    pub(crate) fn value_of(&self, series: SeriesRef, name: u32) -> Result<Option<u32>, IndexError> {
        let (page, at) = self.series_page(series)?;
        let labels = page.labels(at);
        let label = labels.binary_search_by_key(&name, |(name, _)| *name).ok();
        Ok(label.and_then(|at| labels.get(at)).map(|(_, value)| *value))
    }

    /// Bytes held now, for memory accounting; grows as questions are asked.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::Relaxed)
    }
}
