//! Memory of the blocks that a query has open.

use model::{CodedError, Reservation};
use parking_lot::Mutex;

use crate::query::Context;

/// What an open block takes of the query's memory, until nobody has it open.
#[derive(Debug)]
pub(crate) struct Held(Mutex<Reservation>);

impl Held {
    /// Takes so much for a block that is about to be read.
    ///
    /// # Errors
    /// If the query has no memory left; so of the others.
    pub(super) fn new(context: &Context, bytes: u64) -> Result<Self, CodedError> {
        let held = Self(Mutex::new(context.memory.reservation()));
        held.grow(context, bytes)?;
        Ok(held)
    }

    /// Takes more.
    pub(super) fn grow(&self, context: &Context, bytes: u64) -> Result<(), CodedError> {
        let grown = self.0.lock().grow(bytes);
        grown.map_err(|error| context.over_budget(&error))
    }

    /// Takes in how much the block holds in fact.
    pub(super) fn settle(&self, context: &Context, bytes: usize) -> Result<(), CodedError> {
        let (mut held, bytes) = (self.0.lock(), bytes as u64);
        let settled = match bytes.checked_sub(held.bytes()) {
            Some(more) => held.grow(more),
            None => {
                let less = held.bytes() - bytes;
                held.shrink(less);
                Ok(())
            }
        };
        settled.map_err(|error| context.over_budget(&error))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.lock().bytes()
    }
}
