//! From the metadata sets of rows to columns.

use std::collections::HashMap;
use std::hash::Hash;

use codec::{ints, put_bytes};
use model::{Entries, LabelSet};

use crate::meta::ColumnKind;
use crate::{ChunkError, MAX_BLOCK_RAW_BYTES};

/// Keys that get a column of their own.
const OWN_COLUMNS: usize = 64;
/// Up to this many distinct values a dictionary is never wrong.
const SMALL_DICTIONARY: usize = 16;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// The parts of a column, to be put into frames.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: ColumnKind,
    pub(crate) values: u32,
    pub(crate) ids: Vec<u8>,
    pub(crate) lengths: Vec<u8>,
    pub(crate) text: Vec<u8>,
}

/// Hands the columns of all rows to `sink`, sorted by name, the rare keys first.
pub(crate) fn columns<'a>(
    parts: impl Iterator<Item = &'a Entries>,
    mut sink: impl FnMut(Column) -> Result<(), ChunkError>,
) -> Result<(), ChunkError> {
    let rows = Rows::new(parts);
    let (own, rare) = rows.keys();
    if rare {
        let is_own = |name: &str| own.binary_search(&name).is_ok();
        let pairs = |set: &LabelSet| {
            let mut bytes = Vec::new();
            for label in set.iter().filter(|label| !is_own(&label.name)) {
                put_bytes(&mut bytes, label.name.as_bytes());
                put_bytes(&mut bytes, label.value.as_bytes());
            }
            (!bytes.is_empty()).then_some(bytes)
        };
        let (ids, values) = rows.values(pairs);
        sink(dictionary("", ColumnKind::Pairs, &ids, &values)?)?;
    }
    for name in &own {
        let (ids, values) = rows.values(|set| set.get(name));
        let present = ids.iter().filter(|id| **id > 0).count();
        let few = values.len() <= SMALL_DICTIONARY || values.len() * 10 < present * 9;
        sink(if few {
            dictionary(name, ColumnKind::Dictionary, &ids, &values)?
        } else {
            value_list(name, &ids, &values)?
        })?;
    }
    Ok(())
}

/// The metadata sets of all parts, and per row which one it has.
struct Rows<'a> {
    sets: Vec<&'a LabelSet>,
    set_of_row: Vec<u32>,
}

impl<'a> Rows<'a> {
    fn new(parts: impl Iterator<Item = &'a Entries>) -> Self {
        let mut rows = Self {
            sets: Vec::new(),
            set_of_row: Vec::new(),
        };
        for part in parts {
            let base = rows.sets.len() as u32;
            rows.sets.extend(part.metadata_sets());
            let ids = part.metadata_ids().iter();
            rows.set_of_row.extend(ids.map(|id| base + id));
        }
        rows
    }

    /// The keys that get a column, sorted, and whether there are others.
    fn keys(&self) -> (Vec<&'a str>, bool) {
        let mut used = vec![false; self.sets.len()];
        for set in &self.set_of_row {
            if let Some(used) = used.get_mut(*set as usize) {
                *used = true;
            }
        }
        let mut sets_of: Map<&str, u32> = Map::default();
        for (set, _) in self.sets.iter().zip(used).filter(|(_, used)| *used) {
            for label in set.iter() {
                *sets_of.entry(&label.name).or_default() += 1;
            }
        }
        let mut keys: Vec<(&str, u32)> = sets_of.into_iter().collect();
        // An empty key cannot be told from the column of rare ones, so it is one of them.
        keys.sort_unstable_by_key(|(name, sets)| {
            (name.is_empty(), std::cmp::Reverse(*sets), *name)
        });
        let rare = keys.len() > OWN_COLUMNS || keys.last().is_some_and(|(name, _)| name.is_empty());
        keys.retain(|(name, _)| !name.is_empty());
        keys.truncate(OWN_COLUMNS);
        let mut names: Vec<&str> = keys.into_iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        (names, rare)
    }

    /// Per row 0 or the number plus one of its value, and the values in order of appearance.
    fn values<V: Hash + Eq + Clone>(
        &self,
        of: impl Fn(&'a LabelSet) -> Option<V>,
    ) -> (Vec<u32>, Vec<V>) {
        const UNKNOWN: u32 = u32::MAX;
        let mut id_of_set = vec![UNKNOWN; self.sets.len()];
        let mut id_of_value: Map<V, u32> = Map::default();
        let mut values = Vec::new();
        let mut ids = Vec::with_capacity(self.set_of_row.len());
        for set in &self.set_of_row {
            let (Some(id), Some(labels)) = (
                id_of_set.get_mut(*set as usize),
                self.sets.get(*set as usize),
            ) else {
                continue;
            };
            if *id == UNKNOWN {
                *id = of(labels).map_or(0, |value| {
                    *id_of_value.entry(value.clone()).or_insert_with(|| {
                        values.push(value);
                        values.len() as u32
                    })
                });
            }
            ids.push(*id);
        }
        (ids, values)
    }
}

fn dictionary<V: AsRef<[u8]>>(
    name: &str,
    kind: ColumnKind,
    ids: &[u32],
    values: &[V],
) -> Result<Column, ChunkError> {
    let mut column = Column {
        name: name.to_owned(),
        kind,
        values: values.len() as u32,
        ids: Vec::new(),
        lengths: Vec::new(),
        text: Vec::new(),
    };
    let ids: Vec<u64> = ids.iter().map(|id| u64::from(*id)).collect();
    ints::pack(&ids, &mut column.ids);
    let lengths: Vec<u64> = values
        .iter()
        .map(|value| value.as_ref().len() as u64)
        .collect();
    ints::pack(&lengths, &mut column.lengths);
    values
        .iter()
        .for_each(|value| column.text.extend_from_slice(value.as_ref()));
    capped(column)
}

fn value_list(name: &str, ids: &[u32], values: &[&str]) -> Result<Column, ChunkError> {
    let mut column = Column {
        name: name.to_owned(),
        kind: ColumnKind::Values,
        values: 0,
        ids: Vec::new(),
        lengths: Vec::new(),
        text: Vec::new(),
    };
    let mut lengths = Vec::with_capacity(ids.len());
    for id in ids {
        let value = id.checked_sub(1).and_then(|at| values.get(at as usize));
        lengths.push(value.map_or(0, |value| value.len() as u64 + 1));
        if let Some(value) = value {
            column.values += 1;
            column.text.extend_from_slice(value.as_bytes());
        }
    }
    ints::pack(&lengths, &mut column.ids);
    capped(column)
}

fn capped(column: Column) -> Result<Column, ChunkError> {
    ChunkError::cap(
        "bytes of metadata of one key",
        column.text.len(),
        MAX_BLOCK_RAW_BYTES,
    )?;
    Ok(column)
}
