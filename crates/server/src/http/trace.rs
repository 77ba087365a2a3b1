//! The trace and request id of a request (<https://www.w3.org/TR/trace-context/>).

use std::fmt;

use http::{HeaderMap, HeaderName};

/// Names the request in logs of client and server; echoed, made up when absent.
pub const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

const TRACE_PARENT_HEADER: HeaderName = HeaderName::from_static("traceparent");
/// The longest request id that is taken over from a client.
const REQUEST_ID_LEN_MAX: usize = 128;

/// The trace that a request belongs to: the caller's, or a new one. In the extensions of every
/// request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub u128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl TraceId {
    /// The trace id of `traceparent: 00-<trace id>-<parent id>-<flags>`, else a random one.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let parent = headers
            .get(TRACE_PARENT_HEADER)
            .and_then(|value| value.to_str().ok());
        Self(parent.and_then(trace_id).unwrap_or_else(rand::random))
    }
}

fn trace_id(parent: &str) -> Option<u128> {
    let (_version, rest) = parent.split_once('-')?;
    let (id, _) = rest.split_once('-')?;
    if id.len() != 32 {
        return None;
    }
    u128::from_str_radix(id, 16).ok().filter(|id| *id != 0)
}

/// The client's request id if it is one that may be logged and echoed.
pub(super) fn request_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get(REQUEST_ID_HEADER)?.to_str().ok()?;
    let plain = id.bytes().all(|b| b.is_ascii_graphic());
    (!id.is_empty() && id.len() <= REQUEST_ID_LEN_MAX && plain).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_parents() {
        let id = trace_id("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!(TraceId(id).to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        for wrong in [
            "",
            "00-xyz",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f35-00f067aa0ba902b7-01",
        ] {
            assert_eq!(trace_id(wrong), None, "{wrong}");
        }
    }
}
