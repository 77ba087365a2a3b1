//! Literals that every passing line must contain.

use std::ops::Range;

use chunk::Needle;
use memchr::memmem::Finder;

/// Finds the rows that may pass, by searching many lines at once.
///
/// Of several literals only one is searched in lines: the longest, which is the rarest as a rule.
/// The pipeline looks at what is left. Blocks that know where literals are without looking at their
/// lines are asked for all of them.
#[derive(Clone, Debug, Default)]
pub struct Prefilter {
    finder: Option<Finder<'static>>,
    /// The longest first.
    needles: Vec<Needle>,
}

impl Prefilter {
    /// Every line that passes must contain each of these.
    pub fn new<L: AsRef<[u8]>>(literals: impl IntoIterator<Item = L>) -> Self {
        let mut literals: Vec<L> = literals.into_iter().collect();
        literals.retain(|literal| !literal.as_ref().is_empty());
        literals.sort_by_key(|literal| std::cmp::Reverse(literal.as_ref().len()));
        let longest = literals.first();
        Self {
            finder: longest.map(|literal| Finder::new(literal.as_ref()).into_owned()),
            needles: literals
                .iter()
                .map(|literal| Needle::new(literal.as_ref()))
                .collect(),
        }
    }

    /// Whether every line may pass.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.finder.is_none()
    }

    /// All literals, as blocks search them.
    pub(crate) fn needles(&self) -> &[Needle] {
        &self.needles
    }

    /// Appends those of the rows whose line has the literal; all of them without one. `ends` and
    /// `lines` are those of the whole source.
    pub(crate) fn find(
        &self,
        rows: Range<usize>,
        ends: &[u32],
        lines: &[u8],
        found: &mut Vec<usize>,
    ) {
        let Some(finder) = &self.finder else {
            found.extend(rows);
            return;
        };
        let end_of = |row: usize| ends.get(row).map_or(0, |end| *end as usize);
        let stop = rows.end.checked_sub(1).map_or(0, end_of);
        let mut at = rows.start.checked_sub(1).map_or(0, end_of);
        let mut row = rows.start;
        while let Some(hit) = finder.find(lines.get(at..stop).unwrap_or_default()) {
            let hit = at + hit;
            row += row_after(ends.get(row..rows.end).unwrap_or_default(), hit);
            let end = end_of(row);
            if hit + finder.needle().len() <= end {
                found.push(row);
                at = end;
                row += 1;
            } else {
                // It starts in one line and ends in another; one inside may start right behind.
                at = hit + 1;
            }
        }
    }
}

/// How many lines end at or before `position`. Hits are close together as a rule, so the search
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(lines: &[&str], rows: Range<usize>, literal: &str) -> Vec<usize> {
        let mut ends = Vec::new();
        let mut all = String::new();
        for line in lines {
            all.push_str(line);
            ends.push(all.len() as u32);
        }
        let mut found = Vec::new();
        Prefilter::new([literal]).find(rows, &ends, all.as_bytes(), &mut found);
        found
    }

    #[test]
    fn a_hit_across_two_lines_is_none() {
        assert_eq!(found(&["xa", "b", "ab", ""], 0..4, "ab"), [2]);
        assert_eq!(found(&["aa", "aab", "aaa"], 0..3, "aaa"), [2]);
        assert_eq!(found(&["b", "", "b"], 0..3, ""), [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn rows_are_those_whose_line_has_it(
            lines in prop::collection::vec("[ab]{0,5}", 0..40),
            literal in "[ab]{1,3}",
            start in 0..40usize,
            len in 0..40usize,
        ) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let rows = start.min(lines.len())..(start + len).min(lines.len());
            let expected: Vec<usize> =
                rows.clone().filter(|row| lines[*row].contains(&literal)).collect();
            prop_assert_eq!(found(&lines, rows, &literal), expected);
        }
    }
}
