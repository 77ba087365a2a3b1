//! Which rows become a block together.
//!
//! A block has rows of one day and one epoch. A stream with much has blocks alone; streams with
//! little share one, next to streams with similar labels, because small blocks compress badly.

use std::ops::Range;
use std::sync::Arc;

use model::{Entries, LabelSet};

use crate::head::{self, Run, row_size, size_of};
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
    /// The rows as sorted runs, each of which starts where the one before ends, or later.
    pub(crate) rows: Vec<Run>,
}

/// The stream and day of some rows.
struct Piece {
    day: i64,
    epoch: u64,
    labels: LabelSet,
    bytes: usize,
    run: JobRun,
}

/// Distributes the rows of all cuts, which are of one tenant, over blocks of about `block_bytes`.
pub(crate) fn plan(cuts: &[Cut], block_bytes: usize) -> Vec<Job> {
    let mut pieces: Vec<Piece> = Vec::with_capacity(cuts.len());
    for (number, cut) in cuts.iter().enumerate() {
        let parts = parts(&cut.runs, block_bytes);
        pieces.extend(parts.into_iter().map(|part| Piece {
            day: part.day,
            epoch: cut.epoch,
            labels: cut.stream.labels().clone(),
            bytes: part.bytes,
            run: JobRun {
                cut: number,
                rows: part.runs,
            },
        }));
    }
    pieces.sort_by(|a, b| (a.day, a.epoch, &a.labels).cmp(&(b.day, b.epoch, &b.labels)));
    let mut jobs: Vec<Job> = Vec::new();
    let mut shared: Option<(Job, usize)> = None;
    for piece in pieces {
        let Piece {
            day,
            epoch,
            bytes,
            run,
            ..
        } = piece;
        if bytes >= block_bytes / 2 {
            jobs.push(Job {
                day,
                epoch,
                runs: vec![run],
            });
            continue;
        }
        let joins = |(job, so_far): &(Job, usize)| {
            job.day == day && job.epoch == epoch && so_far + bytes <= block_bytes
        };
        if !shared.as_ref().is_some_and(joins) {
            let full = shared.replace((
                Job {
                    day,
                    epoch,
                    runs: Vec::new(),
                },
                0,
            ));
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

/// Rows of one day that are not too many for one block.
struct Part {
    day: i64,
    runs: Vec<Run>,
    bytes: usize,
}

/// The rows of a cut, by day, in parts of about `block_bytes`. A small rest goes with the part
/// before it. Only runs that are larger or have rows of several days are copied.
fn parts(runs: &[Run], block_bytes: usize) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let runs = head::in_order(runs);
    let of_days = runs.iter().flat_map(days);
    for (day, rows) in of_days.flat_map(|(day, rows)| pieces(day, rows, block_bytes)) {
        let bytes = size_of(&rows);
        match parts.last_mut() {
            Some(part) if part.day == day && part.bytes + bytes <= block_bytes => {
                part.runs.push(rows);
                part.bytes += bytes;
            }
            _ => parts.push(Part {
                day,
                runs: vec![rows],
                bytes,
            }),
        }
    }
    parts.dedup_by(|rest, before| {
        let is_rest = rest.day == before.day
            && rest.bytes < block_bytes / 2
            && before.bytes + rest.bytes <= block_bytes + block_bytes / 2;
        if is_rest {
            before.runs.append(&mut rest.runs);
            before.bytes += rest.bytes;
        }
        is_rest
    });
    parts
}

/// Rows that are too many for one block, in pieces.
fn pieces(day: i64, rows: Run, block_bytes: usize) -> Vec<(i64, Run)> {
    if size_of(&rows) <= block_bytes {
        return vec![(day, rows)];
    }
    let ranges = split(&rows, block_bytes).into_iter();
    ranges
        .map(|(range, _)| (day, Arc::new(rows.select(range))))
        .collect()
}

/// The rows by day. Rows of one day, which is nearly always all, are not copied.
fn days(rows: &Run) -> Vec<(i64, Run)> {
    let days: Vec<_> = head::days(rows, 0..rows.len()).collect();
    if let [(day, _)] = days.as_slice() {
        return vec![(*day, Arc::clone(rows))];
    }
    let days = days.into_iter();
    days.map(|(day, range)| (day, Arc::new(rows.select(range))))
        .collect()
}

/// Ranges of rows of about so many bytes, with the bytes of each: as [`size_of`] would count them
/// if they were alone.
pub(crate) fn split(rows: &Entries, bytes: usize) -> Vec<(Range<usize>, usize)> {
    let mut ranges = Vec::new();
    let (mut start, mut so_far) = (0, 0);
    // Per set of metadata the range that has counted it.
    let mut counted = vec![usize::MAX; rows.metadata_sets().len()];
    for (i, (row, id)) in rows.iter().zip(rows.metadata_ids()).enumerate() {
        let is_counted = |counted: &[usize]| counted.get(*id as usize) == Some(&ranges.len());
        let mut size = row_size(row, !is_counted(&counted));
        if i > start && so_far + size > bytes {
            ranges.push((start..i, so_far));
            (start, so_far) = (i, 0);
            size = row_size(row, true);
        }
        so_far += size;
        if let Some(counted) = counted.get_mut(*id as usize) {
            *counted = ranges.len();
        }
    }
    if start < rows.len() {
        ranges.push((start..rows.len(), so_far));
    }
    ranges
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stream::{Rules, Stream};
    use model::TimeRange;

    const DAY: i64 = TimeRange::DAY_NS;

    fn cuts(streams: &[Vec<i64>]) -> Vec<Cut> {
        let metrics = crate::Metrics::unregistered();
        let rules = Rules {
            window_ns: i64::MAX,
            rate_bytes: 0,
            burst_bytes: 0,
            now_ns: 0,
            epoch: 1,
        };
        let mut cuts = Vec::new();
        for (number, times) in streams.iter().enumerate() {
            let labels = LabelSet::from_pairs([("n", format!("{number:03}"))]);
            let stream = Arc::new(Stream::new(number as u64, labels, 0, &metrics));
            let mut rows = Entries::default();
            for time in times {
                rows.push(*time, b"0123456789", &LabelSet::default());
            }
            stream.append(&rows, &rules).unwrap();
            stream.cut(1, &mut cuts);
        }
        cuts
    }

    #[test]
    fn small_streams_share_and_large_ones_do_not() {
        let small = vec![1];
        let large: Vec<i64> = (0..7).collect();
        let jobs = plan(&cuts(&[small.clone(), large, small.clone(), small]), 100);
        let runs: Vec<Vec<usize>> = jobs
            .iter()
            .map(|job| job.runs.iter().map(|run| run.cut).collect())
            .collect();
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
                let runs = job.runs.iter().flat_map(|run| &run.rows);
                let bytes: usize = runs.map(|run| size_of(run)).sum();
                prop_assert!(bytes <= block_bytes + block_bytes / 2 + 26);
                for run in &job.runs {
                    let joined = head::join(&run.rows);
                    prop_assert!(joined.is_time_ordered() && !joined.is_empty());
                    let times = joined.timestamps_ns();
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
