//! Lines without the parts that nobody wants.
//!
//! Who reads few fields of a line needs the columns of these only: it looks at the templates, says
//! what to keep of each, and gets lines that consist of that.

use std::ops::Range;

use super::Block;
use crate::shape::{Column, Template};
use crate::values::{Kept, ReducedCursor};
use crate::{BlockMeta, ChunkError, FoundLines, RowSet};

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

/// What to keep of a template's lines: text with those of its placeholders that are kept, and which
/// of its placeholders they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptParts {
    /// Text with placeholders, no two next to each other.
    pub text: Vec<u8>,
    /// Per placeholder the number of the one in the template, ascending.
    pub placeholders: Vec<usize>,
}

/// Per template of a block what to keep of its lines; `None` keeps all.
pub type Reduction = Vec<Option<KeptParts>>;

/// What was kept of the lines of some rows.
#[derive(Clone, Debug, Default)]
pub struct ReducedLines {
    lines: FoundLines,
    whole: Option<RowSet>,
}

impl ReducedLines {
    /// What was kept of line number so and so.
    #[must_use]
    pub fn get(&self, at: usize) -> &[u8] {
        self.lines.get(at)
    }

    /// Whether this is all of the line.
    #[must_use]
    pub fn is_whole(&self, at: usize) -> bool {
        self.whole.as_ref().is_some_and(|whole| whole.contains(at))
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

    /// The bytes of the object that [`Block::reduced_lines`] needs.
    ///
    /// # Errors
    /// If the block is damaged.
    pub fn reduced_ranges(&self, reduction: &Reduction) -> Result<Vec<Range<u64>>, ChunkError> {
        let Some(shape) = self.shape()? else {
            return Ok(Vec::new());
        };
        let group = &shape.lines;
        let mut of_column = vec![false; group.columns.len()];
        for (number, template) in group.templates.iter().enumerate() {
            let kept = reduction.get(number).and_then(Option::as_ref);
            for (place, slot) in template.slots.iter().enumerate() {
                let is_kept = kept.is_none_or(|kept| kept.placeholders.contains(&place));
                if let (true, Some(column)) = (is_kept, of_column.get_mut(*slot as usize)) {
                    *column = true;
                }
            }
        }
        Ok(self.columns_ranges(shape, &of_column))
    }
}

impl Block {
    /// Of some rows of a structured block what is kept of their lines; of those among them that are
    /// not in `selected` nothing.
    ///
    /// # Errors
    /// If the block is plain or damaged, or needed bytes were not fetched.
    pub fn reduced_lines(
        &self,
        reduction: &Reduction,
        rows: Range<usize>,
        selected: Option<&RowSet>,
    ) -> Result<ReducedLines, ChunkError> {
        let Some(store) = self.store()? else {
            return Err(self.damaged_lines("lines without templates"));
        };
        let kept: Vec<Option<Kept>> = reduction
            .iter()
            .map(|kept| kept.clone().map(|kept| (kept.text, kept.placeholders)))
            .collect();
        let most = self.meta().raw_bytes() as usize;
        let mut cursor = ReducedCursor::new(store.lines(), &kept, most)?;
        let mut found = FoundLines::default();
        let mut unwanted = Vec::new();
        let mut whole = RowSet::none(rows.len());
        let has_whole = reduction.iter().any(Option::is_none);
        for row in 0..rows.end {
            if row < rows.start {
                cursor.next(row, false, &mut unwanted)?;
                continue;
            }
            if has_whole
                && reduction
                    .get(cursor.template_of(row))
                    .is_none_or(Option::is_none)
            {
                whole.insert(row - rows.start);
            }
            let wanted = selected.is_none_or(|selected| selected.contains(row));
            cursor.next(row, wanted, &mut found.lines)?;
            found.ends.push(found.lines.len() as u32);
        }
        Ok(ReducedLines {
            lines: found,
            whole: has_whole.then_some(whole),
        })
    }
}
