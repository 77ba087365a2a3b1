//! What reading goes through.

use super::generation::{Buffer, Unpacking};
use super::known::Known;
use super::siblings::Listings;
use super::stamps::LastStamp;
use crate::clock::Now;
use crate::metrics::Metrics;
use crate::outbox::Outbox;

/// What all sources of a reader share.
pub(crate) struct Desk {
    pub(crate) known: Known,
    pub(crate) buffer: Buffer,
    pub(crate) outbox: Outbox,
    pub(crate) stamps: LastStamp,
    pub(crate) metrics: Metrics,
    pub(crate) unpacking: Unpacking,
    /// The names in directories, during one look at all globs.
    pub(crate) listings: Listings,
    /// When what is under way began.
    pub(crate) now: Now,
}
