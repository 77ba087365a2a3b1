//! Label filters that a parser asks as soon as it has found their label.

use super::label_filter::LabelTest;
use super::names::NameId;
use super::row::Row;

/// The filters that stand behind a parser with nothing between that could change their label. A
/// line that one of them refuses need not be parsed to its end.
#[derive(Debug, Default)]
pub(super) struct EarlyFilters {
    filters: Vec<(NameId, LabelTest)>,
}

impl EarlyFilters {
    pub(super) fn push(&mut self, name: NameId, test: LabelTest) {
        self.filters.push((name, test));
    }

    /// Whether the label's value may pass. A value that a filter cannot read passes here: the
    /// filter itself will say so.
    pub(super) fn pass(&self, name: NameId, row: &Row) -> bool {
        self.filters
            .iter()
            .filter(|(wanted, _)| *wanted == name)
            .all(|(_, test)| {
                let value = row.get(name).unwrap_or_default();
                row.has_error() || test.check(value).unwrap_or(true)
            })
    }
}
