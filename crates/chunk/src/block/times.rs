//! Times of rows: one by one, and how many there are until a time.

use std::borrow::Cow;
use std::sync::Arc;

use super::Block;
use crate::ChunkError;
use crate::meta::RunMeta;

const MS_NS: i64 = 1_000_000;
/// Milliseconds of a part, as bits: what is left of a time in it takes two bytes.
const PART_BITS: u32 = u16::BITS;

/// Times of rows in milliseconds, rounded up: a quarter of the room, and windows mostly begin and end
/// at whole milliseconds.
#[derive(Debug)]
pub(super) struct CoarseTimes {
    /// Where the first part begins.
    first_ms: i64,
    /// The first row of each part; and the end of the last.
    parts: Vec<u32>,
    /// Per row the milliseconds since its part began.
    rest: Vec<u16>,
}

impl CoarseTimes {
    /// `None` if the rows, whose times ascend, are so far apart that there are more parts than rows.
    fn new(times_ns: &[i64]) -> Option<Self> {
        let first_ms = to_ms(*times_ns.first()?);
        let last = since(first_ms, to_ms(*times_ns.last()?));
        if last >> PART_BITS >= times_ns.len() as u64 {
            return None;
        }
        let mut parts = Vec::with_capacity((last >> PART_BITS) as usize + 2);
        let mut rest = Vec::with_capacity(times_ns.len());
        for (row, time_ns) in (0u32..).zip(times_ns) {
            let at = since(first_ms, to_ms(*time_ns));
            while parts.len() as u64 <= at >> PART_BITS {
                parts.push(row);
            }
            rest.push(at as u16);
        }
        parts.push(rest.len() as u32);
        Some(Self {
            first_ms,
            parts,
            rest,
        })
    }

    fn rows_until_ms(&self, ms: i64) -> usize {
        if ms < self.first_ms {
            return 0;
        }
        let at = since(self.first_ms, ms);
        let part = usize::try_from(at >> PART_BITS).unwrap_or(usize::MAX);
        let first = self.parts.get(part).map(|first| *first as usize);
        let end = part.checked_add(1).and_then(|next| self.parts.get(next));
        let (Some(first), Some(end)) = (first, end) else {
            return self.rest.len();
        };
        let rest = self.rest.get(first..*end as usize).unwrap_or_default();
        first + rest.partition_point(|rest| *rest <= at as u16)
    }

    /// How many rows are not after a time; `None` if rows of the millisecond that the time is in
    /// would have to be told apart.
    fn rows_until(&self, time_ns: i64) -> Option<usize> {
        let ms = time_ns.div_euclid(MS_NS);
        let rows = self.rows_until_ms(ms);
        let is_whole = time_ns.rem_euclid(MS_NS) == 0;
        (is_whole || self.rows_until_ms(ms + 1) == rows).then_some(rows)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.parts.len() * size_of::<u32>() + self.rest.len() * size_of::<u16>()
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
    run: &'a RunMeta,
    coarse: Option<&'a CoarseTimes>,
    /// The times themselves, once they are needed.
    exact: Option<Cow<'a, [i64]>>,
}

impl RowTimes<'_> {
    /// How many rows are not after a time. What is decoded to know it is kept, two bytes a row where
    /// the run is the whole block; the first time and the last are known in any case.
    ///
    /// # Errors
    /// If the time column was not fetched, or is damaged.
    pub fn rows_until(&mut self, time_ns: i64) -> Result<usize, ChunkError> {
        if time_ns < self.run.min_ts_ns {
            return Ok(0);
        }
        if time_ns >= self.run.max_ts_ns {
            return Ok(self.run.rows as usize);
        }
        if self.coarse.is_none() && self.exact.is_none() {
            self.decode()?;
        }
        if let Some(rows) = self.coarse.and_then(|coarse| coarse.rows_until(time_ns)) {
            return Ok(rows);
        }
        if self.exact.is_none() {
            self.exact = Some(Cow::Owned(self.block.decode_timestamps()?));
        }
        let times_ns = self.exact.as_deref().unwrap_or_default();
        Ok(times_ns.partition_point(|time| *time <= time_ns))
    }

    fn decode(&mut self) -> Result<(), ChunkError> {
        let block = self.block;
        if block.is_shared() {
            let of_run = block.all_timestamps()?.get(self.run.row_range());
            self.exact = Some(Cow::Borrowed(of_run.unwrap_or_default()));
            return Ok(());
        }
        if block.coarse_times.get().is_none() {
            let exact = block.decode_timestamps()?;
            let coarse = CoarseTimes::new(&exact).map(Arc::new);
            block.coarse_times.get_or_init(|| coarse);
            self.exact = Some(Cow::Owned(exact));
        }
        let coarse = block.coarse_times.get().and_then(Option::as_ref);
        self.coarse = coarse.map(|coarse| &**coarse);
        Ok(())
    }
}

impl Block {
    /// The times of the rows of a run, to count rows by.
    ///
    /// # Errors
    /// If the block has no such run.
    pub fn row_times(&self, run: usize) -> Result<RowTimes<'_>, ChunkError> {
        let run = self.meta.runs.get(run).ok_or(ChunkError::NoSuch {
            what: "run",
            ordinal: run,
        })?;
        Ok(RowTimes {
            block: self,
            run,
            coarse: None,
            exact: None,
        })
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

    proptest! {
        #[test]
        fn rows_are_counted_or_have_to_be_told_apart(
            start in prop_oneof![Just(0), Just(i64::MIN), -3 * MS_NS..3 * MS_NS, any::<i64>()],
            gaps in prop::collection::vec(
                prop_oneof![0..3i64, 0..3 * MS_NS, (0..70_000i64).prop_map(|ms| ms * MS_NS)],
                1..60,
            ),
            asked in prop::collection::vec((0..60usize, -2 * MS_NS..2 * MS_NS, any::<bool>()), 1..20),
        ) {
            let times: Vec<i64> = gaps
                .iter()
                .scan(start, |time, gap| {
                    *time = time.saturating_add(*gap);
                    Some(*time)
                })
                .collect();
            let coarse = CoarseTimes::new(&times);
            for (row, off, is_whole) in asked {
                let Some(coarse) = &coarse else { break };
                let time = times[row % times.len()].saturating_add(off);
                let time = if is_whole { (time / MS_NS) * MS_NS } else { time };
                let rows = times.partition_point(|known| *known <= time);
                let found = coarse.rows_until(time);
                prop_assert!(found == Some(rows) || (found.is_none() && !is_whole), "{time}");
            }
        }
    }

    #[test]
    fn rows_far_apart_have_no_coarse_times() {
        let day_ns = 86_400_000 * MS_NS;
        assert!(CoarseTimes::new(&[0, day_ns]).is_none());
        assert!(CoarseTimes::new(&[i64::MIN, i64::MAX]).is_none());
        assert!(CoarseTimes::new(&[]).is_none());
        let near = CoarseTimes::new(&[0, 100_000 * MS_NS]).unwrap();
        let found = [-1, 0, 1, 100_000].map(|ms| near.rows_until(ms * MS_NS));
        assert_eq!(found, [Some(0), Some(1), Some(1), Some(2)]);
    }
}
