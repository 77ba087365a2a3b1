//! Objects that are left out for a while: those that could not be read, and those whose rows could
//! not be merged. They stay as they are, for queries and for a person to look at, and stop nothing
//! but their own compaction: everything else of the partition goes on. After a time they are tried
//! again, and after twice that time if it was no use: what a store answers may be wrong once only.

use std::collections::BTreeMap;

use model::TimeRange;
use parking_lot::Mutex;
use storage::{StorageError, key};

use crate::{CompactError, Compactor};

/// Objects that are remembered; what is forgotten is tried again.
const REMEMBERED_MAX: usize = 10_000;
/// No object is left out for longer at a time.
const LONGEST_NS: i64 = TimeRange::DAY_NS;

/// Objects that are left out.
#[derive(Debug, Default)]
pub(crate) struct Aside(Mutex<BTreeMap<u128, Failed>>);

#[derive(Clone, Copy, Debug)]
struct Failed {
    until_ns: i64,
    /// How long it is left out this time.
    for_ns: i64,
    is_damaged: bool,
}

impl Aside {
    fn has(&self, object: u128, now_ns: i64) -> bool {
        let failed = self.0.lock().get(&object).copied();
        failed.is_some_and(|failed| now_ns < failed.until_ns)
    }

    fn add(&self, object: u128, now_ns: i64, first_ns: i64, is_damaged: bool) {
        let mut aside = self.0.lock();
        if aside.len() >= REMEMBERED_MAX {
            aside.clear();
        }
        let for_ns = match aside.get(&object) {
            Some(failed) if now_ns < failed.until_ns => return,
            Some(failed) => failed.for_ns.saturating_mul(2).min(LONGEST_NS),
            None => first_ns,
        };
        let failed = Failed {
            until_ns: now_ns.saturating_add(for_ns),
            for_ns,
            is_damaged,
        };
        aside.insert(object, failed);
    }

    /// Objects that are gone, or were read after all.
    pub(crate) fn forget<'a>(&self, objects: impl IntoIterator<Item = &'a u128>) {
        let mut aside = self.0.lock();
        for object in objects {
            aside.remove(object);
        }
    }

    /// How many could not be read when they were last tried.
    pub(crate) fn damaged(&self) -> usize {
        let aside = self.0.lock();
        aside.values().filter(|failed| failed.is_damaged).count()
    }
}

impl Compactor {
    /// Whether an object is left out now.
    pub(crate) fn is_aside(&self, object: u128) -> bool {
        self.aside.has(object, self.now_ns())
    }

    /// Leaves objects out whose rows could not be merged.
    pub(crate) fn put_aside(&self, objects: impl IntoIterator<Item = u128>) {
        for object in objects {
            let first_ns = self.config.retry_after.0;
            self.aside.add(object, self.now_ns(), first_ns, false);
        }
    }

    /// Leaves the object out that an error is about, if it is about one that cannot be read.
    pub(crate) fn note_damage(&self, error: &CompactError) {
        let key = match error {
            CompactError::Block { key, .. }
            | CompactError::Storage(
                StorageError::Corrupt { key, .. } | StorageError::NotFound { key },
            ) => key,
            _ => return,
        };
        let is_object = key.starts_with(key::DATA_ROOT);
        if let Some(object) = key::parse_file_id(key).filter(|_| is_object) {
            let first_ns = self.config.retry_after.0;
            self.aside.add(object, self.now_ns(), first_ns, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_an_object_is_left_out_for_longer() {
        let aside = Aside::default();
        aside.add(1, 0, 100, true);
        aside.add(1, 50, 100, true);
        aside.add(2, 0, 100, false);
        assert!(aside.has(1, 99) && !aside.has(1, 100));
        aside.add(1, 100, 100, true);
        assert!(aside.has(1, 299) && !aside.has(1, 300));
        assert_eq!(aside.damaged(), 1);
        aside.forget(&[1]);
        assert!(!aside.has(1, 299));
        assert_eq!(aside.damaged(), 0);
    }
}
