//! Why a push, or a part of it, was not stored.

use model::{Exceeded, TenantId};

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
    /// The limits that refused it, if any did.
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

    /// The tenant's pushes, or some of its streams, are not taken for some time.
    pub(crate) fn blocked(status: u16, tenant: &TenantId, until: &str) -> Self {
        Self::new(
            status,
            format!(
                "ingestion blocked for user '{tenant}' until '{until}' with status code '{status}'"
            ),
        )
    }

    /// 413: more bytes than a limit allows.
    pub(crate) fn too_large(what: &str, limit_name: &'static str, limit_bytes: usize) -> Self {
        let exceeded = Exceeded {
            limits: vec![(limit_name, limit_bytes.to_string())],
            tenant: None,
        };
        Self {
            exceeded: Some(Box::new(exceeded)),
            ..Self::new(
                413,
                format!("{what} too large: {limit_name} is {limit_bytes} bytes"),
            )
        }
    }

    /// The same, because a limit of the tenant refused it.
    pub(crate) fn beyond(
        self,
        limit: &'static str,
        value: impl Into<String>,
        tenant: &TenantId,
    ) -> Self {
        let exceeded = Exceeded {
            limits: vec![(limit, value.into())],
            tenant: Some(tenant.clone()),
        };
        Self {
            exceeded: Some(Box::new(exceeded)),
            ..self
        }
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
