//! Which rows become a block together.
//!
//! A block has rows of one day and one epoch. A stream with much has blocks alone; streams with
//! little share one, next to streams with similar labels, because small blocks compress badly.

use std::ops::Range;
use std::sync::Arc;

use model::{Entries, LabelSet, TimeRange};

use crate::head::{self, Run, rows_within};
use crate::stream::Cut;

/// The rows of a block.
#[derive(Debug)]
pub(crate) struct Job {
    /// The day of all rows.
    pub(crate) day: i64,
    /// The epoch of all rows.
    pub(crate) epoch: u64,
    /// The runs in order.
    pub(crate) runs: Vec<JobRun>,
}

/// Rows of one stream.
#[derive(Debug)]
pub(crate) struct JobRun {
    /// The position of the cut that they are from.
    pub(crate) cut: usize,
    /// The rows in time order.
    pub(crate) rows: Run,
}

/// The stream and day of some rows.
struct Piece {
    day: i64,
    epoch: u64,
    labels: LabelSet,
    run: JobRun,
}

/// Distributes the rows of all cuts, which are of one tenant, over blocks of about `block_bytes`.
pub(crate) fn plan(cuts: &[Cut], block_bytes: usize) -> Vec<Job> {
    let mut pieces: Vec<Piece> = Vec::with_capacity(cuts.len());
    for (number, cut) in cuts.iter().enumerate() {
        for (day, rows) in days(head::join(&cut.runs)) {
            pieces.extend(parts(rows, block_bytes).map(|rows| Piece {
                day,
                epoch: cut.epoch,
                labels: cut.stream.labels().clone(),
                run: JobRun { cut: number, rows },
            }));
        }
    }
    pieces.sort_by(|a, b| (a.day, a.epoch, &a.labels).cmp(&(b.day, b.epoch, &b.labels)));
    let mut jobs: Vec<Job> = Vec::new();
    let mut shared: Option<(Job, usize)> = None;
    for piece in pieces {
        let Piece { day, epoch, run, .. } = piece;
        let bytes = run.rows.lines().len();
        if bytes >= block_bytes / 2 {
            jobs.push(Job { day, epoch, runs: vec![run] });
            continue;
        }
        let joins = |(job, so_far): &(Job, usize)| {
            job.day == day && job.epoch == epoch && so_far + bytes <= block_bytes
        };
        if !shared.as_ref().is_some_and(joins) {
            let full = shared.replace((Job { day, epoch, runs: Vec::new() }, 0));
            jobs.extend(full.map(|(job, _)| job));
        }
        if let Some((job, so_far)) = &mut shared {
            job.runs.push(run);
            *so_far += bytes;
        }
    }
    jobs.extend(shared.map(|(job, _)| job));
    jobs
}

/// The rows by day. Rows of one day, which is nearly always all, are not copied.
fn days(rows: Run) -> Vec<(i64, Run)> {
    let Some((min_ns, max_ns)) = head::span(&rows) else { return Vec::new() };
    let (first, last) = (TimeRange::day_of(min_ns), TimeRange::day_of(max_ns));
    if first == last {
        return vec![(first, rows)];
    }
    // Not every day between may have rows, and there may be very many days between.
    let mut days = Vec::new();
    let mut start = 0;
    while let Some(time) = rows.timestamps_ns().get(start) {
        let day = TimeRange::day_of(*time);
        let end_ns = day.saturating_add(1).saturating_mul(TimeRange::DAY_NS);
        let end = rows_within(&rows, TimeRange::new(*time, end_ns)).end.max(start + 1);
        days.push((day, Arc::new(rows.select(start..end))));
        start = end;
    }
    days
}

/// Rows that are too many for one block, in parts.
fn parts(rows: Run, block_bytes: usize) -> impl Iterator<Item = Run> {
    let fits = rows.lines().len() <= block_bytes + block_bytes / 2;
    let ranges = if fits { Vec::new() } else { split(&rows, block_bytes) };
    let whole = fits.then(|| Arc::clone(&rows));
    whole.into_iter().chain(ranges.into_iter().map(move |range| Arc::new(rows.select(range))))
}

/// Ranges of rows with about `bytes` of lines each.
fn split(rows: &Entries, bytes: usize) -> Vec<Range<usize>> {
    let ends = rows.line_ends();
    let mut ranges = Vec::new();
    let (mut start, mut start_byte) = (0, 0);
    while start < ends.len() {
        let limit = start_byte + bytes;
        let end = ends.partition_point(|end| *end as usize <= limit).clamp(start + 1, ends.len());
        ranges.push(start..end);
        start_byte = end.checked_sub(1).and_then(|row| ends.get(row)).map_or(0, |end| *end as usize);
        start = end;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stream::{REPLAY_EPOCH, Rules, Stream};

    const DAY: i64 = TimeRange::DAY_NS;

    fn cuts(streams: &[Vec<i64>]) -> Vec<Cut> {
        let rules = Rules { window_ns: i64::MAX, rate_bytes: 0, burst_bytes: 0, now_ns: 0, epoch: 1 };
        let mut cuts = Vec::new();
        for (number, times) in streams.iter().enumerate() {
            let labels = LabelSet::from_pairs([("n", format!("{number:03}"))]);
            let stream = Arc::new(Stream::new(number as u64, labels, 0));
            let mut rows = Entries::default();
            for time in times {
                rows.push(*time, b"0123456789", &LabelSet::default());
            }
            stream.append(&rows, &rules).unwrap();
            stream.cut(1, &mut cuts);
        }
        assert!(cuts.iter().all(|cut| cut.epoch > REPLAY_EPOCH));
        cuts
    }

    #[test]
    fn small_streams_share_and_large_ones_do_not() {
        let small = vec![1];
        let large: Vec<i64> = (0..20).collect();
        let jobs = plan(&cuts(&[small.clone(), large, small.clone(), small]), 100);
        let runs: Vec<Vec<usize>> =
            jobs.iter().map(|job| job.runs.iter().map(|run| run.cut).collect()).collect();
        assert_eq!(runs, [vec![1], vec![1], vec![0, 2, 3]]);
    }

    #[test]
    fn midnight_separates_blocks() {
        let jobs = plan(&cuts(&[vec![DAY - 1, DAY, 5 * DAY], vec![DAY]]), 1000);
        let days: Vec<_> = jobs.iter().map(|job| (job.day, job.runs.len())).collect();
        assert_eq!(days, [(0, 1), (1, 2), (5, 1)]);
    }

    proptest! {
        #[test]
        fn every_row_is_in_one_block(
            streams in proptest::collection::vec(proptest::collection::vec(-3 * DAY..3 * DAY, 1..30), 1..20),
            block_bytes in 10..500usize,
        ) {
            let cuts = cuts(&streams);
            let jobs = plan(&cuts, block_bytes);
            let mut rows = vec![Vec::new(); cuts.len()];
            for job in &jobs {
                let bytes: usize = job.runs.iter().map(|run| run.rows.lines().len()).sum();
                prop_assert!(bytes <= block_bytes + block_bytes / 2 + 10);
                for run in &job.runs {
                    prop_assert!(run.rows.is_time_ordered() && !run.rows.is_empty());
                    let times = run.rows.timestamps_ns();
                    prop_assert!(times.iter().all(|time| TimeRange::day_of(*time) == job.day));
                    rows[run.cut].extend_from_slice(times);
                }
            }
            for (rows, times) in rows.iter_mut().zip(&streams) {
                rows.sort_unstable();
                let mut times = times.clone();
                times.sort_unstable();
                times.dedup();
                prop_assert_eq!(&*rows, &times);
            }
        }
    }
}
