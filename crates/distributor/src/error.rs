//! Why a push, or a part of it, was not stored.

use model::Exceeded;

/// The answer to a push that was not stored, or not as a whole.
///
/// A status number rather than a [`model::Code`]: Loki answers some refusals with numbers that no
/// other request gets, such as 260 for tenants whose ingestion is blocked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// HTTP status.
    pub status: u16,
    /// What the sender is told.
    pub message: String,
    /// The limits of the tenant that refused it, if any did.
    pub exceeded: Option<Box<Exceeded>>,
}

impl Rejection {
    /// Any status.
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            exceeded: None,
        }
    }

    /// 400: the request is wrong and will stay wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    /// 413: more bytes than a limit allows.
    pub(crate) fn too_large(what: &str, limit_name: &str, limit_bytes: usize) -> Self {
        Self::new(
            413,
            format!("{what} too large: distributor.{limit_name} is {limit_bytes} bytes"),
        )
    }

    /// 422: the request has nothing to store.
    pub(crate) fn nothing_to_store() -> Self {
        Self::new(
            422,
            "error at least one valid stream is required for ingestion",
        )
    }

    /// 503: not now.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, message)
    }

    /// Whether the same push may be stored later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.status == 429 || self.status >= 500
    }
}

/// What became of a push.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushOutcome {
    /// Rows that the write quorum has durably.
    pub stored_rows: usize,
    /// Rows that were refused for good, each for itself.
    pub refused_rows: usize,
    /// What the sender is told, unless everything was stored. With `stored_rows` above zero it is
    /// about the refused rows only, and pushing again stores nothing more.
    pub rejection: Option<Rejection>,
}

impl PushOutcome {
    /// Whether the push should be sent again as it is: nothing of it is known to be stored, and it
    /// may be stored later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.stored_rows == 0 && self.rejection.as_ref().is_some_and(Rejection::is_retryable)
    }
}

impl From<Rejection> for PushOutcome {
    fn from(rejection: Rejection) -> Self {
        Self {
            rejection: Some(rejection),
            ..Self::default()
        }
    }
}
