//! A unit whose blocks are open, and its scan.

use std::sync::Arc;

use model::CodedError;
use scan::{ScanError, Source};

use super::Unit;
use super::held::Held;
use crate::query::Context;

/// What is open of a unit.
#[derive(Debug, Default)]
pub(crate) struct OpenUnit {
    sources: Vec<Source>,
    /// Of which block of the unit each source is, and the memory that it takes.
    blocks: Vec<(usize, Arc<Held>)>,
    is_damaged: bool,
}

impl OpenUnit {
    /// Adds a source of one of the unit's blocks.
    pub(super) fn add(&mut self, block: usize, source: Source, held: Arc<Held>) {
        self.blocks.push((block, held));
        self.sources.push(source);
    }

    /// Takes in that a block of the unit cannot be read.
    pub(super) fn is_damaged_now(&mut self) {
        self.is_damaged = true;
    }

    /// Whether a block of the unit is left out as it is damaged.
    pub(crate) fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    /// Whether there is nothing to scan.
    pub(crate) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Whether rows of several blocks are merged.
    pub(crate) fn is_merged(&self) -> bool {
        self.sources.len() > 1
    }

    /// Scans the blocks, which have to be weighed after that. One that turns out to be damaged is left
    /// out of the answer, and the others are scanned once more.
    ///
    /// # Errors
    /// If `work` ends early for another reason.
    pub(crate) fn scan(
        &mut self,
        context: &Context,
        unit: &Unit,
        mut work: impl FnMut(&[Source], &mut scan::Context<'_>) -> Result<(), ScanError>,
    ) -> Result<(), CodedError> {
        loop {
            let scanned = context.scan(|scanning| work(&self.sources, scanning));
            let (number, error) = match scanned {
                Err(ScanError::Block { number, error }) if number < self.sources.len() => {
                    (number, error)
                }
                Err(error) => return Err(context.ended(error)),
                Ok(()) => break,
            };
            self.sources.remove(number);
            let (block, _) = self.blocks.remove(number);
            if let Some(run) = unit.blocks.get(block) {
                context.unless_damaged::<()>(Err(run.damaged(&error)), run.lost())?;
            }
            self.is_damaged = true;
        }
        Ok(())
    }

    /// Whether the one block of the unit is the first of another.
    pub(crate) fn goes_on_in(&self, next: &Self) -> bool {
        match (self.sources.as_slice(), next.sources.first()) {
            ([Source::Block { block, .. }], Some(Source::Block { block: first, .. })) => {
                Arc::ptr_eq(block, first)
            }
            _ => false,
        }
    }

    /// Takes in how much the blocks hold now that they were scanned. One with a single run is
    /// closed with the unit.
    ///
    /// # Errors
    /// If the query has no memory for it.
    pub(crate) fn weigh(&self, context: &Context, unit: &Unit) -> Result<(), CodedError> {
        let objects = context.querier.catalog().objects();
        for (source, (number, held)) in self.sources.iter().zip(&self.blocks) {
            if let (Source::Block { block, .. }, Some(run)) = (source, unit.blocks.get(*number)) {
                objects.weigh(run.object.id, block);
                if block.meta().runs().len() > 1 {
                    held.settle(context, block.heap_bytes())?;
                }
            }
        }
        Ok(())
    }
}
