//! What a query wants of blocks, and which of their bytes that takes.

use std::ops::Range;

use chunk::{BlockMeta, ChunkError, Layout, Projection, Reduction};
use model::TimeRange;
use scan::Prefilter;

use super::RunRef;
use crate::damage::ReadError;

/// What a query wants of the units that it opens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// The columns.
    pub(crate) projection: Projection,
    /// What is read of the lines if they are not among these.
    pub(crate) lines: Lines<'a>,
    /// Which rows.
    pub(crate) prefilter: &'a Prefilter,
    pub(crate) range: TimeRange,
}

/// What a query reads of lines.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lines<'a> {
    /// All or nothing, as the projection says.
    Projected,
    /// What this keeps of them.
    Reduced(&'a Reduction),
    /// Their patterns, and their levels.
    Patterns,
}

impl Lines<'_> {
    /// The bytes of the object that are needed besides the projection.
    pub(super) fn ranges(self, meta: &BlockMeta) -> Result<Vec<Range<u64>>, ChunkError> {
        match self {
            Self::Projected => Ok(Vec::new()),
            Self::Reduced(reduction) => meta.reduced_ranges(reduction),
            Self::Patterns => meta.patterns_ranges(),
        }
    }
}

/// Bytes of all ranges.
pub(super) fn bytes_of(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

/// Ranges that overlap or touch as one.
pub(super) fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// Whether a block is searched before its lines are read.
pub(super) fn is_searched(meta: &BlockMeta, wanted: Wanted<'_>) -> bool {
    !wanted.prefilter.is_empty() && meta.layout() != Layout::Plain
}

/// The columns needed of a block; plain lines are searched themselves.
fn plain_projection(meta: &BlockMeta, wanted: Wanted<'_>) -> Projection {
    let lines = !wanted.prefilter.is_empty() && meta.layout() == Layout::Plain;
    Projection {
        lines: wanted.projection.lines || lines,
        ..wanted.projection
    }
}

/// The bytes of a run's block that a query reads first. Where literals are searched in a block that
/// is not plain, these are the columns searched, and the others are read only if there are rows.
/// `None` if its templates say that there is none.
pub(crate) fn first_ranges(
    meta: &BlockMeta,
    run: &RunRef,
    wanted: Wanted<'_>,
) -> Result<Option<Vec<Range<u64>>>, ReadError> {
    let is_searched = is_searched(meta, wanted);
    let mut ranges = if is_searched {
        let ranges = meta.search_ranges(wanted.prefilter.search());
        match ranges.map_err(|error| run.damaged(&error))? {
            Some(ranges) => ranges,
            None => return Ok(None),
        }
    } else if meta.runs().len() > 1 {
        meta.fetch_ranges(plain_projection(meta, wanted), &[], None)
    } else {
        let projection = plain_projection(meta, wanted);
        meta.fetch_ranges(projection, &[run.run as usize], Some(wanted.range))
    };
    if !is_searched {
        let lines = wanted.lines.ranges(meta);
        ranges.extend(lines.map_err(|error| run.damaged(&error))?);
    }
    Ok(Some(joined(ranges)))
}
