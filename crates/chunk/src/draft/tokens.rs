//! The variable parts of a line.

use crate::shape::MAX_SLOTS;

/// Part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) start: u32,
    pub(crate) len: u32,
}

impl Part {
    pub(crate) fn of(self, text: &[u8]) -> &[u8] {
        let start = self.start as usize;
        text.get(start..start + self.len as usize)
            .unwrap_or_default()
    }
}

/// What a value looks like; its placeholder in a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Digits = 1,
    Decimal = 2,
    /// Digits with `-:,/` between them, or `true`, `false` and `null` of JSON.
    Time = 3,
    Other = 4,
}

/// How texts are taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// JSON objects by their values, all else as `Words`.
    Lines,
    /// Words with a digit, values behind `=`, quoted text.
    Words,
    /// Numbers, also inside of words.
    Numbers,
}

/// A template and the parts that were taken out.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    pub(crate) template: Vec<u8>,
    pub(crate) parts: Vec<Part>,
    pub(crate) is_json: bool,
    /// How much of the line is in the template.
    copied: usize,
}

impl Tokens {
    /// Takes a text apart. `false` if it has too many parts.
    pub(crate) fn take(&mut self, text: &[u8], mode: Mode) -> bool {
        self.clear();
        match mode {
            Mode::Lines if text.first() == Some(&b'{') => {
                self.is_json = super::json::take(text, self);
                if self.is_json {
                    return true;
                }
                self.clear();
                super::text::words(text, self)
            }
            Mode::Lines | Mode::Words => super::text::words(text, self),
            Mode::Numbers => super::text::numbers(text, self),
        }
    }

    fn clear(&mut self) {
        self.template.clear();
        self.parts.clear();
        self.is_json = false;
        self.copied = 0;
    }

    /// Takes out a part. `false` if there are too many.
    #[inline]
    pub(super) fn push(&mut self, text: &[u8], start: usize, end: usize, class: Class) -> bool {
        if self.parts.len() == MAX_SLOTS {
            return false;
        }
        self.template
            .extend_from_slice(text.get(self.copied..start).unwrap_or_default());
        self.template.push(class as u8);
        self.copied = end;
        self.parts.push(Part {
            start: start as u32,
            len: (end - start) as u32,
        });
        true
    }

    /// Adds what is left.
    pub(super) fn finish(&mut self, text: &[u8]) {
        self.template
            .extend_from_slice(text.get(self.copied..).unwrap_or_default());
    }
}
