//! What each registry may take of something that all have together, so that a slow one does not take
//! what the others need.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// A share for each registry.
pub(super) struct Shares {
    /// By the numbers of registries; those that are not asked leave it again.
    each: Mutex<HashMap<i64, Arc<Semaphore>>>,
    permits: usize,
}

impl Shares {
    /// Shares of so much.
    pub(super) fn new(permits: usize) -> Self {
        Self {
            each: Mutex::default(),
            permits: permits.min(Semaphore::MAX_PERMITS),
        }
    }

    /// What a registry may take.
    pub(super) fn of(&self, upstream_id: i64) -> Arc<Semaphore> {
        let mut each = self.each.lock();
        each.retain(|_, share| Arc::strong_count(share) > 1);
        let share = each.entry(upstream_id);
        Arc::clone(share.or_insert_with(|| Arc::new(Semaphore::new(self.permits))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_kept_while_somebody_has_of_it() {
        let shares = Shares::new(2);
        let held = shares.of(1).try_acquire_many_owned(2).unwrap();
        assert!(shares.of(1).try_acquire_owned().is_err());
        assert!(shares.of(2).try_acquire_owned().is_ok());
        assert_eq!(shares.each.lock().len(), 2);
        drop(held);
        assert!(shares.of(1).try_acquire_owned().is_ok());
        assert_eq!(shares.each.lock().len(), 1);
    }
}
