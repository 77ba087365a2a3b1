//! Pages of lists: `n` names after `last`, and a link to what follows.

use http::header::HeaderName;

use super::call::Call;
use crate::error::{Code, Error};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) last: String,
    pub(super) limit: u32,
}

impl Page {
    /// The page that a request asks for. Without `n` it is as large as a page may be.
    pub(super) fn of(call: &Call) -> Result<Self, Error> {
        let max = call.registry.config().limits.page_max.max(1);
        let limit = match call.param("n") {
            None | Some("") => max,
            Some(n) => {
                let n: u32 = n.parse().map_err(|_| {
                    let message = format!("n={n}: not a number of names");
                    Error::new(Code::PaginationInvalid, message)
                })?;
                n.min(max)
            }
        };
        Ok(Self {
            last: call.param("last").unwrap_or_default().to_owned(),
            limit,
        })
    }

    /// How many names to look for: one more than the page has says whether there are more.
    pub(super) fn lookahead(&self) -> u32 {
        match self.limit {
            0 => 0,
            limit => limit + 1,
        }
    }

    /// Cuts what was found to the page; gives whether there is more.
    pub(super) fn cut<T>(&self, found: &mut Vec<T>) -> bool {
        let limit = self.limit as usize;
        let more = found.len() > limit;
        found.truncate(limit);
        more
    }
}

/// The header that links to the page after `last`. `more` is other parameters, as they go into the
/// URL.
pub(super) fn link(path: &str, limit: u32, last: &str, more: &str) -> (HeaderName, String) {
    let last = escape(last);
    let value = format!("<{path}?n={limit}&last={last}{more}>; rel=\"next\"");
    (http::header::LINK, value)
}

/// Text as a part of a URL's query.
pub(super) fn escape(text: &str) -> String {
    use std::fmt::Write;
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/:".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing into a string does not fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}
