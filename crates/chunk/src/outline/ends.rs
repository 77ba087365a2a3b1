//! How values begin and end.

use super::marks::reduced;
use crate::format::IdPattern;
use crate::shape::Template;

/// Some bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ByteSet([u64; 4]);

impl ByteSet {
    pub(super) fn insert(&mut self, byte: u8) {
        let byte = usize::from(reduced(byte));
        self.0[byte / 64] |= 1 << (byte % 64);
    }

    fn join(&mut self, other: &Self) {
        self.0
            .iter_mut()
            .zip(other.0)
            .for_each(|(own, other)| *own |= other);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u8> {
        [0, 64, 128, 192]
            .into_iter()
            .zip(self.0)
            .flat_map(|(first, word)| {
                let mut left = word;
                std::iter::from_fn(move || {
                    let byte = (left != 0).then(|| first | left.trailing_zeros() as u8)?;
                    left &= left - 1;
                    Some(byte)
                })
            })
    }
}

impl<'a> Extend<&'a u8> for ByteSet {
    fn extend<I: IntoIterator<Item = &'a u8>>(&mut self, bytes: I) {
        bytes.into_iter().for_each(|byte| self.insert(*byte));
    }
}

/// The first and last bytes of some texts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ends {
    pub(super) first: ByteSet,
    pub(super) last: ByteSet,
    pub(super) may_be_empty: bool,
}

impl Ends {
    /// Takes in a text.
    pub(super) fn add(&mut self, text: &[u8]) {
        self.first.extend(text.first());
        self.last.extend(text.last());
        self.may_be_empty |= text.is_empty();
    }

    pub(super) fn join(&mut self, other: &Self) {
        self.first.join(&other.first);
        self.last.join(&other.last);
        self.may_be_empty |= other.may_be_empty;
    }

    pub(super) fn of_identifiers(pattern: &IdPattern) -> Self {
        let (text, digits) = pattern.parts();
        let mut ends = Self::default();
        let mut add = |at: Option<usize>, is_first: bool| {
            let set = if is_first {
                &mut ends.first
            } else {
                &mut ends.last
            };
            match at {
                Some(at) if digits.iter().any(|digit| usize::from(*digit) == at) => {
                    pattern.digit_bytes().for_each(|digit| set.insert(digit));
                }
                Some(at) => set.extend(text.get(at)),
                None => {}
            }
        };
        add((!text.is_empty()).then_some(0), true);
        add(text.len().checked_sub(1), false);
        ends.may_be_empty = text.is_empty();
        ends
    }

    /// Of the texts of a template, whose columns have `values`.
    pub(super) fn of_template(template: &Template, values: &[Self]) -> Self {
        let slots = template.slots.len();
        let value = |at: usize| {
            let slot = template.slots.get(at)?;
            values.get(*slot as usize)
        };
        let mut ends = Self::default();
        // Texts between two values are never empty, so that a second value is not reached.
        let (start, end) = (template.piece(0), template.piece(slots));
        ends.first.extend(start.first());
        ends.last.extend(end.last());
        let first = value(0).filter(|_| start.is_empty());
        if let Some(first) = first {
            ends.first.join(&first.first);
            if first.may_be_empty {
                ends.first.extend(template.piece(1).first());
            }
        }
        let last = slots.checked_sub(1).and_then(value);
        let last = last.filter(|_| end.is_empty());
        if let Some(last) = last {
            ends.last.join(&last.last);
            if last.may_be_empty {
                ends.last.extend(template.piece(slots - 1).last());
            }
        }
        let no_text = template.text_len() == 0;
        ends.may_be_empty = no_text && first.is_none_or(|first| first.may_be_empty);
        ends
    }
}
