//! A line on its way from a file to a client.

use std::collections::BTreeMap;

/// A line with what is known of it. Stages change it, join several to one, or drop it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// The labels of its stream, and internal ones that begin with `__`, such as `__tenant_id__`.
    pub labels: BTreeMap<String, String>,
    /// When it was written, in nanoseconds since 1970.
    pub timestamp_ns: i64,
    /// When it was read, in nanoseconds since 1970: no other line of its source has this time, and it
    /// is the same when the line is read again. Stages leave it alone.
    pub read_ns: i64,
    /// The line, without its line end.
    pub line: Vec<u8>,
    /// Structured metadata, in the order in which it was added.
    pub metadata: Vec<(String, String)>,
    /// Where in its source the line begins. Stages leave it alone; an entry that is joined from
    /// several has the smallest. It only means something to who reads the source, and is how what
    /// was acknowledged is told from what was not.
    pub origin: u64,
}
