//! The table while it is made, and how it is asked.

use super::TABLE_BITS;
use super::ends::ByteSet;
use crate::format::IdPattern;

/// Bytes that follow each other.
const GRAM: usize = 3;
/// Added to a pair of bytes at a border; three bytes are less.
const PAIR: u32 = 1 << 24;
/// Places at which a pair is marked.
const PAIR_PLACES: u32 = 3;
/// There are bytes that are no ASCII.
const WIDE: u32 = PAIR * (PAIR_PLACES + 1);

/// Where a table of so many bits has what is looked for.
#[inline]
pub(super) fn place(key: u32, table_bits: u32) -> usize {
    // Fibonacci hashing: Knuth, The Art of Computer Programming 3, 6.4.
    let hash = key.wrapping_mul(0x9e37_79b1);
    hash.checked_shr(u32::BITS - table_bits).unwrap_or(0) as usize
}

/// Bytes as they are marked: digits are all the same. A table, because branches would be guessed wrong.
const REDUCED: [u8; 256] = {
    let mut reduced = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let own = byte as u8;
        reduced[byte] = if own.is_ascii_digit() { b'0' } else { own };
        byte += 1;
    }
    reduced
};

#[inline]
pub(super) fn reduced(byte: u8) -> u8 {
    REDUCED[usize::from(byte)]
}

fn gram(a: u8, b: u8, c: u8) -> u32 {
    u32::from(reduced(a)) << 16 | u32::from(reduced(b)) << 8 | u32::from(reduced(c))
}

/// A pair is marked at several places: two pairs are asked for of any three bytes, so that they have to
/// be sharper.
fn pair(a: u8, b: u8) -> impl Iterator<Item = u32> {
    let pair = u32::from(reduced(a)) << 8 | u32::from(reduced(b));
    (1..=PAIR_PLACES).map(move |place| (PAIR * place) | pair)
}

/// Places, one byte each while there are more to come.
pub(super) struct Marks(Box<[bool; 1 << TABLE_BITS]>);

impl Marks {
    pub(super) fn new() -> Self {
        Self(Box::new([false; 1 << TABLE_BITS]))
    }

    #[inline]
    fn mark(&mut self, key: u32) {
        if let Some(marked) = self.0.get_mut(place(key, TABLE_BITS)) {
            *marked = true;
        }
    }

    /// Three bytes anywhere in a text.
    pub(super) fn text(&mut self, text: &[u8]) {
        if let [a, b, rest @ ..] = text {
            let mut last = u32::from(reduced(*a)) << 8 | u32::from(reduced(*b));
            for byte in rest {
                last = (last << 8 | u32::from(reduced(*byte))) & (PAIR - 1);
                self.mark(last);
            }
        }
        if !text.is_ascii() {
            self.mark(WIDE);
        }
    }

    /// Two bytes next to each other, one the last of its text, the other the first of its own.
    pub(super) fn border(&mut self, before: u8, after: u8) {
        pair(before, after).for_each(|place| self.mark(place));
    }

    pub(super) fn borders(&mut self, before: &ByteSet, after: &ByteSet) {
        for before in before.iter() {
            after.iter().for_each(|after| self.border(before, after));
        }
    }

    /// Three bytes anywhere in identifiers of a pattern, whatever their digits are.
    pub(super) fn identifiers(&mut self, pattern: &IdPattern) {
        let (text, digits) = pattern.parts();
        let all: Vec<u8> = pattern.digit_bytes().collect();
        let is_digit = |at: usize| digits.iter().any(|digit| usize::from(*digit) == at);
        let mut was_all = false;
        for (at, window) in text.windows(GRAM).enumerate() {
            let can_be = |of: usize| {
                let is_digit = is_digit(at + of);
                let own = window.get(of..=of).unwrap_or_default();
                if is_digit { all.as_slice() } else { own }
            };
            // Most have nothing but digits, which are all the same.
            let is_all = (at..at + GRAM).all(is_digit);
            if is_all && std::mem::replace(&mut was_all, true) {
                continue;
            }
            for a in can_be(0) {
                for b in can_be(1) {
                    can_be(2).iter().for_each(|c| self.mark(gram(*a, *b, *c)));
                }
            }
        }
        if !text.is_ascii() {
            self.mark(WIDE);
        }
    }

    /// The table, a bit for each place.
    pub(super) fn finish(self) -> Box<[u64]> {
        let words = self.0.chunks(64).map(|places| {
            let bits = places.iter().enumerate();
            bits.fold(0, |word, (at, marked)| word | u64::from(*marked) << at)
        });
        words.collect()
    }
}

/// Whether `text` may be in a line, of which `has` says what is marked. Without regard to case, `text`
/// is in lower case.
pub(crate) fn may_contain(text: &[u8], any_case: bool, has: &dyn Fn(u32) -> bool) -> bool {
    let follow = |a, b, c| has(gram(a, b, c)) || pair(a, b).all(has) || pair(b, c).all(has);
    let mut grams = text.array_windows::<GRAM>();
    if !any_case {
        return grams.all(|[a, b, c]| follow(*a, *b, *c));
    }
    // The Kelvin sign is a `k`, the long s an `s`.
    let has_wide = has(WIDE);
    grams.all(|gram| {
        let is_wide = |byte: &u8| has_wide && matches!(byte, b'k' | b's');
        gram.iter().any(is_wide) || cases(*gram).any(|[a, b, c]| follow(a, b, c))
    })
}

/// All ways to write three bytes of which the letters are in lower case.
fn cases(lower: [u8; GRAM]) -> impl Iterator<Item = [u8; GRAM]> {
    (0..1u8 << GRAM).map(move |upper| {
        let mut gram = lower;
        for (at, byte) in gram.iter_mut().enumerate() {
            if upper >> at & 1 == 1 {
                byte.make_ascii_uppercase();
            }
        }
        gram
    })
}
