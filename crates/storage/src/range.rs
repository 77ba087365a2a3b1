//! Byte ranges: from what is wanted to what is asked for.

use std::ops::Range;

use bytes::Bytes;

/// Ranges closer than this are better read in one request: on an object store the bytes between cost
/// less than another round trip.
pub(crate) const GAP_BYTES: u64 = 256 << 10;
/// A joined range does not grow beyond this, so that large reads run side by side.
pub(crate) const SPAN_BYTES_MAX: u64 = 8 << 20;
/// What is kept in memory may keep one of so many parts of its size besides.
const UNWANTED_PART: usize = 8;

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
fn span_of(spans: &[Range<u64>], range: &Range<u64>) -> Option<usize> {
    let at = spans.partition_point(|span| span.end < range.end);
    spans
        .get(at)
        .is_some_and(|span| span.start <= range.start)
        .then_some(at)
}

/// The wanted ranges out of the spans that were read. One that is much smaller than its span is
/// copied: it may be kept for long, and would keep all of the span in memory. `None` if a span is
/// shorter than it should be.
pub(crate) fn cut_out(
    spans: &[Range<u64>],
    read: &[Bytes],
    wanted: &[Range<u64>],
) -> Option<Vec<Bytes>> {
    let part = |range: &Range<u64>| {
        if range.is_empty() {
            return Some(Bytes::new());
        }
        let at = span_of(spans, range)?;
        let (span, bytes) = (spans.get(at)?, read.get(at)?);
        let start = usize::try_from(range.start - span.start).ok()?;
        let end = usize::try_from(range.end - span.start).ok()?;
        let part = (end <= bytes.len()).then(|| bytes.slice(start..end))?;
        if part.len() + part.len() / UNWANTED_PART >= bytes.len() {
            return Some(part);
        }
        Some(Bytes::copy_from_slice(&part))
    };
    wanted.iter().map(part).collect()
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

        #[test]
        fn what_was_wanted_is_cut_out_of_what_was_read(
            wanted in proptest::collection::vec((0_u64..2000, 0_u64..200), 0..20),
            gap in 0_u64..200,
            missing in 0_usize..2,
        ) {
            let wanted: Vec<_> = wanted.into_iter().map(|(at, len)| at..at + len).collect();
            let content = |range: &Range<u64>| -> Bytes { range.clone().map(|at| at as u8).collect() };
            let spans = coalesce(&wanted, gap);
            let mut read: Vec<Bytes> = spans.iter().map(content).collect();
            let whole: Vec<Bytes> = wanted.iter().map(content).collect();
            let parts = cut_out(&spans, &read, &wanted);
            prop_assert_eq!(parts.as_ref(), Some(&whole));
            for part in parts.iter().flatten().filter(|part| !part.is_empty()) {
                let lies_in = |read: &&Bytes| read.as_ptr_range().contains(&part.as_ptr());
                let kept = read.iter().find(lies_in).map_or(0, Bytes::len);
                prop_assert!(kept <= part.len() + part.len() / UNWANTED_PART);
            }
            if let Some(last) = read.last_mut() {
                last.truncate(last.len() - missing);
                prop_assert_eq!(cut_out(&spans, &read, &wanted).is_some(), missing == 0);
            }
        }
    }
}
