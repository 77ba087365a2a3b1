//! How single values are written as numbers: what both the encoder and the decoder know.
//!
//! Each format is a bijection between the values that it accepts and numbers: what
//! `parse` takes, `render` gives back byte for byte.

mod digits;
mod grams;
mod id;
mod number;
mod planes;
mod stamp;

pub(crate) use digits::put_digits;
pub(crate) use grams::Grams;
pub(crate) use id::IdPattern;
pub(crate) use number::{NumberFormat, decimal_value};
pub(crate) use planes::{Word, join, planes_of, width_of};
pub(crate) use stamp::{Stamp, WIDE, class_mask};

/// An IPv4 address as four decimal numbers without leading zeros.
pub(crate) fn parse_ip4(value: &[u8]) -> Option<u32> {
    let mut address = 0;
    let mut parts = 0;
    for part in value.split(|byte| *byte == b'.') {
        let canonical = matches!(part, [_] | [b'1'..=b'9', _] | [b'1'..=b'9', _, _]);
        if !canonical || parts == 4 {
            return None;
        }
        let mut number = 0u32;
        for byte in part {
            number = number * 10 + u32::from(byte.is_ascii_digit().then(|| byte - b'0')?);
        }
        address = address << 8 | (number <= 255).then_some(number)?;
        parts += 1;
    }
    (parts == 4).then_some(address)
}

/// The address as [`parse_ip4`] reads it.
pub(crate) fn put_ip4(address: u32, out: &mut Vec<u8>) {
    for (at, part) in address.to_be_bytes().into_iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        put_digits(u64::from(part), 1, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_or_are_refused() {
        for address in ["0.0.0.0", "255.255.255.255", "10.1.20.100"] {
            let mut back = Vec::new();
            put_ip4(parse_ip4(address.as_bytes()).unwrap(), &mut back);
            assert_eq!(back, address.as_bytes());
        }
        for other in [
            "",
            "1.2.3",
            "1.2.3.4.5",
            "01.2.3.4",
            "256.1.1.1",
            "1..2.3",
            "1.2.3.x",
            "1.2.3.0004",
        ] {
            assert_eq!(parse_ip4(other.as_bytes()), None, "{other}");
        }
    }
}
