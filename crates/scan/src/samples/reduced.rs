//! Rows whose lines were reduced to what the stages read. Such lines are short and often the same:
//! the stages see each once per block.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};

use model::{Direction, LabelSet};

use super::visitor::Samples;
use super::{SampleStages, Values};
use crate::cursor::{Cursor, Outcome};
use crate::logs::windows;
use crate::{CHECK_ROWS, Context, SampleValue, ScanError};

/// Samples on their way to the sink, by series.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: Vec<Group>,
    number_of: HashMap<LabelSet, u32, foldhash::fast::RandomState>,
}

/// Samples of one series.
#[derive(Debug)]
struct Group {
    labels: LabelSet,
    times: Vec<i64>,
    values: Vec<f64>,
}

impl Groups {
    fn number(&mut self, labels: &LabelSet) -> u32 {
        if let Some(number) = self.number_of.get(labels) {
            return *number;
        }
        let number = self.groups.len() as u32;
        self.groups.push(Group {
            labels: labels.clone(),
            times: Vec::new(),
            values: Vec::new(),
        });
        self.number_of.insert(labels.clone(), number);
        number
    }

    fn add(&mut self, number: u32, time: i64, value: f64) {
        if let Some(group) = self.groups.get_mut(number as usize) {
            group.times.push(time);
            group.values.push(value);
        }
    }
}

impl<S: SampleStages> Samples<'_, S> {
    /// Gives the samples of rows of a source with reduced lines.
    pub(super) fn reduced(
        &mut self,
        cursor: &mut Cursor<'_>,
        rows: Range<usize>,
        context: &mut Context<'_>,
    ) -> Result<ControlFlow<()>, ScanError> {
        let mut outcomes = std::mem::take(&mut cursor.outcomes);
        if cursor.has_few_reduced() {
            outcomes.resize(cursor.reduced_count(), Outcome::Unknown);
        }
        for part in windows(rows, Direction::Forward, CHECK_ROWS, CHECK_ROWS) {
            context.check()?;
            let mut found = std::mem::take(&mut self.scratch.found);
            found.clear();
            cursor.select(part, &mut found);
            let part = self.reduced_rows(cursor, &found, &mut outcomes, context);
            self.scratch.found = found;
            part?;
            if self.give_groups().is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        cursor.outcomes = outcomes;
        Ok(ControlFlow::Continue(()))
    }

    fn reduced_rows(
        &mut self,
        cursor: &Cursor<'_>,
        rows: &[usize],
        outcomes: &mut [Outcome],
        context: &mut Context<'_>,
    ) -> Result<(), ScanError> {
        context.stats.processed_rows += rows.len() as u64;
        let times = cursor.timestamps_ns();
        for row in rows {
            let time = times.get(*row).copied().unwrap_or_default();
            let number = cursor.reduced_number(*row);
            let known = outcomes.get(number).copied().unwrap_or_default();
            let outcome = match known {
                Outcome::Unknown => {
                    context.check()?;
                    let (line, _) = cursor.reduced_line(number);
                    context.stats.line_bytes += line.len() as u64;
                    let outcome = self.outcome_of(time, line)?;
                    if let Some(kept) = outcomes.get_mut(number) {
                        *kept = outcome;
                    }
                    outcome
                }
                known => known,
            };
            if let Outcome::Sample { group, value } = outcome {
                context.stats.results += 1;
                let value = cursor.reduced_value(*row).unwrap_or(value);
                self.groups.add(group, time, value);
            }
        }
        Ok(())
    }

    fn outcome_of(&mut self, time: i64, line: &[u8]) -> Result<Outcome, ScanError> {
        match self.stages.process(time, line, &LabelSet::default()) {
            None => Ok(Outcome::Dropped),
            Some(Err(error)) => Err(ScanError::Sample(error)),
            Some(Ok((value, labels))) => Ok(Outcome::Sample {
                group: self.groups.number(labels),
                value,
            }),
        }
    }

    fn give_groups(&mut self) -> ControlFlow<()> {
        for group in &mut self.groups.groups {
            if group.times.is_empty() {
                continue;
            }
            let values = match self.scan.shape.value {
                SampleValue::Rows => Values::Ones,
                _ => Values::Each(&group.values),
            };
            self.sink.samples(&group.labels, &group.times, values)?;
            group.times.clear();
            group.values.clear();
        }
        ControlFlow::Continue(())
    }
}
