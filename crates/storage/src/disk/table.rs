//! Which page is in which slot.

use std::collections::{HashMap, HashSet, VecDeque};

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

/// Files that are no more, of which late pages are refused; before that many, they are forgotten.
const GONE_MAX: usize = 4096;

/// All slots.
#[derive(Debug)]
pub(super) struct Table {
    slot_of: HashMap<PageKey, u32>,
    slots: Vec<Slot>,
    gone: HashSet<FileId>,
    /// The same, the oldest first.
    gone_in_order: VecDeque<FileId>,
    most: usize,
    hand: usize,
}

impl Table {
    /// The slots that the files have, in order.
    pub(super) fn new(records: Records, most: u32) -> Self {
        let mut table = Self {
            slot_of: HashMap::new(),
            slots: Vec::with_capacity(records.len()),
            gone: HashSet::new(),
            gone_in_order: VecDeque::new(),
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

    /// The files that there are pages of.
    pub(super) fn files(&self) -> HashSet<FileId> {
        self.slot_of.keys().map(|page| page.file).collect()
    }

    /// Where a page is, which counts as a use of it.
    pub(super) fn look_up(&mut self, key: PageKey) -> Option<Place> {
        let slot = *self.slot_of.get(&key)?;
        let slot = self.slots.get_mut(slot as usize)?;
        slot.is_used = true;
        slot.page.map(|(_, place)| place)
    }

    /// Drops a page that is not what it should be, unless another has its place by now.
    pub(super) fn drop_page(&mut self, key: PageKey, place: Place) {
        if let Some(slot) = self.slots.get_mut(place.slot as usize)
            && slot.page == Some((key, place))
        {
            *slot = Slot::default();
            self.slot_of.remove(&key);
        }
    }

    /// A slot for a page that is not there: one without a page if `may_grow`, as it takes room on
    /// the disk, else that of another page.
    pub(super) fn take_slot(&mut self, key: PageKey, may_grow: bool) -> Option<u32> {
        if self.slot_of.contains_key(&key) || self.gone.contains(&key.file) {
            return None;
        }
        let taken = Slot {
            is_taken: true,
            ..Slot::default()
        };
        if self.slots.len() < self.most && may_grow {
            self.slots.push(taken);
            return u32::try_from(self.slots.len() - 1).ok();
        }
        // Twice around: after the first time no slot counts as used.
        for _ in 0..self.slots.len().saturating_mul(2) {
            let at = self.hand;
            self.hand = (at + 1) % self.slots.len();
            let slot = self.slots.get_mut(at)?;
            let is_free = slot.page.is_some() || may_grow;
            if slot.is_taken || !is_free || std::mem::take(&mut slot.is_used) {
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

    /// A taken slot has the page now. `false` if its file is gone: the slot is still taken then.
    pub(super) fn fill(&mut self, key: PageKey, place: Place) -> bool {
        if self.gone.contains(&key.file) {
            return false;
        }
        if let Some(slot) = self.slots.get_mut(place.slot as usize) {
            *slot = Slot {
                page: Some((key, place)),
                ..Slot::default()
            };
            self.slot_of.insert(key, place.slot);
        }
        true
    }

    /// A taken slot has no page.
    pub(super) fn release(&mut self, slot: u32) {
        if let Some(slot) = self.slots.get_mut(slot as usize) {
            *slot = Slot::default();
        }
    }

    /// Takes the slots of all pages of files that are no more, and says which. Late pages of these
    /// files are refused.
    pub(super) fn forget(&mut self, files: &[FileId]) -> Vec<u32> {
        for file in files {
            if self.gone.insert(*file) {
                self.gone_in_order.push_back(*file);
            }
            if self.gone_in_order.len() > GONE_MAX
                && let Some(oldest) = self.gone_in_order.pop_front()
            {
                self.gone.remove(&oldest);
            }
        }
        let files: HashSet<&FileId> = files.iter().collect();
        let mut taken = Vec::new();
        for (number, slot) in (0u32..).zip(&mut self.slots) {
            if let Some((key, _)) = slot.page
                && files.contains(&key.file)
            {
                self.slot_of.remove(&key);
                *slot = Slot {
                    is_taken: true,
                    ..Slot::default()
                };
                taken.push(number);
            }
        }
        taken
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
        let slot = table.take_slot(key(number), true).unwrap();
        assert!(table.fill(key(number), place(slot)));
        slot
    }

    fn place(slot: u32) -> Place {
        Place {
            slot,
            len: 1,
            crc: 2,
        }
    }

    #[test]
    fn what_is_used_stays() {
        let mut table = Table::new(Vec::new(), 3);
        for number in 0..3 {
            add(&mut table, number);
        }
        assert!(table.take_slot(key(1), true).is_none(), "it is there");
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
        let first = table.take_slot(key(0), true).unwrap();
        let second = table.take_slot(key(1), true).unwrap();
        assert_ne!(first, second);
        assert!(table.take_slot(key(2), true).is_none());
        table.release(first);
        assert!(table.take_slot(key(2), false).is_none(), "it takes room");
        assert_eq!(table.take_slot(key(2), true), Some(first));
        let mut none = Table::new(Vec::new(), 0);
        assert!(none.take_slot(key(0), true).is_none());
        let mut full = Table::new(Vec::new(), 5);
        assert!(full.take_slot(key(0), false).is_none());
    }

    #[test]
    fn a_file_that_is_gone_leaves_nothing_and_late_pages_are_refused() {
        let mut table = Table::new(Vec::new(), 3);
        let slot = add(&mut table, 0);
        let written = table.take_slot(key(1), true).unwrap();
        assert_eq!(table.forget(&[key(0).file]), [slot]);
        assert!(!table.fill(key(1), place(written)));
        assert!(table.take_slot(key(2), true).is_none());
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn a_page_that_is_not_what_it_should_be_makes_room_for_itself() {
        let mut table = Table::new(Vec::new(), 1);
        let slot = add(&mut table, 0);
        let other = Place {
            crc: 7,
            ..place(slot)
        };
        table.drop_page(key(0), other);
        assert_eq!(table.len(), 1);
        table.drop_page(key(0), place(slot));
        assert_eq!(add(&mut table, 0), slot);
    }
}
