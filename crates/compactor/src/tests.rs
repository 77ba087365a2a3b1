//! Compactors on stores in memory.

mod bed;
mod crashes;
mod crowds;
mod deletes;
mod indexes;
mod merging;
mod names;
mod retention;
