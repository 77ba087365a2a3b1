//! Epochs: which flush takes a row, and what its object will be called.
//!
//! A row belongs to the epoch in which it was added. A flush takes all rows of its epoch, none of a
//! later one, and begins the next; so a row's epoch and day say in which object it will be. The id
//! of that object is known from the start: a query tells it with the rows, and a reader that finds
//! the object in the store a moment later knows that it has the rows already.
//!
//! Rows that are replayed have epochs of their own, before all others, because a flush during the
//! replay must not claim more than was replayed.

use std::collections::BTreeMap;
use std::hash::BuildHasher;

use foldhash::quality::RandomState;
use model::TenantId;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

/// The first epoch of rows that are pushed.
const FIRST_LIVE: u64 = 1 << 32;

/// The epochs of a process.
#[derive(Debug)]
pub(crate) struct Epochs {
    /// Held for reading while a push adds its rows.
    live: RwLock<u64>,
    replay: Mutex<u64>,
    /// When the epochs began whose rows may still be in memory.
    started_ns: Mutex<BTreeMap<u64, i64>>,
    /// Makes ids of this process different from those of others.
    seeds: [RandomState; 2],
    owner: u128,
}

impl Epochs {
    /// The first epochs begin.
    pub(crate) fn new(owner: u128, now_ns: i64) -> Self {
        Self {
            live: RwLock::new(FIRST_LIVE),
            replay: Mutex::new(0),
            started_ns: Mutex::new(BTreeMap::from([(0, now_ns), (FIRST_LIVE, now_ns)])),
            seeds: [RandomState::default(), RandomState::default()],
            owner,
        }
    }

    /// The epoch of rows that are pushed now. No flush can end it while the guard lives.
    pub(crate) fn live(&self) -> RwLockReadGuard<'_, u64> {
        self.live.read()
    }

    /// The epoch of rows that are replayed now.
    pub(crate) fn replay(&self) -> u64 {
        *self.replay.lock()
    }

    /// Ends the live epoch and begins the next. `line` is called between the two, when no push is
    /// under way. Returns the epoch that ended, and what `line` says.
    pub(crate) fn end_live<T>(&self, now_ns: i64, line: impl FnOnce() -> T) -> (u64, T) {
        let mut live = self.live.write();
        let ended = *live;
        let drawn = line();
        self.started_ns.lock().insert(ended + 1, now_ns);
        *live = ended + 1;
        (ended, drawn)
    }

    /// Ends the epoch of the replay and begins the next. Returns the epoch that ended.
    pub(crate) fn end_replay(&self, now_ns: i64) -> u64 {
        let mut replay = self.replay.lock();
        let ended = *replay;
        self.started_ns.lock().insert(ended + 1, now_ns);
        *replay = ended + 1;
        ended
    }

    /// All rows of an epoch and those before are in the store. Epochs before the first live one end
    /// with it.
    pub(crate) fn is_stored(&self, epoch: u64) {
        let mut started_ns = self.started_ns.lock();
        *started_ns = started_ns.split_off(&(epoch + 1));
    }

    /// The id of the object that will have the rows of an epoch of a tenant and day: a ULID whose
    /// time is the start of the epoch.
    pub(crate) fn object_id(&self, epoch: u64, tenant: &TenantId, day: i64) -> u128 {
        let started_ns = self.started_ns.lock().get(&epoch).copied().unwrap_or(0);
        let ms = u128::from(u64::try_from(started_ns / 1_000_000).unwrap_or(0));
        let [low, high] =
            self.seeds.each_ref().map(|seed| seed.hash_one((self.owner, epoch, tenant, day)));
        (ms & 0xffff_ffff_ffff) << 80 | u128::from(high as u16) << 64 | u128::from(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_fixed_from_the_start_of_an_epoch_and_differ() {
        let epochs = Epochs::new(1, 5_000_000);
        let tenant = TenantId::single();
        let first = *epochs.live();
        let id = epochs.object_id(first, &tenant, 7);
        assert_eq!(storage::key::id_time_ns(id), 5_000_000);
        let (ended, ()) = epochs.end_live(9_000_000, || ());
        assert_eq!((ended, *epochs.live()), (first, first + 1));
        assert_eq!(epochs.object_id(first, &tenant, 7), id);
        let others = [
            epochs.object_id(first, &tenant, 8),
            epochs.object_id(first + 1, &tenant, 7),
            epochs.object_id(epochs.replay(), &tenant, 7),
            Epochs::new(1, 5_000_000).object_id(first, &tenant, 7),
        ];
        assert!(others.iter().all(|other| *other != id));
    }
}
