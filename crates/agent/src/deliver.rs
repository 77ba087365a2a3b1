//! Bringing batches to where they belong.
//!
//! [`Deliver`] is one try; [`Courier`](courier::Courier) tries until a batch is taken or refused
//! for good: several requests of a tenant at a time, but never two with lines of the same stream,
//! so that streams stay in order; tenants beside each other, so that one that is held up does not
//! hold up others.
//!
//! *Nothing twice.* A batch is sent again when nobody knows whether it was taken: after a try without
//! an answer, and by the next agent after a crash. Batches have no number, since the next agent would
//! not cut the same ones; what is known again is each row, by its stream, time and content. That holds
//! because a row that comes again is the very same: its labels come from the name that its file is
//! known by in the positions, its time from its line, from its source (the journal, Docker), or from
//! the stamp that was saved before it was sent; and what else it was made of than its lines, such as
//! a wait that ended or the time of an earlier line, is saved before it is sent too. And because the rows of a stream come in the order of
//! their times, from one lane, a server that has flushed a row and knows only the newest of its stream
//! can tell that an older row was there: what may be such a row is sent as one
//! (`may_repeat`), so that it is not told as lost. A number could do no more: a server that did not
//! get to its answer does not know either which replicas have a batch, and the next one that is asked
//! has never heard of it, while a row is known wherever a copy of it is. So Skald stores and shows each row once; any other
//! server stores at least one, and what it stores twice is bounded by what was not acknowledged.
//!
//! Not known again is what has no time of its own but that of its arrival: lines of syslog without
//! `use_incoming_timestamp`, and of those who push to the agent; they are not sent again after a crash
//! either. Nor, where the agent crashed between, lines in parts (`cri`) or blocks (`multiline`) that
//! others of more than a megabyte lie among; nor a block or a `pack` with `ingest_timestamp` of lines
//! that are not from files. Two lines of one stream that are equal and have equal times of their own
//! count as one.

mod courier;
mod http;

use std::time::Duration;

use async_trait::async_trait;
use proto::logproto::PushRequest;

pub(crate) use courier::{Backoff, Courier, Outcome};
pub use http::{HttpClient, HttpClientError};

/// One try to bring entries to where they belong.
#[async_trait]
pub trait Deliver: Send + Sync {
    /// Brings `request`, whose lines belong to `tenant` if a stage said so. With `may_repeat`, some
    /// of them may have been taken already: by a try without an answer, or before the agent was
    /// started anew.
    ///
    /// # Errors
    /// If the entries, or some of them, were not taken.
    async fn push(
        &self,
        tenant: Option<&str>,
        request: &PushRequest,
        may_repeat: bool,
    ) -> Result<(), DeliverError>;
}

/// Why entries were not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliverError {
    /// They may be taken later: no answer, or one that says so.
    #[error("{message}")]
    Later {
        /// Whether the rate was the reason.
        is_rate_limited: bool,
        /// How long to wait, if that was said.
        after: Option<Duration>,
        /// What went wrong.
        message: String,
    },
    /// Some or all are refused for good. The others, if any, were taken.
    #[error("{message}")]
    Refused {
        /// How many were refused, if that was said; else all.
        entries: Option<usize>,
        /// Why.
        message: String,
    },
}
