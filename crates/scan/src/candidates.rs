//! Rows that may pass, found by searching all lines of a block as one text.

use memchr::memmem::Finder;

use crate::source::Opened;

/// The rows whose line contains all literals, ascending; `None` where rows cannot be searched
/// together or nothing is demanded, so that all rows are to be looked at.
pub(crate) fn candidates(rows: &Opened, literals: &[Vec<u8>]) -> Option<Vec<usize>> {
    let Opened::Run(run) = rows else { return None };
    // The longest literal is likely to be the rarest.
    let rarest = literals.iter().max_by_key(|literal| literal.len())?;
    if rarest.is_empty() {
        return None;
    }
    let found = rows_with(run.lines(), run.line_ends(), rarest);
    let line_of = |row: usize| {
        let end_of = |row: usize| run.line_ends().get(row).map_or(0, |end| *end as usize);
        let start = row.checked_sub(1).map_or(0, end_of);
        run.lines().get(start..end_of(row)).unwrap_or_default()
    };
    let others: Vec<Finder<'_>> = literals
        .iter()
        .filter(|literal| *literal != rarest)
        .map(|literal| Finder::new(literal))
        .collect();
    let has_all = |row: &usize| {
        let line = line_of(*row);
        others.iter().all(|finder| finder.find(line).is_some())
    };
    Some(found.into_iter().filter(has_all).collect())
}

/// The rows with the literal inside one line; a hit that spans two lines is none.
fn rows_with(lines: &[u8], ends: &[u32], literal: &[u8]) -> Vec<usize> {
    let finder = Finder::new(literal);
    let (mut found, mut from, mut row) = (Vec::new(), 0, 0);
    while let Some(at) = lines.get(from..).and_then(|rest| finder.find(rest)) {
        let at = from + at;
        row += ends
            .get(row..)
            .map_or(0, |rest| rest.partition_point(|end| *end as usize <= at));
        let Some(end) = ends.get(row).map(|end| *end as usize) else {
            break;
        };
        if at + literal.len() <= end {
            found.push(row);
            from = end;
        } else {
            from = at + 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn hits_are_those_of_each_line_alone(
            lines in prop::collection::vec("[ab]{0,4}", 0..12),
            literal in "[ab]{1,3}",
        ) {
            let mut ends = Vec::new();
            let mut text = Vec::new();
            for line in &lines {
                text.extend_from_slice(line.as_bytes());
                ends.push(text.len() as u32);
            }
            let expected: Vec<usize> = lines
                .iter()
                .enumerate()
                .filter(|(_, line)| line.contains(&literal))
                .map(|(row, _)| row)
                .collect();
            prop_assert_eq!(rows_with(&text, &ends, literal.as_bytes()), expected);
        }
    }
}
