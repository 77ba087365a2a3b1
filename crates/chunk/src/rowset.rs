//! Sets of rows.

use std::ops::Range;

/// Some rows of a block, one bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowSet {
    len: usize,
    words: Vec<u64>,
}

impl RowSet {
    /// None of so many rows.
    #[must_use]
    pub fn none(len: usize) -> Self {
        Self {
            len,
            words: vec![0; len.div_ceil(64)],
        }
    }

    /// All of so many rows.
    #[must_use]
    pub fn all(len: usize) -> Self {
        let mut all = Self::none(len);
        all.complement();
        all
    }

    /// Rows there are, in the set or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.words.len() * 8
    }

    /// Whether no row is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Rows in the set.
    #[must_use]
    pub fn count(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// Whether any of these rows is in the set.
    #[must_use]
    pub fn has_any(&self, rows: Range<usize>) -> bool {
        self.words_in(rows).any(|word| word != 0)
    }

    /// Whether a row is in the set.
    #[must_use]
    #[inline]
    pub fn contains(&self, row: usize) -> bool {
        self.words
            .get(row / 64)
            .is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// Adds a row; one that there is not is passed over.
    #[inline]
    pub fn insert(&mut self, row: usize) {
        if row < self.len
            && let Some(word) = self.words.get_mut(row / 64)
        {
            *word |= 1 << (row % 64);
        }
    }

    /// Adds the rows of another set over as many rows.
    pub fn union(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
        }
    }

    /// Keeps only rows that are also in another set over as many rows.
    pub fn intersect(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= other;
        }
    }

    /// The set among some of the rows, numbered from 0.
    #[must_use]
    pub fn among(&self, rows: Range<usize>) -> Self {
        let mut among = Self::none(rows.len());
        let (first, shift) = (rows.start / 64, rows.start % 64);
        let word_at = |at: usize| self.words.get(first + at).copied().unwrap_or(0);
        for (at, word) in among.words.iter_mut().enumerate() {
            let next = if shift > 0 {
                word_at(at + 1) << (64 - shift)
            } else {
                0
            };
            *word = word_at(at) >> shift | next;
        }
        among.trim();
        among
    }

    /// How many of these rows are in the set.
    #[must_use]
    pub fn count_in(&self, rows: Range<usize>) -> usize {
        self.words_in(rows)
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// The words that have some of the rows, without the others.
    fn words_in(&self, rows: Range<usize>) -> impl Iterator<Item = u64> + '_ {
        let (first, end) = (rows.start / 64, rows.end.min(self.len).div_ceil(64));
        let words = self.words.get(first..end).unwrap_or_default();
        (first..).zip(words).map(move |(number, word)| {
            let before = rows.start.saturating_sub(number * 64).min(64) as u32;
            let behind = (number * 64 + 64).saturating_sub(rows.end).min(64) as u32;
            let from = u64::MAX.checked_shl(before).unwrap_or(0);
            let to = u64::MAX.checked_shr(behind).unwrap_or(0);
            word & from & to
        })
    }

    /// The rows of the set among some, ascending.
    pub fn iter_in(&self, rows: Range<usize>) -> impl Iterator<Item = usize> + '_ {
        self.iter_from(rows.start)
            .take_while(move |row| *row < rows.end)
    }

    /// Makes it the set of all other rows.
    pub fn complement(&mut self) {
        self.words.iter_mut().for_each(|word| *word = !*word);
        self.trim();
    }

    /// Takes out rows that there are not.
    fn trim(&mut self) {
        let beyond = self.len % 64;
        if beyond > 0
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << beyond) - 1;
        }
    }

    /// The rows of the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.iter_from(0)
    }

    fn iter_from(&self, first: usize) -> impl Iterator<Item = usize> + '_ {
        let words = (0usize..).zip(&self.words).skip(first / 64);
        words.flat_map(move |(number, word)| {
            let before = first.saturating_sub(number * 64).min(63);
            let mut left = word >> before << before;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros() as usize;
                left &= left.checked_sub(1)?;
                Some(number * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::RowSet;

    #[test]
    fn sets_are_sets() {
        let mut set = RowSet::none(130);
        [0, 63, 64, 129, 130]
            .into_iter()
            .for_each(|row| set.insert(row));
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63, 64, 129]);
        assert_eq!(
            (set.count(), set.contains(64), set.contains(130)),
            (4, true, false)
        );
        for (rows, any) in [
            (1..63, false),
            (1..64, true),
            (65..129, false),
            (65..130, true),
            (5..5, false),
        ] {
            assert_eq!(set.has_any(rows.clone()), any, "{rows:?}");
            let inside: Vec<usize> = set.iter().filter(|row| rows.contains(row)).collect();
            assert_eq!(set.iter_in(rows.clone()).collect::<Vec<_>>(), inside);
            assert_eq!(set.count_in(rows.clone()), inside.len());
            let among = set.among(rows.clone());
            let numbered: Vec<usize> = inside.iter().map(|row| row - rows.start).collect();
            assert_eq!(among.iter().collect::<Vec<_>>(), numbered);
        }
        let mut rest = set.clone();
        rest.complement();
        assert_eq!(rest.count(), 126);
        rest.intersect(&set);
        assert!(rest.is_empty());
        rest.union(&RowSet::all(130));
        assert_eq!(rest.count(), 130);
    }
}
