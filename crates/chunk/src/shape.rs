//! What a structured block says of its lines: templates and the columns of their values.
//!
//! A *template* is a line with its variable parts taken out. Its text has a placeholder, a byte
//! from 1 to 4, where a value was; the placeholder says what class of value, and the template which
//! column has it. A column has the values of all templates that refer to it, in the order of their
//! lines and, within a line, of their places. So a line is put together from its template and the
//! next value of each of its columns.
//!
//! A column whose values are sentences is itself a [`Group`] of templates and columns. Lines that
//! fit no template are values of a template that is nothing but a placeholder.
//!
//! Bytes of columns are *payloads*: numbered, and each a [`Blob`] in the body.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::format::{Grams, IdPattern, NumberFormat, Stamp, class_mask};
use crate::meta::Blob;

mod wire;

/// Templates of one group.
pub(crate) const MAX_TEMPLATES: usize = 8192;
/// Variable parts of one line.
pub(crate) const MAX_SLOTS: usize = 512;
/// Columns of one block.
pub(crate) const MAX_COLUMNS: usize = 4096;
/// Groups inside each other: lines, values of lines, values of those.
pub(crate) const MAX_DEPTH: usize = 3;
/// Identifier tables of one block.
pub(crate) const MAX_ID_TABLES: usize = 64;
/// Smaller integers are stored in one payload, larger ones a plane each.
pub(crate) const SPLIT_PLANES: usize = 2 << 10;

/// A text of fewer bytes is short.
pub(crate) const SHORT_TEXT_BYTES: usize = 2 << 10;

/// The number of a payload.
pub(crate) type Payload = u32;

/// Placeholders are below this byte, other bytes of a template are not.
pub(crate) const FIRST_TEXT_BYTE: u8 = 5;

/// Templates and columns of all lines of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) lines: Group,
    pub(crate) ids: Vec<IdTable>,
    pub(crate) payloads: Vec<Blob>,
    /// What follows each other in texts of fewer bytes than [`SHORT_TEXT_BYTES`] that do not say it
    /// themselves.
    pub(crate) short_grams: Option<Grams>,
}

/// Identifiers of one pattern, each once, in the order in which they come first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdTable {
    pub(crate) pattern: IdPattern,
    pub(crate) count: u32,
    pub(crate) packed: Payload,
}

/// Texts as templates and columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// How many texts.
    pub(crate) count: u32,
    pub(crate) templates: Vec<Template>,
    /// Per text the number of its template.
    pub(crate) numbers: Planes,
    pub(crate) columns: Vec<Column>,
}

/// A text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    /// Texts that have it.
    pub(crate) count: u32,
    /// Whether it is a JSON object.
    pub(crate) is_json: bool,
    pub(crate) text: Bytes,
    /// Per placeholder the number of its column.
    pub(crate) slots: Box<[u32]>,
    /// Where the placeholders are in the text.
    pub(crate) places: Box<[u32]>,
    /// Classes of the bytes of its text.
    pub(crate) classes: u16,
}

impl Template {
    /// `None` if there is not one slot for each placeholder.
    pub(crate) fn new(count: u32, is_json: bool, text: &[u8], slots: Box<[u32]>) -> Option<Self> {
        let mut places = Vec::new();
        placeholders(text, &mut places);
        Self::with_places(count, is_json, Bytes::copy_from_slice(text), &places, slots)
    }

    /// As [`Self::new`], with the [`placeholders`] of the text.
    fn with_places(
        count: u32,
        is_json: bool,
        text: Bytes,
        places: &[u32],
        slots: Box<[u32]>,
    ) -> Option<Self> {
        // Two values next to each other could not be told apart.
        let apart = places.windows(2).all(|pair| pair[0] + 1 < pair[1]);
        (places.len() == slots.len() && apart).then(|| Self {
            count,
            is_json,
            slots,
            places: places.into(),
            classes: class_mask(&text),
            text,
        })
    }

    /// Text before placeholder `at`, or behind the last one.
    pub(crate) fn piece(&self, at: usize) -> &[u8] {
        let end_of = |place: &u32| *place as usize;
        let start = at.checked_sub(1).and_then(|before| self.places.get(before));
        let end = self.places.get(at).map_or(self.text.len(), end_of);
        self.text
            .get(start.map_or(0, |start| end_of(start) + 1)..end)
            .unwrap_or_default()
    }

    /// Bytes of its text without placeholders.
    pub(crate) fn text_len(&self) -> usize {
        self.text.len() - self.places.len()
    }
}

/// Finds out where placeholders are in a text, eight bytes at a time.
fn placeholders(text: &[u8], places: &mut Vec<u32>) {
    const EACH: u64 = u64::MAX / 255;
    const HIGHEST: u64 = EACH << 7;
    places.clear();
    let (words, rest) = text.as_chunks::<8>();
    for (start, bytes) in (0u32..).step_by(8).zip(words) {
        let word = u64::from_le_bytes(*bytes);
        // The highest bit of bytes that are less, and perhaps of some behind one that is.
        let mut less = word.wrapping_sub(EACH * u64::from(FIRST_TEXT_BYTE)) & !word & HIGHEST;
        while less != 0 {
            let at = less.trailing_zeros() / 8;
            let byte = (word >> (at * 8)) as u8;
            if byte < FIRST_TEXT_BYTE {
                places.push(start + at);
            }
            less &= less - 1;
        }
    }
    for (at, byte) in (0u32..).skip(text.len() - rest.len()).zip(rest) {
        if *byte < FIRST_TEXT_BYTE {
            places.push(at);
        }
    }
}

/// The values of one or more slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// How many values.
    pub(crate) count: u32,
    pub(crate) stamp: Stamp,
    /// Of much text, what follows each other in it.
    pub(crate) grams: Option<Box<Grams>>,
    pub(crate) kind: Kind,
}

/// How values are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// All are the same.
    Constant(SmallVec<[u8; 16]>),
    /// Numbers in a frame of text.
    Number {
        format: Box<NumberFormat>,
        numbers: Integers,
        /// Digits after the point, if rows differ.
        scales: Option<Planes>,
    },
    /// Identifiers: where each is in a table.
    Id { table: u32, places: Integers },
    /// IPv4 addresses.
    Ip4(Planes),
    /// Distinct values, and per value which one.
    Dictionary {
        values: u32,
        lengths: Payload,
        text: Payload,
        ids: Planes,
    },
    /// Values with a structure of their own.
    Text(Box<Group>),
    /// The values one after the other.
    Plain { lengths: Payload, text: Payload },
    /// A few values, each behind its length.
    Short(Payload),
}

/// Integers, transformed so that they are small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Integers {
    pub(crate) order: Order,
    /// What is added to each: the smallest, or the first.
    pub(crate) base: u64,
    pub(crate) planes: Planes,
}

/// What an integer is stored relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The smallest of all.
    Base,
    /// The one before, as zigzag.
    Delta,
    /// One more than the largest before, as zigzag: places in a table that is filled in order.
    Newest,
}

/// Integers as byte planes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Planes {
    /// Bytes of each; all are 0 if there are none.
    pub(crate) width: u8,
    /// The payload with the first plane, or with all if they are small.
    pub(crate) first: Payload,
}

impl Planes {
    /// The payloads, for `count` integers.
    pub(crate) fn payloads(&self, count: usize) -> std::ops::Range<u32> {
        let width = u32::from(self.width);
        let one = count * (width as usize) < SPLIT_PLANES;
        self.first..self.first + if one { width.min(1) } else { width }
    }
}

impl Shape {
    /// A rough measure of the memory it takes.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.lines.heap_bytes()
            + self.ids.len() * (size_of::<IdTable>() + 64)
            + self.payloads.len() * size_of::<Blob>()
    }

    /// What follows each other in the values of a column, and perhaps of others.
    pub(crate) fn grams_of<'a>(&'a self, column: &'a Column) -> Option<&'a Grams> {
        column.grams.as_deref().or_else(|| {
            let text = self.payloads.get(column.text()? as usize)?;
            let short = self.short_grams.as_ref();
            short.filter(|_| text.len() < SHORT_TEXT_BYTES)
        })
    }
}

impl Group {
    fn heap_bytes(&self) -> usize {
        let templates = self.templates.iter();
        let templates = templates.map(|t| size_of::<Template>() + t.text.len() + t.slots.len() * 8);
        let columns = self.columns.iter().map(|column| match &column.kind {
            Kind::Text(group) => group.heap_bytes(),
            _ => {
                let grams = column.grams.as_ref();
                size_of::<Column>() + 16 + grams.map_or(0, |grams| grams.as_bytes().len())
            }
        });
        templates.sum::<usize>() + columns.sum::<usize>()
    }

    /// The values of all columns inside.
    pub(crate) fn values(&self) -> u64 {
        let inner = self.columns.iter().map(|column| match &column.kind {
            Kind::Text(group) => group.values(),
            _ => 0,
        });
        let own = self.columns.iter().map(|column| u64::from(column.count));
        own.sum::<u64>() + inner.sum::<u64>()
    }

    /// Hands over the payloads of the numbers of the templates.
    pub(crate) fn number_payloads(&self, visit: &mut dyn FnMut(Payload)) {
        self.numbers.payloads(self.count as usize).for_each(visit);
    }
}

impl Column {
    /// The payload with its values as text.
    fn text(&self) -> Option<Payload> {
        match &self.kind {
            Kind::Dictionary { text, .. } | Kind::Plain { text, .. } | Kind::Short(text) => {
                Some(*text)
            }
            _ => None,
        }
    }

    /// Hands over the payloads of all that its values need.
    pub(crate) fn payloads(&self, shape: &Shape, visit: &mut dyn FnMut(Payload)) {
        let count = self.count as usize;
        match &self.kind {
            Kind::Constant(_) => {}
            Kind::Number {
                numbers, scales, ..
            } => {
                numbers.planes.payloads(count).for_each(&mut *visit);
                scales
                    .iter()
                    .for_each(|planes| planes.payloads(count).for_each(&mut *visit));
            }
            Kind::Id { table, places } => {
                places.planes.payloads(count).for_each(&mut *visit);
                shape
                    .ids
                    .get(*table as usize)
                    .into_iter()
                    .for_each(|table| visit(table.packed));
            }
            Kind::Ip4(planes) => planes.payloads(count).for_each(visit),
            Kind::Dictionary {
                lengths, text, ids, ..
            } => {
                visit(*lengths);
                visit(*text);
                ids.payloads(count).for_each(visit);
            }
            Kind::Text(group) => {
                group.number_payloads(visit);
                group
                    .columns
                    .iter()
                    .for_each(|column| column.payloads(shape, visit));
            }
            Kind::Plain { lengths, text } => {
                visit(*lengths);
                visit(*text);
            }
            Kind::Short(payload) => visit(*payload),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn placeholders_are_all_bytes_below_text(text in prop::collection::vec(
            prop_oneof![0..9u8, any::<u8>()], 0..40)
        ) {
            let mut places = vec![7];
            placeholders(&text, &mut places);
            let are = (0u32..).zip(&text).filter(|(_, byte)| **byte < FIRST_TEXT_BYTE);
            let are: Vec<u32> = are.map(|(at, _)| at).collect();
            prop_assert_eq!(places, are);
        }
    }
}
