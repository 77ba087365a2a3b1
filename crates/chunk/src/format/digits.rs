//! Decimal digits.

const PAIRS: [u8; 200] = {
    let mut pairs = [0; 200];
    let mut at = 0;
    while at < 100 {
        pairs[at * 2] = b'0' + (at / 10) as u8;
        pairs[at * 2 + 1] = b'0' + (at % 10) as u8;
        at += 1;
    }
    pairs
};

/// Appends the number in decimal, with zeros in front up to `least` digits (at most 20).
pub(crate) fn put_digits(mut number: u64, least: usize, out: &mut Vec<u8>) {
    let mut text = [b'0'; 20];
    let mut at = text.len();
    while number >= 100 {
        let pair = (number % 100) as usize * 2;
        number /= 100;
        at -= 2;
        text[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if number >= 10 {
        at -= 2;
        text[at..at + 2].copy_from_slice(&PAIRS[number as usize * 2..number as usize * 2 + 2]);
    } else {
        at -= 1;
        text[at] = b'0' + number as u8;
    }
    out.extend_from_slice(&text[at.min(text.len() - least.min(text.len()))..]);
}

#[cfg(test)]
mod tests {
    use super::put_digits;

    #[test]
    fn numbers_are_written_as_rust_writes_them() {
        for number in [0, 7, 10, 99, 100, 101, 65_535, 1_000_000, u64::MAX] {
            let mut out = Vec::new();
            put_digits(number, 1, &mut out);
            assert_eq!(out, number.to_string().as_bytes());
            out.clear();
            put_digits(number, 5, &mut out);
            assert_eq!(out, format!("{number:05}").as_bytes());
        }
    }
}
