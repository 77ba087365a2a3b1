//! Which three bytes follow each other somewhere in the values of a column, as few bits: most
//! literals that are in none of the values are ruled out without the values being read.
//!
//! This is a Bloom filter with one hash, of distinct values only. A filter of all lines would take
//! a third of the data; of a dictionary the same text is there once, so a hundredth of it is enough,
//! and it need not be sharp: a literal of many bytes has many chances to be ruled out.

/// Bits of a table before it is folded, as a power of two.
const TABLE_BITS: u32 = 13;
const TABLE_BYTES: usize = 1 << (TABLE_BITS - 3);
const LEAST_TABLE_BYTES: usize = 8;
/// Shorter texts are read as soon as asked.
const LEAST_TEXT_BYTES: usize = 1 << 10;
/// Bytes of text per byte of the table, at least.
const TEXT_PER_BYTE: usize = 64;
/// Bytes that follow each other.
const GRAM: usize = 3;

/// The three-byte sequences of some text, hashed to a table of a power of two of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grams(Box<[u8]>);

impl Grams {
    /// Those of a text. `None` if it is so short, or so many, that they say nothing for their price.
    pub(crate) fn of(text: &[u8]) -> Option<Self> {
        if text.len() < LEAST_TEXT_BYTES {
            return None;
        }
        let mut table = vec![0u8; TABLE_BYTES];
        for gram in text.windows(GRAM) {
            let bit = hash(gram);
            if let Some(byte) = table.get_mut(bit >> 3) {
                *byte |= 1 << (bit & 7);
            }
        }
        let mut ones = ones(&table);
        // Halves laid upon each other: what a bit means is then a matter of one bit of the hash less.
        let is_sparse = |table: &[u8], ones: usize| ones * 4 < table.len() * 8;
        while table.len() > LEAST_TABLE_BYTES
            && (table.len() > text.len() / TEXT_PER_BYTE || is_sparse(&table, ones))
        {
            let half = table.len() / 2;
            let upper = table.split_off(half);
            table
                .iter_mut()
                .zip(upper)
                .for_each(|(low, high)| *low |= high);
            ones = self::ones(&table);
        }
        (ones * 4 <= table.len() * 8 * 3).then(|| Self(table.into()))
    }

    /// What [`Self::as_bytes`] gave. `None` if it is of a length that no table has.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let is_table = bytes.len().is_power_of_two() && bytes.len() <= TABLE_BYTES;
        is_table.then(|| Self(bytes.into()))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether `text` may be somewhere in it. Without regard to case, `text` is in lower case, and
    /// what it was made of has no other characters than ASCII that are a case of a letter.
    pub(crate) fn may_contain(&self, text: &[u8], any_case: bool) -> bool {
        let mut grams = text.windows(GRAM);
        if any_case {
            return grams.all(|gram| cases(gram).any(|gram| self.has(&gram)));
        }
        grams.all(|gram| self.has(gram))
    }

    fn has(&self, gram: &[u8]) -> bool {
        let bit = hash(gram) & (self.0.len() * 8 - 1);
        self.0
            .get(bit >> 3)
            .is_some_and(|byte| byte >> (bit & 7) & 1 == 1)
    }
}

fn ones(table: &[u8]) -> usize {
    table.iter().map(|byte| byte.count_ones() as usize).sum()
}

/// The place of a bit in a table that is not folded.
#[inline]
fn hash(gram: &[u8]) -> usize {
    let word = gram
        .iter()
        .fold(0, |word, byte| word << 8 | u32::from(*byte));
    // Fibonacci hashing: Knuth, The Art of Computer Programming 3, 6.4.
    (word.wrapping_mul(0x9e37_79b1) >> (u32::BITS - TABLE_BITS)) as usize
}

/// All ways to write three bytes of which the letters are in lower case.
fn cases(lower: &[u8]) -> impl Iterator<Item = [u8; GRAM]> {
    (0..1u8 << GRAM).filter_map(move |upper| {
        let mut gram = [0; GRAM];
        for (at, (out, byte)) in gram.iter_mut().zip(lower).enumerate() {
            let is_upper = upper >> at & 1 == 1;
            if is_upper && !byte.is_ascii_lowercase() {
                return None;
            }
            *out = if is_upper {
                byte.to_ascii_uppercase()
            } else {
                *byte
            };
        }
        Some(gram)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::{RngAlgorithm, TestRng};

    use super::*;

    /// Values as they lie in a dictionary.
    fn text(seed: u64, values: usize, letters: &[u8]) -> Vec<u8> {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize
        };
        let word = |next: &mut dyn FnMut() -> usize| -> Vec<u8> {
            (0..3 + next() % 8)
                .map(|_| letters[next() % letters.len()])
                .collect()
        };
        let words: Vec<Vec<u8>> = (0..200).map(|_| word(&mut next)).collect();
        let mut text = Vec::new();
        for _ in 0..values {
            text.extend_from_slice(&words[next() % words.len()]);
            text.push(b' ');
        }
        text
    }

    #[test]
    fn most_literals_that_are_not_there_are_ruled_out() {
        let text = text(7, 20_000, b"abcdefghijklmnopqrstuvwxyz");
        let grams = Grams::of(&text).unwrap();
        assert!(grams.as_bytes().len() <= text.len() / TEXT_PER_BYTE);
        let absent =
            (1..=1_000u64).map(|n| format!("{:016X}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let passed = absent.filter(|needle| grams.may_contain(needle.as_bytes(), false));
        assert!(passed.count() < 20);
        let absent =
            (1..=1_000u64).map(|n| format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let passed = absent.filter(|needle| grams.may_contain(needle.as_bytes(), true));
        assert!(passed.count() < 100);
    }

    #[test]
    fn where_they_say_nothing_there_are_none() {
        assert_eq!(Grams::of(&[b'a'; LEAST_TEXT_BYTES - 1]), None);
        let mut random = vec![0; LEAST_TEXT_BYTES * 4];
        TestRng::deterministic_rng(RngAlgorithm::ChaCha).fill_bytes(&mut random);
        assert_eq!(Grams::of(&random), None);
        assert_eq!(Grams::from_bytes(&[]), None);
        assert_eq!(Grams::from_bytes(&[0; 3]), None);
        assert_eq!(Grams::from_bytes(&vec![0; TABLE_BYTES * 2]), None);
    }

    proptest! {
        #[test]
        fn what_is_there_is_never_ruled_out(
            seed: u64,
            values in 500usize..20_000,
            at: prop::sample::Index,
            len in 0usize..40,
        ) {
            let text = text(seed, values, b"abcXYZ09-/");
            let Some(grams) = Grams::of(&text) else {
                return Ok(());
            };
            let grams = Grams::from_bytes(grams.as_bytes()).unwrap();
            let start = at.index(text.len());
            let needle = &text[start..text.len().min(start + len)];
            prop_assert!(grams.may_contain(needle, false));
            prop_assert!(grams.may_contain(&needle.to_ascii_lowercase(), true));
        }
    }
}
