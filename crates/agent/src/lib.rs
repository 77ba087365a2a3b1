//! The agent: discover, tail, relabel, stage, batch, deliver.
//!
//! An [`Agent`] is made from promtail's [`Config`]. A scout looks for the files of its targets; for
//! each client a reader, on a thread of its own, tails them all, sends their lines through the
//! stages of their job and collects what comes out into batches; a courier brings the batches to
//! the client and tells the reader when one is done with. Only then the positions advance, and a
//! saver writes them down.
//!
//! *Invariants.* A file is known by its device, inode and bytes, never by its name alone. Every
//! line of every file that bore a name is read, unless the file is gone before that; then this is
//! counted and logged with file and offset. A position never passes a line that was not taken, or
//! dropped as the configuration asks. What is read and not acknowledged is bounded; beyond it
//! reading waits, and nothing is dropped. A client that is held up holds up no other, a tenant no
//! other either.
//!
//! Start reading at [`Agent::run`], then `reader` for what one turn does, `tail::source` for how
//! files become lines, and `tail::rotate` and `tail::restore` for how files are found again.

mod access;
mod agent;
mod batch;
mod clock;
pub mod config;
mod console;
mod deliver;
mod discover;
mod entry;
mod feed;
mod metrics;
mod outbox;
mod positions;
mod reader;
mod receive;
mod relabel;
mod routes;
mod scout;
pub mod stages;
mod streams;
mod tail;

pub use agent::{Agent, Deps, StartError};
pub use config::{Config, ConfigError};
pub use deliver::{Deliver, DeliverError, HttpClient, HttpClientError};
pub use entry::Entry;
pub use metrics::AgentMetrics;
pub use relabel::{RelabelConfig, RelabelError, relabel};
