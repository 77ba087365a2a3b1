//! Keeps object storage small and in order, beside everything else: what it does is never needed
//! for a right answer, and a crash at any moment leaves nothing but files that nobody refers to.
//!
//! For every partition, a tenant's day, it
//! * merges the many small objects of flushes into few large ones (`plan` says which), and their
//!   label indexes into one. Rows are merged by stream and time; copies of replicas are dropped; a
//!   large block that nothing interleaves is copied byte for byte (`rewrite`, `merge`, `kway`, `writer`);
//! * makes label indexes that are damaged again, from what the objects say of themselves (`indexes`);
//! * drops what is older than its tenant's retention: whole objects where that suffices, streams
//!   out of objects once their day has passed (`retention`); and the oldest objects of a tenant that
//!   has more than it may keep (`excess`);
//! * takes rows that were asked to be deleted out of the data (`deletes`), also out of what comes
//!   after the request was carried out, for as long as queries obey it;
//! * deletes files that are no longer referred to, when nobody can be reading them any more, and
//!   files that never were (`sweep`).
//!
//! *Invariants.* What takes the place of old files is written and compared with them before one
//! manifest entry swaps the two: copied blocks byte for byte, rows by the hash that they have when
//! they are read and when what was written is read again (`check`). That entry is refused if an old
//! file is gone already, so of two compactors at work on a partition one succeeds and the other has
//! done nothing; a claim on the partition (`hold`) only saves them the work. A job that fails deletes what it wrote, and
//! what made it fail is left out for a while (`aside`). Memory is bounded by `target_object_size`,
//! `memory` and `max_concurrent`.
//!
//! Start at [`Compactor::run`].

mod aside;
mod check;
mod config;
mod deletes;
mod error;
mod excess;
mod hold;
mod indexes;
mod kway;
mod merge;
mod metrics;
mod open;
mod partition;
mod plan;
mod retention;
mod rewrite;
mod run;
mod sketch;
mod slices;
mod survey;
mod sweep;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;

use model::Budget;
use server::Overrides;
use storage::Catalog;

pub use config::Config;
pub use error::CompactError;
pub use metrics::Metrics;

/// The compactor of a process.
pub struct Compactor {
    config: Config,
    catalog: Catalog,
    overrides: Overrides,
    /// Who commits.
    writer: String,
    metrics: Metrics,
    memory: Arc<Budget>,
    checked: deletes::Checked,
    aside: aside::Aside,
    sound: indexes::Sound,
}

impl Compactor {
    /// A compactor of what `catalog` has, which commits in the name of `writer`.
    #[must_use]
    pub fn new(
        config: Config,
        catalog: Catalog,
        overrides: Overrides,
        writer: String,
        metrics: Metrics,
    ) -> Self {
        Self {
            memory: Budget::new("compactor.memory", config.memory.0),
            checked: deletes::Checked::default(),
            aside: aside::Aside::default(),
            sound: indexes::Sound::default(),
            config,
            catalog,
            overrides,
            writer,
            metrics,
        }
    }

    fn now_ns(&self) -> i64 {
        self.catalog.clock().now_ns()
    }
}
