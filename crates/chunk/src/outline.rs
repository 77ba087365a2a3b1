//! Which three bytes may follow each other somewhere in the lines of a block, as a table of bits: most
//! literals that are in no line are ruled out before anything else of the block is read.
//!
//! A filter of every line would take a third of the data, and a tenth of the time that encoding
//! does. But all lines are made of few templates and distinct values, and digits need not be told
//! apart: a digit counts as `0`. So the table is made of the [`Shape`](crate::shape::Shape):
//!
//! - *inside* a text of a template or a value of a dictionary, every three bytes are marked; of
//!   numbers and identifiers, whatever three bytes their format can have;
//! - *across a border* between a text of a template and a value, the two bytes next to it are marked
//!   as a pair. Three bytes of which two are such a pair may follow each other.
//!
//! It is a Bloom filter with one hash: what is in a line is marked, always. An object keeps the
//! tables of its blocks together ([`Page`]).

mod ends;
mod marks;
mod page;

use crate::Search;
use crate::shape::{Column, Group, IdTable, Kind, Payload};
use crate::values;
use ends::{ByteSet, Ends};
pub(crate) use marks::may_contain;
use marks::{Marks, place};
pub(crate) use page::{PAGE_BLOCKS, Page};

/// Places of a table, as a power of two: about an eighth of them are marked, and a page of 64 tables
/// takes 64 KiB compressed.
const TABLE_BITS: u32 = 15;

/// What may be in the lines of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outline(Box<[u64]>);

impl Outline {
    /// Of structured lines. `payload` gives what lies in the body; `None` if something is missing.
    pub(crate) fn of<T: AsRef<[u8]>>(
        lines: &Group,
        ids: &[IdTable],
        payload: impl Fn(Payload) -> Option<T>,
    ) -> Option<Self> {
        let mut marks = Marks::new();
        ids.iter()
            .for_each(|table| marks.identifiers(&table.pattern));
        let mut drawing = Drawing {
            ids,
            payload,
            marks,
        };
        drawing.group(lines)?;
        Some(Self(drawing.marks.finish()))
    }

    /// Whether a line may meet all conditions.
    pub(crate) fn may_have(&self, search: &Search) -> bool {
        search.may_hold(&|key| self.has(place(key, TABLE_BITS)))
    }

    fn has(&self, place: usize) -> bool {
        let word = self.0.get(place / 64);
        word.is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    /// The marked places.
    fn places(&self) -> impl Iterator<Item = usize> {
        let words = self.0.iter().enumerate();
        words.flat_map(|(at, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some(at * 64 + bit)
            })
        })
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.0)
    }
}

/// Marks what a shape says.
struct Drawing<'a, F> {
    ids: &'a [IdTable],
    payload: F,
    marks: Marks,
}

impl<T: AsRef<[u8]>, F: Fn(Payload) -> Option<T>> Drawing<'_, F> {
    /// Marks the texts of a group. How they begin and end.
    fn group(&mut self, group: &Group) -> Option<Ends> {
        let values = group.columns.iter().map(|column| self.column(column));
        let values = values.collect::<Option<Vec<Ends>>>()?;
        // What is next to the values of each column: a column has many places in templates.
        let mut around = vec![(ByteSet::default(), ByteSet::default()); values.len()];
        let mut ends = Ends::default();
        for template in &group.templates {
            self.marks.text(template.piece(0));
            for (at, slot) in template.slots.iter().enumerate() {
                let (before, after) = (template.piece(at), template.piece(at + 1));
                self.marks.text(after);
                let value = values.get(*slot as usize)?;
                let (left, right) = around.get_mut(*slot as usize)?;
                left.extend(before.last());
                right.extend(after.first());
                if let (true, Some(before), Some(after)) =
                    (value.may_be_empty, before.last(), after.first())
                {
                    self.marks.border(*before, *after);
                }
            }
            ends.join(&Ends::of_template(template, &values));
        }
        for (value, (left, right)) in values.iter().zip(&around) {
            self.marks.borders(left, &value.first);
            self.marks.borders(&value.last, right);
        }
        Some(ends)
    }

    /// Marks the values of a column. How they begin and end.
    fn column(&mut self, column: &Column) -> Option<Ends> {
        let count = column.count as usize;
        match &column.kind {
            Kind::Constant(value) => Some(self.texts([value])),
            Kind::Number { format, .. } => Some(self.texts(format.outlines())),
            Kind::Id { table, .. } => {
                let table = self.ids.get(*table as usize)?;
                Some(Ends::of_identifiers(&table.pattern))
            }
            Kind::Ip4(_) => Some(self.texts(["0.0.0.0", "00.00.00.00", "000.000.000.000"])),
            Kind::Dictionary {
                values,
                lengths,
                text,
                ..
            } => self.strings(*lengths, *text, *values as usize),
            Kind::Text(group) => self.group(group),
            Kind::Plain { lengths, text } => self.strings(*lengths, *text, count),
            Kind::Short(payload) => {
                let payload = (self.payload)(*payload)?;
                let texts = values::short(payload.as_ref(), count).ok()?;
                Some(self.texts((0..texts.len()).map(|at| texts.get(at))))
            }
        }
    }

    fn strings(&mut self, lengths: Payload, text: Payload, count: usize) -> Option<Ends> {
        let (lengths, text) = ((self.payload)(lengths)?, (self.payload)(text)?);
        let (mut ends, mut start) = (Ends::default(), 0);
        for end in values::ends(lengths.as_ref(), count).ok()? {
            let one = text.as_ref().get(start..end as usize)?;
            self.marks.text(one);
            ends.add(one);
            start = end as usize;
        }
        Some(ends)
    }

    fn texts<V: AsRef<[u8]>>(&mut self, texts: impl IntoIterator<Item = V>) -> Ends {
        let mut ends = Ends::default();
        for text in texts {
            self.marks.text(text.as_ref());
            ends.add(text.as_ref());
        }
        ends
    }
}
