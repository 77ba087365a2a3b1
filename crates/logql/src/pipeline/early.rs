//! Label filters that a parser asks as soon as it has found their label.

use super::label_filter::LabelTest;
use super::names::NameId;
use super::row::Row;
use super::stage::Stage;

/// The filters behind a parser that decide about a label as the parser finds it. A line that one of
/// them refuses need not be parsed to its end.
#[derive(Debug, Default)]
pub(super) struct EarlyFilters {
    filters: Vec<(NameId, LabelTest)>,
}

impl EarlyFilters {
    /// The filters among the stages behind a parser. Those of labels that a stage between sets are
    /// left out. Those of labels that one removes are not, if `removed_too`: the reference looks at
    /// the parsed value then, so that `| logfmt | drop level | level=""` refuses lines that have a
    /// level.
    pub(super) fn among(behind: &[Stage], removed_too: bool) -> Self {
        let mut early = Self::default();
        let mut between = Between::default();
        for stage in behind {
            match stage {
                Stage::LabelFilter(condition) => {
                    let tests = condition.tests();
                    let is_alone = tests.len() == 1;
                    for (name, test) in tests {
                        let removed = between.removes(name);
                        let seen = !removed || (removed_too && is_alone);
                        if seen && !between.set.contains(&name) && test.is_of_value() {
                            early.filters.push((name, test.clone()));
                        }
                    }
                }
                stage => between.note(stage),
            }
        }
        early
    }

    /// Whether the label's value may pass. A value that a filter cannot read passes here: the
    /// filter itself will say so.
    pub(super) fn pass(&self, name: NameId, row: &Row) -> bool {
        let filters = self.filters.iter().filter(|(wanted, _)| *wanted == name);
        filters.into_iter().all(|(_, test)| {
            let value = row.get(name).unwrap_or_default();
            test.check(value).unwrap_or(true)
        })
    }
}

/// What stages do to labels.
#[derive(Debug, Default)]
struct Between {
    set: Vec<NameId>,
    removed: Vec<NameId>,
    may_remove_any: bool,
}

impl Between {
    fn note(&mut self, stage: &Stage) {
        match stage {
            Stage::JsonLookup(lookup, _) => self.set.extend(&lookup.labels),
            Stage::LogfmtLookup(lookup, _) => {
                self.set
                    .extend(lookup.labels.iter().map(|(label, _)| label));
            }
            Stage::LabelFormat(formats) => {
                self.set.extend(formats.set());
                self.removed.extend(formats.removed());
            }
            Stage::Drop(drop) => self.removed.extend(drop.labels()),
            Stage::Keep(_) => self.may_remove_any = true,
            _ => {}
        }
    }

    fn removes(&self, name: NameId) -> bool {
        self.may_remove_any || self.removed.contains(&name)
    }
}
