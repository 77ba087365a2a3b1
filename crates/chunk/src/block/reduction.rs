//! What to keep of lines: said once per block and reader.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::{BlockMeta, ChunkError};

/// What to keep of a template's lines: text with those of its placeholders that are kept, and which
/// of its placeholders they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptParts {
    /// Text with placeholders, no two next to each other.
    pub text: Vec<u8>,
    /// Per placeholder the number of the one in the template, ascending.
    pub placeholders: Vec<usize>,
    /// Which of the placeholders is wanted as a number: where it is a decimal number, the line has
    /// another in its place, the same in all lines, and [`ReducedLines::value`](crate::ReducedLines::value)
    /// is the number.
    pub number: Option<usize>,
}

impl KeptParts {
    fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.text.len() + self.placeholders.len() * size_of::<usize>()
    }
}

/// Per template of a block what to keep of its lines; `None` keeps all. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Reduction(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    known_by: Arc<str>,
    kept: Box<[Option<KeptParts>]>,
    ranges: OnceLock<Box<[Range<u64>]>>,
}

impl Reduction {
    /// `known_by` says what is read of lines: two reductions of one block with the same text keep the
    /// same.
    #[must_use]
    pub fn new(known_by: Arc<str>, kept: Vec<Option<KeptParts>>) -> Self {
        Self(Arc::new(Inner {
            known_by,
            kept: kept.into(),
            ranges: OnceLock::new(),
        }))
    }

    /// What it is known by.
    #[must_use]
    pub fn known_by(&self) -> &str {
        &self.0.known_by
    }

    /// What is kept of the lines of each template.
    #[must_use]
    pub fn kept(&self) -> &[Option<KeptParts>] {
        &self.0.kept
    }

    /// Whether less is kept of any line than all of it.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.kept().iter().any(Option::is_some)
    }

    /// Whether a part of any line is wanted as a number.
    #[must_use]
    pub fn has_numbers(&self) -> bool {
        self.kept()
            .iter()
            .flatten()
            .any(|kept| kept.number.is_some())
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let kept = self.kept().iter().flatten();
        let ranges = self
            .0
            .ranges
            .get()
            .map_or(0, |ranges| size_of_val(&**ranges));
        size_of::<Inner>()
            + size_of_val(self.kept())
            + ranges
            + kept.map(KeptParts::heap_bytes).sum::<usize>()
    }
}

impl PartialEq for Reduction {
    fn eq(&self, other: &Self) -> bool {
        self.known_by() == other.known_by()
    }
}

impl Eq for Reduction {}

impl BlockMeta {
    /// The bytes of the object that [`Block::reduced_lines`](crate::Block::reduced_lines) needs.
    ///
    /// # Errors
    /// If the block is damaged.
    pub fn reduced_ranges(&self, reduction: &Reduction) -> Result<Vec<Range<u64>>, ChunkError> {
        if let Some(ranges) = reduction.0.ranges.get() {
            return Ok(ranges.to_vec());
        }
        let Some(shape) = self.shape()? else {
            return Ok(Vec::new());
        };
        let group = &shape.lines;
        let mut of_column = vec![false; group.columns.len()];
        for (number, template) in group.templates.iter().enumerate() {
            let kept = reduction.kept().get(number).and_then(Option::as_ref);
            for (place, slot) in template.slots.iter().enumerate() {
                let is_kept = kept.is_none_or(|kept| kept.placeholders.contains(&place));
                if let (true, Some(column)) = (is_kept, of_column.get_mut(*slot as usize)) {
                    *column = true;
                }
            }
        }
        let ranges = self.columns_ranges(shape, &of_column);
        let _ = reduction.0.ranges.set(ranges.as_slice().into());
        Ok(ranges)
    }
}
