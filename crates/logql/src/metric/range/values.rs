//! Values of samples by cell, for functions that need each value, but not when it was.

/// The values of a series, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct CellValues {
    values: Vec<f64>,
    /// The cells of values that follow each other, and how many these are; a cell may be there
    /// several times.
    spans: Vec<(i64, usize)>,
}

impl CellValues {
    /// Adds values of one cell.
    pub(super) fn push(&mut self, cell: i64, values: &[f64]) {
        self.values.extend_from_slice(values);
        match self.spans.last_mut() {
            Some((last, count)) if *last == cell => *count += values.len(),
            _ => self.spans.push((cell, values.len())),
        }
    }

    /// Adds those of others, whose cells are counted from `base`.
    pub(super) fn append(&mut self, others: &Self, base: i64) {
        self.values.extend_from_slice(&others.values);
        let spans = others.spans.iter();
        self.spans
            .extend(spans.map(|(cell, count)| (base + cell, *count)));
    }

    /// The same with cells counted from `base`, in no more room than it takes.
    pub(super) fn counted_from(mut self, base: i64) -> Self {
        self.spans.iter_mut().for_each(|(cell, _)| *cell -= base);
        self.values.shrink_to_fit();
        self.spans.shrink_to_fit();
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The values by cell, ascending.
    pub(super) fn by_cell(&self) -> Vec<(i64, &[f64])> {
        let mut left = self.values.as_slice();
        let take = |(cell, count): &(i64, usize)| {
            let (values, others) = left.split_at_checked(*count).unwrap_or((left, &[]));
            left = others;
            (*cell, values)
        };
        let mut cells: Vec<(i64, &[f64])> = self.spans.iter().map(take).collect();
        cells.sort_by_key(|(cell, _)| *cell);
        cells
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.values.capacity() * size_of::<f64>()
            + self.spans.capacity() * size_of::<(i64, usize)>()
    }
}
