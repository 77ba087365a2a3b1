//! Decoded rows of one run.

use std::sync::Arc;

use bytes::Bytes;
use model::Entries;

use crate::RunMetadata;

/// Rows of one stream, decoded as far as the projection asked for.
#[derive(Clone, Debug, Default)]
pub struct RunRows {
    pub(crate) first_row: usize,
    pub(crate) timestamps_ns: Vec<i64>,
    pub(crate) line_ends: Vec<u32>,
    pub(crate) lines: Bytes,
    pub(crate) metadata: Arc<RunMetadata>,
}

impl RunRows {
    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.timestamps_ns.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.timestamps_ns.is_empty()
    }

    /// The number in the run of the first row here; not 0 if a time range left out earlier ones.
    #[must_use]
    pub fn first_row(&self) -> usize {
        self.first_row
    }

    /// Times, ascending.
    #[must_use]
    pub fn timestamps_ns(&self) -> &[i64] {
        &self.timestamps_ns
    }

    /// Where each line ends in [`Self::lines`]; empty unless lines or lengths were asked for.
    #[must_use]
    pub fn line_ends(&self) -> &[u32] {
        &self.line_ends
    }

    /// All lines one after the other, to search as a whole; empty unless asked for.
    #[must_use]
    pub fn lines(&self) -> &Bytes {
        &self.lines
    }

    /// Structured metadata; empty unless asked for.
    #[must_use]
    pub fn metadata(&self) -> &Arc<RunMetadata> {
        &self.metadata
    }

    /// The rows as they were before they were encoded, if everything was decoded.
    #[must_use]
    pub fn to_entries(&self) -> Option<Entries> {
        self.clone().into_entries()
    }

    /// As [`Self::to_entries`], without a copy of lines that nobody else holds.
    #[must_use]
    pub fn into_entries(self) -> Option<Entries> {
        let (ids, sets) = self.metadata.to_sets(self.len());
        let mut lines = Vec::from(self.lines);
        // They may be few of those that were decoded.
        if lines.capacity() - lines.len() > lines.len() / 8 {
            lines.shrink_to_fit();
        }
        Entries::from_columns(self.timestamps_ns, self.line_ends, lines, ids, sets)
    }

    /// Bytes held, for memory accounting.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.timestamps_ns.capacity() * 8
            + self.line_ends.capacity() * 4
            + self.lines.len()
            + self.metadata.heap_bytes()
    }
}

/// Lines of some rows of a block, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundLines {
    pub(crate) ends: Vec<u32>,
    pub(crate) lines: Vec<u8>,
}

impl FoundLines {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Line number so and so; empty if there is none.
    #[must_use]
    pub fn get(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before));
        let start = start.map_or(0, |start| *start as usize);
        let end = self.ends.get(at).map_or(start, |end| *end as usize);
        self.lines.get(start..end).unwrap_or_default()
    }

    /// Bytes held, for memory accounting.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.ends.capacity() * 4 + self.lines.capacity()
    }

    /// The lines in the order of their rows.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let line = self.lines.get(start..*end as usize).unwrap_or_default();
            start = *end as usize;
            line
        })
    }
}
