//! What the keys of parsed lines are called as labels, remembered per stream and stage.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::json::shape::Unwanted;
use super::names::{NameId, push_sanitized};
use super::row::Row;
use super::wanted::EXTRACTED_SUFFIX;

/// Keys remembered; those of the next line begin anew if there were so many.
const KEYS_MAX: usize = 8192;

/// Remembers the label names of keys. Lines of a stream tend to have the same keys in the same
/// order, so the key that came next in the line before is tried first.
#[derive(Debug, Default)]
pub(super) struct KeyCache {
    keys: Vec<Key>,
    index: HashMap<Box<[u8]>, u32, RandomState>,
    sequence: Vec<u32>,
    at: usize,
}

#[derive(Debug)]
struct Key {
    text: Box<[u8]>,
    /// The label's name; none if nothing of the key is left or nobody wants the label.
    name: Option<NameId>,
    suffixed: Option<NameId>,
    /// What of a value of this key at the top of a line nobody wants.
    unwanted: Unwanted,
}

impl KeyCache {
    /// Starts a line.
    pub(super) fn begin(&mut self) {
        self.at = 0;
        if self.keys.len() >= KEYS_MAX {
            self.clear();
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.index.clear();
        self.sequence.clear();
        self.at = 0;
    }

    /// The name under which the row gets the value of `key`; none if it is not to be set: nobody
    /// wants it, or an earlier key of this name came first.
    pub(super) fn name(&mut self, key: &[u8], row: &mut Row) -> Option<NameId> {
        match self.find(key, row) {
            Some(at) => self.keys.get_mut(at as usize)?.name(row),
            None => Key::new(key, row).name(row),
        }
    }

    /// What of the value of a key, which is not part of an object in another, nobody wants.
    pub(super) fn unwanted(&mut self, key: &[u8], row: &mut Row) -> Unwanted {
        let Some(at) = self.known_or_added(key, row) else {
            return Key::new(key, row).unwanted;
        };
        let key = self.keys.get(at as usize);
        key.map_or(Unwanted::Nothing, |key| key.unwanted)
    }

    /// The number of a key; none if there is no room to remember it.
    fn find(&mut self, key: &[u8], row: &mut Row) -> Option<u32> {
        for ahead in 0..2 {
            let Some(at) = self.sequence.get(self.at + ahead) else {
                break;
            };
            if self
                .keys
                .get(*at as usize)
                .is_some_and(|known| *known.text == *key)
            {
                self.at += ahead + 1;
                return Some(*at);
            }
        }
        let at = self.known_or_added(key, row)?;
        match self.sequence.get_mut(self.at) {
            Some(next) => *next = at,
            None => self.sequence.push(at),
        }
        self.at += 1;
        Some(at)
    }

    fn known_or_added(&mut self, key: &[u8], row: &mut Row) -> Option<u32> {
        if let Some(at) = self.index.get(key) {
            return Some(*at);
        }
        let at = self.keys.len();
        (at < KEYS_MAX).then_some(())?;
        self.keys.push(Key::new(key, row));
        self.index.insert(key.into(), at as u32);
        Some(at as u32)
    }
}

impl Key {
    fn new(text: &[u8], row: &mut Row) -> Self {
        let mut name = String::with_capacity(text.len());
        push_sanitized(&mut name, text);
        let wanted = !name.is_empty()
            && (row.wanted().has(&name) || row.wanted().has(&format!("{name}{EXTRACTED_SUFFIX}")));
        Self {
            text: text.into(),
            name: wanted.then(|| row.names.intern(&name)),
            suffixed: None,
            unwanted: match wanted {
                true => Unwanted::Nothing,
                // An object without a name gives its fields the names that they have alone.
                false if name.is_empty() || row.wanted().has_prefix(&name) => Unwanted::Value,
                false => Unwanted::Anything,
            },
        }
    }

    fn name(&mut self, row: &mut Row) -> Option<NameId> {
        let plain = self.name?;
        let name = if row.is_taken(plain) {
            *self.suffixed.get_or_insert_with(|| row.parsed_name(plain))
        } else {
            plain
        };
        (!row.was_set(name)).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::LabelSet;

    use super::super::names::FixedNames;
    use super::super::wanted::Wanted;
    use super::*;

    #[test]
    fn keys_are_found_in_any_order_and_renamed_when_taken() {
        let stream = LabelSet::from_pairs([("app", "web")]);
        let names = Arc::new(FixedNames::default());
        let mut row = Row::new(&stream, names, Arc::new(Wanted::all()));
        let mut keys = KeyCache::default();
        for line in [
            ["a", "b.c", "app"],
            ["a", "app", "b.c"],
            ["app", "a", "b.c"],
        ] {
            row.begin(&LabelSet::default());
            keys.begin();
            let mut found = Vec::new();
            for key in line {
                let name = keys.name(key.as_bytes(), &mut row).unwrap();
                row.set(name, "1");
                assert_eq!(keys.name(key.as_bytes(), &mut row), None, "the first wins");
                found.push(row.names.get(name).to_string());
            }
            found.sort();
            assert_eq!(found, ["a", "app_extracted", "b_c"]);
        }
    }

    #[test]
    fn keys_beyond_those_that_are_remembered_have_the_same_names() {
        let stream = LabelSet::default();
        let mut row = Row::new(&stream, Arc::default(), Arc::new(Wanted::all()));
        let mut keys = KeyCache::default();
        row.begin(&LabelSet::default());
        keys.begin();
        for number in 0..KEYS_MAX + 100 {
            let key = format!("k.{number}");
            let name = keys.name(key.as_bytes(), &mut row).unwrap();
            row.set(name, "1");
            assert_eq!(**row.names.get(name), format!("k_{number}"));
            assert_eq!(keys.name(key.as_bytes(), &mut row), None);
        }
        assert_eq!(keys.keys.len(), KEYS_MAX);
        keys.begin();
        assert!(keys.keys.is_empty());
    }
}
