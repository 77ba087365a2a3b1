//! Which part of time holds how much of blocks that overlap, so that they can be cut into parts
//! that fit into memory where the times of their first and last rows do not say enough.

use model::TimeRange;

/// Times of rows, a few of each block, and the bytes that each stands for.
#[derive(Debug, Default)]
pub(crate) struct Sketch(Vec<(i64, u64)>);

impl Sketch {
    /// Takes in the times of a block's rows, which are sorted, and the bytes that they take: in
    /// `samples` steps at most.
    pub(crate) fn add(&mut self, times_ns: &[i64], bytes: u64, samples: usize) {
        let rows = times_ns.len() as u64;
        for step in times_ns.chunks(times_ns.len().div_ceil(samples.max(1)).max(1)) {
            if let Some(first_ns) = step.first() {
                let part = u128::from(bytes) * step.len() as u128 / u128::from(rows.max(1));
                self.0.push((*first_ns, part as u64));
            }
        }
    }

    /// Cuts a range into parts of about `bytes_max`. A time that has more alone is a part of its
    /// own. Every time of the range is in one part.
    pub(crate) fn parts(mut self, range: TimeRange, bytes_max: u64) -> Vec<TimeRange> {
        self.0.sort_unstable();
        let (mut parts, mut start_ns, mut bytes) = (Vec::new(), range.start_ns, 0u64);
        let mut cut = |start_ns: &mut i64, end_ns: i64| {
            if *start_ns < end_ns {
                parts.push(TimeRange::new(*start_ns, end_ns));
                *start_ns = end_ns;
            }
        };
        for of_time in self.0.chunk_by(|a, b| a.0 == b.0) {
            let at_ns = of_time.first().map_or(start_ns, |sample| sample.0);
            let more: u64 = of_time.iter().map(|sample| sample.1).sum();
            if bytes.saturating_add(more) > bytes_max {
                cut(&mut start_ns, at_ns);
                bytes = 0;
            }
            if more > bytes_max {
                cut(&mut start_ns, at_ns.saturating_add(1));
            } else {
                bytes += more;
            }
        }
        cut(&mut start_ns, range.end_ns);
        parts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(blocks: &[(&[i64], u64)], end_ns: i64, bytes_max: u64) -> Vec<(i64, i64)> {
        let mut sketch = Sketch::default();
        for (times, bytes) in blocks {
            sketch.add(times, *bytes, 4);
        }
        let parts = sketch.parts(TimeRange::new(0, end_ns), bytes_max);
        parts.iter().map(|p| (p.start_ns, p.end_ns)).collect()
    }

    #[test]
    fn parts_have_about_as_much_and_a_crowded_time_is_alone() {
        let even: Vec<i64> = (0..8).collect();
        assert_eq!(parts(&[(&even, 80)], 8, 40), [(0, 4), (4, 8)]);
        assert_eq!(parts(&[(&even, 80), (&even, 80)], 8, 80), [(0, 4), (4, 8)]);
        let tied = [5; 8];
        assert_eq!(parts(&[(&tied, 80)], 8, 40), [(0, 5), (5, 6), (6, 8)]);
        assert_eq!(parts(&[(&[0; 8], 80)], 1, 40), [(0, 1)]);
        assert_eq!(parts(&[], 8, 40), [(0, 8)]);
    }

    proptest! {
        #[test]
        fn every_time_is_in_one_part(
            blocks in proptest::collection::vec(
                (proptest::collection::vec(0_i64..50, 0..40), 0_u64..100), 0..6),
            most in 1_u64..100,
        ) {
            let mut sketch = Sketch::default();
            for (mut times, bytes) in blocks {
                times.sort_unstable();
                sketch.add(&times, bytes, 5);
            }
            let mut next_ns = 0;
            for part in sketch.parts(TimeRange::new(0, 50), most) {
                prop_assert_eq!(part.start_ns, next_ns);
                prop_assert!(part.end_ns > part.start_ns);
                next_ns = part.end_ns;
            }
            prop_assert_eq!(next_ns, 50);
        }
    }
}
