//! What evaluating may still use: the query's memory, and time as long as somebody waits.

use model::{LabelSet, Reservation};

use super::{EvalError, Series};

/// Bytes of a series besides its labels and points, wherever it is kept.
const SERIES_BYTES: usize = 128;
/// Bytes of a label in a set, its text aside: sets that are made of one another share that.
const LABEL_BYTES: usize = 64;

/// Is asked before memory is used, and between two things that may take long.
///
/// Series of leaves are accounted by whoever gave them; only what is made of them counts here.
/// Text of labels that is made counts until the query has its answer, as series made of others keep
/// it.
pub(crate) struct Meter<'a> {
    memory: &'a mut Reservation,
    is_cancelled: &'a dyn Fn() -> bool,
    text_bytes: u64,
}

/// What was in use at some time.
#[derive(Clone, Copy)]
pub(crate) struct Mark(u64);

impl<'a> Meter<'a> {
    pub(crate) fn new(memory: &'a mut Reservation, is_cancelled: &'a dyn Fn() -> bool) -> Self {
        Self {
            memory,
            is_cancelled,
            text_bytes: 0,
        }
    }

    /// Whether somebody still waits.
    pub(crate) fn check(&self) -> Result<(), EvalError> {
        match (self.is_cancelled)() {
            true => Err(EvalError::Cancelled),
            false => Ok(()),
        }
    }

    /// Takes memory.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), EvalError> {
        Ok(self.memory.grow(bytes as u64)?)
    }

    /// Takes memory for a series with these labels and no points.
    pub(crate) fn take_series(&mut self, labels: &LabelSet) -> Result<(), EvalError> {
        self.take(SERIES_BYTES + labels.len() * LABEL_BYTES)
    }

    /// Takes memory for a label's text.
    pub(crate) fn take_text(&mut self, bytes: usize) -> Result<(), EvalError> {
        self.take(bytes)?;
        self.text_bytes += bytes as u64;
        Ok(())
    }

    /// Makes room for one more element.
    pub(crate) fn room<T>(&mut self, list: &mut Vec<T>) -> Result<(), EvalError> {
        if list.len() == list.capacity() {
            let more = list.capacity().max(4);
            self.take(more * size_of::<T>())?;
            list.reserve_exact(more);
        }
        Ok(())
    }

    /// Adds a point.
    pub(crate) fn push(
        &mut self,
        points: &mut Vec<(i64, f64)>,
        point: (i64, f64),
    ) -> Result<(), EvalError> {
        self.room(points)?;
        points.push(point);
        Ok(())
    }

    /// What is in use now.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.memory.bytes().saturating_sub(self.text_bytes))
    }

    /// Gives back what was taken since `mark`, but for what is left of it: `series`.
    pub(crate) fn keep(&mut self, mark: Mark, series: &[Series]) {
        let bytes = |one: &Series| {
            let points = one.points.capacity() * size_of::<(i64, f64)>();
            SERIES_BYTES + one.labels.len() * LABEL_BYTES + points
        };
        let left = series.iter().map(bytes).sum::<usize>() as u64;
        let kept = mark.0.saturating_add(self.text_bytes).saturating_add(left);
        self.memory.shrink(self.memory.bytes().saturating_sub(kept));
    }
}
