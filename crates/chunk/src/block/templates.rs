//! Lines without the parts that nobody wants.
//!
//! Who reads few fields of a line needs the columns of these only: it looks at the templates, says
//! what to keep of each, and gets lines that consist of that.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::{Arc, PoisonError};

use foldhash::fast::RandomState;

use super::{Block, Reduction};
use crate::shape::{Column, Template};
use crate::values::ReducedCursor;
use crate::{BlockMeta, ChunkError, FoundLines, RowSet};

/// Reductions of which a block remembers what they kept.
const REDUCED_MAX: usize = 2;
/// Lines after which it is known whether most are like one before.
const TRIED_LINES: usize = 1024;

/// A template of lines: text, and a placeholder for each part that differs.
#[derive(Clone, Copy, Debug)]
pub struct LineTemplate<'a> {
    template: &'a Template,
    columns: &'a [Column],
}

impl<'a> LineTemplate<'a> {
    /// Bytes below this are placeholders.
    pub const FIRST_TEXT_BYTE: u8 = crate::shape::FIRST_TEXT_BYTE;

    /// Text with placeholders.
    #[must_use]
    pub fn text(self) -> &'a [u8] {
        &self.template.text
    }

    /// Whether its lines are JSON objects, each placeholder a value without quotes.
    #[must_use]
    pub fn is_json(self) -> bool {
        self.template.is_json
    }

    /// Whether some value of a placeholder may contain a byte.
    #[must_use]
    pub fn may_contain(self, placeholder: usize, byte: u8) -> bool {
        let column = self.template.slots.get(placeholder);
        let column = column.and_then(|column| self.columns.get(*column as usize));
        column.is_none_or(|column| column.stamp.may_have(byte))
    }
}

/// What was kept of the lines of some rows. Short as it is, it is often the same for many rows, and
/// most of these share it: it has a number of its own, by which who looks at it can remember it.
#[derive(Clone, Debug, Default)]
pub struct ReducedLines {
    lines: FoundLines,
    /// Per row the number of what was kept of its line.
    numbers: Vec<u32>,
    /// Per row the number that was taken out of its line, or one that is not a number; empty if
    /// none was taken out of any.
    values: Vec<f64>,
    /// Numbers of lines of which all was kept.
    whole: Option<RowSet>,
}

/// The number of a line that is read whole and was left out.
const LEFT_OUT: u32 = u32::MAX;

/// What becomes of lines that are read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WholeLines {
    /// They are put together.
    Kept,
    /// They are left out: in their place nothing is kept.
    LeftOut,
}

impl ReducedLines {
    /// The number of what was kept of the line of row `at`.
    #[must_use]
    pub fn number(&self, at: usize) -> usize {
        self.numbers.get(at).map_or(0, |number| *number as usize)
    }

    /// The number that was taken out of the line of row `at`.
    #[must_use]
    #[inline]
    pub fn value(&self, at: usize) -> Option<f64> {
        self.values.get(at).copied().filter(|value| !value.is_nan())
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// How many numbers of lines there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lines.ends.len()
    }

    /// What was kept, by number.
    #[must_use]
    pub fn get(&self, number: usize) -> &[u8] {
        self.lines.get(number)
    }

    /// Whether the line is read whole.
    #[must_use]
    pub fn is_whole(&self, number: usize) -> bool {
        number == LEFT_OUT as usize
            || self
                .whole
                .as_ref()
                .is_some_and(|whole| whole.contains(number))
    }

    /// Whether the line of one of these rows was left out.
    #[must_use]
    pub fn lacks(&self, rows: Range<usize>) -> bool {
        let numbers = self.numbers.get(rows).unwrap_or_default();
        numbers.contains(&LEFT_OUT)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.lines.lines.len()
            + (self.lines.ends.len() + self.numbers.len()) * size_of::<u32>()
            + self.values.len() * size_of::<f64>()
            + self.whole.as_ref().map_or(0, RowSet::heap_bytes)
    }
}

/// Finds lines that are like one before, as long as that pays.
#[derive(Debug, Default)]
struct Same {
    numbers: HashMap<u64, u32, RandomState>,
    hasher: RandomState,
    tried: usize,
    found: usize,
}

impl Same {
    /// The number of the line that is at the end of `lines`, from `start`, and was there before.
    fn find(&mut self, lines: &FoundLines, start: usize) -> Option<u32> {
        if self.tried >= TRIED_LINES && self.found * 2 < self.tried {
            return None;
        }
        self.tried += 1;
        let line = lines.lines.get(start..)?;
        let next = lines.ends.len() as u32;
        let number = *self
            .numbers
            .entry(self.hasher.hash_one(line))
            .or_insert(next);
        let is_same = number < next && lines.get(number as usize) == line;
        self.found += usize::from(is_same);
        is_same.then_some(number)
    }
}

impl BlockMeta {
    /// The templates of the lines; none if the block is plain.
    ///
    /// # Errors
    /// If the block is damaged.
    pub fn templates(&self) -> Result<Vec<LineTemplate<'_>>, ChunkError> {
        let Some(shape) = self.shape()? else {
            return Ok(Vec::new());
        };
        let columns = &shape.lines.columns;
        let templates = shape.lines.templates.iter();
        Ok(templates
            .map(|template| LineTemplate { template, columns })
            .collect())
    }
}

impl Block {
    /// Of all rows of a structured block what is kept of their lines. It is remembered: the runs of
    /// the block share it, and so do queries that read the same fields.
    ///
    /// # Errors
    /// If the block is plain or damaged, or needed bytes were not fetched.
    pub fn reduced_lines(
        &self,
        reduction: &Reduction,
        whole: WholeLines,
    ) -> Result<Arc<ReducedLines>, ChunkError> {
        if let Some(lines) = self.known_reduced(reduction, whole) {
            return Ok(lines);
        }
        // Not the lock of what is known: who asks for the weight of the block must not wait so long.
        let _turn = self.reducing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lines) = self.known_reduced(reduction, whole) {
            return Ok(lines);
        }
        let rows = 0..self.meta().rows() as usize;
        let lines = Arc::new(self.reduce(reduction, rows, None, whole)?);
        let mut reduced = self.reduced.lock().unwrap_or_else(PoisonError::into_inner);
        reduced.truncate(REDUCED_MAX - 1);
        reduced.push_front((reduction.clone(), whole, Arc::clone(&lines)));
        Ok(lines)
    }

    /// What was said to keep of the lines before, by the text by which it is known.
    #[must_use]
    pub fn known_reduction(&self, known_by: &str) -> Option<Reduction> {
        let reduced = self.reduced.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = reduced.iter().map(|(known, ..)| known);
        known.find(|known| known.known_by() == known_by).cloned()
    }

    fn known_reduced(&self, reduction: &Reduction, whole: WholeLines) -> Option<Arc<ReducedLines>> {
        let reduced = self.reduced.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = reduced.iter();
        let known = known.find(|(known, lines, _)| (known, *lines) == (reduction, whole));
        known.map(|(.., lines)| Arc::clone(lines))
    }

    /// Of some rows of a structured block what is kept of their lines; of those among them that are
    /// not in `selected` nothing.
    ///
    /// # Errors
    /// If the block is plain or damaged, or needed bytes were not fetched.
    pub fn reduced_lines_of(
        &self,
        reduction: &Reduction,
        rows: Range<usize>,
        selected: Option<&RowSet>,
    ) -> Result<ReducedLines, ChunkError> {
        self.reduce(reduction, rows, selected, WholeLines::Kept)
    }

    fn reduce(
        &self,
        reduction: &Reduction,
        rows: Range<usize>,
        selected: Option<&RowSet>,
        whole_lines: WholeLines,
    ) -> Result<ReducedLines, ChunkError> {
        let Some(store) = self.store()? else {
            return Err(self.damaged_lines("lines without templates"));
        };
        let most = self.meta().raw_bytes() as usize;
        let mut cursor = ReducedCursor::new(store.lines(), reduction.kept(), most)?;
        let (mut found, mut same) = (FoundLines::default(), Same::default());
        let mut numbers = Vec::with_capacity(rows.len());
        let mut whole = RowSet::none(rows.len());
        let has_whole = reduction.kept().iter().any(Option::is_none);
        let has_numbers = reduction.has_numbers();
        let mut values = Vec::with_capacity(if has_numbers { rows.len() } else { 0 });
        for row in 0..rows.end {
            let start = found.lines.len();
            let is_whole = has_whole
                && reduction
                    .kept()
                    .get(cursor.template_of(row))
                    .is_none_or(Option::is_none);
            let is_left_out = is_whole && whole_lines == WholeLines::LeftOut;
            let is_wanted = row >= rows.start
                && !is_left_out
                && selected.is_none_or(|selected| selected.contains(row));
            let value = cursor.next(row, is_wanted, &mut found.lines)?;
            if row < rows.start {
                continue;
            }
            if has_numbers {
                values.push(value.unwrap_or(f64::NAN));
            }
            if is_left_out {
                numbers.push(LEFT_OUT);
                continue;
            }
            if is_whole {
                whole.insert(found.ends.len());
            } else if let Some(number) = same.find(&found, start) {
                found.lines.truncate(start);
                numbers.push(number);
                continue;
            }
            numbers.push(found.ends.len() as u32);
            found.ends.push(found.lines.len() as u32);
        }
        Ok(ReducedLines {
            lines: found,
            numbers,
            values,
            whole: (has_whole && whole_lines == WholeLines::Kept).then_some(whole),
        })
    }
}
