//! What the values of a column can look like, in six bytes: enough to say that most literals are
//! in none of them.

/// Which kinds of bytes occur, as one bit each.
const fn class(byte: u8) -> u16 {
    let bit = match byte {
        b'0'..=b'9' => 0,
        b'a'..=b'f' => 1,
        b'g'..=b'm' => 2,
        b'n'..=b's' => 3,
        b't'..=b'z' => 4,
        b'A'..=b'F' => 5,
        b'G'..=b'Z' => 6,
        b'.' => 7,
        b'-' => 8,
        b'_' => 9,
        b':' => 10,
        b'/' => 11,
        0..=b' ' => 12,
        b'"' | b'\\' | b'\'' => 13,
        0x80.. => 15,
        _ => 14,
    };
    1 << bit
}

const CLASSES: [u16; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = class(byte as u8);
        byte += 1;
    }
    classes
};

const LOWER: u16 = 0b1_1110;
const UPPER: u16 = 0b110_0000;
/// Bytes of characters that are not ASCII.
pub(crate) const WIDE: u16 = 1 << 15;

/// The classes of all bytes of a text.
pub(crate) fn class_mask(text: &[u8]) -> u16 {
    text.iter()
        .fold(0, |mask, byte| mask | CLASSES[usize::from(*byte)])
}

/// Kinds of bytes that occur in a column, and how long its values are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) classes: u16,
    pub(crate) min_len: u32,
    pub(crate) max_len: u32,
}

impl Stamp {
    /// Whether a value may have a byte in it.
    pub(crate) fn may_have(&self, byte: u8) -> bool {
        self.classes & class(byte) != 0
    }

    /// Whether a value may contain `text`, whose classes are `classes`. Without regard to case,
    /// `text` is in lower case.
    pub(crate) fn may_contain(&self, text: &[u8], classes: u16, any_case: bool) -> bool {
        if any_case {
            // A few wide characters are the other case of an ASCII letter.
            if self.classes & WIDE != 0 {
                return true;
            }
            let folded = fold(self.classes);
            return text.len() <= self.max_len as usize && fold(classes) & !folded == 0;
        }
        text.len() <= self.max_len as usize && classes & !self.classes == 0
    }
}

/// The classes after letters have become lower case, as far as classes tell.
fn fold(classes: u16) -> u16 {
    if classes & UPPER == 0 {
        return classes;
    }
    (classes & !UPPER) | LOWER
}
