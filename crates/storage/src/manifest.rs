//! The manifest: a numbered log per tenant and day of what came to be and what went.
//!
//! An [`ManifestEntry`] is one atomic change. Entries are numbered from 1 without gaps; the number
//! is claimed by a conditional create, so of two writers with the same number one tries the next.
//! Replaying all entries in order gives the [`PartitionState`]; a checkpoint is that state after
//! some entry, so that readers need not start at 1. Both lie in the store as an envelope (magic,
//! version, length, CRC32C) around JSON: a person can read them with `tail -c +17`.

mod entry;
mod envelope;
mod state;

pub(crate) use entry::id;
pub use entry::{IndexFile, ManifestEntry, ObjectFile, Tombstone};
pub use envelope::{FileKind, decode_checkpoint, decode_entry, encode_checkpoint, encode_entry};
pub(crate) use envelope::{
    decode_claim, decode_delete, encode_claim, encode_delete, fuzz as fuzz_envelopes, is_damaged,
};
pub(crate) use state::Check;
pub use state::PartitionState;
