//! Identifiers: hexadecimal digits at fixed places, such as UUIDs and trace ids.

use codec::{CodecError, Reader, put_bytes};

/// Fewer digits are rather words or numbers.
const MIN_DIGITS: usize = 8;
/// As many as 128 bits have.
const MAX_DIGITS: usize = 32;
/// Shorter stretches of digits between dashes are text.
const MIN_STRETCH: usize = 4;

/// What the tables of digits say of other bytes.
const NO_DIGIT: u8 = 16;
/// Digits by byte: identifiers are random, so that branches would be guessed wrong.
const LOWER: [u8; 256] = digits(b'a');
const UPPER: [u8; 256] = digits(b'A');

const fn digits(ten: u8) -> [u8; 256] {
    let mut digits = [NO_DIGIT; 256];
    let mut digit = 0;
    while digit < 16 {
        let byte = if digit < 10 {
            b'0' + digit
        } else {
            ten + digit - 10
        };
        digits[byte as usize] = digit;
        digit += 1;
    }
    digits
}

/// Text of one length with hexadecimal digits, all in one case, at some places.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct IdPattern {
    /// With `0` where digits are.
    text: Box<[u8]>,
    /// Where digits are, ascending.
    places: Box<[u8]>,
    is_upper: bool,
}

impl IdPattern {
    /// The pattern of most values, if they look like identifiers: at least every other one has
    /// a letter among its digits.
    pub(crate) fn infer<'a>(values: impl Iterator<Item = &'a [u8]> + Clone) -> Option<Self> {
        let lettered = |value: &&[u8]| {
            value
                .iter()
                .any(|byte| matches!(byte, b'a'..=b'f' | b'A'..=b'F'))
        };
        let pattern = Self::of(values.clone().find(lettered)?)?;
        let (mut all, mut with_letters) = (0, 0);
        for value in values {
            pattern.parse(value)?;
            all += 1;
            with_letters += usize::from(pattern.has_letter(value));
        }
        (with_letters * 2 >= all).then_some(pattern)
    }

    fn of(value: &[u8]) -> Option<Self> {
        if value.len() > usize::from(u8::MAX) {
            return None;
        }
        let mut places = Vec::new();
        let mut start = 0;
        for stretch in value.split(|byte| !byte.is_ascii_alphanumeric()) {
            if stretch.len() >= MIN_STRETCH && stretch.iter().all(u8::is_ascii_hexdigit) {
                places.extend((start..start + stretch.len()).map(|at| at as u8));
            }
            start += stretch.len() + 1;
        }
        if !(MIN_DIGITS..=MAX_DIGITS).contains(&places.len()) {
            return None;
        }
        let mut text: Box<[u8]> = value.into();
        let mut is_upper = false;
        for place in &places {
            let byte = text.get_mut(usize::from(*place))?;
            is_upper |= byte.is_ascii_uppercase();
            *byte = b'0';
        }
        Some(Self {
            text,
            places: places.into(),
            is_upper,
        })
    }

    fn has_letter(&self, value: &[u8]) -> bool {
        let letter = |place: &u8| {
            value
                .get(usize::from(*place))
                .is_some_and(u8::is_ascii_alphabetic)
        };
        self.places.iter().any(letter)
    }

    /// The digits of a value as one number.
    pub(crate) fn parse(&self, value: &[u8]) -> Option<u128> {
        if value.len() != self.text.len() {
            return None;
        }
        let digits = if self.is_upper { &UPPER } else { &LOWER };
        let mut number = 0u128;
        let (mut from, mut seen) = (0, 0);
        for place in &self.places {
            let place = usize::from(*place);
            if from < place && value.get(from..place)? != self.text.get(from..place)? {
                return None;
            }
            let digit = digits[usize::from(*value.get(place)?)];
            seen |= digit;
            number = number << 4 | u128::from(digit & 15);
            from = place + 1;
        }
        (seen < NO_DIGIT && value.get(from..)? == self.text.get(from..)?).then_some(number)
    }

    /// A digit, if it has the case of this pattern.
    pub(crate) fn digit(&self, byte: u8) -> Option<u8> {
        let digits = if self.is_upper { &UPPER } else { &LOWER };
        let digit = digits[usize::from(byte)];
        (digit < NO_DIGIT).then_some(digit)
    }

    /// The bytes that a digit can be; of the decimal ones only `0`.
    pub(crate) fn digit_bytes(&self) -> impl Iterator<Item = u8> {
        let letters = if self.is_upper {
            b'A'..=b'F'
        } else {
            b'a'..=b'f'
        };
        std::iter::once(b'0').chain(letters)
    }

    /// Bytes of a number in the table of identifiers; the first digit is in the high half of the
    /// first byte.
    pub(crate) fn width(&self) -> usize {
        self.places.len().div_ceil(2)
    }

    /// Appends a number to the table of identifiers.
    pub(crate) fn pack(&self, number: u128, out: &mut Vec<u8>) {
        let bytes = (number << (128 - 4 * self.places.len())).to_be_bytes();
        out.extend_from_slice(bytes.get(..self.width()).unwrap_or_default());
    }

    /// Appends the value whose number is `packed` in the table.
    pub(crate) fn render(&self, packed: &[u8], out: &mut Vec<u8>) {
        let digits: &[u8; 16] = if self.is_upper {
            b"0123456789ABCDEF"
        } else {
            b"0123456789abcdef"
        };
        let start = out.len();
        out.extend_from_slice(&self.text);
        let text = out.get_mut(start..).unwrap_or_default();
        let (pairs, last) = self.places.as_chunks::<2>();
        for ([high, low], byte) in pairs.iter().zip(packed) {
            if let Some(place) = text.get_mut(usize::from(*high)) {
                *place = digits[usize::from(byte >> 4)];
            }
            if let Some(place) = text.get_mut(usize::from(*low)) {
                *place = digits[usize::from(byte & 15)];
            }
        }
        if let ([place], Some(byte)) = (last, packed.get(pairs.len()))
            && let Some(place) = text.get_mut(usize::from(*place))
        {
            *place = digits[usize::from(byte >> 4)];
        }
    }

    /// The text with `0` for digits, and where they are.
    pub(crate) fn parts(&self) -> (&[u8], &[u8]) {
        (&self.text, &self.places)
    }

    /// Classes of bytes that its values may have.
    pub(crate) fn classes(&self) -> u16 {
        let letters: &[u8] = if self.is_upper { b"A" } else { b"a" };
        super::class_mask(&self.text) | super::class_mask(letters)
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, &self.text);
        put_bytes(out, &self.places);
        out.push(u8::from(self.is_upper));
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let pattern = Self {
            text: reader.bytes()?.into(),
            places: reader.bytes()?.into(),
            is_upper: reader.u8()? != 0,
        };
        let inside = |place: &u8| usize::from(*place) < pattern.text.len();
        let fits = (1..=MAX_DIGITS).contains(&pattern.places.len())
            && pattern.places.is_sorted_by(|a, b| a < b)
            && pattern.places.iter().all(inside);
        if fits {
            Ok(pattern)
        } else {
            Err(CodecError::Invalid("digits outside their text"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_come_back() {
        for values in [
            &[
                "4bf92f3577b34da6a3ce929d0e0e4736",
                "00000000000000000000000000000001",
            ][..],
            &["req-38101a0b-2096-447d-96ea-a692162415ae"],
            &["DEADBEEF1", "00000000F"],
        ] {
            let pattern = IdPattern::infer(values.iter().map(|value| value.as_bytes())).unwrap();
            let mut wire = Vec::new();
            pattern.put(&mut wire);
            assert_eq!(IdPattern::read(&mut Reader::new(&wire)).unwrap(), pattern);
            for value in values {
                let (mut packed, mut back) = (Vec::new(), Vec::new());
                pattern.pack(pattern.parse(value.as_bytes()).unwrap(), &mut packed);
                pattern.render(&packed, &mut back);
                assert_eq!(back, value.as_bytes());
            }
        }
    }

    #[test]
    fn other_values_are_refused() {
        for values in [
            &["12345678", "23456789"][..],
            &["abcdefgh"],
            &["abcdef12", "ABCDEF12"],
            &["abc"],
        ] {
            let pattern = IdPattern::infer(values.iter().map(|value| value.as_bytes()));
            assert_eq!(pattern, None, "{values:?}");
        }
    }
}
