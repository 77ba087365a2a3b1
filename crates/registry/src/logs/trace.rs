//! The trace that a request belongs to, as its client says in the header `traceparent` of W3C's Trace
//! Context.

use http::HeaderMap;

/// A trace, and the span of the client that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trace {
    pub(super) trace_id: String,
    pub(super) span_id: String,
}

impl Trace {
    /// The one that a request names, if it names one.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut parts = headers.get("traceparent")?.to_str().ok()?.split('-');
        let mut id = |digits: usize| {
            let id = parts.next()?;
            let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            (id.len() == digits && id.bytes().all(is_hex)).then_some(id)
        };
        let is_any = |id: &&str| id.bytes().any(|b| b != b'0');
        let version = id(2)?;
        let trace_id = id(32).filter(is_any)?;
        let span_id = id(16).filter(is_any)?;
        id(2)?;
        // Later versions may say more.
        let is_whole = match version {
            "00" => parts.next().is_none(),
            version => version != "ff",
        };
        is_whole.then(|| Self {
            trace_id: trace_id.to_owned(),
            span_id: span_id.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn of(value: &str) -> Option<Trace> {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", value.parse().unwrap());
        Trace::of(&headers)
    }

    #[test]
    fn a_trace_is_taken_as_it_is_named() {
        let trace = Trace {
            trace_id: TRACE.to_owned(),
            span_id: SPAN.to_owned(),
        };
        for value in [
            format!("00-{TRACE}-{SPAN}-01"),
            format!("cc-{TRACE}-{SPAN}-01-what-comes-later"),
        ] {
            assert_eq!(of(&value), Some(trace.clone()), "{value}");
        }
        for value in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}1-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
        ] {
            assert_eq!(of(&value), None, "{value}");
        }
        assert_eq!(Trace::of(&HeaderMap::new()), None);
    }
}
