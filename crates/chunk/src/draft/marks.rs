//! Finds the bytes of a text at which a variable part may be: eight bytes at a time, as most text is
//! none.
//!
//! The arithmetic is that of "SIMD within a register": what is true of a byte is said in its
//! highest bit (H. S. Warren, Hacker's Delight, section 6-1).

const EACH: u64 = 0x0101_0101_0101_0101;
const LOW: u64 = EACH * 0x7f;
const HIGH: u64 = EACH * 0x80;

/// The next digit, quote, backslash or `=` from `from` on.
#[inline]
pub(super) fn next_mark(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(word) = text.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let marks = marks(u64::from_le_bytes(*word));
        if marks != 0 {
            return Some(at + first(marks));
        }
        at += 8;
    }
    let rest = text.get(at..)?;
    let mut word = [0; 8];
    word.get_mut(..rest.len())?.copy_from_slice(rest);
    let marks = marks(u64::from_le_bytes(word));
    (marks != 0).then(|| at + first(marks))
}

fn first(marks: u64) -> usize {
    marks.trailing_zeros() as usize / 8
}

#[inline]
fn marks(word: u64) -> u64 {
    let equal = |byte: u8| zeros(word ^ (EACH * u64::from(byte)));
    let digit = word ^ (EACH * u64::from(b'0'));
    let no_digit = ((digit & LOW) + EACH * (0x80 - 10)) | digit;
    (!no_digit & HIGH) | equal(b'"') | equal(b'\\') | equal(b'=')
}

/// Which bytes are zero.
#[inline]
fn zeros(word: u64) -> u64 {
    !(((word & LOW) + LOW) | word | LOW)
}

#[cfg(test)]
mod tests {
    use super::next_mark;
    use proptest::prelude::*;

    fn is_mark(byte: u8) -> bool {
        byte.is_ascii_digit() || b"\"\\=".contains(&byte)
    }

    #[test]
    fn each_byte_is_judged_alone() {
        for byte in 0..=u8::MAX {
            for at in 0..11 {
                let mut text = *b"\xff\x00abc/:<>\x80\xb0";
                if let Some(place) = text.get_mut(at) {
                    *place = byte;
                }
                let expected = is_mark(byte).then_some(at);
                assert_eq!(next_mark(&text, 0), expected, "{byte} at {at}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_next_one_is_found(text in prop::collection::vec(any::<u8>(), 0..40), from in 0..45_usize) {
            let after = text.iter().enumerate().skip(from);
            let expected = after.map(|(at, byte)| (at, *byte)).find(|(_, byte)| is_mark(*byte));
            prop_assert_eq!(next_mark(&text, from), expected.map(|(at, _)| at));
        }
    }
}
