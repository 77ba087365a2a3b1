//! Decoded columns of a structured block, and lines put together from them.
//!
//! Columns are decoded when they are first asked for. Values stay what they are stored as, numbers
//! and places in tables; text is made of those only that are wanted ([`TextCursor`]).

mod cursor;
mod decode;
mod reduced;

use std::sync::OnceLock;

use bytes::Bytes;

pub(crate) use cursor::TextCursor;
pub(crate) use decode::{ends, short};
pub(crate) use reduced::ReducedCursor;

use crate::format::{decimal_value, put_ip4};
use crate::shape::{Column, Group, Kind, Shape};
use crate::{Block, ChunkError};

/// Texts one after the other.
#[derive(Debug, Default)]
pub(crate) struct Strings {
    pub(crate) ends: Vec<u32>,
    pub(crate) text: Bytes,
}

impl Strings {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    fn heap_bytes(&self) -> usize {
        self.ends.len() * 4 + self.text.len()
    }

    pub(crate) fn get(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before));
        let start = start.map_or(0, |start| *start as usize);
        let end = self.ends.get(at).map_or(start, |end| *end as usize);
        self.text.get(start..end).unwrap_or_default()
    }
}

/// What is decoded when a value is wanted: to know that no value is, the distinct ones are enough.
pub(crate) type Later = OnceLock<Vec<u32>>;

/// The values of a column.
#[derive(Debug)]
pub(crate) enum Values {
    Constant,
    Number {
        numbers: Vec<u64>,
        scales: Vec<u8>,
    },
    /// Where each is in the table.
    Id(Later),
    Ip4(Vec<u32>),
    /// Distinct values, and which of them each value is.
    Dictionary {
        ids: Later,
        values: Strings,
    },
    Text(Box<GroupValues>),
    Plain(Strings),
}

/// Which template each text of a group has, and what was decoded of its columns.
#[derive(Debug)]
pub(crate) struct GroupValues {
    /// Empty if there is one template only.
    numbers: OnceLock<Vec<u16>>,
    /// Most are never decoded: these take little.
    columns: Vec<OnceLock<Box<Values>>>,
}

/// What was decoded of a structured block.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) lines: GroupValues,
    /// Per table its identifiers.
    ids: Vec<OnceLock<Bytes>>,
    /// The frame that short payloads lie in together.
    together: OnceLock<(u32, Bytes)>,
}

impl Values {
    fn heap_bytes(&self) -> usize {
        let places = |later: &Later| later.get().map_or(0, |places| places.len() * 4);
        match self {
            Self::Constant => 0,
            Self::Number { numbers, scales } => numbers.len() * 8 + scales.len(),
            Self::Id(later) => places(later),
            Self::Ip4(addresses) => addresses.len() * 4,
            Self::Dictionary { ids, values } => places(ids) + values.heap_bytes(),
            Self::Text(group) => group.heap_bytes(),
            Self::Plain(values) => values.heap_bytes(),
        }
    }
}

impl Decoded {
    pub(crate) fn heap_bytes(&self) -> usize {
        let ids = self.ids.iter().filter_map(OnceLock::get);
        let together = self.together.get();
        self.lines.heap_bytes()
            + ids.map(Bytes::len).sum::<usize>()
            + together.map_or(0, |(_, frame)| frame.len())
    }

    pub(crate) fn new(shape: &Shape) -> Self {
        Self {
            lines: GroupValues::new(&shape.lines),
            ids: shape.ids.iter().map(|_| OnceLock::new()).collect(),
            together: OnceLock::new(),
        }
    }
}

impl GroupValues {
    fn heap_bytes(&self) -> usize {
        let columns = self.columns.iter().filter_map(OnceLock::get);
        self.numbers.get().map_or(0, |numbers| numbers.len() * 2)
            + self.columns.len() * size_of::<OnceLock<Box<Values>>>()
            + columns
                .map(|values| size_of::<Values>() + values.heap_bytes())
                .sum::<usize>()
    }

    fn new(group: &Group) -> Self {
        Self {
            numbers: OnceLock::new(),
            columns: group.columns.iter().map(|_| OnceLock::new()).collect(),
        }
    }
}

/// A group and what was decoded of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupView<'a> {
    pub(crate) store: Store<'a>,
    pub(crate) group: &'a Group,
    values: &'a GroupValues,
}

/// Where columns come from and are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Store<'a> {
    pub(crate) block: &'a Block,
    pub(crate) shape: &'a Shape,
    decoded: &'a Decoded,
}

impl<'a> Store<'a> {
    pub(crate) fn new(block: &'a Block, shape: &'a Shape, decoded: &'a Decoded) -> Self {
        Self {
            block,
            shape,
            decoded,
        }
    }

    /// All lines.
    pub(crate) fn lines(self) -> GroupView<'a> {
        GroupView {
            store: self,
            group: &self.shape.lines,
            values: &self.decoded.lines,
        }
    }

    /// The identifiers of a table, packed.
    pub(crate) fn identifiers(self, table: u32) -> Result<&'a [u8], ChunkError> {
        let kept = self.decoded.ids.get(table as usize);
        let shape = self.shape.ids.get(table as usize);
        let (Some(kept), Some(table)) = (kept, shape) else {
            return Err(self.damaged("identifier table that is not there"));
        };
        keep(kept, || {
            let packed = self.payload(table.packed)?;
            if packed.len() != table.count as usize * table.pattern.width() {
                return Err(self.damaged("identifiers of another length"));
            }
            Ok(packed)
        })
        .map(|packed| &**packed)
    }

    pub(crate) fn payload(self, number: u32) -> Result<Bytes, ChunkError> {
        let blob = self.shape.payloads.get(number as usize);
        let blob = blob.ok_or_else(|| self.damaged("payload that is not there"))?;
        self.block.payload(blob, &self.decoded.together)
    }

    pub(crate) fn damaged(self, why: &'static str) -> ChunkError {
        self.block.damaged_lines(why)
    }
}

impl<'a> GroupView<'a> {
    /// Which template each text has; empty if there is one template only.
    pub(crate) fn numbers(self) -> Result<&'a [u16], ChunkError> {
        keep(&self.values.numbers, || decode::numbers(self)).map(Vec::as_slice)
    }

    pub(crate) fn template_of(numbers: &[u16], text: usize) -> usize {
        numbers.get(text).map_or(0, |number| usize::from(*number))
    }

    /// A column, decoded.
    pub(crate) fn column(self, number: u32) -> Result<ColumnView<'a>, ChunkError> {
        let view = self.distinct(number)?;
        view.places()?;
        Ok(view)
    }

    /// A column, of which distinct values are decoded where it has such.
    pub(crate) fn distinct(self, number: u32) -> Result<ColumnView<'a>, ChunkError> {
        let column = self.group.columns.get(number as usize);
        let kept = self.values.columns.get(number as usize);
        let (Some(column), Some(kept)) = (column, kept) else {
            return Err(self.store.damaged("column that is not there"));
        };
        let values = keep(kept, || decode::column(self.store, column).map(Box::new))?;
        let ids = match column.kind {
            Kind::Id { table, .. } => self.store.identifiers(table)?,
            _ => &[],
        };
        Ok(ColumnView {
            store: self.store,
            column,
            values,
            ids,
        })
    }
}

/// A decoded column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ColumnView<'a> {
    pub(crate) store: Store<'a>,
    pub(crate) column: &'a Column,
    pub(crate) values: &'a Values,
    /// Of a column of identifiers, their table.
    pub(crate) ids: &'a [u8],
}

impl<'a> ColumnView<'a> {
    /// The values of a column of structured text.
    pub(crate) fn group(self) -> Option<GroupView<'a>> {
        match (&self.column.kind, self.values) {
            (Kind::Text(group), Values::Text(values)) => Some(GroupView {
                store: self.store,
                group,
                values,
            }),
            _ => None,
        }
    }

    /// Of a dictionary or of identifiers, which of the distinct values each value is.
    pub(crate) fn places(self) -> Result<&'a [u32], ChunkError> {
        match self.values {
            Values::Dictionary { ids: later, .. } | Values::Id(later) => {
                keep(later, || decode::places(self.store, self.column)).map(Vec::as_slice)
            }
            _ => Ok(&[]),
        }
    }

    /// The decimal number that a value is, if it is one. `distinct` are those of [`Self::decimals`].
    #[inline]
    pub(crate) fn number(&self, at: usize, distinct: &[f64]) -> Option<f64> {
        match (&self.column.kind, self.values) {
            (Kind::Number { format, .. }, Values::Number { numbers, scales }) => {
                format.value(*numbers.get(at)?, scales.get(at).copied().unwrap_or(0))
            }
            (Kind::Constant(value), _) => decimal_value(value),
            (_, Values::Dictionary { ids, .. }) => {
                let number = distinct.get(*ids.get()?.get(at)? as usize);
                number.copied().filter(|number| !number.is_nan())
            }
            (_, Values::Plain(values)) => decimal_value(values.get(at)),
            _ => None,
        }
    }

    /// Of a dictionary the decimal numbers that its distinct values are, or none.
    pub(crate) fn decimals(&self) -> Vec<f64> {
        let Values::Dictionary { values, .. } = self.values else {
            return Vec::new();
        };
        let decimal = |at: usize| decimal_value(values.get(at)).unwrap_or(f64::NAN);
        (0..values.len()).map(decimal).collect()
    }

    /// Appends a value, of any column but one of structured text.
    #[inline]
    pub(crate) fn put(&self, at: usize, out: &mut Vec<u8>) {
        match (&self.column.kind, self.values) {
            (Kind::Constant(value), _) => out.extend_from_slice(value),
            (Kind::Number { format, .. }, Values::Number { numbers, scales }) => {
                let scale = scales.get(at).copied().unwrap_or(0);
                format.render(numbers.get(at).copied().unwrap_or(0), scale, out);
            }
            (Kind::Id { table, .. }, Values::Id(places)) => {
                let Some(table) = self.store.shape.ids.get(*table as usize) else {
                    return;
                };
                let width = table.pattern.width();
                let place = places.get().and_then(|places| places.get(at));
                let start = place.map_or(0, |place| *place as usize) * width;
                let packed = self.ids.get(start..start + width).unwrap_or_default();
                table.pattern.render(packed, out);
            }
            (_, Values::Ip4(addresses)) => put_ip4(addresses.get(at).copied().unwrap_or(0), out),
            (_, Values::Dictionary { ids, values }) => {
                let id = ids.get().and_then(|ids| ids.get(at));
                let id = id.map_or(0, |id| *id as usize);
                out.extend_from_slice(values.get(id));
            }
            (_, Values::Plain(values)) => out.extend_from_slice(values.get(at)),
            _ => {}
        }
    }
}

/// What is kept in `cell`, decoded first if it is not there yet.
fn keep<T>(
    cell: &OnceLock<T>,
    decode: impl FnOnce() -> Result<T, ChunkError>,
) -> Result<&T, ChunkError> {
    if let Some(kept) = cell.get() {
        return Ok(kept);
    }
    let decoded = decode()?;
    Ok(cell.get_or_init(|| decoded))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use model::{Entries, LabelSet};

    use super::*;
    use crate::{EncodeOptions, LinesPolicy, Run, encode_block};

    #[test]
    fn short_payloads_are_parts_of_one_frame_that_is_decompressed_once() {
        let letters = "abcdefghijklmnopqrstuvwxyz".repeat(2);
        let mut entries = Entries::default();
        for row in 0..2000_i64 {
            let mut line = String::new();
            for column in 0..24 {
                let of = row as usize * (column + 7) % 67;
                let (start, len) = (of % 26, 8 + of / 26);
                let word = letters.get(start..start + len).unwrap();
                write!(line, "field{column}={word} ").unwrap();
            }
            assert!(entries.push(row, line.as_bytes(), &LabelSet::default()));
        }
        let labels = LabelSet::from_pairs([("app", "a")]);
        let options = EncodeOptions {
            lines: LinesPolicy::Structured,
            ..EncodeOptions::default()
        };
        let block = encode_block(&[Run::new(&labels, &entries)], &options);
        let block = block.unwrap().open();
        let store = block.store().unwrap().unwrap();
        let lines = store.lines();
        let columns = 0..lines.group.columns.len() as u32;
        let texts = columns.filter_map(|number| match lines.distinct(number).unwrap().values {
            Values::Dictionary { values, .. } => Some(values.text.as_ptr_range()),
            _ => None,
        });
        let texts: Vec<_> = texts.collect();
        let (_, frame) = store.decoded.together.get().unwrap();
        let frame = frame.as_ptr_range();
        assert!(texts.len() >= 20, "{texts:?}");
        for text in texts {
            assert!(frame.start <= text.start && text.end <= frame.end);
        }
    }
}
