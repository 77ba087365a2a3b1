//! Objects that could not be read. They are left as they are, for queries and for a person to look
//! at, and stop nothing but their own compaction: everything else of the partition goes on.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use storage::{StorageError, key};

use crate::CompactError;

/// Objects that are remembered; what is forgotten is tried again.
const REMEMBERED_MAX: usize = 10_000;

/// Objects that could not be read since the process started.
#[derive(Debug, Default)]
pub(crate) struct Damaged(Mutex<BTreeSet<u128>>);

impl Damaged {
    pub(crate) fn has(&self, object: u128) -> bool {
        self.0.lock().contains(&object)
    }

    /// Remembers the object that an error is about, if it is about one.
    pub(crate) fn note(&self, error: &CompactError) {
        let key = match error {
            CompactError::Block { key, .. }
            | CompactError::Storage(
                StorageError::Corrupt { key, .. } | StorageError::NotFound { key },
            ) => key,
            _ => return,
        };
        let is_object = key.starts_with(key::DATA_ROOT);
        if let Some(object) = key::parse_file_id(key).filter(|_| is_object) {
            let mut damaged = self.0.lock();
            if damaged.len() >= REMEMBERED_MAX {
                damaged.clear();
            }
            damaged.insert(object);
        }
    }
}
