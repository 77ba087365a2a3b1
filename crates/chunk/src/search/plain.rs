//! Lines that lie one after the other.

use memchr::memmem::Finder;

use super::Needle;
use super::literal::Test;
use crate::{Block, ChunkError, FoundLines, RowSet};

/// The rows of a plain block whose line contains the needle.
pub(super) fn find(block: &Block, needle: &Needle) -> Result<RowSet, ChunkError> {
    let (ends, lines) = block.plain_lines()?;
    let mut found = RowSet::none(ends.len());
    let condition = needle.anywhere();
    if condition.any_case {
        let test = Test::new(condition);
        let mut start = 0;
        for (row, end) in ends.iter().enumerate() {
            let line = lines.get(start..*end as usize).unwrap_or_default();
            start = *end as usize;
            if test.holds(line) {
                found.insert(row);
            }
        }
    } else {
        find_in(&lines, &ends, condition.text, &mut found);
    }
    Ok(found)
}

/// Adds the texts, which end at `ends`, that contain the literal.
pub(super) fn find_in(text: &[u8], ends: &[u32], literal: &[u8], found: &mut RowSet) {
    let finder = Finder::new(literal);
    let (mut from, mut row) = (0, 0);
    while let Some(hit) = finder.find(text.get(from..).unwrap_or_default()) {
        let hit = from + hit;
        let rest = ends.get(row..).unwrap_or_default();
        row += rest.partition_point(|end| *end as usize <= hit);
        let end = ends.get(row).map_or(text.len(), |end| *end as usize);
        if hit + literal.len() <= end {
            found.insert(row);
            from = end;
        } else {
            // It starts in one text and ends in another.
            from = hit + 1;
        }
    }
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
