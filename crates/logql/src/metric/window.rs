//! Joins cells into windows that slide forward.
//!
//! The two stacks of a queue each keep running joins, so that a window costs one join however many
//! cells it has (<https://en.wikipedia.org/wiki/Amortized_analysis#Queue>).

use super::fold::Fold;

/// A queue of cells that knows the join of all of them.
#[derive(Default)]
pub(crate) struct Window {
    /// Oldest last, each with the join of itself and all younger ones of this stack.
    old: Vec<(i64, Fold)>,
    /// As they came.
    young: Vec<(i64, Fold)>,
    /// The join of `young`.
    young_join: Option<Fold>,
}

impl Window {
    /// Adds a cell younger than all others.
    pub(crate) fn push(&mut self, number: i64, fold: Fold) {
        self.young.push((number, fold));
        match &mut self.young_join {
            Some(join) => join.join(&fold),
            none => *none = Some(fold),
        }
    }

    /// Drops cells before `number`.
    pub(crate) fn drop_before(&mut self, number: i64) {
        while self.old.last().is_some_and(|(cell, _)| *cell < number) {
            self.old.pop();
        }
        if !self.old.is_empty() || self.young.first().is_none_or(|(cell, _)| *cell >= number) {
            return;
        }
        self.young_join = None;
        let mut join: Option<Fold> = None;
        for (cell, mut fold) in self.young.drain(..).rev() {
            if cell < number {
                break;
            }
            if let Some(younger) = &join {
                fold.join(younger);
            }
            join = Some(fold);
            self.old.push((cell, fold));
        }
    }

    /// The join of all cells.
    pub(crate) fn join(&self) -> Option<Fold> {
        match (self.old.last(), &self.young_join) {
            (Some((_, old)), Some(young)) => {
                let mut all = *old;
                all.join(young);
                Some(all)
            }
            (Some((_, old)), None) => Some(*old),
            (None, young) => *young,
        }
    }
}
