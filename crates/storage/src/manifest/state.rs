//! What a partition consists of after some entry.

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Serialize};

use super::{IndexFile, ManifestEntry, ObjectFile, Tombstone};
use crate::key::{id_text, parse_id};

/// What a partition consists of after the entry `seq`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionState {
    /// Number of the last entry applied; 0 before the first.
    pub seq: u64,
    /// When that entry was made.
    pub changed_ns: i64,
    /// Live data objects by id.
    pub objects: BTreeMap<u128, ObjectFile>,
    /// Live index files by id. They refer to live data objects only.
    pub indexes: BTreeMap<u128, IndexFile>,
    /// Data objects that were removed but are still in the store, for those who hold a snapshot,
    /// by id: when they were removed, by the clock of who did.
    pub removed_objects: BTreeMap<u128, i64>,
    /// The same of index files.
    pub removed_indexes: BTreeMap<u128, i64>,
    /// Deletes by id; not used, see [`Tombstone`].
    pub tombstones: BTreeMap<String, Tombstone>,
    /// The last watermark of each writer.
    pub watermarks: BTreeMap<String, u64>,
}

/// Whether an entry may follow a state.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// It may.
    Ok,
    /// All it adds is there already: it was committed before.
    Done,
    /// It may not, and why.
    Conflict(String),
}

impl PartitionState {
    /// Whether a data object was committed and is still in the store.
    #[must_use]
    pub fn knows_object(&self, id: u128) -> bool {
        self.objects.contains_key(&id) || self.removed_objects.contains_key(&id)
    }

    /// Whether an index file was committed and is still in the store.
    #[must_use]
    pub fn knows_index(&self, id: u128) -> bool {
        self.indexes.contains_key(&id) || self.removed_indexes.contains_key(&id)
    }

    /// Whether nothing is left that a reader could want.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.indexes.is_empty()
    }

    /// Whether `entry` may follow this state. What is removed must be live: of two compactors that
    /// replace the same files, the second must fail.
    pub(crate) fn check(&self, entry: &ManifestEntry) -> Check {
        let objects = entry.add_objects.iter();
        let indexes = entry.add_indexes.iter();
        let added = entry.add_objects.len() + entry.add_indexes.len();
        let known = objects.filter(|file| self.knows_object(file.id)).count()
            + indexes.filter(|file| self.knows_index(file.id)).count();
        if known > 0 {
            return if known == added {
                Check::Done
            } else {
                Check::Conflict("some of the added files are there already".to_owned())
            };
        }
        let gone = |live: bool, id: &u128| (!live).then(|| format!("{} is gone", id_text(*id)));
        let objects = entry
            .remove_objects
            .iter()
            .find_map(|id| gone(self.objects.contains_key(id), id));
        let indexes = || {
            entry
                .remove_indexes
                .iter()
                .find_map(|id| gone(self.indexes.contains_key(id), id))
        };
        match objects.or_else(indexes) {
            Some(reason) => Check::Conflict(reason),
            None => Check::Ok,
        }
    }

    /// Applies the entry numbered `seq`. Total: what an entry says that does not fit the state has
    /// no effect, because every reader must come to the same state.
    pub(crate) fn apply(&mut self, seq: u64, entry: &ManifestEntry) {
        self.seq = seq;
        self.changed_ns = entry.created_ns;
        for object in &entry.add_objects {
            self.objects.insert(object.id, object.clone());
        }
        for index in &entry.add_indexes {
            self.indexes.insert(index.id, index.clone());
        }
        for id in &entry.remove_objects {
            if self.objects.remove(id).is_some() {
                self.removed_objects.insert(*id, entry.created_ns);
            }
        }
        for id in &entry.remove_indexes {
            if self.indexes.remove(id).is_some() {
                self.removed_indexes.insert(*id, entry.created_ns);
            }
        }
        for tombstone in &entry.add_tombstones {
            self.tombstones
                .insert(tombstone.id.clone(), tombstone.clone());
        }
        for id in &entry.remove_tombstones {
            self.tombstones.remove(id);
        }
        // Swept files are gone, also for who does not know that they were removed: the entry that
        // said so may have been damaged.
        for id in &entry.swept_objects {
            self.removed_objects.remove(id);
            self.objects.remove(id);
        }
        for id in &entry.swept_indexes {
            self.removed_indexes.remove(id);
            self.indexes.remove(id);
        }
        if let Some(watermark) = entry.watermark {
            let last = self.watermarks.entry(entry.writer.clone()).or_default();
            *last = watermark.max(*last);
        }
    }
}

/// A state as a checkpoint has it: lists instead of maps keyed by what the elements know anyway.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Checkpoint {
    seq: u64,
    changed_ns: i64,
    objects: Vec<ObjectFile>,
    indexes: Vec<IndexFile>,
    removed_objects: BTreeMap<String, i64>,
    removed_indexes: BTreeMap<String, i64>,
    tombstones: Vec<Tombstone>,
    watermarks: BTreeMap<String, u64>,
}

impl Serialize for PartitionState {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Checkpoint {
            seq: self.seq,
            changed_ns: self.changed_ns,
            objects: self.objects.values().cloned().collect(),
            indexes: self.indexes.values().cloned().collect(),
            removed_objects: by_text(&self.removed_objects),
            removed_indexes: by_text(&self.removed_indexes),
            tombstones: self.tombstones.values().cloned().collect(),
            watermarks: self.watermarks.clone(),
        }
        .serialize(serializer)
    }
}

fn by_text(removed: &BTreeMap<u128, i64>) -> BTreeMap<String, i64> {
    let removed = removed.iter();
    removed.map(|(id, at_ns)| (id_text(*id), *at_ns)).collect()
}

fn by_id(removed: BTreeMap<String, i64>) -> Result<BTreeMap<u128, i64>, &'static str> {
    let removed = removed.into_iter();
    removed
        .map(|(id, at_ns)| Some((parse_id(&id)?, at_ns)))
        .collect::<Option<_>>()
        .ok_or("not an object's id")
}

impl<'de> Deserialize<'de> for PartitionState {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = Checkpoint::deserialize(deserializer)?;
        Ok(Self {
            seq: stored.seq,
            changed_ns: stored.changed_ns,
            objects: stored.objects.into_iter().map(|o| (o.id, o)).collect(),
            indexes: stored.indexes.into_iter().map(|i| (i.id, i)).collect(),
            removed_objects: by_id(stored.removed_objects).map_err(Error::custom)?,
            removed_indexes: by_id(stored.removed_indexes).map_err(Error::custom)?,
            tombstones: stored
                .tombstones
                .into_iter()
                .map(|tombstone| (tombstone.id.clone(), tombstone))
                .collect(),
            watermarks: stored.watermarks,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adding(id: u128) -> ManifestEntry {
        let mut entry = ManifestEntry::new("w", 1);
        entry.add_objects.push(ObjectFile {
            id,
            ..ObjectFile::default()
        });
        entry
    }

    #[test]
    fn what_is_removed_must_be_live_and_what_is_added_new() {
        let mut state = PartitionState::default();
        state.apply(1, &adding(7));
        assert_eq!(state.check(&adding(7)), Check::Done);
        let mut replace = adding(8);
        replace.remove_objects.push(7);
        assert_eq!(state.check(&replace), Check::Ok);
        state.apply(2, &replace);
        let mut late = adding(9);
        late.remove_objects.push(7);
        assert!(matches!(state.check(&late), Check::Conflict(_)));
        assert!(state.knows_object(7), "until it is swept");
        let sweep = ManifestEntry {
            swept_objects: vec![7],
            ..ManifestEntry::new("w", 2)
        };
        state.apply(3, &sweep);
        assert!(!state.knows_object(7));
    }

    #[test]
    fn watermarks_never_go_back() {
        let mut state = PartitionState::default();
        let mut entry = ManifestEntry::new("a", 1);
        for watermark in [5, 3] {
            entry.watermark = Some(watermark);
            state.apply(1, &entry);
        }
        assert_eq!(state.watermarks.get("a"), Some(&5));
    }
}
