//! Delimiters that are a few bytes away, found eight bytes at a time.
//!
//! Keys and values of log lines are short: a call into vector code costs more than looking at them
//! in words does. The tests of bytes in a word are those of "Bit Twiddling Hacks"
//! (<https://graphics.stanford.edu/~seander/bithacks.html>): the lowest byte that is marked is
//! right, those above it may be wrong.

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Marks bytes that are less than `bound`, which is at most 128.
pub(super) fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(LOW * u64::from(bound)) & !word & HIGH
}

/// Marks bytes that are `byte`.
pub(super) fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (LOW * u64::from(byte)), 1)
}

/// Where the first byte is that `mark` marks; the length of the data if none is.
pub(super) fn position(data: &[u8], mark: impl Fn(u64) -> u64) -> usize {
    let (words, rest) = data.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let marks = mark(u64::from_le_bytes(*word));
        if marks != 0 {
            return at * 8 + marks.trailing_zeros() as usize / 8;
        }
    }
    let start = words.len() * 8;
    let marked = |b: &u8| mark(u64::from(*b)) & 0x80 != 0;
    start + rest.iter().position(marked).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_first(data in prop::collection::vec(prop_oneof![0x1f..0x23_u8, any::<u8>()], 0..40)) {
            let mark = |word| equal(word, b'"') | equal(word, 0xe9) | below(word, b'!');
            let expected = data.iter().position(|b| [b'"', 0xe9].contains(b) || *b < b'!');
            prop_assert_eq!(position(&data, mark), expected.unwrap_or(data.len()));
        }
    }
}
