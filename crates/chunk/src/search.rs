//! Finds the rows whose line contains a literal, without putting lines together.
//!
//! A literal is in a line if it is in the text of its template, in a value, or begins in one of
//! these and goes on in those behind it. [`plan`] lists these possibilities per template, as
//! conditions on values ("starts with", "is", "ends with"), and drops those that the stamps of the
//! columns rule out; what is left is looked up, column by column ([`column`]), and brought together
//! as rows ([`rows`]). A template with too many possibilities has its lines put together and
//! searched, so the answer is always exact.

mod column;
mod conditions;
mod identifiers;
mod literal;
mod plain;
mod plan;
mod rows;

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

pub use conditions::Search;
pub use literal::Needle;

use crate::meta::Span;
use crate::shape::Shape;
use crate::values::{Decoded, GroupView, Store, TextCursor};
use crate::{Block, BlockMeta, ChunkError, FoundLines, RowSet};
use plan::Plan;

/// Searches of which a block remembers what was found.
const FOUND_MAX: usize = 4;

impl BlockMeta {
    /// The bytes of the object that [`Block::find_rows`] needs; ranges that touch are one.
    ///
    /// # Errors
    /// If the meta is damaged.
    pub fn find_ranges(&self, needle: &Needle) -> Result<Vec<Range<u64>>, ChunkError> {
        let mut wanted = vec![false; self.frames.len()];
        self.want_needle(needle, &mut wanted)?;
        Ok(self.ranges_of(&wanted))
    }

    /// The bytes of the object that [`Block::search`] and, of what it finds, [`Block::lines_ranges`]
    /// need, ranges that touch are one; `None` if the templates alone say that no line meets the
    /// conditions.
    ///
    /// # Errors
    /// If the meta is damaged.
    pub fn search_ranges(&self, search: &Search) -> Result<Option<Vec<Range<u64>>>, ChunkError> {
        let mut wanted = vec![false; self.frames.len()];
        for (needles, negative) in search.conditions() {
            let mut may_be = needles.iter().any(Needle::is_empty);
            for needle in needles {
                may_be |= self.want_needle(needle, &mut wanted)?;
            }
            if !may_be && !negative {
                return Ok(None);
            }
        }
        // Where nothing had to be looked up because all lines are found, no plan asked for them.
        if let Some(shape) = self.shape()? {
            let visit = &mut |payload| self.want_payload(shape, payload, &mut wanted);
            shape.lines.number_payloads(visit);
        }
        Ok(Some(self.ranges_of(&wanted)))
    }

    /// Marks the frames that are needed to find a needle. Whether it may be somewhere.
    fn want_needle(&self, needle: &Needle, wanted: &mut [bool]) -> Result<bool, ChunkError> {
        let Some(shape) = self.shape()? else {
            self.want(&self.lengths.spans, wanted);
            self.want(&self.lines.spans, wanted);
            return Ok(true);
        };
        let visit = &mut |payload| self.want_payload(shape, payload, wanted);
        let plan = Plan::new(shape, &shape.lines, &needle.anywhere());
        plan.payloads(shape, &shape.lines, visit);
        Ok(!plan.is_empty())
    }

    /// The bytes of the templates' numbers and of some columns of lines.
    pub(crate) fn columns_ranges(&self, shape: &Shape, of_column: &[bool]) -> Vec<Range<u64>> {
        let mut wanted = vec![false; self.frames.len()];
        let group = &shape.lines;
        let visit = &mut |payload| self.want_payload(shape, payload, &mut wanted);
        group.number_payloads(visit);
        let columns = group.columns.iter().zip(of_column);
        for (column, _) in columns.filter(|(_, wanted)| **wanted) {
            column.payloads(shape, visit);
        }
        self.ranges_of(&wanted)
    }

    pub(crate) fn want_payload(&self, shape: &Shape, payload: u32, wanted: &mut [bool]) {
        if let Some(blob) = shape.payloads.get(payload as usize) {
            self.want(&blob.spans, wanted);
        }
    }

    pub(crate) fn want(&self, spans: &[Span], wanted: &mut [bool]) {
        for span in spans {
            if let Some(wanted) = wanted.get_mut(span.frame as usize) {
                *wanted = true;
            }
        }
    }
}

impl Block {
    /// The rows of the block whose line contains the needle: exactly these. What is decoded for
    /// it, see [`BlockMeta::find_ranges`], is kept for the next search and for
    /// [`Self::lines_of`].
    ///
    /// # Errors
    /// If needed bytes were not fetched, or they are damaged.
    pub fn find_rows(&self, needle: &Needle) -> Result<RowSet, ChunkError> {
        match self.store()? {
            Some(store) => find_in(store.lines(), needle),
            None if needle.is_empty() => Ok(RowSet::all(self.meta().rows() as usize)),
            None => plain::find(self, needle),
        }
    }

    /// The rows of the block whose line meets all conditions. They are remembered until the block
    /// was asked for some others: its runs are asked the same, and dashboards ask again and again.
    ///
    /// # Errors
    /// As [`Self::find_rows`].
    pub fn search(&self, search: &Search) -> Result<Arc<RowSet>, ChunkError> {
        if let Some(rows) = self.found(search) {
            return Ok(rows);
        }
        let shape = self.meta().shape()?;
        let rows = match shape.filter(|_| self.begins_first_search()) {
            Some(shape) => self.search_in_passing(search, shape)?,
            None => search.rows(self.meta().rows() as usize, |needle| self.find_rows(needle))?,
        };
        Ok(self.remember(search, rows))
    }

    /// Whether nothing was decoded so far and no search began; from now on one did.
    fn begins_first_search(&self) -> bool {
        self.decoded.get().is_none() && !self.was_searched.swap(true, Ordering::Relaxed)
    }

    /// Searches without keeping what is decoded, if nothing is found: most blocks are never searched
    /// for anything else, and memory that is given back at once serves the next block.
    fn search_in_passing(&self, search: &Search, shape: &Shape) -> Result<RowSet, ChunkError> {
        let decoded = Decoded::new(shape);
        let lines = Store::new(self, shape, &decoded).lines();
        let count = self.meta().rows() as usize;
        let rows = search.rows(count, |needle| find_in(lines, needle))?;
        if !rows.is_empty() {
            // If another search was quicker, its own is as good.
            let _ = self.decoded.set(decoded);
        }
        Ok(rows)
    }

    /// What [`Self::search`] found, if the block was asked for the same lately.
    #[must_use]
    pub fn found(&self, search: &Search) -> Option<Arc<RowSet>> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let same = found.iter().find(|(known, _)| known == search);
        same.map(|(_, rows)| Arc::clone(rows))
    }

    /// Takes in that no line meets the conditions, as [`BlockMeta::search_ranges`] said.
    pub fn rule_out(&self, search: &Search) {
        self.remember(search, RowSet::none(self.meta().rows() as usize));
    }

    fn remember(&self, search: &Search, rows: RowSet) -> Arc<RowSet> {
        let rows = Arc::new(rows);
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.retain(|(known, _)| known != search);
        found.truncate(FOUND_MAX - 1);
        found.push_front((search.clone(), Arc::clone(&rows)));
        rows
    }

    /// The lines of some rows of the block.
    ///
    /// # Errors
    /// As [`Self::find_rows`].
    pub fn lines_of(&self, rows: &RowSet) -> Result<FoundLines, ChunkError> {
        let Some(store) = self.store()? else {
            return plain::lines_of(self, rows);
        };
        self.walks.fetch_add(1, Ordering::Relaxed);
        let mut found = FoundLines::default();
        let mut cursor = TextCursor::new(store.lines(), self.meta().raw_bytes() as usize)?;
        for row in rows.iter() {
            cursor.put(row, &mut found.lines)?;
            found.ends.push(found.lines.len() as u32);
        }
        Ok(found)
    }

    /// The bytes of the object that [`Self::lines_of`] needs for these rows. Needs itself what
    /// [`Self::find_rows`] needs to find them.
    ///
    /// # Errors
    /// As [`Self::find_rows`].
    pub fn lines_ranges(&self, rows: &RowSet) -> Result<Vec<Range<u64>>, ChunkError> {
        let meta = self.meta();
        let mut wanted = vec![false; meta.frames.len()];
        let Some(store) = self.store()? else {
            meta.want(&meta.lengths.spans, &mut wanted);
            meta.want(&meta.lines.spans, &mut wanted);
            return Ok(meta.ranges_of(&wanted));
        };
        let (shape, group) = (store.shape, store.lines().group);
        let mut of_column = vec![false; group.columns.len()];
        for template in rows::templates_of(store.lines(), rows)? {
            for slot in &template.slots {
                if let Some(column) = of_column.get_mut(*slot as usize) {
                    *column = true;
                }
            }
        }
        Ok(meta.columns_ranges(shape, &of_column))
    }

    /// What a structured block is searched in.
    pub(crate) fn store(&self) -> Result<Option<Store<'_>>, ChunkError> {
        let shape = self.meta().shape()?;
        Ok(shape.map(|shape| {
            let decoded = self.decoded.get_or_init(|| Decoded::new(shape));
            Store::new(self, shape, decoded)
        }))
    }
}

/// The structured lines that contain the needle.
fn find_in(lines: GroupView<'_>, needle: &Needle) -> Result<RowSet, ChunkError> {
    if needle.is_empty() {
        return Ok(RowSet::all(lines.group.count as usize));
    }
    let condition = needle.anywhere();
    let plan = Plan::new(lines.store.shape, lines.group, &condition);
    rows::find(lines, &plan, &condition)
}
