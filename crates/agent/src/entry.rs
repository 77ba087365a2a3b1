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
    /// How it is made of its lines, as far as these alone do not say it; mostly they do.
    pub(crate) made: Option<Box<Made>>,
}

/// What was not in the lines of an entry. Who reads them once more has to know it to make the very
/// same entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Made {
    /// The time that was made of that of an earlier line when this one was read before.
    pub(crate) noted_ns: Option<i64>,
    /// Whether, when this line was read before, a block was let go after it because time had passed.
    pub(crate) was_last: bool,
    /// Whether the entry's time was made of that of an earlier line.
    pub(crate) is_time_made: bool,
    /// Where that line begins, if it is known.
    pub(crate) time_of: Option<u64>,
    /// Where the first line begins of the block that the entry is the rest of.
    pub(crate) rest_of: Option<u64>,
    /// Where the last line begins of an entry that has several, or was let go because time had passed.
    pub(crate) last: Option<u64>,
    /// Whether it was let go because time had passed.
    pub(crate) is_cut: bool,
}

impl Entry {
    /// Sets a time that is made of the entry's own lines, or of when they were read.
    pub(crate) fn set_time(&mut self, timestamp_ns: i64) {
        self.timestamp_ns = timestamp_ns;
        if let Some(made) = &mut self.made {
            (made.is_time_made, made.time_of) = (false, None);
        }
    }

    /// Sets a time that is made of that of the line at `of`, or of one that is not known any more.
    pub(crate) fn set_time_of(&mut self, timestamp_ns: i64, of: Option<u64>) {
        self.timestamp_ns = timestamp_ns;
        let made = self.made.get_or_insert_default();
        (made.is_time_made, made.time_of) = (true, of);
    }
}
