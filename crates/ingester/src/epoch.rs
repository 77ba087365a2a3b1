//! Epochs: which flush takes a row, and what its object will be called.
//!
//! A row belongs to the epoch in which it was added. A flush takes all rows of its epoch, none of a
//! later one, and begins the next; so a row's epoch and day say in which object it will be. The id
//! of that object is known from the start: a query tells it with the rows, and a reader that finds
//! the object in the store a moment later knows that it has the rows already.
//!
//! An epoch's number is the time at which it began, made to rise. Rows that are replayed have
//! epochs of their own, before all others, because a flush during the replay must not claim more
//! than was replayed.

use std::hash::BuildHasher;

use foldhash::quality::FixedState;
use model::TenantId;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use storage::key;

/// Set in the epochs of rows that are pushed; not in those of the replay.
const LIVE: u64 = 1 << 63;
const NS_PER_MS: i64 = 1_000_000;

/// The epochs of a process.
#[derive(Debug)]
pub(crate) struct Epochs {
    /// Held for reading while a push adds its rows.
    live: RwLock<u64>,
    replay: Mutex<u64>,
    /// Makes ids of this process different from those of others.
    seeds: [FixedState; 2],
}

impl Epochs {
    /// The first epochs begin.
    pub(crate) fn new(now_ns: i64) -> Self {
        let seed = || FixedState::with_seed(key::new_id(now_ns) as u64);
        Self {
            live: RwLock::new(next(LIVE, now_ns)),
            replay: Mutex::new(next(0, now_ns)),
            seeds: [seed(), seed()],
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
        let drawn = line();
        (advance(&mut live, now_ns), drawn)
    }

    /// Begins the live epoch anew if it has no rows, so that the ids of its objects are not much
    /// older than the objects.
    pub(crate) fn renew_live(&self, now_ns: i64, is_empty: impl FnOnce() -> bool) {
        let mut live = self.live.write();
        if is_empty() {
            advance(&mut live, now_ns);
        }
    }

    /// Ends the epoch of the replay and begins the next. Returns the epoch that ended.
    pub(crate) fn end_replay(&self, now_ns: i64) -> u64 {
        advance(&mut self.replay.lock(), now_ns)
    }

    /// The id of the object that will have the rows of an epoch of a tenant and day: a ULID whose
    /// time is the start of the epoch.
    pub(crate) fn object_id(&self, epoch: u64, tenant: &TenantId, day: i64) -> u128 {
        let ms = u128::from(epoch & !LIVE) & 0xffff_ffff_ffff;
        let hash = |seed: &FixedState| seed.hash_one((epoch, tenant, day));
        let [low, high] = self.seeds.each_ref().map(hash);
        ms << 80 | u128::from(high as u16) << 64 | u128::from(low)
    }
}

/// Goes to the next epoch; returns the one before.
fn advance(epoch: &mut u64, now_ns: i64) -> u64 {
    std::mem::replace(epoch, next(*epoch, now_ns))
}

fn next(epoch: u64, now_ns: i64) -> u64 {
    let now_ms = u64::try_from(now_ns / NS_PER_MS).unwrap_or(0);
    (now_ms | (epoch & LIVE)).max(epoch + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = NS_PER_MS;

    #[test]
    fn epochs_rise_whatever_the_clock_says_and_the_replay_is_before_all() {
        let epochs = Epochs::new(5 * MS);
        let first = *epochs.live();
        assert!(epochs.replay() < first);
        let (ended, drawn) = epochs.end_live(9 * MS, || 7);
        assert_eq!((ended, drawn), (first, 7));
        let second = *epochs.live();
        epochs.end_live(MS, || ());
        assert!(first < second && second < *epochs.live());
        let replayed = epochs.end_replay(i64::MIN);
        assert!(replayed < epochs.replay() && epochs.replay() < first);
    }

    #[test]
    fn an_epoch_without_rows_begins_anew() {
        let epochs = Epochs::new(5 * MS);
        let first = *epochs.live();
        epochs.renew_live(9 * MS, || false);
        assert_eq!(*epochs.live(), first);
        epochs.renew_live(9 * MS, || true);
        let id = epochs.object_id(*epochs.live(), &TenantId::single(), 7);
        assert_eq!(key::id_time_ns(id), 9 * MS);
    }

    #[test]
    fn ids_are_fixed_from_the_start_of_an_epoch_and_differ() {
        let epochs = Epochs::new(5 * MS);
        let tenant = TenantId::single();
        let (first, ()) = epochs.end_live(5 * MS, || ());
        let id = epochs.object_id(first, &tenant, 7);
        assert_eq!(key::id_time_ns(id), 5 * MS);
        assert_eq!(epochs.object_id(first, &tenant, 7), id);
        let others = [
            epochs.object_id(first, &tenant, 8),
            epochs.object_id(*epochs.live(), &tenant, 7),
            epochs.object_id(epochs.replay(), &tenant, 7),
            epochs.object_id(first, &TenantId::new("other").unwrap(), 7),
            Epochs::new(5 * MS).object_id(first, &tenant, 7),
        ];
        assert!(others.iter().all(|other| *other != id));
    }
}
