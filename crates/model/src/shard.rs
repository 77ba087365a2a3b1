//! A part of all streams.

/// The streams whose [fingerprints](crate::LabelSet::fingerprint) lie between two, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The first fingerprint.
    pub min: u64,
    /// The last.
    pub max: u64,
}

impl Shard {
    /// All streams.
    pub const ALL: Self = Self {
        min: 0,
        max: u64::MAX,
    };

    /// One of `of` shards that are equally wide and have every stream once; `None` if there are not
    /// so many.
    #[must_use]
    pub fn nth(number: u64, of: u64) -> Option<Self> {
        // Where a shard begins, of which the last ends at 2^64.
        let begin = |number: u64| (u128::from(number) << 64) / u128::from(of);
        (number < of).then(|| Self {
            min: begin(number) as u64,
            max: (begin(number + 1) - 1) as u64,
        })
    }

    /// Whether a stream of this fingerprint is in the shard.
    #[must_use]
    pub fn has(self, fingerprint: u64) -> bool {
        (self.min..=self.max).contains(&fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_have_every_stream_once() {
        for of in [1, 2, 3, 4, 7, 1 << 20, u64::MAX] {
            let shard = |number| Shard::nth(number, of).unwrap();
            assert_eq!(shard(0).min, 0, "{of}");
            assert_eq!(shard(of - 1).max, u64::MAX, "{of}");
            for number in 1..of.min(100) {
                assert_eq!(
                    shard(number).min,
                    shard(number - 1).max + 1,
                    "{number} {of}"
                );
            }
            assert_eq!(Shard::nth(of, of), None);
        }
        assert_eq!(Shard::nth(0, 0), None);
        assert_eq!(Shard::nth(0, 1), Some(Shard::ALL));
        // The upper bits of a fingerprint say which of a power of two it is in, as in Loki.
        assert!(Shard::nth(2, 4).unwrap().has(0b10 << 62 | 5));
    }
}
