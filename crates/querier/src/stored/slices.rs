//! Units that are too large to be open at once, in parts one after the other in time.

use super::{RunRef, Unit};

/// Units of which each has blocks of about `bytes_max` bytes of lines, where their blocks allow it.
pub(crate) fn sliced(units: Vec<Unit>, bytes_max: u64) -> Vec<Unit> {
    let mut sliced = Vec::with_capacity(units.len());
    for unit in units {
        slice(unit, bytes_max, &mut sliced);
    }
    sliced
}

/// Adds the parts of a unit. A block that goes on in the next part is opened for both, so a cut is
/// made only where most of what is open ends.
fn slice(unit: Unit, bytes_max: u64, parts: &mut Vec<Unit>) {
    if unit.blocks.len() < 2 || unit.raw_bytes() <= bytes_max {
        parts.push(unit);
        return;
    }
    let bytes_of = |runs: &[RunRef]| runs.iter().map(|run| run.raw_bytes).sum::<u64>();
    let part = |min_ts_ns, max_ts_ns, blocks| Unit {
        labels: unit.labels.clone(),
        min_ts_ns,
        max_ts_ns,
        blocks,
        fingerprint: unit.fingerprint,
    };
    let (mut open, mut start_ns): (Vec<RunRef>, i64) = (Vec::new(), unit.min_ts_ns);
    // In the order of their first rows.
    for run in &unit.blocks {
        let cut_ns = run.min_ts_ns;
        if bytes_of(&open) + run.raw_bytes > bytes_max && cut_ns > start_ns {
            let goes_on = |run: &&RunRef| run.max_ts_ns >= cut_ns;
            let going_on: Vec<RunRef> = open.iter().filter(goes_on).cloned().collect();
            if bytes_of(&going_on) * 2 <= bytes_of(&open) {
                open.retain(|run| run.min_ts_ns < cut_ns);
                parts.push(part(start_ns, cut_ns - 1, open));
                (open, start_ns) = (going_on, cut_ns);
            }
        }
        open.push(run.clone());
    }
    parts.push(part(start_ns, unit.max_ts_ns, open));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::LabelSet;
    use storage::ObjectRef;

    use super::*;

    fn unit(mut spans: Vec<(i64, i64)>) -> Unit {
        spans.sort_unstable();
        let object = Arc::new(ObjectRef {
            key: "k".to_owned(),
            id: 1,
            meta_off: 0,
            meta_len: 0,
        });
        let run = |(block, (min_ts_ns, max_ts_ns)): (u32, &(i64, i64))| RunRef {
            object: Arc::clone(&object),
            block,
            run: 0,
            min_ts_ns: *min_ts_ns,
            max_ts_ns: *max_ts_ns,
            rows: 1,
            raw_bytes: 10,
        };
        Unit {
            labels: LabelSet::default(),
            fingerprint: 0,
            blocks: (0..).zip(&spans).map(run).collect(),
            min_ts_ns: spans.iter().map(|span| span.0).min().unwrap_or(0),
            max_ts_ns: spans.iter().map(|span| span.1).max().unwrap_or(0),
        }
    }

    fn blocks(part: &Unit) -> Vec<u32> {
        part.blocks.iter().map(|run| run.block).collect()
    }

    #[test]
    fn a_chain_is_cut_and_blocks_of_one_time_are_not() {
        let chain = unit(vec![(0, 11), (10, 21), (20, 31), (30, 41), (40, 51)]);
        let parts = sliced(vec![chain], 30);
        let found: Vec<_> = parts
            .iter()
            .map(|part| (part.min_ts_ns, part.max_ts_ns, blocks(part)))
            .collect();
        let expected = [(0, 29, vec![0, 1, 2]), (30, 51, vec![2, 3, 4])];
        assert_eq!(found, expected);
        let same = unit(vec![(0, 50); 5]);
        assert_eq!(sliced(vec![same], 30).len(), 1);
    }

    #[test]
    fn every_time_of_a_block_is_in_one_part_that_has_it() {
        let mut state = 1_u64;
        let mut below = |max: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            ((state >> 33) % max) as i64
        };
        for _ in 0..500 {
            let count = below(11) + 1;
            let spans = (0..count).map(|_| {
                let min = below(60);
                (min, min + below(20))
            });
            let whole = unit(spans.collect());
            let parts = sliced(vec![whole.clone()], below(80) as u64);
            for run in &whole.blocks {
                for time in run.min_ts_ns..=run.max_ts_ns {
                    let has = |part: &&Unit| part.min_ts_ns <= time && time <= part.max_ts_ns;
                    let at: Vec<&Unit> = parts.iter().filter(has).collect();
                    assert_eq!(at.len(), 1, "{whole:?}");
                    assert!(blocks(at[0]).contains(&run.block), "{whole:?}");
                }
            }
        }
    }
}
