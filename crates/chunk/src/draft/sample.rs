//! Some values of a column, to decide by.

use std::collections::HashSet;

use super::tokens::{Mode, Part, Tokens};

/// Values that follow each other, so that repetition near by is seen.
const STRETCH: usize = 256;
const STRETCHES: usize = 4;

/// A sample of a column.
#[derive(Debug)]
pub(super) struct Sample<'a> {
    pub(super) values: Vec<&'a [u8]>,
    /// How many of them are distinct.
    pub(super) distinct: usize,
}

impl<'a> Sample<'a> {
    pub(super) fn new(base: &'a [u8], parts: &[Part]) -> Self {
        let values: Vec<&[u8]> = if parts.len() <= STRETCH * STRETCHES {
            parts.iter().map(|part| part.of(base)).collect()
        } else {
            let step = (parts.len() - STRETCH) / (STRETCHES - 1);
            let starts = (0..STRETCHES).map(|n| n * step);
            starts
                .flat_map(|start| parts.iter().skip(start).take(STRETCH))
                .map(|part| part.of(base))
                .collect()
        };
        let distinct: HashSet<&[u8], foldhash::fast::RandomState> =
            values.iter().copied().collect();
        Self {
            distinct: distinct.len(),
            values,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'a [u8]> + Clone {
        self.values.iter().copied()
    }

    /// Whether values come again and again.
    pub(super) fn repeats(&self) -> bool {
        self.distinct * 8 <= self.len()
    }

    /// How the values are best taken apart, if they have a structure.
    pub(super) fn structure(&self) -> Option<Mode> {
        [Mode::Words, Mode::Numbers]
            .into_iter()
            .find(|mode| self.has_structure(*mode))
    }

    fn has_structure(&self, mode: Mode) -> bool {
        let most = (self.len() / 8).min(self.distinct / 2).max(1);
        let mut templates: HashSet<Vec<u8>, foldhash::fast::RandomState> = HashSet::default();
        let mut tokens = Tokens::default();
        let mut whole = 0;
        for value in &self.values {
            if !tokens.take(value, mode) {
                return false;
            }
            // A value that is a single part is not taken apart at all.
            whole += usize::from(tokens.template.len() == 1 && tokens.parts.len() == 1);
            if !templates.contains(&tokens.template) {
                templates.insert(tokens.template.clone());
            }
            if templates.len() > most {
                return false;
            }
        }
        whole * 8 <= self.len()
    }
}
