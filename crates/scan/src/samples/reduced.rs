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

    /// The numbers of groups with these labels.
    pub(super) fn numbers(&mut self, labels: &[LabelSet]) -> Vec<u32> {
        labels.iter().map(|labels| self.number(labels)).collect()
    }

    fn add(&mut self, number: u32, time: i64, value: f64) {
        if let Some(group) = self.groups.get_mut(number as usize) {
            group.times.push(time);
            group.values.push(value);
        }
    }

    /// As [`Self::add`], as one sample with the last one if that has the same time.
    pub(super) fn sum(&mut self, number: u32, time: i64, value: f64) {
        let group = self.groups.get_mut(number as usize);
        match group.map(|group| (group.times.last(), group.values.last_mut())) {
            Some((Some(last), Some(sum))) if *last == time => *sum += value,
            _ => self.add(number, time, value),
        }
    }

    /// Adds a value without its time.
    pub(super) fn push(&mut self, number: u32, value: f64) {
        if let Some(group) = self.groups.get_mut(number as usize) {
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
            let (line, _) = cursor.reduced_line(number);
            let outcome = self.outcome(number, time, line, outcomes, context)?;
            if let Outcome::Sample { group, value } = outcome {
                context.stats.results += 1;
                let value = cursor.reduced_value(*row).unwrap_or(value);
                self.groups.add(group, time, value);
            }
        }
        Ok(())
    }

    /// What becomes of a reduced line, asked of the stages unless it is remembered by its number.
    #[inline]
    fn outcome(
        &mut self,
        number: usize,
        time: i64,
        line: &[u8],
        outcomes: &mut [Outcome],
        context: &mut Context<'_>,
    ) -> Result<Outcome, ScanError> {
        let known = outcomes.get(number).copied().unwrap_or_default();
        if !matches!(known, Outcome::Unknown) {
            return Ok(known);
        }
        context.check()?;
        context.stats.line_bytes += line.len() as u64;
        let outcome = self.outcome_of(time, line)?;
        if let Some(kept) = outcomes.get_mut(number) {
            *kept = outcome;
        }
        Ok(outcome)
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
        self.give_each(self.scan.shape.value == SampleValue::Rows)
    }

    /// Gives the samples, which may be sums.
    pub(super) fn give_sums(&mut self) -> ControlFlow<()> {
        self.give_each(false)
    }

    /// Gives values that have no times of their own as samples of one time.
    pub(super) fn give_values(&mut self, time_ns: i64) -> ControlFlow<()> {
        let groups = self.groups.groups.iter_mut();
        for group in groups.filter(|group| !group.values.is_empty()) {
            self.sink
                .samples_at(&group.labels, time_ns, &group.values)?;
            group.values.clear();
        }
        ControlFlow::Continue(())
    }

    fn give_each(&mut self, are_ones: bool) -> ControlFlow<()> {
        for group in &mut self.groups.groups {
            if group.times.is_empty() {
                continue;
            }
            let values = match are_ones {
                true => Values::Ones,
                false => Values::Each(&group.values),
            };
            self.sink.samples(&group.labels, &group.times, values)?;
            group.times.clear();
            group.values.clear();
        }
        ControlFlow::Continue(())
    }
}
