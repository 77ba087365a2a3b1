//! Takes rows in, keeps them safe and searchable until they are in the store.
//!
//! The crate owns the streams of its tenants ([`Ingester`]), their heads, the write-ahead log, and
//! the flush into the store. It implements [`Ingest`](proto::role::Ingest) and
//! [`Select`](proto::role::Select).
//!
//! *A row's way.* A push adds its rows to the heads of their streams and its record to the queue of
//! the log; it is acknowledged when the record is synced, together with those of other pushes. Full
//! heads, and the largest ones when memory is short, are cut and encoded into blocks by a few
//! workers. A flush takes everything there is, writes an object, its index and a manifest entry per
//! tenant and day, lets go of the rows, and removes the log up to there.
//!
//! *Invariants.*
//! * What is acknowledged is synced to the log, and nothing leaves memory or log before the
//!   manifest entry of its object is committed.
//! * Sequence numbers of the log and epochs of the heads draw the same line: the rows of a flush
//!   are exactly those of the records up to its watermark. The watermark is in the manifest entry,
//!   so a replay after a crash at any moment neither loses a row nor stores one twice.
//! * A query sees a row here or in the store, never both, never neither: the snapshot of its
//!   streams and what it says of the store are taken under the lock under which a flush lets go.
//! * A row is refused alone, and said so; a row that is there already is success. A copy of a row
//!   in memory is found while there is memory for that; one that is not lies in another part than
//!   the row, where queries and the compactor find it.
//! * Heads, blocks, queue, log, tails and queries are bounded; a push that finds no room waits a
//!   little and is refused. A log that cannot be written refuses pushes until it can.
//!
//! Start at `push.rs` for the way in, `flush.rs` for the way out, `replay.rs` for the start,
//! `select.rs` for queries; `stream.rs` is where a row is.

mod block;
mod config;
mod encode;
mod epoch;
mod error;
mod flush;
pub mod fuzz;
mod head;
mod ingester;
mod losses;
mod memory;
mod metrics;
mod outgoing;
mod plan;
mod push;
mod replay;
mod routes;
mod select;
mod stream;
mod tail;
mod tenant;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod wal;

pub use config::{BlockCodec, Config, WalConfig};
pub use error::{StartError, WalError};
pub use ingester::{Deps, Ingester, LimitsOf, NotReady, StreamLimitOf, stream_limit};
pub use metrics::Metrics;
pub use routes::routes;
pub use wal::{Disk, DiskFile, OsDisk};
