//! A head: the rows of one stream that are not encoded yet, as sorted runs.
//!
//! Rows that come in order are put into runs one after the other: a run grows up to a size, and is
//! never moved afterwards. Rows that come late, in a tenant's window, are put into other runs, few
//! and each sorted, so that a query can merge them and a look-up can search them. A query takes
//! references to the runs; a run that a query holds is not touched any more, the next rows start
//! another.

use std::sync::Arc;

use model::{Entries, EntryRef, LabelSet, TimeRange};

/// A run is full when it has so many bytes. One that grew with the head would be moved again and
/// again, each time into twice the memory, and leave holes of all sizes behind.
const RUN_BYTES: usize = 128 << 10;
/// Runs in order that are not full: they are joined when there are more. Queries of a busy stream
/// leave one each.
const SHORT_RUNS_MAX: usize = 16;
/// Late runs that are joined when there are more.
const LATE_RUNS_MAX: usize = 8;
/// What a row costs besides its line: time, end, id of metadata.
pub(crate) const ROW_BYTES: usize = 16;
/// What a label costs besides its text.
const LABEL_BYTES: usize = 64;

/// A sorted run that queries may share.
pub(crate) type Run = Arc<Entries>;

/// The rows of one stream that are not encoded yet.
#[derive(Debug, Default)]
pub(crate) struct Head {
    /// Each run starts where the one before ends, or later.
    ordered: Vec<Run>,
    late: Vec<Run>,
    bytes: usize,
    rows: usize,
    /// The flush that takes these rows.
    pub(crate) epoch: u64,
}

impl Head {
    /// Whether there is no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Bytes of lines and columns.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// All runs, each in time order; together they have every row once.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.ordered.iter().chain(&self.late)
    }

    /// Takes all rows out, with their bytes.
    pub(crate) fn take(&mut self) -> (Vec<Run>, usize) {
        let head = std::mem::take(self);
        let mut runs = head.ordered;
        runs.extend(head.late);
        (runs, head.bytes)
    }

    /// Adds rows in time order that are not older than any row before.
    pub(crate) fn append(&mut self, rows: &Entries) {
        if rows.is_empty() {
            return;
        }
        let grown = self.ordered.last_mut().and_then(Arc::get_mut);
        if !grown.is_some_and(|run| fits(run, rows) && run.append(rows)) {
            self.start_run(rows);
        }
        self.bytes += size_of(rows);
        self.rows += rows.len();
    }

    fn start_run(&mut self, rows: &Entries) {
        let run = match self.ordered.last() {
            // A stream that has filled a run is likely to fill a half of the next one.
            Some(last) if is_full(last) => {
                let bytes = rows.lines().len().max(last.lines().len() / 2);
                let mut run = Entries::with_capacity(rows.len().max(last.len() / 2), bytes);
                run.append(rows);
                run
            }
            _ => rows.clone(),
        };
        self.ordered.push(Arc::new(run));
        let short = self.ordered.iter().filter(|run| !is_full(run));
        if short.count() > SHORT_RUNS_MAX {
            self.join_short();
        }
    }

    /// Joins runs that are not full with those next to them.
    fn join_short(&mut self) {
        let mut joined: Vec<Run> = Vec::with_capacity(self.ordered.len());
        for run in self.ordered.drain(..) {
            match joined.last_mut() {
                Some(last) if fits(last, &run) => {
                    // The first time it is somebody else's, from then on it is ours.
                    Arc::make_mut(last).append(&run);
                }
                _ => joined.push(run),
            }
        }
        self.ordered = joined;
    }

    /// Adds a row that is older than others.
    pub(crate) fn insert(&mut self, row: EntryRef<'_>) {
        self.bytes += row_size(row, true);
        self.rows += 1;
        let fits = |run: &&mut Run| {
            let last = run.timestamps_ns().last();
            last.is_none_or(|last| *last <= row.timestamp_ns)
        };
        let free = self.late.iter_mut().filter(fits).find_map(Arc::get_mut);
        if free.is_some_and(|run| run.push(row.timestamp_ns, row.line, row.metadata)) {
            return;
        }
        let mut run = Entries::default();
        run.push(row.timestamp_ns, row.line, row.metadata);
        self.late.push(Arc::new(run));
        if self.late.len() > LATE_RUNS_MAX {
            self.join_late();
        }
    }

    /// Joins the shortest late runs. A run is joined again only when those below it have become as
    /// long, so a row is copied a logarithmic number of times.
    fn join_late(&mut self) {
        self.late.sort_by_key(|run| run.len());
        let mut joined = Entries::default();
        let mut count = 0;
        for run in &self.late {
            let is_short = count < 2 || run.len() <= joined.len().saturating_mul(2);
            if !is_short || !joined.append(run) {
                break;
            }
            count += 1;
        }
        self.late.drain(..count);
        self.late.push(Arc::new(joined.into_time_ordered()));
    }
}

/// Bytes of a run without its metadata.
fn run_bytes(run: &Entries) -> usize {
    run.lines().len() + run.len() * ROW_BYTES
}

/// Whether no run becomes larger than it may if `rows` are added to `run`.
fn fits(run: &Entries, rows: &Entries) -> bool {
    run_bytes(run) + run_bytes(rows) <= RUN_BYTES
}

/// Whether a run has about as much as it may have.
fn is_full(run: &Entries) -> bool {
    run_bytes(run) >= RUN_BYTES / 2
}

/// Bytes of the rows: lines, columns, each set of structured metadata once.
pub(crate) fn size_of(rows: &Entries) -> usize {
    let sets: usize = rows.metadata_sets().iter().map(set_bytes).sum();
    rows.lines().len() + rows.len() * ROW_BYTES + sets
}

/// Bytes of a set of labels.
pub(crate) fn set_bytes(set: &LabelSet) -> usize {
    set.len() * LABEL_BYTES + set.text_len()
}

/// Bytes of a row, with or without its metadata.
pub(crate) fn row_size(row: EntryRef<'_>, with_metadata: bool) -> usize {
    let metadata = if with_metadata {
        set_bytes(row.metadata)
    } else {
        0
    };
    row.line.len() + ROW_BYTES + metadata
}

/// The rows of a run that have this time.
pub(crate) fn rows_at(run: &Entries, timestamp_ns: i64) -> std::ops::Range<usize> {
    let times = run.timestamps_ns();
    let start = times.partition_point(|time| *time < timestamp_ns);
    let after = times.get(start..).unwrap_or_default();
    start..start + after.partition_point(|time| *time == timestamp_ns)
}

/// The rows of a run in a range.
pub(crate) fn rows_within(run: &Entries, range: TimeRange) -> std::ops::Range<usize> {
    let times = run.timestamps_ns();
    let start = times.partition_point(|time| *time < range.start_ns);
    let end = times.partition_point(|time| *time < range.end_ns);
    start..end.max(start)
}

/// The days of some rows of a run, in order, and which rows each has. Not every day between the
/// first and the last may have rows, and there may be very many days between.
pub(crate) fn days(
    run: &Entries,
    rows: std::ops::Range<usize>,
) -> impl Iterator<Item = (i64, std::ops::Range<usize>)> {
    let times = run.timestamps_ns().get(..rows.end).unwrap_or_default();
    let mut start = rows.start;
    std::iter::from_fn(move || {
        let rest = times.get(start..)?;
        let day = TimeRange::day_of(*rest.first()?);
        let first = start;
        start += rest.partition_point(|time| TimeRange::day_of(*time) <= day);
        Some((day, first..start))
    })
}

/// Oldest and newest time of a run.
pub(crate) fn span(run: &Entries) -> Option<(i64, i64)> {
    let times = run.timestamps_ns();
    Some((*times.first()?, *times.last()?))
}

/// The rows of sorted runs as runs each of which starts where the one before ends, or later: the same
/// ones, but for those that rows of later ones belong into. Rows of one time keep their order.
pub(crate) fn in_order(runs: &[Run]) -> Vec<Run> {
    let is_before = |a: &Run, b: &Run| a.timestamps_ns().last() <= b.timestamps_ns().first();
    let ordered = runs.windows(2).take_while(|pair| match pair {
        [a, b] => is_before(a, b),
        _ => false,
    });
    let count = (ordered.count() + 1).min(runs.len());
    let (ordered, late) = runs.split_at(count);
    if late.is_empty() {
        return runs.to_vec();
    }
    let late = Arc::unwrap_or_clone(join(late)).into_time_ordered();
    let mut start = 0;
    let mut merged = Vec::with_capacity(ordered.len());
    for (run, next) in ordered.iter().zip(1..) {
        let next_ns = ordered
            .get(next)
            .and_then(|run| run.timestamps_ns().first());
        let times = late.timestamps_ns();
        let end = next_ns.map_or(times.len(), |next_ns| {
            times.partition_point(|time| time < next_ns)
        });
        merged.push(if start < end {
            let inside = Arc::new(late.select(start..end));
            let both = join(&[Arc::clone(run), inside]);
            Arc::new(Arc::unwrap_or_clone(both).into_time_ordered())
        } else {
            Arc::clone(run)
        });
        start = end.max(start);
    }
    merged
}

/// All rows of some runs as one, in the order of the runs.
pub(crate) fn join(runs: &[Run]) -> Run {
    if let [run] = runs {
        return Arc::clone(run);
    }
    let rows = runs.iter().map(|run| run.len()).sum();
    let bytes = runs.iter().map(|run| run.lines().len()).sum();
    let mut joined = Entries::with_capacity(rows, bytes);
    for run in runs {
        joined.append(run);
    }
    Arc::new(joined)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries(times: &[i64]) -> Entries {
        let mut entries = Entries::default();
        for time in times {
            entries.push(*time, time.to_string().as_bytes(), &LabelSet::default());
        }
        entries
    }

    fn times(head: &Head) -> Vec<i64> {
        let mut times: Vec<i64> = head
            .runs()
            .flat_map(|run| run.timestamps_ns().to_vec())
            .collect();
        times.sort_unstable();
        times
    }

    #[test]
    fn a_run_that_a_query_holds_does_not_change() {
        let mut head = Head::default();
        head.append(&entries(&[1, 2]));
        let held: Vec<Run> = head.runs().cloned().collect();
        head.append(&entries(&[3]));
        assert_eq!(held[0].timestamps_ns(), [1, 2]);
        assert_eq!(times(&head), [1, 2, 3]);
        let mut queries = Vec::new();
        for time in 4..100 {
            queries.push(head.runs().cloned().collect::<Vec<_>>());
            head.append(&entries(&[time]));
        }
        assert!(head.runs().count() <= SHORT_RUNS_MAX + 1);
        assert_eq!(times(&head), (1..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_run_is_not_moved_when_it_is_full() {
        let mut head = Head::default();
        let mut first: Option<*const Entries> = None;
        for time in 0..1_000 {
            let mut rows = Entries::default();
            rows.push(time, &[b'x'; 1000], &LabelSet::default());
            head.append(&rows);
            if head.runs().count() == 2 && first.is_none() {
                first = head.runs().next().map(Arc::as_ptr);
            }
        }
        assert!(first.is_some() && first == head.runs().next().map(Arc::as_ptr));
        assert!(head.runs().all(|run| run_bytes(run) <= RUN_BYTES));
        let runs: Vec<Run> = head.runs().cloned().collect();
        assert_eq!(runs.len(), 1_000_000_usize.div_ceil(RUN_BYTES));
        let taken = in_order(&runs);
        assert!(taken.iter().zip(&runs).all(|(a, b)| Arc::ptr_eq(a, b)));
        assert_eq!(join(&taken).timestamps_ns(), Vec::from_iter(0..1_000));
    }

    #[test]
    fn a_push_larger_than_a_run_is_one() {
        let mut rows = Entries::default();
        rows.push(1, &[b'x'; 2 * RUN_BYTES], &LabelSet::default());
        let mut head = Head::default();
        for _ in 0..3 {
            head.append(&rows);
        }
        assert_eq!(head.runs().count(), 3);
    }

    proptest! {
        #[test]
        fn late_rows_stay_in_few_sorted_runs(late in proptest::collection::vec(0..1000i64, 0..300)) {
            let mut head = Head::default();
            head.append(&entries(&[1000]));
            for row in &entries(&late) {
                head.insert(row);
            }
            prop_assert!(head.runs().all(|run| run.is_time_ordered()));
            prop_assert!(head.runs().count() <= LATE_RUNS_MAX + 1);
            let mut expected = late;
            expected.push(1000);
            expected.sort_unstable();
            prop_assert_eq!(times(&head), expected.clone());
            let (all, _) = head.take();
            let joined = join(&in_order(&all));
            prop_assert_eq!(joined.timestamps_ns(), expected);
            prop_assert!(head.is_empty() && head.bytes() == 0);
        }

        #[test]
        fn late_rows_come_where_a_stable_sort_puts_them(
            runs in proptest::collection::vec(proptest::collection::vec(0..40i64, 1..12), 1..8),
        ) {
            let mut number = 0;
            let runs = runs.into_iter().map(|mut times| {
                times.sort_unstable();
                let mut run = Entries::default();
                for time in times {
                    number += 1;
                    run.push(time, number.to_string().as_bytes(), &LabelSet::default());
                }
                Arc::new(run)
            });
            let runs: Vec<Run> = runs.collect();
            let ordered = in_order(&runs);
            let sorted = Arc::unwrap_or_clone(join(&runs)).into_time_ordered();
            prop_assert_eq!(&*join(&ordered), &sorted);
        }
    }
}
