//! Decisions, out of numbers that a seed or a fuzzer gives.

/// Decides by numbers that come from elsewhere.
pub struct Dice<'a>(&'a mut dyn FnMut(usize) -> usize);

impl<'a> Dice<'a> {
    /// Decides by what `below` gives: numbers below the one that it is asked with.
    pub fn new(below: &'a mut dyn FnMut(usize) -> usize) -> Self {
        Self(below)
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        if end < 2 {
            0
        } else {
            (self.0)(end).min(end - 1)
        }
    }

    /// A number between two, both included.
    pub fn between(&mut self, first: usize, last: usize) -> usize {
        first + self.below(last.saturating_sub(first) + 1)
    }

    /// Whether it is the one time in so many.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) + 1 == times
    }

    /// One of some.
    pub fn one_of<'b, T: ?Sized>(&mut self, some: &[&'b T]) -> &'b T {
        some[self.below(some.len())]
    }
}
