//! Times of rows: one by one, and how many there are until a time.

use std::borrow::Cow;
use std::sync::Arc;

use super::Block;
use crate::ChunkError;
use crate::meta::RunMeta;

const MS_NS: i64 = 1_000_000;
/// Milliseconds of a part, as bits: what is left of a time in it takes two bytes.
const PART_BITS: u32 = u16::BITS;

/// Times of rows in milliseconds, rounded up: a quarter of the room, or half of it where rows are far
/// apart; windows mostly begin and end at whole milliseconds.
#[derive(Debug)]
pub(super) struct CoarseTimes {
    runs: Vec<CoarseRun>,
    /// The first row of each part of dense runs, counted from that of the run; of each run its
    /// number of rows follows.
    parts: Vec<u32>,
    /// Per row of a dense run the milliseconds since its part began.
    dense: Vec<u16>,
    /// Per row of a sparse run the milliseconds since the run began.
    sparse: Vec<u32>,
}

/// How the times of a run are kept.
#[derive(Clone, Copy, Debug)]
enum CoarseRun {
    /// In parts of equal length, of which there are at most half as many as rows.
    Dense {
        /// Its place in `parts`.
        part: u32,
        /// Its place in `dense`.
        row: u32,
    },
    /// Its place in `sparse`.
    Sparse(u32),
    /// Not at all: it goes on for more than seven weeks.
    Long,
}

impl CoarseTimes {
    /// Those of runs with their times, which ascend in each.
    fn new<'a>(runs: impl Iterator<Item = &'a [i64]>) -> Self {
        let mut all = Self {
            runs: Vec::new(),
            parts: Vec::new(),
            dense: Vec::new(),
            sparse: Vec::new(),
        };
        for times_ns in runs {
            let run = all.add(times_ns);
            all.runs.push(run);
        }
        for vec in [&mut all.parts, &mut all.sparse] {
            vec.shrink_to_fit();
        }
        all.dense.shrink_to_fit();
        all
    }

    fn add(&mut self, times_ns: &[i64]) -> CoarseRun {
        let first_ms = times_ns.first().map_or(0, |first| to_ms(*first));
        let last = times_ns
            .last()
            .map_or(0, |last| since(first_ms, to_ms(*last)));
        let since_first = times_ns.iter().map(|time| since(first_ms, to_ms(*time)));
        if last >> PART_BITS < times_ns.len() as u64 / 2 {
            let (part, row) = (self.parts.len() as u32, self.dense.len() as u32);
            let mut parts = 0;
            for (row, at) in (0u32..).zip(since_first) {
                while parts <= at >> PART_BITS {
                    self.parts.push(row);
                    parts += 1;
                }
                self.dense.push(at as u16);
            }
            self.parts.push(times_ns.len() as u32);
            return CoarseRun::Dense { part, row };
        }
        if last > u64::from(u32::MAX) {
            return CoarseRun::Long;
        }
        let first = self.sparse.len() as u32;
        self.sparse.extend(since_first.map(|at| at as u32));
        CoarseRun::Sparse(first)
    }

    fn rows_until_ms(&self, number: usize, run: &RunMeta, ms: i64) -> Option<usize> {
        let (first_ms, last_ms) = (to_ms(run.min_ts_ns), to_ms(run.max_ts_ns));
        let rows = run.rows as usize;
        if ms < first_ms {
            return Some(0);
        }
        if ms >= last_ms {
            return Some(rows);
        }
        let at = since(first_ms, ms);
        match *self.runs.get(number)? {
            CoarseRun::Long => None,
            CoarseRun::Sparse(first) => {
                let first = first as usize;
                let all = self.sparse.get(first..first + rows)?;
                Some(all.partition_point(|known| u64::from(*known) <= at))
            }
            CoarseRun::Dense { part, row } => {
                let part = part as usize + (at >> PART_BITS) as usize;
                let (start, end) = (*self.parts.get(part)?, *self.parts.get(part + 1)?);
                let all = self
                    .dense
                    .get((row + start) as usize..(row + end) as usize)?;
                Some(start as usize + all.partition_point(|known| *known <= at as u16))
            }
        }
    }

    /// How many rows of a run are not after a time; `None` if rows of the millisecond that the time
    /// is in would have to be told apart, or the times of the run are not kept.
    fn rows_until(&self, number: usize, run: &RunMeta, time_ns: i64) -> Option<usize> {
        let ms = time_ns.div_euclid(MS_NS);
        let rows = self.rows_until_ms(number, run, ms)?;
        let is_whole = time_ns.rem_euclid(MS_NS) == 0;
        let next = || self.rows_until_ms(number, run, ms + 1);
        (is_whole || next() == Some(rows)).then_some(rows)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(self.runs.as_slice())
            + size_of_val(self.parts.as_slice())
            + size_of_val(self.dense.as_slice())
            + size_of_val(self.sparse.as_slice())
    }
}

/// Whole milliseconds, rounded up.
fn to_ms(time_ns: i64) -> i64 {
    time_ns.div_euclid(MS_NS) + i64::from(time_ns.rem_euclid(MS_NS) != 0)
}

/// Milliseconds from a time to one that is not before it.
fn since(first_ms: i64, ms: i64) -> u64 {
    ms.wrapping_sub(first_ms) as u64
}

/// Says how many rows of a run there are until a time.
#[derive(Debug)]
pub struct RowTimes<'a> {
    block: &'a Block,
    number: usize,
    run: &'a RunMeta,
    /// The times themselves, once they are needed.
    exact: Option<Cow<'a, [i64]>>,
}

impl RowTimes<'_> {
    /// How many rows are not after a time. What is decoded to know it is kept for the whole block, two
    /// to four bytes a row; the first time and the last are known in any case.
    ///
    /// # Errors
    /// If the time column was not fetched, or is damaged.
    pub fn rows_until(&mut self, time_ns: i64) -> Result<usize, ChunkError> {
        let run = self.run;
        if time_ns < run.min_ts_ns {
            return Ok(0);
        }
        if time_ns >= run.max_ts_ns {
            return Ok(run.rows as usize);
        }
        let coarse = self.block.coarse_times()?;
        if let Some(rows) = coarse.rows_until(self.number, run, time_ns) {
            return Ok(rows);
        }
        if self.exact.is_none() {
            self.exact = Some(self.block.exact_times(run)?);
        }
        let times_ns = self.exact.as_deref().unwrap_or_default();
        Ok(times_ns.partition_point(|time| *time <= time_ns))
    }
}

impl Block {
    /// The times of the rows of a run, to count rows by.
    ///
    /// # Errors
    /// If the block has no such run.
    pub fn row_times(&self, number: usize) -> Result<RowTimes<'_>, ChunkError> {
        let run = self.meta.runs.get(number).ok_or(ChunkError::NoSuch {
            what: "run",
            ordinal: number,
        })?;
        Ok(RowTimes {
            block: self,
            number,
            run,
            exact: None,
        })
    }

    fn coarse_times(&self) -> Result<&CoarseTimes, ChunkError> {
        if let Some(kept) = self.coarse_times.get() {
            return Ok(kept);
        }
        let exact = match self.timestamps.get() {
            Some(kept) => Cow::Borrowed(kept.as_slice()),
            None => Cow::Owned(self.decode_timestamps()?),
        };
        let runs = self.meta.runs.iter();
        let coarse =
            CoarseTimes::new(runs.map(|run| exact.get(run.row_range()).unwrap_or_default()));
        Ok(self.coarse_times.get_or_init(|| Arc::new(coarse)))
    }

    /// The times of the rows of a run; kept if the block has others.
    fn exact_times(&self, run: &RunMeta) -> Result<Cow<'_, [i64]>, ChunkError> {
        if !self.is_shared() {
            return Ok(Cow::Owned(self.decode_timestamps()?));
        }
        let all = self.all_timestamps()?;
        Ok(Cow::Borrowed(all.get(run.row_range()).unwrap_or_default()))
    }

    pub(super) fn run_timestamps(&self, run: &RunMeta) -> Result<Vec<i64>, ChunkError> {
        self.of_run(&self.timestamps, || self.decode_timestamps(), run)
    }

    /// The times of all rows, which are kept.
    fn all_timestamps(&self) -> Result<&[i64], ChunkError> {
        if let Some(kept) = self.timestamps.get() {
            return Ok(kept);
        }
        let decoded = self.decode_timestamps()?;
        Ok(self.timestamps.get_or_init(|| decoded))
    }

    fn decode_timestamps(&self) -> Result<Vec<i64>, ChunkError> {
        let unit = self.meta.unit_ns;
        let rows = self.meta.rows as usize;
        let mut times = self.ints(&self.meta.timestamps, rows, "time", |delta| {
            delta.wrapping_mul(unit) as i64
        })?;
        for run in &self.meta.runs {
            let times = times.get_mut(run.row_range()).unwrap_or_default();
            let mut last = run.min_ts_ns;
            let mut ascending = times.first() == Some(&0);
            for time in times.iter_mut() {
                let next = last.wrapping_add(*time);
                ascending &= next >= last;
                last = next;
                *time = next;
            }
            if !ascending || last != run.max_ts_ns {
                return Err(ChunkError::invalid(
                    self.column_part("time"),
                    "times do not agree",
                ));
            }
        }
        Ok(times)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::LevelCounts;

    /// Runs with these times, rows of one block.
    fn runs(times: &[Vec<i64>]) -> Vec<RunMeta> {
        let mut first_row = 0;
        let runs = times.iter().map(|times| {
            let rows = times.len() as u32;
            first_row += rows;
            RunMeta {
                stream: 0,
                first_row: first_row - rows,
                rows,
                min_ts_ns: times[0],
                max_ts_ns: times[times.len() - 1],
                first_byte: 0,
                raw_bytes: 0,
                metadata_bytes: 0,
                levels: LevelCounts::default(),
            }
        });
        runs.collect()
    }

    fn coarse(times: &[Vec<i64>]) -> CoarseTimes {
        CoarseTimes::new(times.iter().map(Vec::as_slice))
    }

    fn times() -> impl Strategy<Value = Vec<i64>> {
        let start = prop_oneof![Just(0), Just(i64::MIN), -3 * MS_NS..3 * MS_NS, any::<i64>()];
        let gap = prop_oneof![
            0..3i64,
            0..3 * MS_NS,
            (0..70_000i64).prop_map(|ms| ms * MS_NS),
            (0..70i64).prop_map(|days| days * 86_400_000 * MS_NS),
        ];
        let kinds = prop_oneof![Just(2usize), Just(3), Just(4)];
        (
            start,
            kinds,
            prop::collection::vec((gap, any::<u8>()), 1..60),
        )
            .prop_map(|(start, kinds, gaps)| {
                // Where long gaps are left out, runs are dense.
                let most = [0, 0, 3 * MS_NS, 70_000 * MS_NS, i64::MAX][kinds];
                let gaps = gaps.iter().map(|(gap, _)| *gap).filter(|gap| *gap <= most);
                std::iter::once(0)
                    .chain(gaps)
                    .scan(start, |time, gap| {
                        *time = time.saturating_add(gap);
                        Some(*time)
                    })
                    .collect()
            })
    }

    proptest! {
        #[test]
        fn rows_are_counted_or_have_to_be_told_apart(
            times in prop::collection::vec(times(), 1..5),
            asked in prop::collection::vec(
                (any::<prop::sample::Index>(), any::<prop::sample::Index>(), -2 * MS_NS..2 * MS_NS, any::<bool>()),
                1..20,
            ),
        ) {
            let (runs, coarse) = (runs(&times), coarse(&times));
            for (number, row, off, is_whole) in asked {
                let number = number.index(times.len());
                let (run, times) = (&runs[number], &times[number]);
                let time = times[row.index(times.len())].saturating_add(off);
                let time = if is_whole { (time / MS_NS) * MS_NS } else { time };
                let rows = times.partition_point(|known| *known <= time);
                let found = coarse.rows_until(number, run, time);
                let is_long = matches!(coarse.runs[number], CoarseRun::Long);
                let may_be_unknown = !is_whole || is_long;
                prop_assert!(found == Some(rows) || (found.is_none() && may_be_unknown), "{time}");
            }
        }
    }

    #[test]
    fn times_take_two_bytes_a_row_or_four_where_they_are_far_apart_or_nothing() {
        let dense: Vec<i64> = (0..1000).map(|second| second * 1000 * MS_NS).collect();
        let sparse: Vec<i64> = (0..1000).map(|hour| hour * 3_600_000 * MS_NS).collect();
        let times = [dense, sparse, vec![i64::MIN, i64::MAX], vec![7]];
        let coarse = coarse(&times);
        let sizes = (coarse.dense.len(), coarse.sparse.len(), coarse.parts.len());
        assert_eq!(sizes, (1000, 1001, 17));
        assert!(matches!(coarse.runs[2], CoarseRun::Long));
        for (number, run) in runs(&times)
            .iter()
            .enumerate()
            .filter(|(number, _)| *number != 2)
        {
            let found = coarse.rows_until(number, run, 7_200_000 * MS_NS);
            assert_eq!(found, Some([1000, 3, 0, 1][number]));
        }
    }
}
