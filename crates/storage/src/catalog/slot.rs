//! Partitions in memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use model::TenantId;
use parking_lot::{Mutex, RwLock};

use crate::manifest::PartitionState;

/// One partition: what is known of it, and since when.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) tenant: TenantId,
    pub(crate) day: i64,
    known: RwLock<Known>,
    touched_ns: AtomicI64,
    /// Held while the log is read or written, so that it is read once for all who wait.
    pub(crate) log: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) state: Arc<PartitionState>,
    /// When the end of the log was last looked for; 0 before the first time.
    pub(crate) checked_ns: i64,
}

impl Slot {
    pub(crate) fn known(&self) -> Known {
        self.known.read().clone()
    }

    /// Replaces the state unless it would go back.
    pub(crate) fn set(&self, state: Arc<PartitionState>, checked_ns: Option<i64>) {
        let mut known = self.known.write();
        if state.seq >= known.state.seq {
            known.state = state;
        }
        if let Some(checked_ns) = checked_ns {
            known.checked_ns = checked_ns.max(known.checked_ns);
        }
    }

    pub(crate) fn touch(&self, now_ns: i64) {
        self.touched_ns.fetch_max(now_ns, Ordering::Relaxed);
    }

    pub(crate) fn is_touched_since(&self, since_ns: i64) -> bool {
        self.touched_ns() >= since_ns
    }

    fn touched_ns(&self) -> i64 {
        self.touched_ns.load(Ordering::Relaxed)
    }
}

/// All partitions in memory, bounded.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    slots: Mutex<HashMap<(TenantId, i64), Arc<Slot>>>,
}

impl Slots {
    pub(crate) fn slot(&self, tenant: &TenantId, day: i64) -> Arc<Slot> {
        let mut slots = self.slots.lock();
        let slot = slots.entry((tenant.clone(), day)).or_insert_with(|| {
            Arc::new(Slot {
                tenant: tenant.clone(),
                day,
                known: RwLock::default(),
                touched_ns: AtomicI64::new(0),
                log: tokio::sync::Mutex::default(),
            })
        });
        Arc::clone(slot)
    }

    /// Drops partitions not touched since `since_ns`, and the least recently touched beyond `max`.
    /// Returns those that are left.
    pub(crate) fn trim(&self, since_ns: i64, max: usize) -> Vec<Arc<Slot>> {
        let mut slots = self.slots.lock();
        // A slot that someone holds stays: two slots of a partition would lock apart.
        let is_free = |slot: &Arc<Slot>| Arc::strong_count(slot) == 1;
        slots.retain(|_, slot| slot.touched_ns() >= since_ns || !is_free(slot));
        if slots.len() > max {
            let mut by_age: Vec<_> = slots.values().map(|slot| slot.touched_ns()).collect();
            by_age.sort_unstable_by(|a, b| b.cmp(a));
            let youngest_dropped = by_age.get(max).copied().unwrap_or(i64::MIN);
            slots.retain(|_, slot| slot.touched_ns() > youngest_dropped || !is_free(slot));
        }
        slots.values().cloned().collect()
    }
}
