//! One small vocabulary of errors, mapped to HTTP and gRPC here and nowhere else.

use std::fmt;

use crate::TenantId;

/// What kind of failure it is; decides the status code a caller sees and whether it may retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request is wrong and will stay wrong. HTTP 400.
    InvalidArgument,
    /// No or wrong credentials, or no tenant. HTTP 401.
    Unauthenticated,
    /// Known, but not allowed. HTTP 403.
    PermissionDenied,
    /// No such thing. HTTP 404.
    NotFound,
    /// The body is larger than allowed. HTTP 413.
    TooLarge,
    /// Understood, but nothing in it can be processed. HTTP 422.
    Unprocessable,
    /// A limit of rate or number; later may work. HTTP 429.
    ResourceExhausted,
    /// The client went away. HTTP 499.
    Cancelled,
    /// Our fault. HTTP 500.
    Internal,
    /// Not now: starting, stopping, no quorum, store not reachable. HTTP 503.
    Unavailable,
    /// It took longer than the deadline. HTTP 504.
    DeadlineExceeded,
}

impl Code {
    /// The HTTP status.
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            Self::InvalidArgument => 400,
            Self::Unauthenticated => 401,
            Self::PermissionDenied => 403,
            Self::NotFound => 404,
            Self::TooLarge => 413,
            Self::Unprocessable => 422,
            Self::ResourceExhausted => 429,
            Self::Cancelled => 499,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::DeadlineExceeded => 504,
        }
    }

    /// The gRPC status code number (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
    #[must_use]
    pub fn grpc_status(self) -> i32 {
        match self {
            Self::Cancelled => 1,
            Self::InvalidArgument => 3,
            Self::DeadlineExceeded => 4,
            Self::NotFound => 5,
            Self::PermissionDenied => 7,
            Self::ResourceExhausted => 8,
            Self::Unprocessable => 9,
            Self::TooLarge => 11,
            Self::Internal => 13,
            Self::Unavailable => 14,
            Self::Unauthenticated => 16,
        }
    }

    /// The code of a gRPC status number; what is not ours is [`Code::Internal`].
    #[must_use]
    pub fn from_grpc_status(status: i32) -> Self {
        match status {
            1 => Self::Cancelled,
            3 => Self::InvalidArgument,
            4 => Self::DeadlineExceeded,
            5 => Self::NotFound,
            7 => Self::PermissionDenied,
            8 => Self::ResourceExhausted,
            9 => Self::Unprocessable,
            11 => Self::TooLarge,
            14 => Self::Unavailable,
            16 => Self::Unauthenticated,
            _ => Self::Internal,
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::ResourceExhausted | Self::Internal | Self::Unavailable | Self::DeadlineExceeded
        )
    }
}

/// Limits that a request went beyond. Where Loki has the limit the text of the error is Loki's, and
/// that often names neither limit nor tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Names of limits and their values.
    pub limits: Vec<(&'static str, String)>,
    /// Whose they are; `None` for bounds that are the same for everybody.
    pub tenant: Option<TenantId>,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, value) in &self.limits {
            write!(f, "{separator}{name}={value}")?;
            separator = "; ";
        }
        match &self.tenant {
            Some(tenant) => write!(f, "{separator}tenant={tenant}"),
            None => Ok(()),
        }
    }
}

/// An error with its kind: what crosses from one role to another, local or remote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CodedError {
    /// The kind.
    pub code: Code,
    /// What went wrong, for the person who made the request.
    pub message: String,
    /// The limit that was exceeded, if that is what went wrong. Not sent to other processes.
    pub exceeded: Option<Box<Exceeded>>,
}

impl CodedError {
    /// An error of this kind. Of a message that quotes something long the middle is left out.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: shortened(message.into()),
            exceeded: None,
        }
    }

    /// The same, because a limit of a tenant was exceeded.
    #[must_use]
    pub fn beyond(
        mut self,
        limit: &'static str,
        value: &dyn fmt::Display,
        tenant: &TenantId,
    ) -> Self {
        self.exceeded = Some(Box::new(Exceeded {
            limits: vec![(limit, value.to_string())],
            tenant: Some(tenant.clone()),
        }));
        self
    }

    /// The same, because a bound was exceeded that is the same for everybody.
    #[must_use]
    pub fn beyond_bound(mut self, bound: &'static str, value: &dyn fmt::Display) -> Self {
        self.exceeded = Some(Box::new(Exceeded {
            limits: vec![(bound, value.to_string())],
            tenant: None,
        }));
        self
    }
}

/// Bytes that are shown of each end of a long message.
const MESSAGE_END_BYTES: usize = 1 << 10;

/// A message as it is shown and logged. A long one quotes what somebody sent: of that the middle is
/// left out, as the end mostly says what is wrong with it.
fn shortened(message: String) -> String {
    if message.len() <= 2 * MESSAGE_END_BYTES {
        return message;
    }
    let head = message.floor_char_boundary(MESSAGE_END_BYTES);
    let tail = message.ceil_char_boundary(message.len() - MESSAGE_END_BYTES);
    let (before, rest) = message.split_at(head);
    let (middle, after) = rest.split_at(tail - head);
    format!("{before}[{} bytes more]{after}", middle.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_message_both_ends_are_shown() {
        let of = |count: usize| format!("stage '{}' : too long", "é".repeat(count));
        let short = of(1010);
        assert_eq!(
            CodedError::new(Code::Internal, short.clone()).message,
            short
        );
        let long = CodedError::new(Code::Internal, of(100_000)).message;
        assert!(long.len() < 2 * MESSAGE_END_BYTES + 30, "{}", long.len());
        assert!(long.starts_with("stage 'éé") && long.ends_with("é' : too long"));
        let (_, rest) = long.split_once('[').unwrap();
        let (left_out, _) = rest.split_once(" bytes more]").unwrap();
        let left_out: usize = left_out.parse().unwrap();
        let marker = format!("[{left_out} bytes more]").len();
        assert_eq!(long.len() - marker + left_out, of(100_000).len());
    }

    #[test]
    fn what_was_exceeded_has_one_line() {
        let tenant = TenantId::new("team").unwrap();
        let error = CodedError::new(Code::InvalidArgument, "x").beyond("max_a", &5, &tenant);
        let exceeded = error.exceeded.unwrap().to_string();
        assert_eq!(exceeded, "max_a=5; tenant=team");
        let error = CodedError::new(Code::InvalidArgument, "x").beyond_bound("depth_max", &5);
        assert_eq!(error.exceeded.unwrap().to_string(), "depth_max=5");
    }

    #[test]
    fn codes_survive_grpc() {
        use Code::*;
        for code in [
            InvalidArgument,
            Unauthenticated,
            PermissionDenied,
            NotFound,
            TooLarge,
            Unprocessable,
            ResourceExhausted,
            Cancelled,
            Internal,
            Unavailable,
            DeadlineExceeded,
        ] {
            assert_eq!(Code::from_grpc_status(code.grpc_status()), code);
        }
    }
}
