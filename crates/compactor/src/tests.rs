//! Compactors on stores in memory.

mod bed;
mod crashes;
mod deletes;
mod merging;
mod names;
mod retention;
