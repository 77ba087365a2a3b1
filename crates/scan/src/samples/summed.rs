//! Samples of rows whose lines were reduced to what the stages read, of runs that no other overlaps.
//! What each row is, blocks remember; and where the sink takes sums, or values without their times,
//! rows need no times of their own.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use chunk::{Block, ReducedLines, Reduction, RunMeta, RunSamples, WholeLines};
use model::{Direction, LabelSet};

use super::SampleStages;
use super::visitor::Samples;
use crate::logs::windows;
use crate::reduced::{lines_of_run, reduction};
use crate::{CHECK_ROWS, Context, ScanError};

/// Until when samples count for the same steps, and how they are given.
struct Cuts {
    /// Ascending.
    times_ns: Vec<i64>,
    /// As one sum for each series, or else each for itself.
    are_sums: bool,
}

impl<S: SampleStages> Samples<'_, S> {
    /// Gives the samples of a run that are in the range at the last time that counts for the same
    /// step, if lines can be reduced so far that they repeat. Returns whether it did.
    pub(super) fn sum_between(
        &mut self,
        block: &Block,
        number: usize,
        run: &RunMeta,
        context: &mut Context<'_>,
    ) -> Result<bool, ScanError> {
        let reader = self.scan.reader.filter(|_| !self.scan.hashes);
        let Some(reader) = reader.filter(|_| !self.is_bulk() && self.scan.prefilter.is_empty())
        else {
            return Ok(false);
        };
        let Some(cuts) = self.cuts(run) else {
            return Ok(false);
        };
        let Some(reduction) = reduction(reader, block.meta(), Some(block), run, false)? else {
            return Ok(false);
        };
        let (rows, ends) = self.rows_until(block, number, run, &cuts)?;
        let of_run = self.samples_of_run(block, number, rows.clone(), &reduction, context)?;
        let Some(of_run) = of_run else {
            return Ok(false);
        };
        context.stats.sources += 1;
        context.stats.rows += rows.len() as u64;
        context.stats.processed_rows += rows.len() as u64;
        let mut next = rows.start;
        for (time_ns, end) in cuts.times_ns.iter().zip(ends) {
            for part in windows(next..end, Direction::Forward, CHECK_ROWS, CHECK_ROWS) {
                context.check()?;
                context.stats.results += self.take(&of_run, part, *time_ns, cuts.are_sums);
            }
            next = end;
            if !cuts.are_sums && self.give_values(*time_ns).is_break() {
                self.stopped = true;
                return Ok(true);
            }
        }
        self.stopped |= cuts.are_sums && self.give_sums().is_break();
        Ok(true)
    }

    fn cuts(&self, run: &RunMeta) -> Option<Cuts> {
        let (min_ns, max_ns) = self.times_of(run);
        let most = run.rows as usize;
        let (times_ns, are_sums) = match self.sink.cuts(min_ns, max_ns, most) {
            Some(times_ns) => (times_ns, true),
            None => (self.sink.value_cuts(min_ns, max_ns, most)?, false),
        };
        Some(Cuts { times_ns, are_sums })
    }

    /// The rows of the run that are in the range, and the end of those until each cut.
    fn rows_until(
        &self,
        block: &Block,
        number: usize,
        run: &RunMeta,
        cuts: &Cuts,
    ) -> Result<(Range<usize>, Vec<usize>), ScanError> {
        let (min_ns, _) = self.times_of(run);
        let mut times = block.row_times(number)?;
        let start = match min_ns > run.min_ts_ns {
            true => times.rows_until(min_ns - 1)?,
            false => 0,
        };
        let ends = cuts.times_ns.iter().map(|cut| times.rows_until(*cut));
        let ends = ends.collect::<Result<Vec<usize>, _>>()?;
        let end = ends.last().map_or(start, |end| (*end).max(start));
        Ok((start..end, ends))
    }

    /// Which samples some rows of a run are, as the block remembers or as the stages say. `None` if
    /// their lines do not repeat.
    fn samples_of_run(
        &mut self,
        block: &Block,
        number: usize,
        rows: Range<usize>,
        reduction: &Reduction,
        context: &mut Context<'_>,
    ) -> Result<Option<OfRun>, ScanError> {
        let Some(run) = block.meta().runs().get(number) else {
            return Ok(None);
        };
        let known_by = self.scan.known_by;
        let known = known_by.and_then(|text| block.samples_of(number, text));
        let (samples, first, lines) = match known {
            Some(known) if reduction.has_numbers() => {
                let numbers = block.reduced_lines(reduction, WholeLines::LeftOut)?;
                (known, 0, Some((numbers, run.row_range().start)))
            }
            Some(known) => (known, 0, None),
            None => {
                let (lines, at) = lines_of_run(reduction, block, run)?;
                if lines.count() == lines.len() {
                    return Ok(None);
                }
                let found = self.samples_of(&lines, at + rows.start..at + rows.end, context)?;
                let found = Arc::new(found);
                if let (Some(text), true) = (known_by, rows.len() == run.rows as usize) {
                    block.remember_samples(number, Arc::clone(text), Arc::clone(&found));
                }
                let has_numbers = reduction.has_numbers();
                (found, rows.start, has_numbers.then_some((lines, at)))
            }
        };
        Ok(Some(OfRun {
            groups: self.groups.numbers(&samples.series),
            samples,
            first,
            lines,
        }))
    }

    /// Which samples some rows are: the stages see each line once.
    fn samples_of(
        &mut self,
        lines: &ReducedLines,
        rows: Range<usize>,
        context: &mut Context<'_>,
    ) -> Result<RunSamples, ScanError> {
        let mut found = Found::default();
        let mut sample_of_line: HashMap<usize, u32, foldhash::fast::RandomState> =
            HashMap::default();
        let mut of_row = Vec::with_capacity(rows.len());
        for part in windows(rows, Direction::Forward, CHECK_ROWS, CHECK_ROWS) {
            context.check()?;
            for row in part {
                let number = lines.number(row);
                let sample = match sample_of_line.get(&number) {
                    Some(sample) => *sample,
                    None => {
                        let sample = self.sample_of(lines.get(number), &mut found, context)?;
                        sample_of_line.insert(number, sample);
                        sample
                    }
                };
                of_row.push(sample);
            }
        }
        Ok(RunSamples {
            of_row,
            ..found.samples
        })
    }

    /// The number of the sample that the stages take from a line.
    fn sample_of(
        &mut self,
        line: &[u8],
        found: &mut Found,
        context: &mut Context<'_>,
    ) -> Result<u32, ScanError> {
        context.check()?;
        context.stats.line_bytes += line.len() as u64;
        let (time_ns, none) = (self.scan.range.start_ns, LabelSet::default());
        let sample = self.stages.process(time_ns, line, &none).transpose();
        Ok(found.number(sample.map_err(ScanError::Sample)?))
    }

    /// Adds the samples of some rows of a run to their groups. Returns how many there are.
    fn take(&mut self, of_run: &OfRun, rows: Range<usize>, time_ns: i64, are_sums: bool) -> u64 {
        let mut count = 0;
        for row in rows {
            let Some((series, value)) = of_run.samples.get(row - of_run.first) else {
                continue;
            };
            let group = of_run.groups.get(series as usize).copied();
            let lines = of_run.lines.as_ref();
            let number = lines.and_then(|(lines, at)| lines.value(at + row));
            let value = number.unwrap_or(value);
            let group = group.unwrap_or_default();
            match are_sums {
                true => self.groups.sum(group, time_ns, value),
                false => self.groups.push(group, value),
            }
            count += 1;
        }
        count
    }
}

/// The samples of a run.
struct OfRun {
    samples: Arc<RunSamples>,
    /// The row of the run that is the first of these.
    first: usize,
    /// The group of each series.
    groups: Vec<u32>,
    /// Lines of which a number was taken out that counts as the value, and which of them is that of
    /// the first row of the run.
    lines: Option<(Arc<ReducedLines>, usize)>,
}

/// Samples that differ.
#[derive(Default)]
struct Found {
    samples: RunSamples,
    series: HashMap<LabelSet, u32, foldhash::fast::RandomState>,
    numbers: HashMap<Option<(u32, u64)>, u32, foldhash::fast::RandomState>,
}

impl Found {
    /// The number of a sample.
    fn number(&mut self, sample: Option<(f64, &LabelSet)>) -> u32 {
        let sample = sample.map(|(value, labels)| (self.series(labels), value));
        let all = &mut self.samples.samples;
        let key = sample.map(|(series, value)| (series, value.to_bits()));
        *self.numbers.entry(key).or_insert_with(|| {
            all.push(sample);
            all.len() as u32 - 1
        })
    }

    fn series(&mut self, labels: &LabelSet) -> u32 {
        if let Some(number) = self.series.get(labels) {
            return *number;
        }
        let number = self.samples.series.len() as u32;
        self.samples.series.push(labels.clone());
        self.series.insert(labels.clone(), number);
        number
    }
}
