//! Literals in a table of packed identifiers.
//!
//! A literal can be at several places of an identifier, but half of a byte apart at most it is the
//! same bytes: so the whole table is searched twice, once for each half of a byte that the literal
//! can start at.

use memchr::memmem;

use super::literal::{Condition, Test};
use crate::format::IdPattern;

/// A literal as digits, and the digit of an identifier where it starts.
type Digits = (Vec<u8>, usize);

/// Per identifier of a table whether it meets the condition.
pub(super) fn matching(pattern: &IdPattern, packed: &[u8], condition: &Condition<'_>) -> Vec<bool> {
    let width = pattern.width();
    let mut found = vec![false; packed.len() / width.max(1)];
    let placed = places(pattern, condition);
    let short = placed.iter().any(|(digits, _)| digits.len() < 4);
    if condition.any_case || short {
        let test = Test::new(*condition);
        let mut text = Vec::new();
        for (found, one) in found.iter_mut().zip(packed.chunks(width)) {
            text.clear();
            pattern.render(one, &mut text);
            *found = test.holds(&text);
        }
        return found;
    }
    for half in 0..2 {
        let here = placed.iter().filter(|(_, at)| at % 2 == half);
        let mut texts: Vec<&[u8]> = here.clone().map(|(digits, _)| digits.as_slice()).collect();
        texts.sort_unstable();
        texts.dedup();
        for digits in texts {
            let starts = here.clone().filter(|(other, _)| other == digits);
            let starts: Vec<usize> = starts.map(|(_, at)| *at).collect();
            search(packed, width, digits, &starts, &mut found);
        }
    }
    found
}

/// Where the text of the condition can be in identifiers of the pattern.
fn places(pattern: &IdPattern, condition: &Condition<'_>) -> Vec<Digits> {
    let (text, digits) = pattern.parts();
    let Some(last) = text.len().checked_sub(condition.text.len()) else {
        return Vec::new();
    };
    let starts = match (condition.at_start, condition.at_end) {
        (true, true) if last > 0 => return Vec::new(),
        (true, _) => 0..=0,
        (false, true) => last..=last,
        (false, false) => 0..=last,
    };
    let at = |start: usize| {
        let first = digits.partition_point(|place| usize::from(*place) < start);
        let mut found = Vec::new();
        for (place, byte) in (start..).zip(condition.text) {
            let next = digits.get(first + found.len());
            if next.is_some_and(|next| usize::from(*next) == place) {
                found.push(pattern.digit(*byte)?);
            } else if text.get(place) != Some(byte) {
                return None;
            }
        }
        Some((found, first))
    };
    starts.filter_map(at).collect()
}

/// Marks the identifiers that have the digits at one of the starts, which are all in the same half
/// of a byte.
fn search(packed: &[u8], width: usize, digits: &[u8], starts: &[usize], found: &mut [bool]) {
    let skipped = starts.first().map_or(0, |start| start % 2);
    let (pairs, last) = digits.get(skipped..).unwrap_or_default().as_chunks::<2>();
    let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    let finder = memmem::Finder::new(&bytes);
    let mut from = 0;
    while let Some(hit) = finder.find(packed.get(from..).unwrap_or_default()) {
        let hit = from + hit;
        from = hit + 1;
        let (number, inside) = (hit / width, hit % width);
        let fits = inside + bytes.len() + usize::from(!last.is_empty()) <= width
            && (inside * 2)
                .checked_sub(skipped)
                .is_some_and(|start| starts.contains(&start));
        let low_before = || {
            hit.checked_sub(1)
                .and_then(|at| packed.get(at))
                .map(|byte| byte & 15)
        };
        let high_after = || packed.get(hit + bytes.len()).map(|byte| byte >> 4);
        let holds = fits
            && (skipped == 0 || low_before().as_ref() == digits.first())
            && (last.is_empty() || high_after().as_ref() == last.first());
        if let (true, Some(found)) = (holds, found.get_mut(number)) {
            *found = true;
        }
    }
}
