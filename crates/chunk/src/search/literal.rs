//! What is looked for.

use std::borrow::Cow;

use memchr::memmem::{self, Finder};

use crate::format::{WIDE, class_mask};
use crate::outline;
use crate::shape::{Column, Kind, Shape};

/// A literal to be found in lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needle {
    text: Vec<u8>,
    any_case: bool,
}

impl Needle {
    /// A literal as it is.
    #[must_use]
    pub fn new(text: impl Into<Vec<u8>>) -> Self {
        Self {
            text: text.into(),
            any_case: false,
        }
    }

    /// A literal in upper or lower case, as `(?i)` of regular expressions means it: the Kelvin sign
    /// is a `k`, the long s an `s`. `None` if it is not ASCII.
    #[must_use]
    pub fn any_case(text: &str) -> Option<Self> {
        text.is_ascii().then(|| Self {
            text: text.to_ascii_lowercase().into(),
            any_case: true,
        })
    }

    /// Whether it is in every line.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether it may be in a line, see [`outline::may_contain`].
    pub(super) fn may_be(&self, has: &dyn Fn(u32) -> bool) -> bool {
        outline::may_contain(&self.text, self.any_case, has)
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    pub(super) fn anywhere(&self) -> Condition<'_> {
        Condition {
            text: &self.text,
            at_start: false,
            at_end: false,
            any_case: self.any_case,
        }
    }
}

/// What a text must contain, and whether it must start or end with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Condition<'n> {
    /// In lower case if case does not matter.
    pub(super) text: &'n [u8],
    pub(super) at_start: bool,
    pub(super) at_end: bool,
    pub(super) any_case: bool,
}

impl<'n> Condition<'n> {
    pub(super) fn with(self, text: &'n [u8], at_start: bool, at_end: bool) -> Self {
        Self {
            text,
            at_start,
            at_end,
            any_case: self.any_case,
        }
    }

    /// Whether some value of a column may meet it, as far as what is said of the column tells.
    pub(super) fn may_hold(&self, shape: &Shape, column: &Column) -> bool {
        let stamp = &column.stamp;
        let long_enough = || self.any_case || self.text.len() >= stamp.min_len as usize;
        stamp.may_contain(self.text, class_mask(self.text), self.any_case)
            && (!(self.at_start && self.at_end) || long_enough())
            && self.kind_allows(shape, column)
    }

    /// Whether one text meets it. For many, there is [`Test`].
    fn holds(&self, text: &[u8]) -> bool {
        self.holds_by(&self.fold(text), |text| {
            memmem::find(text, self.text).is_some()
        })
    }

    /// As [`Self::holds`], of a text that is as the condition compares it.
    fn holds_by(&self, text: &[u8], contains: impl FnOnce(&[u8]) -> bool) -> bool {
        match (self.at_start, self.at_end) {
            (true, true) => text == self.text,
            (true, false) => text.starts_with(self.text),
            (false, true) => text.ends_with(self.text),
            (false, false) => contains(text),
        }
    }

    fn kind_allows(&self, shape: &Shape, column: &Column) -> bool {
        if let Kind::Constant(value) = &column.kind {
            return self.holds(value);
        }
        // A few wide characters are the other case of an ASCII letter.
        if self.any_case && column.stamp.classes & WIDE != 0 {
            return true;
        }
        if let Kind::Number { format, .. } = &column.kind {
            return format.may_contain(self.text, self.any_case);
        }
        let grams = shape.grams_of(column);
        grams.is_none_or(|grams| grams.may_contain(self.text, self.any_case))
    }

    /// A text as it is compared with the condition.
    pub(super) fn fold<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        if self.any_case {
            fold(text)
        } else {
            text.into()
        }
    }
}

/// Tests many texts.
#[derive(Debug)]
pub(super) struct Test<'n> {
    condition: Condition<'n>,
    finder: Finder<'n>,
}

impl<'n> Test<'n> {
    pub(super) fn new(condition: Condition<'n>) -> Self {
        Self {
            condition,
            finder: memmem::Finder::new(condition.text),
        }
    }

    pub(super) fn holds(&self, text: &[u8]) -> bool {
        self.holds_folded(&self.condition.fold(text))
    }

    /// As [`Self::holds`], of a text that is as the condition compares it.
    pub(super) fn holds_folded(&self, text: &[u8]) -> bool {
        let contains = |text: &[u8]| self.finder.find(text).is_some();
        self.condition.holds_by(text, contains)
    }
}

/// Lower case, and ASCII letters for the other characters that are a case of one.
fn fold(text: &[u8]) -> Cow<'_, [u8]> {
    if text.is_ascii() {
        return if text.iter().any(u8::is_ascii_uppercase) {
            text.to_ascii_lowercase().into()
        } else {
            text.into()
        };
    }
    let mut folded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = match rest {
            // U+212A, the Kelvin sign.
            [0xe2, 0x84, 0xaa, after @ ..] => {
                folded.push(b'k');
                after
            }
            // U+017F, the long s.
            [0xc5, 0xbf, after @ ..] => {
                folded.push(b's');
                after
            }
            _ => {
                folded.push(first.to_ascii_lowercase());
                after
            }
        };
    }
    folded.into()
}
