//! Rows of a stream in blocks that overlap, cut into parts of time that fit into memory.

use model::TimeRange;

/// A block of a stream: from its first to its last row, and the bytes that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) min_ts_ns: i64,
    pub(crate) max_ts_ns: i64,
    pub(crate) bytes: u64,
}

/// A part of time and the blocks, by number, that have rows in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) range: TimeRange,
    pub(crate) blocks: Vec<usize>,
}

/// Cuts blocks, which are sorted by their first time, into slices of about `bytes_max`. Every row
/// is in one slice. Blocks that begin at the same time are not parted, however large.
pub(crate) fn slices(blocks: &[Extent], bytes_max: u64) -> Vec<Slice> {
    let mut slices = Vec::new();
    let Some(mut start_ns) = blocks.first().map(|block| block.min_ts_ns) else {
        return slices;
    };
    // Blocks of the slice that is being filled.
    let (mut open, mut bytes) = (Vec::new(), 0u64);
    for (number, block) in blocks.iter().enumerate() {
        let cut = bytes.saturating_add(block.bytes) > bytes_max && block.min_ts_ns > start_ns;
        if cut {
            slices.push(Slice {
                range: TimeRange::new(start_ns, block.min_ts_ns),
                blocks: open.clone(),
            });
            start_ns = block.min_ts_ns;
            let goes_on = |at: &usize| blocks.get(*at).is_some_and(|b| b.max_ts_ns >= start_ns);
            open.retain(goes_on);
            let left = open.iter().filter_map(|at| blocks.get(*at));
            bytes = left.map(|block| block.bytes).sum();
        }
        open.push(number);
        bytes = bytes.saturating_add(block.bytes);
    }
    let last_ns = blocks.iter().map(|block| block.max_ts_ns).max();
    slices.push(Slice {
        range: TimeRange::new(start_ns, last_ns.unwrap_or(start_ns).saturating_add(1)),
        blocks: open,
    });
    slices
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(min_ts_ns: i64, max_ts_ns: i64, bytes: u64) -> Extent {
        Extent {
            min_ts_ns,
            max_ts_ns,
            bytes,
        }
    }

    #[test]
    fn a_slice_ends_where_the_next_block_would_be_too_much() {
        let blocks = [
            block(0, 9, 4),
            block(5, 20, 4),
            block(12, 30, 4),
            block(12, 13, 9),
        ];
        let found: Vec<_> = slices(&blocks, 8)
            .into_iter()
            .map(|slice| (slice.range.start_ns, slice.range.end_ns, slice.blocks))
            .collect();
        assert_eq!(found, [(0, 12, vec![0, 1]), (12, 31, vec![1, 2, 3])]);
        assert_eq!(slices(&[], 8), []);
    }

    proptest! {
        #[test]
        fn every_row_is_in_one_slice(
            mut spans in proptest::collection::vec((0_i64..100, 0_i64..30, 1_u64..10), 1..20),
            most in 1_u64..30,
        ) {
            spans.sort();
            let blocks: Vec<Extent> =
                spans.iter().map(|(min, len, bytes)| block(*min, min + len, *bytes)).collect();
            let slices = slices(&blocks, most);
            for (number, block) in blocks.iter().enumerate() {
                for time in [block.min_ts_ns, block.max_ts_ns] {
                    let holders = slices.iter().filter(|slice| {
                        slice.range.contains(time) && slice.blocks.contains(&number)
                    });
                    prop_assert_eq!(holders.count(), 1);
                }
            }
        }
    }
}
