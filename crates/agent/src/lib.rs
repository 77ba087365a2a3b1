//! The agent: discover, tail, relabel, stage, batch, deliver.

mod entry;

pub use entry::Entry;
