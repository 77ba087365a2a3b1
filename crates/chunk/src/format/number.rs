//! Values that are numbers in a fixed frame of text.

use codec::{CodecError, Reader, put_bytes, put_varint};

use super::digits::put_digits;

/// Digits that always fit 64 bits.
const MAX_DIGITS: usize = 18;
/// Bytes of a skeleton.
const MAX_SKELETON: usize = 255;

/// How the values of a column stand for numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NumberFormat {
    /// `prefix` digits `suffix`, the digits as few as possible, perhaps with a point among them.
    Decimal {
        prefix: Box<[u8]>,
        suffix: Box<[u8]>,
        /// Digits after the point; `None` if rows differ.
        scale: Option<u8>,
    },
    /// Text of one length, equal but for digits at some places, which are read as one number.
    Skeleton {
        text: Box<[u8]>,
        /// The places, ascending.
        places: Box<[u8]>,
    },
}

impl NumberFormat {
    /// A format that accepts every value, if there is one.
    pub(crate) fn infer<'a>(values: impl Iterator<Item = &'a [u8]> + Clone) -> Option<Self> {
        let first = values.clone().next()?;
        Self::decimal(first, values.clone()).or_else(|| Self::skeleton(first, values))
    }

    fn decimal<'a>(first: &[u8], values: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let start = first.iter().position(u8::is_ascii_digit)?;
        let end = first.iter().rposition(u8::is_ascii_digit)? + 1;
        let (prefix, suffix) = (first.get(..start)?, first.get(end..)?);
        let (_, scale) = decimal(first.get(start..end)?)?;
        let mut scale = Some(scale);
        for value in values {
            let (_, own) = decimal(between(value, prefix, suffix)?)?;
            if scale.is_some_and(|scale| scale != own) {
                scale = None;
            }
        }
        Some(Self::Decimal {
            prefix: prefix.into(),
            suffix: suffix.into(),
            scale,
        })
    }

    fn skeleton<'a>(first: &[u8], values: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        if first.len() > MAX_SKELETON {
            return None;
        }
        let mut varies = vec![0u8; first.len()];
        for value in values {
            if value.len() != first.len() {
                return None;
            }
            for ((varies, a), b) in varies.iter_mut().zip(first).zip(value) {
                *varies |= a ^ b;
            }
        }
        // Digits differ in their low four bits; what else differs so is found by `parse`.
        if varies.iter().any(|bits| *bits > 15) {
            return None;
        }
        let places: Box<[u8]> = (0..first.len())
            .filter(|at| varies.get(*at).is_some_and(|bits| *bits != 0))
            .map(|at| at as u8)
            .collect();
        let digits = |at: &u8| first.get(usize::from(*at)).is_some_and(u8::is_ascii_digit);
        (places.len() <= MAX_DIGITS && places.iter().all(digits)).then(|| Self::Skeleton {
            text: first.into(),
            places,
        })
    }

    /// The number of a value and, if rows differ, its digits after the point.
    pub(crate) fn parse(&self, value: &[u8]) -> Option<(u64, u8)> {
        match self {
            Self::Decimal {
                prefix,
                suffix,
                scale,
            } => {
                let (number, own) = decimal(between(value, prefix, suffix)?)?;
                scale
                    .is_none_or(|scale| scale == own)
                    .then_some((number, own))
            }
            Self::Skeleton { text, places } => {
                if value.len() != text.len() {
                    return None;
                }
                let (mut number, mut from) = (0, 0);
                let (mut fits, mut most) = (true, 0);
                for place in places {
                    let place = usize::from(*place);
                    fits &= same(value.get(from..place)?, text.get(from..place)?);
                    let digit = value.get(place)?.wrapping_sub(b'0');
                    most = digit.max(most);
                    number = number * 10 + u64::from(digit & 15);
                    from = place + 1;
                }
                fits &= same(value.get(from..)?, text.get(from..)?);
                (fits && most <= 9).then_some((number, 0))
            }
        }
    }

    /// Texts that stand for all values where digits need not be told apart: three bytes that follow
    /// each other in a value do in one of them, and they begin and end like values.
    pub(crate) fn outlines(&self) -> Vec<Vec<u8>> {
        match self {
            Self::Decimal {
                prefix,
                suffix,
                scale,
            } => {
                let numbers: [&[u8]; 5] = [b"0", b"00", b"000", b"0.0", b"00.00"];
                let whole = if *scale == Some(0) { 3 } else { numbers.len() };
                let text = |number: &&[u8]| [prefix, *number, suffix].concat();
                numbers.iter().take(whole).map(text).collect()
            }
            Self::Skeleton { text, .. } => vec![text.to_vec()],
        }
    }

    /// Appends the value that stands for a number. Numbers that no value stands for give some
    /// text.
    pub(crate) fn render(&self, number: u64, scale: u8, out: &mut Vec<u8>) {
        match self {
            Self::Decimal {
                prefix,
                suffix,
                scale: common,
            } => {
                out.extend_from_slice(prefix);
                let scale = usize::from(common.unwrap_or(scale));
                put_digits(number, scale + 1, out);
                if scale > 0 {
                    let point = out.len().saturating_sub(scale);
                    out.insert(point, b'.');
                }
                out.extend_from_slice(suffix);
            }
            Self::Skeleton { text, places } => {
                let start = out.len();
                out.extend_from_slice(text);
                let mut number = number;
                let text = out.get_mut(start..).unwrap_or_default();
                for place in places.iter().rev() {
                    if let Some(byte) = text.get_mut(usize::from(*place)) {
                        *byte = b'0' + (number % 10) as u8;
                    }
                    number /= 10;
                }
            }
        }
    }

    /// As [`decimal_value`], of the value that stands for a number.
    pub(crate) fn value(&self, number: u64, scale: u8) -> Option<f64> {
        let Self::Decimal {
            prefix,
            suffix,
            scale: common,
        } = self
        else {
            return None;
        };
        let is_plain = prefix.is_empty() && suffix.is_empty();
        quotient(number, common.unwrap_or(scale)).filter(|_| is_plain)
    }

    /// Whether rows have a scale of their own.
    pub(crate) fn has_scales(&self) -> bool {
        matches!(self, Self::Decimal { scale: None, .. })
    }

    /// Classes of bytes that its values may have.
    pub(crate) fn classes(&self) -> u16 {
        let text = match self {
            Self::Decimal { prefix, suffix, .. } => [prefix, b".".as_slice(), suffix].concat(),
            Self::Skeleton { text, .. } => text.to_vec(),
        };
        super::class_mask(b"0") | super::class_mask(&text)
    }

    /// Whether a value may contain a text, as far as single bytes tell. Without regard to case, the
    /// text is in lower case, and the format's own text has no other characters than ASCII.
    pub(crate) fn may_contain(&self, text: &[u8], any_case: bool) -> bool {
        let own: [&[u8]; 2] = match self {
            Self::Decimal { prefix, suffix, .. } => [prefix, suffix],
            Self::Skeleton { text, .. } => [text, &[]],
        };
        let is_own = |byte: u8| {
            let mut own = own.iter().flat_map(|text| text.iter());
            own.any(|own| *own == byte || any_case && own.to_ascii_lowercase() == byte)
        };
        let mut bytes = text.iter();
        bytes.all(|byte| byte.is_ascii_digit() || *byte == b'.' || is_own(*byte))
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Decimal {
                prefix,
                suffix,
                scale,
            } => {
                out.push(0);
                put_bytes(out, prefix);
                put_bytes(out, suffix);
                put_varint(out, scale.map_or(0, |scale| u64::from(scale) + 1));
            }
            Self::Skeleton { text, places } => {
                out.push(1);
                put_bytes(out, text);
                put_bytes(out, places);
            }
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        match reader.u8()? {
            0 => Ok(Self::Decimal {
                prefix: reader.bytes()?.into(),
                suffix: reader.bytes()?.into(),
                scale: (reader.count("digits", MAX_DIGITS + 1)? as u8).checked_sub(1),
            }),
            1 => {
                let text = reader.bytes()?;
                let places = reader.bytes()?;
                let inside = |place: &u8| usize::from(*place) < text.len();
                if text.len() > MAX_SKELETON || !places.iter().all(inside) {
                    return Err(CodecError::Invalid("digits outside their text"));
                }
                Ok(Self::Skeleton {
                    text: text.into(),
                    places: places.into(),
                })
            }
            _ => Err(CodecError::Invalid("unknown format of numbers")),
        }
    }
}

/// Powers of ten that an `f64` has exactly.
const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// The number that a text reads as, if it is nothing but decimal digits with or without a point, as few
/// as possible in front of it, and so many that an `f64` has the digits and the power of ten.
pub(crate) fn decimal_value(text: &[u8]) -> Option<f64> {
    let (number, scale) = decimal(text)?;
    quotient(number, scale)
}

fn quotient(number: u64, scale: u8) -> Option<f64> {
    let power = POWERS_OF_TEN.get(usize::from(scale))?;
    // Both are exact, so that the quotient is the number nearest to the text.
    (number <= 1 << f64::MANTISSA_DIGITS).then(|| number as f64 / power)
}

/// What is left of a value without prefix and suffix. `None` if it does not have them.
fn between<'v>(value: &'v [u8], prefix: &[u8], suffix: &[u8]) -> Option<&'v [u8]> {
    let end = value.len().checked_sub(suffix.len())?;
    let left = value.get(prefix.len()..end)?;
    let fits = same(value.get(..prefix.len())?, prefix) && same(value.get(end..)?, suffix);
    fits.then_some(left)
}

/// Whether texts of one length are equal. They are short and mostly equal: a loop is quicker than a
/// call.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    a.iter().zip(b).fold(0, |bits, (a, b)| bits | (a ^ b)) == 0
}

/// Digits as few as possible, with at most one point between them: the number without the point,
/// and the digits behind it.
fn decimal(text: &[u8]) -> Option<(u64, u8)> {
    if text.len() > MAX_DIGITS + 1 {
        return None;
    }
    let mut number = 0u64;
    let mut point = None;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' => number = number * 10 + u64::from(byte - b'0'),
            b'.' if point.is_none() => point = Some(at),
            _ => return None,
        }
    }
    let whole = point.unwrap_or(text.len());
    let scale = text.len() - point.map_or(text.len(), |point| point + 1);
    let canonical = match text.get(..whole)? {
        [] => false,
        [b'0', rest @ ..] => rest.is_empty(),
        _ => true,
    };
    let fits = canonical && whole + scale <= MAX_DIGITS && (point.is_none() || scale > 0);
    fits.then_some((number, scale as u8))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(values: &[&str]) -> Option<NumberFormat> {
        let bytes = || values.iter().map(|value| value.as_bytes());
        let format = NumberFormat::infer(bytes())?;
        for value in bytes() {
            if let Some((number, scale)) = format.parse(value) {
                let mut back = Vec::new();
                format.render(number, scale, &mut back);
                assert_eq!(back, value);
                let read = std::str::from_utf8(value).unwrap().parse().ok();
                let of_number = format.value(number, scale);
                assert!(of_number.is_none() || of_number == read, "{read:?}");
            }
        }
        let mut wire = Vec::new();
        format.put(&mut wire);
        assert_eq!(NumberFormat::read(&mut Reader::new(&wire)).unwrap(), format);
        Some(format)
    }

    #[test]
    fn values_are_recognised() {
        let scale = |values: &[&str]| match round_trip(values) {
            Some(NumberFormat::Decimal { scale, .. }) => Some(scale),
            _ => None,
        };
        assert_eq!(scale(&["1", "20", "0"]), Some(Some(0)));
        assert_eq!(scale(&["took 1.25ms", "took 0.01ms"]), Some(Some(2)));
        assert_eq!(scale(&["1.5", "2", "0.125"]), Some(None));
        assert_eq!(scale(&["blk_-7", "blk_-70"]), Some(Some(0)));
        for (values, digits) in [
            (&["2025-11-23T07:00:01Z", "2025-11-23T07:10:59Z"][..], 3),
            (&["007", "110"], 3),
            (&["00", "00"], 0),
        ] {
            let Some(NumberFormat::Skeleton { places, .. }) = round_trip(values) else {
                panic!("{values:?}");
            };
            assert_eq!(places.len(), digits);
        }
        for values in [
            &["1", "x"][..],
            &["1.", "2."],
            &[""],
            &["1", "01"],
            &["1234567890123456789"],
        ] {
            let format = round_trip(values);
            let accepts = |format: NumberFormat| {
                values
                    .iter()
                    .all(|value| format.parse(value.as_bytes()).is_some())
            };
            assert!(
                !format.is_some_and(|f| accepts(f) && values[0] != "1." && values.len() > 1),
                "{values:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn decimal_values_are_what_their_text_reads_as(text in "[0-9]{0,3}[0-9]{0,15}[.]?[0-9]{0,4}") {
            let value = decimal_value(text.as_bytes());
            prop_assert!(value.is_none() || value == text.parse().ok());
        }

        #[test]
        fn what_is_parsed_is_rendered(values in prop::collection::vec("[ab]?[0-2]{0,4}[.:]?[0-9]{0,3}m?", 1..5)) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            round_trip(&values);
        }
    }
}
