//! Bringing batches to where they belong.
//!
//! [`Deliver`] is one try; [`Courier`](courier::Courier) tries until a batch is taken or refused
//! for good: several requests of a tenant at a time, but never two with lines of the same stream,
//! so that streams stay in order; tenants beside each other, so that one that is held up does not
//! hold up others.

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
