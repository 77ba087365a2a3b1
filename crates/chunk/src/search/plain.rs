//! Lines that lie one after the other.

use std::ops::Range;

use memchr::memmem::Finder;

use super::Needle;
use super::literal::Test;
use crate::{Block, ChunkError, FoundLines, RowSet};

/// The rows of a plain block whose line contains the needle.
pub(super) fn find(block: &Block, needle: &Needle) -> Result<RowSet, ChunkError> {
    let (ends, lines) = block.plain_lines()?;
    Ok(find_lines(&lines, &ends, 0..ends.len(), needle))
}

/// Those of the lines, which end at `ends`, that contain the needle.
pub(super) fn find_lines(
    lines: &[u8],
    ends: &[u32],
    rows: Range<usize>,
    needle: &Needle,
) -> RowSet {
    if needle.is_empty() {
        return RowSet::all(ends.len());
    }
    let mut found = RowSet::none(ends.len());
    let condition = needle.anywhere();
    if !condition.any_case {
        find_in(lines, ends, rows, condition.text, &mut found);
        return found;
    }
    let test = Test::new(condition);
    for row in rows {
        let line = lines.get(start_of(ends, row)..end_of(ends, row));
        if test.holds(line.unwrap_or_default()) {
            found.insert(row);
        }
    }
    found
}

fn end_of(ends: &[u32], row: usize) -> usize {
    ends.get(row).map_or(0, |end| *end as usize)
}

fn start_of(ends: &[u32], row: usize) -> usize {
    row.checked_sub(1).map_or(0, |before| end_of(ends, before))
}

/// Adds those of the texts, which end at `ends`, that contain the literal.
pub(super) fn find_in(
    text: &[u8],
    ends: &[u32],
    rows: Range<usize>,
    literal: &[u8],
    found: &mut RowSet,
) {
    let finder = Finder::new(literal);
    let (mut from, mut row) = (start_of(ends, rows.start), rows.start);
    let stop = start_of(ends, rows.end);
    while let Some(hit) = finder.find(text.get(from..stop).unwrap_or_default()) {
        let hit = from + hit;
        row += row_after(ends.get(row..rows.end).unwrap_or_default(), hit);
        let end = end_of(ends, row);
        if hit + literal.len() <= end {
            found.insert(row);
            from = end;
        } else {
            // It starts in one text and ends in another.
            from = hit + 1;
        }
    }
}

/// How many texts end at or before `position`. Hits are close together as a rule, so the search
/// widens from the front.
fn row_after(ends: &[u32], position: usize) -> usize {
    let mut step = 1;
    while ends
        .get(step - 1)
        .is_some_and(|end| *end as usize <= position)
    {
        step *= 2;
    }
    let from = step / 2;
    let within = ends.get(from..step.min(ends.len())).unwrap_or_default();
    from + within.partition_point(|end| *end as usize <= position)
}

pub(super) fn lines_of(block: &Block, rows: &RowSet) -> Result<FoundLines, ChunkError> {
    let (ends, lines) = block.plain_lines()?;
    let mut found = FoundLines::default();
    for row in rows.iter() {
        let end_of = |row: usize| ends.get(row).map_or(0, |end| *end as usize);
        let start = row.checked_sub(1).map_or(0, end_of);
        let line = lines.get(start..end_of(row)).unwrap_or_default();
        found.lines.extend_from_slice(line);
        found.ends.push(found.lines.len() as u32);
    }
    Ok(found)
}
