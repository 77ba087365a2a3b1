//! Which page is in which slot.

use std::collections::HashMap;

use super::files::Records;
use super::{FileId, PageKey};

/// Where a page is, and how it is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) slot: u32,
    pub(super) len: u32,
    pub(super) crc: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    page: Option<(PageKey, Place)>,
    /// Since the hand came by.
    is_used: bool,
    /// Somebody writes to it.
    is_taken: bool,
}

/// All slots.
#[derive(Debug)]
pub(super) struct Table {
    slot_of: HashMap<PageKey, u32>,
    slots: Vec<Slot>,
    most: usize,
    hand: usize,
}

impl Table {
    /// The slots that the files have, in order.
    pub(super) fn new(records: Records, most: u32) -> Self {
        let mut table = Self {
            slot_of: HashMap::new(),
            slots: Vec::with_capacity(records.len()),
            most: most as usize,
            hand: 0,
        };
        for (number, record) in (0u32..).zip(records) {
            let page = record.filter(|(key, _)| !table.slot_of.contains_key(key));
            table.slot_of.extend(page.map(|(key, _)| (key, number)));
            table.slots.push(Slot {
                page,
                ..Slot::default()
            });
        }
        table
    }

    /// Pages that are there.
    pub(super) fn len(&self) -> usize {
        self.slot_of.len()
    }

    /// Where a page is, which counts as a use of it.
    pub(super) fn look_up(&mut self, key: PageKey) -> Option<Place> {
        let slot = *self.slot_of.get(&key)?;
        let slot = self.slots.get_mut(slot as usize)?;
        slot.is_used = true;
        slot.page.map(|(_, place)| place)
    }

    /// A slot for a page that is not there: a new one if `may_grow`, else that of another page.
    pub(super) fn take_slot(
        &mut self,
        key: PageKey,
        may_grow: impl FnOnce() -> bool,
    ) -> Option<u32> {
        if self.slot_of.contains_key(&key) {
            return None;
        }
        let taken = Slot {
            is_taken: true,
            ..Slot::default()
        };
        if self.slots.len() < self.most && may_grow() {
            self.slots.push(taken);
            return u32::try_from(self.slots.len() - 1).ok();
        }
        // Twice around: after the first time no slot counts as used.
        for _ in 0..self.slots.len().saturating_mul(2) {
            let at = self.hand;
            self.hand = (at + 1) % self.slots.len();
            let slot = self.slots.get_mut(at)?;
            if slot.is_taken || std::mem::take(&mut slot.is_used) {
                continue;
            }
            if let Some((old, _)) = slot.page {
                self.slot_of.remove(&old);
            }
            *slot = taken;
            return u32::try_from(at).ok();
        }
        None
    }

    /// A taken slot has the page now, or, if that failed, none.
    pub(super) fn fill(&mut self, slot: u32, key: PageKey, place: Option<Place>) {
        let Some(filled) = self.slots.get_mut(slot as usize) else {
            return;
        };
        *filled = Slot {
            page: place.map(|place| (key, place)),
            ..Slot::default()
        };
        if place.is_some() {
            self.slot_of.insert(key, slot);
        }
    }

    /// Frees the slots of all pages of some files, and says which.
    pub(super) fn forget(&mut self, files: &[FileId]) -> Vec<u32> {
        let mut freed = Vec::new();
        for (number, slot) in (0u32..).zip(&mut self.slots) {
            if let Some((key, _)) = slot.page
                && files.contains(&key.file)
            {
                self.slot_of.remove(&key);
                *slot = Slot::default();
                freed.push(number);
            }
        }
        freed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::FileKind;

    fn key(number: u32) -> PageKey {
        let file = FileId {
            kind: FileKind::Data,
            id: 1,
        };
        PageKey { file, number }
    }

    fn add(table: &mut Table, number: u32) -> u32 {
        let slot = table.take_slot(key(number), || true).unwrap();
        let place = Place {
            slot,
            len: 1,
            crc: 2,
        };
        table.fill(slot, key(number), Some(place));
        slot
    }

    #[test]
    fn what_is_used_stays() {
        let mut table = Table::new(Vec::new(), 3);
        for number in 0..3 {
            add(&mut table, number);
        }
        assert!(table.take_slot(key(1), || true).is_none(), "it is there");
        for number in 3..10 {
            assert!(table.look_up(key(0)).is_some());
            add(&mut table, number);
        }
        assert_eq!(table.len(), 3);
        assert!(table.look_up(key(0)).is_some() && table.look_up(key(9)).is_some());
        assert!(table.look_up(key(3)).is_none());
    }

    #[test]
    fn a_slot_that_is_written_to_is_left_alone() {
        let mut table = Table::new(Vec::new(), 2);
        let first = table.take_slot(key(0), || true).unwrap();
        let second = table.take_slot(key(1), || true).unwrap();
        assert_ne!(first, second);
        assert!(table.take_slot(key(2), || true).is_none());
        table.fill(first, key(0), None);
        assert_eq!(table.take_slot(key(2), || true), Some(first));
        let mut none = Table::new(Vec::new(), 0);
        assert!(none.take_slot(key(0), || true).is_none());
        let mut full = Table::new(Vec::new(), 5);
        assert!(full.take_slot(key(0), || false).is_none());
    }
}
