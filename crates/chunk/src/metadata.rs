//! Structured metadata as columns.
//!
//! A key that most rows share (`detected_level`) becomes a dictionary and a few bits per row, one
//! with a value of its own per row (`trace_id`) a list of values. Only the commonest keys get a
//! column; the pairs of all others are kept together as one more dictionary, so that a client that
//! invents keys costs no more than its bytes.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use codec::{CodecError, Reader};
use model::{Label, LabelSet, LabelSetBuilder};

use crate::meta::ColumnKind;

mod write;

pub(crate) use write::columns;

/// Tables up to this size keep their values ready made.
const SHARED_VALUES: usize = 1024;
/// Metadata sets that a reader keeps ready made.
const KNOWN_SETS: usize = 4096;

/// The values of one key.
#[derive(Debug)]
pub(crate) enum ValueTable {
    Text {
        ends: Vec<u32>,
        text: String,
        shared: Vec<OnceLock<Arc<str>>>,
    },
    Pairs(Vec<LabelSet>),
}

impl ValueTable {
    /// Checks and takes over what was stored: the lengths of the values and their bytes.
    pub(crate) fn new(kind: ColumnKind, ends: Vec<u32>, text: Vec<u8>) -> Result<Self, CodecError> {
        if ends.last().map_or(0, |end| *end as usize) != text.len() || !ends.is_sorted() {
            return Err(CodecError::Invalid("lengths of values do not agree"));
        }
        if kind == ColumnKind::Pairs {
            return pairs(&ends, &text).map(Self::Pairs);
        }
        let text = String::from_utf8(text).map_err(|_| CodecError::Invalid("text is not utf-8"))?;
        if !ends.iter().all(|end| text.is_char_boundary(*end as usize)) {
            return Err(CodecError::Invalid("text is not utf-8"));
        }
        let shared = if ends.len() <= SHARED_VALUES {
            ends.len()
        } else {
            0
        };
        Ok(Self::Text {
            ends,
            text,
            shared: (0..shared).map(|_| OnceLock::new()).collect(),
        })
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text { ends, .. } => ends.len(),
            Self::Pairs(sets) => sets.len(),
        }
    }

    /// Adds what value `at` stands for.
    fn push(&self, name: &Arc<str>, at: usize, builder: &mut LabelSetBuilder) {
        match self {
            Self::Text { ends, text, shared } => {
                let value = match shared.get(at) {
                    Some(cell) => Arc::clone(cell.get_or_init(|| Arc::from(value(ends, text, at)))),
                    None => Arc::from(value(ends, text, at)),
                };
                builder.push(Arc::clone(name), value);
            }
            Self::Pairs(sets) => {
                for Label { name, value } in sets.get(at).into_iter().flatten() {
                    builder.push(Arc::clone(name), Arc::clone(value));
                }
            }
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::Text { ends, text, shared } => ends.len() * 4 + text.len() + shared.len() * 24,
            Self::Pairs(sets) => sets
                .iter()
                .map(|set| 16 + set.len() * 64 + set.text_len())
                .sum(),
        }
    }
}

fn value<'a>(ends: &[u32], text: &'a str, at: usize) -> &'a str {
    let start = at
        .checked_sub(1)
        .and_then(|before| ends.get(before))
        .map_or(0, |end| *end);
    let end = ends.get(at).map_or(start, |end| *end);
    text.get(start as usize..end as usize).unwrap_or_default()
}

fn pairs(ends: &[u32], text: &[u8]) -> Result<Vec<LabelSet>, CodecError> {
    let mut all = Reader::new(text);
    let mut start = 0;
    ends.iter()
        .map(|end| {
            let mut reader = Reader::new(all.take((end - start) as usize)?);
            start = *end;
            let mut builder = LabelSetBuilder::default();
            while reader.remaining() > 0 {
                builder.push(reader.text()?, reader.text()?);
            }
            Ok(builder.build())
        })
        .collect()
}

/// One key of a run.
#[derive(Clone, Debug)]
pub(crate) struct RunColumn {
    pub(crate) name: Arc<str>,
    /// Per row 0, or the number of its value plus one.
    pub(crate) ids: Vec<u32>,
    pub(crate) table: Arc<ValueTable>,
}

/// The structured metadata of a run's rows.
#[derive(Clone, Debug, Default)]
pub struct RunMetadata {
    pub(crate) columns: Vec<RunColumn>,
}

impl RunMetadata {
    /// Whether no row has metadata.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Gives out the rows' metadata as label sets, shared between rows where they are equal.
    #[must_use]
    pub fn reader(self: &Arc<Self>) -> MetadataReader {
        let small = self
            .columns
            .iter()
            .all(|column| column.table.len() <= KNOWN_SETS);
        MetadataReader {
            metadata: Arc::clone(self),
            ids: vec![0; self.columns.len()],
            last: LabelSet::default(),
            known: small.then(HashMap::default),
        }
    }

    /// Keeps the rows in `range`.
    pub(crate) fn keep(&mut self, range: Range<usize>) {
        for column in &mut self.columns {
            column.ids.truncate(range.end);
            column.ids.drain(..range.start.min(column.ids.len()));
        }
    }

    fn ids(&self, row: usize) -> impl Iterator<Item = u32> + '_ {
        self.columns
            .iter()
            .map(move |column| column.ids.get(row).copied().unwrap_or(0))
    }

    fn set(&self, ids: &[u32]) -> LabelSet {
        let mut builder = LabelSetBuilder::default();
        for (column, id) in self.columns.iter().zip(ids) {
            if let Some(at) = id.checked_sub(1) {
                column.table.push(&column.name, at as usize, &mut builder);
            }
        }
        builder.build()
    }

    /// As [`model::Entries`] keeps it: per row the number of its set, and the sets, of which the
    /// first is empty. `rows` is how many rows there are.
    #[must_use]
    pub fn to_sets(&self, rows: usize) -> (Vec<u32>, Vec<LabelSet>) {
        match self.columns.as_slice() {
            [] => (vec![0; rows], vec![LabelSet::default()]),
            [only] if only.ids.len() == rows && only.table.len() <= KNOWN_SETS => (
                only.ids.clone(),
                (0..=only.table.len() as u32)
                    .map(|id| self.set(&[id]))
                    .collect(),
            ),
            _ => self.joined_sets(rows),
        }
    }

    fn joined_sets(&self, rows: usize) -> (Vec<u32>, Vec<LabelSet>) {
        let mut sets = vec![LabelSet::default()];
        let mut known: HashMap<Box<[u32]>, u32, foldhash::fast::RandomState> = HashMap::default();
        known.insert(vec![0; self.columns.len()].into(), 0);
        let mut key = Vec::with_capacity(self.columns.len());
        let set_of = |row| {
            key.clear();
            key.extend(self.ids(row));
            if let Some(id) = known.get(key.as_slice()) {
                return *id;
            }
            let id = sets.len() as u32;
            sets.push(self.set(&key));
            known.insert(key.as_slice().into(), id);
            id
        };
        let ids = (0..rows).map(set_of).collect();
        (ids, sets)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.columns
            .iter()
            .map(|column| column.ids.capacity() * 4 + column.table.heap_bytes())
            .sum()
    }
}

/// Gives out metadata row by row. See [`RunMetadata::reader`].
#[derive(Debug)]
pub struct MetadataReader {
    metadata: Arc<RunMetadata>,
    ids: Vec<u32>,
    last: LabelSet,
    known: Option<HashMap<Box<[u32]>, LabelSet, foldhash::fast::RandomState>>,
}

impl MetadataReader {
    /// The metadata of a row; empty if there is no such row.
    pub fn get(&mut self, row: usize) -> &LabelSet {
        let mut changed = false;
        for (known, id) in self.ids.iter_mut().zip(self.metadata.ids(row)) {
            changed |= *known != id;
            *known = id;
        }
        if changed {
            self.last = self.look_up();
        }
        &self.last
    }

    fn look_up(&mut self) -> LabelSet {
        let Some(known) = &mut self.known else {
            return self.metadata.set(&self.ids);
        };
        if let Some(set) = known.get(self.ids.as_slice()) {
            return set.clone();
        }
        let set = self.metadata.set(&self.ids);
        if known.len() < KNOWN_SETS {
            known.insert(self.ids.as_slice().into(), set.clone());
        }
        set
    }
}
