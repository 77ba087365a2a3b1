//! Integers as byte planes: all lowest bytes, then all second bytes, and so on. Each plane is
//! compressed alone, so the high bytes, which are often equal, cost next to nothing and the low
//! ones, which are often random, do not spoil them.

/// An integer that planes are joined to.
pub(crate) trait Word: Copy + Default {
    /// The byte at a plane's place added.
    fn with(self, byte: u8, plane: u32) -> Self;
}

impl Word for u16 {
    fn with(self, byte: u8, plane: u32) -> Self {
        self | Self::from(byte).checked_shl(plane * 8).unwrap_or(0)
    }
}

impl Word for u32 {
    fn with(self, byte: u8, plane: u32) -> Self {
        self | Self::from(byte).checked_shl(plane * 8).unwrap_or(0)
    }
}

impl Word for u64 {
    fn with(self, byte: u8, plane: u32) -> Self {
        self | Self::from(byte).checked_shl(plane * 8).unwrap_or(0)
    }
}

/// Planes that hold numbers up to `most`.
pub(crate) fn width_of(most: u64) -> usize {
    (64 - most.leading_zeros() as usize).div_ceil(8)
}

/// The planes of the numbers, one after the other.
pub(crate) fn planes_of(numbers: &[u64], width: usize) -> Vec<u8> {
    let mut planes = Vec::with_capacity(numbers.len() * width);
    for plane in 0..width {
        planes.extend(numbers.iter().map(|number| (number >> (plane * 8)) as u8));
    }
    planes
}

/// The numbers of some planes, each of `count` bytes.
pub(crate) fn join<'a, W: Word>(
    mut planes: impl Iterator<Item = &'a [u8]>,
    count: usize,
) -> Vec<W> {
    // Memory that was never written is written at once: reading it first costs a second page fault.
    let mut words = Vec::with_capacity(count);
    let lowest = planes.next().unwrap_or_default();
    words.extend(lowest.iter().map(|byte| W::default().with(*byte, 0)));
    words.resize(count, W::default());
    for (plane, number) in planes.zip(1..) {
        for (word, byte) in words.iter_mut().zip(plane) {
            *word = word.with(*byte, number);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_come_back() {
        for numbers in [vec![0, 1, 255], vec![256, 3, 70_000], vec![u64::MAX, 0]] {
            let width = width_of(*numbers.iter().max().unwrap());
            let planes = planes_of(&numbers, width);
            assert_eq!(
                join::<u64>(planes.chunks(numbers.len()), numbers.len()),
                numbers
            );
        }
        assert_eq!(
            [
                width_of(0),
                width_of(255),
                width_of(256),
                width_of(u64::MAX)
            ],
            [0, 1, 2, 8]
        );
    }
}
