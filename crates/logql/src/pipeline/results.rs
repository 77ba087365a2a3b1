//! Results of rows, remembered so that rows with equal labels share one.

use std::collections::HashMap;

use foldhash::fast::RandomState;

/// Results remembered before all are forgotten.
const RESULTS_MAX: usize = 1024;
/// Bytes of keys remembered before all are forgotten. A result is about as large as its key.
const KEY_BYTES_MAX: usize = 2 << 20;

/// Results by a key that tells them apart.
#[derive(Debug)]
pub(super) struct Results<T> {
    by_key: HashMap<Box<[u8]>, T, RandomState>,
    /// Bytes of all keys in `by_key`.
    key_bytes: usize,
    key: Vec<u8>,
    last_key: Vec<u8>,
    /// The result of `last_key`; none after [`Self::clear`].
    has_last: bool,
    last: T,
}

impl<T: Default> Default for Results<T> {
    fn default() -> Self {
        Self {
            by_key: HashMap::default(),
            key_bytes: 0,
            key: Vec::new(),
            last_key: Vec::new(),
            has_last: false,
            last: T::default(),
        }
    }
}

impl<T: Clone> Results<T> {
    /// The result of the key that `write` writes; `make` makes it if it is new.
    pub(super) fn get(&mut self, write: impl FnOnce(&mut Vec<u8>), make: impl FnOnce() -> T) -> &T {
        self.key.clear();
        write(&mut self.key);
        if self.has_last && self.key == self.last_key {
            return &self.last;
        }
        match self.by_key.get(&*self.key) {
            Some(known) => self.last = known.clone(),
            None => {
                self.last = make();
                if self.by_key.len() >= RESULTS_MAX || self.key_bytes > KEY_BYTES_MAX {
                    self.by_key.clear();
                    self.key_bytes = 0;
                }
                self.key_bytes += self.key.len();
                self.by_key
                    .insert(self.key.as_slice().into(), self.last.clone());
            }
        }
        std::mem::swap(&mut self.key, &mut self.last_key);
        self.has_last = true;
        &self.last
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.by_key.clear();
        self.key_bytes = 0;
        self.has_last = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_made_once_and_memory_is_bounded() {
        let mut results = Results::default();
        let mut made = 0;
        for key in [1_u8, 1, 2, 1] {
            let result = results.get(
                |out| out.push(key),
                || {
                    made += 1;
                    u32::from(key)
                },
            );
            assert_eq!(*result, u32::from(key));
        }
        assert_eq!(made, 2);
        for key in 0..10_000_u32 {
            results.get(|out| out.extend(key.to_le_bytes()), || key);
            assert!(results.by_key.len() <= RESULTS_MAX);
        }
        for key in 0..100_u8 {
            results.get(|out| out.resize(1 << 20, key), || 0);
            assert!(results.by_key.keys().map(|key| key.len()).sum::<usize>() <= 4 << 20);
        }
        results.clear();
        assert_eq!(*results.get(|out| out.push(1), || 7), 7);
    }
}
