//! Columns of integers in groups of 128, each with its own base and bit width.
//!
//! A group is: a byte with the width (0 to 64) and a flag, the smallest value (varint), the number
//! of exceptions if the flag is set, then the values minus the smallest, `width` bits each, packed
//! low bits first into whole bytes, and the exceptions. An exception is a value that needs more
//! bits than the width chosen: its low bits are packed like the others, its high bits follow as
//! (position, varint). One pause in a burst of log lines then costs a few bytes, not forty bits
//! for each of its 128 neighbours. The idea is patched frame of reference
//! (Zukowski et al., "Super-Scalar RAM-CPU Cache Compression", ICDE 2006).

use crate::{CodecError, Reader, put_varint};

/// Values per group; the last one of a column may have fewer.
pub const GROUP: usize = 128;

const EXCEPTIONS: u8 = 0x80;
/// A full group at 64 bits, and room to load 16 bytes at its last byte.
const BUFFER: usize = GROUP * 8 + 16;

/// Appends the column to `out`.
pub fn pack(values: &[u64], out: &mut Vec<u8>) {
    let mut relative = [0u64; GROUP];
    for group in values.chunks(GROUP) {
        let base = group.iter().copied().min().unwrap_or(0);
        let relative = &mut relative[..group.len()];
        for (to, from) in relative.iter_mut().zip(group) {
            *to = from - base;
        }
        pack_group(base, relative, out);
    }
}

fn pack_group(base: u64, relative: &[u64], out: &mut Vec<u8>) {
    let (width, exceptions) = choose_width(relative);
    let flag = if exceptions > 0 { EXCEPTIONS } else { 0 };
    out.push(width as u8 | flag);
    put_varint(out, base);
    if exceptions > 0 {
        out.push(exceptions as u8);
    }
    pack_bits(relative, width, out);
    if exceptions > 0 {
        for (at, value) in relative.iter().enumerate() {
            let high = value >> width;
            if high > 0 {
                out.push(at as u8);
                put_varint(out, high);
            }
        }
    }
}

/// The width with the fewest bytes, and how many values do not fit in it.
fn choose_width(relative: &[u64]) -> (u32, usize) {
    let mut of_width = [0usize; 65];
    for value in relative {
        of_width[(64 - value.leading_zeros()) as usize] += 1;
    }
    let widest = of_width.iter().rposition(|n| *n > 0).unwrap_or(0);
    let (mut best_width, mut best_exceptions) = (widest, 0);
    let mut best_bits = relative.len() * widest;
    let mut exceptions = 0;
    for width in (0..widest).rev() {
        exceptions += of_width[width + 1];
        let high_bytes = (widest - width).div_ceil(7);
        let bits = relative.len() * width + 8 + exceptions * 8 * (1 + high_bytes);
        if bits < best_bits {
            (best_bits, best_width, best_exceptions) = (bits, width, exceptions);
        }
    }
    (best_width as u32, best_exceptions)
}

fn pack_bits(relative: &[u64], width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let mask = u64::MAX >> (64 - width);
    let (mut held, mut bits) = (0u64, 0u32);
    for value in relative {
        let value = value & mask;
        held |= value << bits;
        bits += width;
        if bits >= 64 {
            out.extend_from_slice(&held.to_le_bytes());
            bits -= 64;
            // What of `value` did not fit; nothing if it ended with the word.
            held = if bits == 0 {
                0
            } else {
                value >> (width - bits)
            };
        }
    }
    out.extend_from_slice(&held.to_le_bytes()[..bits.div_ceil(8) as usize]);
}

/// Reads a column of `count` values, handing them over group by group.
///
/// # Errors
/// If the bytes end or contradict themselves.
pub fn unpack(
    reader: &mut Reader<'_>,
    count: usize,
    mut sink: impl FnMut(&[u64]),
) -> Result<(), CodecError> {
    let mut buffer = [0u8; BUFFER];
    let mut values = [0u64; GROUP];
    let mut left = count;
    while left > 0 {
        let len = left.min(GROUP);
        let values = &mut values[..len];
        unpack_group(reader, &mut buffer, values)?;
        sink(values);
        left -= len;
    }
    Ok(())
}

fn unpack_group(
    reader: &mut Reader<'_>,
    buffer: &mut [u8; BUFFER],
    values: &mut [u64],
) -> Result<(), CodecError> {
    let head = reader.u8()?;
    let width = u32::from(head & !EXCEPTIONS);
    if width > 64 {
        return Err(CodecError::Invalid("integers of more than 64 bits"));
    }
    let base = reader.varint()?;
    let exceptions = if head & EXCEPTIONS == 0 {
        0
    } else {
        reader.u8()?
    };
    let packed = reader.take((values.len() * width as usize).div_ceil(8))?;
    unpack_bits(packed, width, base, buffer, values);
    for _ in 0..exceptions {
        let at = usize::from(reader.u8()?);
        let high = reader.varint()?.checked_shl(width).unwrap_or(0);
        let value = values
            .get_mut(at)
            .ok_or(CodecError::Invalid("exception outside its group"))?;
        *value = value.wrapping_add(high);
    }
    Ok(())
}

fn unpack_bits(
    packed: &[u8],
    width: u32,
    base: u64,
    buffer: &mut [u8; BUFFER],
    values: &mut [u64],
) {
    if width == 0 {
        values.fill(base);
        return;
    }
    // Whatever an earlier group left behind the packed bytes is masked away below.
    buffer[..packed.len()].copy_from_slice(packed);
    let mask = u64::MAX >> (64 - width);
    let mut bit = 0usize;
    for value in values {
        let at = bit >> 3;
        // At most 57 bits can be had with one load of 64 at a byte boundary.
        let word = if width <= 57 {
            load(buffer, at) >> (bit & 7)
        } else {
            let low = load(buffer, at) >> (bit & 7);
            let high = u64::from(buffer[at + 8]);
            if bit & 7 == 0 {
                low
            } else {
                low | high << (64 - (bit & 7))
            }
        };
        *value = (word & mask).wrapping_add(base);
        bit += width as usize;
    }
}

#[inline]
fn load(buffer: &[u8; BUFFER], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&buffer[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(values: &[u64]) -> usize {
        let mut out = Vec::new();
        pack(values, &mut out);
        let mut back = Vec::new();
        let mut reader = Reader::new(&out);
        unpack(&mut reader, values.len(), |group| {
            back.extend_from_slice(group);
        })
        .unwrap();
        assert_eq!(back, values);
        assert!(reader.finish().is_ok());
        out.len()
    }

    #[test]
    fn an_outlier_does_not_widen_its_group() {
        let mut values = vec![7u64; GROUP];
        values[40] = u64::MAX;
        assert!(round_trip(&values) < 20);
        assert_eq!(round_trip(&[7; GROUP]), 2);
    }

    #[test]
    fn every_width_comes_back() {
        for width in 0..=64u32 {
            let top = u64::MAX.checked_shr(64 - width).unwrap_or(0);
            let values: Vec<u64> = (0..300u64).map(|i| top ^ (i & top & 0xff)).collect();
            round_trip(&values);
            round_trip(&[values, vec![0]].concat());
        }
    }

    proptest! {
        #[test]
        fn any_column_comes_back(
            values in prop::collection::vec(
                prop_oneof![0..10u64, any::<u64>(), 0..1_000_000u64], 0..400)
        ) {
            round_trip(&values);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, count in 0..1000usize) {
            let mut rows = 0;
            let _ = unpack(&mut Reader::new(&bytes), count, |group| rows += group.len());
            prop_assert!(rows <= count);
        }
    }
}
