//! What a client is told when something is refused or fails, and why a registry does not start.

use std::fmt;

use axum::response::{IntoResponse, Response};
use http::header::{HeaderName, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::meta::{Event, Meta, Tell};
use crate::who::Who;

/// Why a registry does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be opened or brought up to date.
    #[error("cannot open the registry's database")]
    Meta(#[from] crate::meta::MetaError),
    /// The store cannot be opened.
    #[error("cannot open the registry's store")]
    Store(#[from] storage::StorageError),
    /// A directory or file of the registry cannot be used.
    #[error("cannot use {path}")]
    File {
        /// The file or directory.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something of the registry's own.
    #[error("{0}")]
    Own(String),
}

impl StartError {
    /// Whether the same may work a moment later: the database's server is not there, or not yet.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Meta(error) if error.is_absence())
    }
}

/// The codes of the Distribution Specification, and ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    Conflict,
    DigestInvalid,
    /// What the database knows and the store has lost.
    Lost,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    PaginationInvalid,
    PreconditionFailed,
    RangeInvalid,
    SizeInvalid,
    Unauthorized,
    Denied,
    Unsupported,
    TooManyRequests,
    Unavailable,
    Internal,
}

impl Code {
    /// The word in the body, and the usual status.
    pub(crate) fn word_and_status(self) -> (&'static str, StatusCode) {
        match self {
            Self::BlobUnknown => ("BLOB_UNKNOWN", StatusCode::NOT_FOUND),
            Self::BlobUploadInvalid => ("BLOB_UPLOAD_INVALID", StatusCode::BAD_REQUEST),
            Self::BlobUploadUnknown => ("BLOB_UPLOAD_UNKNOWN", StatusCode::NOT_FOUND),
            Self::Conflict => ("CONFLICT", StatusCode::CONFLICT),
            Self::DigestInvalid => ("DIGEST_INVALID", StatusCode::BAD_REQUEST),
            Self::ManifestBlobUnknown => ("MANIFEST_BLOB_UNKNOWN", StatusCode::BAD_REQUEST),
            Self::ManifestInvalid => ("MANIFEST_INVALID", StatusCode::BAD_REQUEST),
            Self::ManifestUnknown => ("MANIFEST_UNKNOWN", StatusCode::NOT_FOUND),
            Self::NameInvalid => ("NAME_INVALID", StatusCode::BAD_REQUEST),
            Self::NameUnknown => ("NAME_UNKNOWN", StatusCode::NOT_FOUND),
            Self::PaginationInvalid => ("PAGINATION_NUMBER_INVALID", StatusCode::BAD_REQUEST),
            Self::PreconditionFailed => ("PRECONDITION_FAILED", StatusCode::PRECONDITION_FAILED),
            Self::RangeInvalid => ("RANGE_INVALID", StatusCode::RANGE_NOT_SATISFIABLE),
            Self::SizeInvalid => ("SIZE_INVALID", StatusCode::BAD_REQUEST),
            Self::Unauthorized => ("UNAUTHORIZED", StatusCode::UNAUTHORIZED),
            Self::Denied => ("DENIED", StatusCode::FORBIDDEN),
            Self::Unsupported => ("UNSUPPORTED", StatusCode::METHOD_NOT_ALLOWED),
            Self::TooManyRequests => ("TOOMANYREQUESTS", StatusCode::TOO_MANY_REQUESTS),
            Self::Lost | Self::Unavailable => ("UNAVAILABLE", StatusCode::SERVICE_UNAVAILABLE),
            Self::Internal => ("UNKNOWN", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// Whether the same may work a moment later.
    fn is_passing(self) -> bool {
        matches!(self, Self::Lost | Self::TooManyRequests | Self::Unavailable)
    }

    pub(crate) fn word(self) -> &'static str {
        self.word_and_status().0
    }
}

/// Left with an answer for who writes the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ErrorCode(pub(crate) &'static str);

/// A refusal or failure: what a client can act on.
#[derive(Debug)]
pub(crate) struct Error {
    pub(crate) code: Code,
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// What the audit trail is to tell of it.
    pub(crate) event: Option<Box<Event>>,
    /// Facts for programs.
    pub(crate) detail: Map<String, Value>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

/// The body of the answer: what the Distribution Specification has for one error or several.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Errors {
    #[schemars(with = "Vec<Told>")]
    errors: [Told; 1],
}

/// An error as it is told.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Error")]
struct Told {
    /// The word of a program: those of the Distribution Specification, and ours.
    code: &'static str,
    /// For people.
    message: String,
    /// Facts for programs, among them `request_id`.
    detail: Map<String, Value>,
}

impl Error {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            status: code.word_and_status().1,
            message: message.into(),
            event: None,
            detail: Map::new(),
            headers: Vec::new(),
        }
    }

    /// Our fault. The cause is logged here, the one place where it is known; the client is not told.
    pub(crate) fn internal(what: &str, cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(what, error = %cause, "request failed");
        Self::new(Code::Internal, format!("{what} failed; try again"))
    }

    /// Another status than the code usually has.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// What the audit trail is to tell of it, besides why.
    pub(crate) fn with_event(mut self, event: Event) -> Self {
        self.event = Some(Box::new(event));
        self
    }

    /// What is to be told of a refusal to somebody, if anything is.
    pub(crate) fn untold(&mut self, who: impl FnOnce() -> Who) -> Option<Tell> {
        let event = self.event.take()?;
        let reason = Some(self.message.clone());
        let event = Event { reason, ..*event };
        Some(Tell { who: who(), event })
    }

    /// The same once the audit trail has been told, or that this failed.
    pub(crate) async fn told(mut self, meta: &Meta, who: &Who) -> Self {
        match self.untold(|| who.clone()) {
            Some(tell) => meta.change(tell).await.err().unwrap_or(self),
            None => self,
        }
    }

    pub(crate) fn with_detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.detail.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// The answer, with the request's id, by which its lines are found in the logs.
    pub(crate) fn answer(mut self, rid: &str) -> Response {
        if self.code.is_passing() {
            let given = self.headers.iter().any(|(name, _)| *name == RETRY_AFTER);
            if !given {
                self = self.with_header(RETRY_AFTER, "1");
            }
        }
        self.detail.insert("request_id".to_owned(), rid.into());
        let told = Told {
            code: self.code.word(),
            message: self.message,
            detail: self.detail,
        };
        let body = Errors { errors: [told] };
        let mut answer = (self.status, axum::Json(body)).into_response();
        // Of some there are several.
        for (name, value) in self.headers {
            answer.headers_mut().append(name, value);
        }
        answer.extensions_mut().insert(ErrorCode(self.code.word()));
        answer
    }
}

/// As logs tell it.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code.word())
    }
}

impl From<Error> for StartError {
    fn from(error: Error) -> Self {
        Self::Own(error.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_what_a_person_reads() {
        let error = Error::new(Code::Unavailable, "the disk is full").with_detail("at", 1);
        assert_eq!(error.to_string(), "the disk is full (UNAVAILABLE)");
    }
}
