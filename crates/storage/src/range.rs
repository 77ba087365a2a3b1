//! Byte ranges: from what is wanted to what is asked for.

use std::ops::Range;

/// Ranges closer than this are better read in one request: on an object store the bytes between cost
/// less than another round trip.
pub(crate) const GAP_BYTES: u64 = 256 << 10;
/// A joined range does not grow beyond this, so that large reads run side by side.
pub(crate) const SPAN_BYTES_MAX: u64 = 8 << 20;

/// Joins ranges that overlap or have no more than `gap` bytes between them. The result is sorted and every wanted range lies in
/// exactly one of its elements.
pub(crate) fn coalesce(wanted: &[Range<u64>], gap: u64) -> Vec<Range<u64>> {
    let mut sorted: Vec<Range<u64>> = wanted.iter().filter(|r| !r.is_empty()).cloned().collect();
    sorted.sort_by_key(|range| (range.start, range.end));
    let mut spans: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        if let Some(last) = spans.last_mut() {
            let end = last.end.max(range.end);
            let overlaps = range.start < last.end;
            let near =
                range.start <= last.end.saturating_add(gap) && end - last.start <= SPAN_BYTES_MAX;
            if overlaps || near {
                last.end = end;
                continue;
            }
        }
        spans.push(range);
    }
    spans
}

/// The span that holds `range`, with its position among `spans`.
pub(crate) fn span_of(spans: &[Range<u64>], range: &Range<u64>) -> Option<usize> {
    let at = spans.partition_point(|span| span.end < range.end);
    spans
        .get(at)
        .is_some_and(|span| span.start <= range.start)
        .then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn near_ranges_join_and_far_ones_do_not() {
        let far = GAP_BYTES + 21;
        assert_eq!(
            coalesce(&[10..20, 0..5, far..far + 1], GAP_BYTES),
            [0..20, far..far + 1]
        );
        assert_eq!(coalesce(&[10..20, 0..5], 4), [0..5, 10..20]);
        assert_eq!(coalesce(&[3..3, 4..4], GAP_BYTES), []);
    }

    proptest! {
        #[test]
        fn every_range_lies_in_one_span(
            wanted in proptest::collection::vec((0_u64..20 << 20, 1_u64..1 << 20), 0..40),
            gap in 0..GAP_BYTES,
        ) {
            let wanted: Vec<_> = wanted.into_iter().map(|(at, len)| at..at + len).collect();
            let spans = coalesce(&wanted, gap);
            prop_assert!(spans.windows(2).all(|pair| pair[0].end <= pair[1].start));
            for range in &wanted {
                let at = span_of(&spans, range);
                prop_assert!(at.is_some());
                let span = &spans[at.unwrap()];
                prop_assert!(span.start <= range.start && range.end <= span.end);
            }
        }
    }
}
