//! Rows whose lines were reduced to what the stages read. Such lines are short and often the same:
//! the stages see each once.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};

use model::{Direction, LabelSet};

use super::visitor::Samples;
use super::{SampleStages, Values};
use crate::cursor::Cursor;
use crate::logs::windows;
use crate::{CHECK_ROWS, Context, SampleValue, ScanError};

/// Lines remembered.
const LINES_MAX: usize = 4096;

/// What became of lines, and the samples on their way to the sink.
#[derive(Debug, Default)]
pub(super) struct Known {
    lines: HashMap<Box<[u8]>, Option<Sample>, foldhash::fast::RandomState>,
    /// Lines seen, and those of them that were remembered.
    seen: usize,
    hits: usize,
    groups: Vec<Group>,
    group_of: HashMap<LabelSet, usize, foldhash::fast::RandomState>,
}

/// The sample of a line.
#[derive(Clone, Copy, Debug)]
struct Sample {
    value: f64,
    group: usize,
}

/// Samples of one series.
#[derive(Debug)]
struct Group {
    labels: LabelSet,
    times: Vec<i64>,
    values: Vec<f64>,
}

impl Known {
    /// Whether remembering lines pays.
    fn is_useful(&self) -> bool {
        self.seen < LINES_MAX || self.hits * 2 > self.seen
    }

    fn find(&mut self, line: &[u8]) -> Option<Option<Sample>> {
        if !self.is_useful() {
            return None;
        }
        self.seen += 1;
        let known = self.lines.get(line).copied();
        self.hits += usize::from(known.is_some());
        known
    }

    fn remember(&mut self, line: &[u8], sample: Option<Sample>) {
        if self.is_useful() && self.lines.len() < LINES_MAX {
            self.lines.insert(line.into(), sample);
        }
    }

    fn group(&mut self, labels: &LabelSet) -> usize {
        if let Some(group) = self.group_of.get(labels) {
            return *group;
        }
        self.groups.push(Group {
            labels: labels.clone(),
            times: Vec::new(),
            values: Vec::new(),
        });
        self.group_of.insert(labels.clone(), self.groups.len() - 1);
        self.groups.len() - 1
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
        for part in windows(rows, Direction::Forward, CHECK_ROWS) {
            context.check()?;
            let mut found = std::mem::take(&mut self.scratch.found);
            found.clear();
            cursor.select(part, &mut found);
            context.stats.processed_rows += found.len() as u64;
            for row in &found {
                let (line, _) = cursor.reduced_line(*row);
                context.stats.line_bytes += line.len() as u64;
                let time = cursor
                    .timestamps_ns()
                    .get(*row)
                    .copied()
                    .unwrap_or_default();
                if let Some(sample) = self.sample_of(time, line)?
                    && let Some(group) = self.known.groups.get_mut(sample.group)
                {
                    context.stats.results += 1;
                    group.times.push(time);
                    group.values.push(sample.value);
                }
            }
            self.scratch.found = found;
            if self.give_known().is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn sample_of(&mut self, time: i64, line: &[u8]) -> Result<Option<Sample>, ScanError> {
        if let Some(known) = self.known.find(line) {
            return Ok(known);
        }
        let metadata = LabelSet::default();
        let sample = match self.stages.process(time, line, &metadata) {
            None => None,
            Some(Err(error)) => return Err(ScanError::Sample(error)),
            Some(Ok((value, labels))) => {
                let group = self.known.group(labels);
                Some(Sample { value, group })
            }
        };
        self.known.remember(line, sample);
        Ok(sample)
    }

    fn give_known(&mut self) -> ControlFlow<()> {
        for group in &mut self.known.groups {
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
