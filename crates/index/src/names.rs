//! Label names and the pages of their values.

use std::sync::Arc;

use codec::{CodecError, Reader, put_bytes, put_varint};

use crate::{MAX_NAMES, MAX_VALUES, PAGE_VALUES, RoaringBitmap, postings};

/// A label name of an index.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) name: Arc<str>,
    pub(crate) values: u32,
    /// Its first page of values, and of postings.
    pub(crate) first_page: u32,
    /// The first value of each page.
    pub(crate) first_values: Vec<Arc<str>>,
    /// The series that have it; `None` means all.
    pub(crate) present: Option<RoaringBitmap>,
}

impl Name {
    pub(crate) fn pages(&self) -> std::ops::Range<u32> {
        self.first_page..self.first_page + self.first_values.len() as u32
    }

    /// How many values page `page` has.
    pub(crate) fn values_of(&self, page: u32) -> usize {
        let before = (page - self.first_page) as usize * PAGE_VALUES;
        (self.values as usize - before).min(PAGE_VALUES)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let values: usize = self.first_values.iter().map(|value| value.len() + 32).sum();
        let present = self
            .present
            .as_ref()
            .map_or(0, RoaringBitmap::serialized_size);
        values + present + self.name.len() + size_of::<Self>()
    }
}

pub(crate) fn write_names(names: &[Name]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, names.len() as u64);
    for name in names {
        put_bytes(&mut out, name.name.as_bytes());
        put_varint(&mut out, u64::from(name.values));
        name.first_values
            .iter()
            .for_each(|value| put_bytes(&mut out, value.as_bytes()));
        out.push(u8::from(name.present.is_some()));
        if let Some(present) = &name.present {
            put_bytes(&mut out, &postings::bitmap_bytes(present));
        }
    }
    out
}

pub(crate) fn parse_names(bytes: &[u8], series: u32) -> Result<Vec<Name>, CodecError> {
    let mut reader = Reader::new(bytes);
    let count = reader.items("label names", MAX_NAMES)?;
    let mut first_page = 0u32;
    let mut names = Vec::with_capacity(count);
    for _ in 0..count {
        let name = Arc::from(reader.text()?);
        let values = reader.count("label values", MAX_VALUES)?;
        let pages = values.div_ceil(PAGE_VALUES);
        if pages == 0 || pages > reader.remaining() {
            return Err(CodecError::Invalid("label name without values"));
        }
        let first_values = (0..pages)
            .map(|_| reader.text().map(Arc::from))
            .collect::<Result<Vec<_>, _>>()?;
        let present = match reader.u8()? {
            0 => None,
            1 => Some(postings::parse_bitmap(reader.bytes()?, series)?),
            _ => return Err(CodecError::Invalid("unknown kind of bitmap")),
        };
        names.push(Name {
            name,
            values: values as u32,
            first_page,
            first_values,
            present,
        });
        first_page = first_page.saturating_add(pages as u32);
    }
    reader.finish()?;
    if !names.is_sorted_by(|a, b| a.name < b.name) {
        return Err(CodecError::Invalid("label names are not in order"));
    }
    Ok(names)
}

/// Values that are sorted, each without what it shares with the one before.
pub(crate) fn write_values(values: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut last: &str = "";
    for value in values {
        let same = last
            .bytes()
            .zip(value.bytes())
            .take_while(|(a, b)| a == b)
            .count();
        // Cut at a character, so that both parts are text.
        let shared = (0..=same)
            .rev()
            .find(|at| value.is_char_boundary(*at))
            .unwrap_or(0);
        put_varint(&mut out, shared as u64);
        put_bytes(&mut out, value.as_bytes().get(shared..).unwrap_or_default());
        last = value;
    }
    out
}

pub(crate) fn parse_values(bytes: &[u8], count: usize) -> Result<Vec<Arc<str>>, CodecError> {
    let mut reader = Reader::new(bytes);
    let mut value = String::new();
    let mut values: Vec<Arc<str>> = Vec::with_capacity(count.min(PAGE_VALUES));
    for _ in 0..count {
        let shared = reader.count("shared prefix", value.len())?;
        if !value.is_char_boundary(shared) {
            return Err(CodecError::Invalid("text is not utf-8"));
        }
        value.truncate(shared);
        value.push_str(reader.text()?);
        if values.last().is_some_and(|last| **last >= *value) {
            return Err(CodecError::Invalid("label values are not in order"));
        }
        values.push(Arc::from(value.as_str()));
    }
    reader.finish()?;
    Ok(values)
}
