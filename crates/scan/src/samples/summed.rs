//! Sums of rows whose lines were reduced to what the stages read: where the sink takes sums, rows
//! need no times of their own.

use std::ops::Range;

use chunk::{Block, ReducedLines, RunMeta};
use model::Direction;

use super::SampleStages;
use super::visitor::Samples;
use crate::cursor::{Outcome, has_few};
use crate::logs::windows;
use crate::reduced::reduction;
use crate::{CHECK_ROWS, Context, ScanError};

impl<S: SampleStages> Samples<'_, S> {
    /// Gives the samples of a run that are in the range as one sum for each series and step, if
    /// lines can be reduced so far that they repeat. Returns whether it did.
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
        let (min_ns, max_ns) = self.times_of(run);
        let Some(cuts) = self.sink.cuts(min_ns, max_ns, run.rows as usize) else {
            return Ok(false);
        };
        let Some(reduction) = reduction(reader, block.meta(), run, false)? else {
            return Ok(false);
        };
        let lines = block.reduced_lines(&reduction)?;
        if !has_few(&lines, run.rows as usize) {
            return Ok(false);
        }
        let mut outcomes = vec![Outcome::Unknown; lines.count()];
        let first_row = run.row_range().start;
        let mut times = block.row_times(number)?;
        let mut next = match min_ns > run.min_ts_ns {
            true => times.rows_until(min_ns - 1)?,
            false => 0,
        };
        context.stats.sources += 1;
        for cut in cuts {
            let rows = next..times.rows_until(cut)?;
            next = rows.end;
            context.stats.rows += rows.len() as u64;
            let of_block = first_row + rows.start..first_row + rows.end;
            self.sum_rows(&lines, of_block, cut, &mut outcomes, context)?;
        }
        self.stopped |= self.give_sums().is_break();
        Ok(true)
    }

    /// Adds up rows of the block, which all count for the same steps.
    fn sum_rows(
        &mut self,
        lines: &ReducedLines,
        rows: Range<usize>,
        time_ns: i64,
        outcomes: &mut [Outcome],
        context: &mut Context<'_>,
    ) -> Result<(), ScanError> {
        context.stats.processed_rows += rows.len() as u64;
        for part in windows(rows, Direction::Forward, CHECK_ROWS, CHECK_ROWS) {
            context.check()?;
            for row in part {
                let number = lines.number(row);
                let line = lines.get(number);
                let outcome = self.outcome(number, time_ns, line, outcomes, context)?;
                if let Outcome::Sample { group, value } = outcome {
                    context.stats.results += 1;
                    let value = lines.value(row).unwrap_or(value);
                    self.groups.sum(group, time_ns, value);
                }
            }
        }
        Ok(())
    }
}
