//! The k-way merge of rows in memory: in time order, each once, without those that are to be
//! deleted.
//!
//! A source that is ahead of the others gives all its rows up to the next of theirs in one step.
//! Only at a time that several have are rows compared. Rows that follow each other in their source
//! are copied together, also where each of them has a copy in other sources: of replicas with the
//! same rows one is copied, and the others cost their comparison.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use model::TimeRange;
use scan::StreamDeletes;

use crate::CompactError;
use crate::check::{Digest, HashedRows};
use crate::merge::LeftOut;
use crate::writer::Writer;

/// Rows of a run, and which of them are to be merged now.
#[derive(Debug)]
pub(crate) struct Source {
    rows: HashedRows,
    left: Range<usize>,
}

impl Source {
    pub(crate) fn new(rows: HashedRows) -> Self {
        Self { rows, left: 0..0 }
    }

    /// Whether there are rows behind those that were merged.
    pub(crate) fn goes_on(&self) -> bool {
        self.left.end < self.rows.len()
    }

    /// Makes the rows of a range those to be merged.
    fn enter(&mut self, range: TimeRange) -> Digest {
        let times = self.rows.times_ns();
        let start = times.partition_point(|time| *time < range.start_ns);
        let end = times.partition_point(|time| *time < range.end_ns);
        self.left = start..end.max(start);
        self.rows.digest(self.left.clone())
    }

    fn next_ns(&self) -> Option<i64> {
        let times = self.rows.times_ns().get(self.left.clone());
        times.and_then(<[i64]>::first).copied()
    }

    fn take_rest(&mut self) -> Range<usize> {
        let end = self.left.end;
        std::mem::replace(&mut self.left, end..end)
    }

    /// Takes the rows before a time. They are looked for near by first, as they may be few.
    fn take_before(&mut self, end_ns: i64) -> Range<usize> {
        let times = self.rows.times_ns().get(self.left.clone());
        let times = times.unwrap_or_default();
        let (mut from, mut step) = (0, 1);
        while times.get(from + step).is_some_and(|time| *time < end_ns) {
            from += step;
            step *= 2;
        }
        let near = times.get(from..times.len().min(from + step));
        let near = near.unwrap_or_default();
        let taken = from + near.partition_point(|time| *time < end_ns);
        let start = self.left.start;
        self.left.start += taken;
        start..self.left.start
    }
}

/// Writes the rows of a range, and checks that each is accounted for.
pub(crate) fn merge(
    sources: &mut [Source],
    range: TimeRange,
    deletes: StreamDeletes,
    writer: &mut Writer,
) -> Result<LeftOut, CompactError> {
    writer.begin_sources(sources.len());
    let mut all = Digest::default();
    for source in &mut *sources {
        all += source.enter(range);
    }
    let mut merge = Merge {
        heap: BinaryHeap::with_capacity(sources.len()),
        tied: Vec::new(),
        pending: (0, 0..0),
        done: Digest::default(),
        left_out: LeftOut::default(),
        sources,
        deletes,
        writer,
    };
    merge.run()?;
    if merge.done == all {
        return Ok(merge.left_out);
    }
    let text = format!("of {} rows that were merged some are others", all.rows);
    Err(CompactError::Unequal(text))
}

struct Merge<'a> {
    sources: &'a mut [Source],
    /// The next time of each source that has one, and its number.
    heap: BinaryHeap<Reverse<(i64, usize)>>,
    /// Rows of one time; kept to be used again.
    tied: Vec<Tied>,
    /// Rows of a source that are written together with those that follow.
    pending: (usize, Range<usize>),
    /// Rows that were written or left out.
    done: Digest,
    left_out: LeftOut,
    deletes: StreamDeletes,
    writer: &'a mut Writer,
}

/// A row at a time that several sources have.
#[derive(Clone, Copy, Debug)]
struct Tied {
    hash: u64,
    source: usize,
    row: usize,
}

impl Merge<'_> {
    fn run(&mut self) -> Result<(), CompactError> {
        for number in 0..self.sources.len() {
            self.wait(number);
        }
        while let Some(Reverse((time_ns, number))) = self.heap.pop() {
            let next = self.heap.peek().map(|Reverse((next_ns, _))| *next_ns);
            if next == Some(time_ns) {
                self.tie(time_ns, number)?;
                continue;
            }
            if let Some(source) = self.sources.get_mut(number) {
                let rows = match next {
                    Some(next_ns) => source.take_before(next_ns),
                    None => source.take_rest(),
                };
                self.give(number, rows)?;
            }
            self.wait(number);
        }
        self.write()
    }

    /// Puts a source back, if it has more rows.
    fn wait(&mut self, number: usize) {
        if let Some(next_ns) = self.sources.get(number).and_then(Source::next_ns) {
            self.heap.push(Reverse((next_ns, number)));
        }
    }

    /// The rows of a time that several sources have, the first of which is not in the heap now.
    fn tie(&mut self, time_ns: i64, first: usize) -> Result<(), CompactError> {
        let mut tied = std::mem::take(&mut self.tied);
        tied.clear();
        let mut next = Some(first);
        while let Some(number) = next {
            if let Some(source) = self.sources.get_mut(number) {
                let rows = source.take_before(time_ns.saturating_add(1));
                let hashes = source.rows.hashes(rows.clone()).iter();
                let hashed = rows.zip(hashes).map(|(row, hash)| Tied {
                    hash: *hash,
                    source: number,
                    row,
                });
                tied.extend(hashed);
            }
            self.wait(number);
            next = self
                .heap
                .peek()
                .filter(|next| next.0.0 == time_ns)
                .map(|next| next.0.1);
            if next.is_some() {
                self.heap.pop();
            }
        }
        self.leave_out_copies(&mut tied);
        for row in &tied {
            self.give(row.source, row.row..row.row + 1)?;
        }
        self.tied = tied;
        Ok(())
    }

    /// Leaves one of each row, the first.
    fn leave_out_copies(&mut self, tied: &mut Vec<Tied>) {
        let order = |row: &Tied| (row.source, row.row);
        tied.sort_unstable_by_key(|row| (row.hash, order(row)));
        let sources = &*self.sources;
        let row_of = |row: &Tied| sources.get(row.source)?.rows.rows().get(row.row);
        tied.dedup_by(|row, before| {
            let is_copy = row.hash == before.hash && row_of(row) == row_of(before);
            if is_copy && let Some(source) = sources.get(row.source) {
                self.done += source.rows.digest(row.row..row.row + 1);
                self.left_out.duplicates += 1;
            }
            is_copy
        });
        tied.sort_unstable_by_key(order);
    }

    /// Rows that come next.
    fn give(&mut self, number: usize, rows: Range<usize>) -> Result<(), CompactError> {
        if self.pending.0 == number && self.pending.1.end == rows.start {
            self.pending.1.end = rows.end;
            return Ok(());
        }
        self.write()?;
        self.pending = (number, rows);
        Ok(())
    }

    /// Writes rows that came, but for those that are to be deleted.
    fn write(&mut self) -> Result<(), CompactError> {
        let (number, rows) = std::mem::take(&mut self.pending);
        let Some(source) = self.sources.get(number) else {
            return Ok(());
        };
        let source = &source.rows;
        let mut kept = rows.start..rows.start;
        if self.deletes.is_empty() {
            kept = rows.clone();
        }
        for row in kept.end..rows.end {
            let found = source.rows().get(row);
            if found.is_some_and(|found| {
                self.deletes
                    .has(found.timestamp_ns, found.line, found.metadata)
            }) {
                self.done += self.writer.take(number, source, kept)?;
                self.done += source.digest(row..row + 1);
                self.left_out.deleted += 1;
                kept = row + 1..row + 1;
            } else {
                kept.end = row + 1;
            }
        }
        self.done += self.writer.take(number, source, kept)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use model::{Entries, LabelSet};
    use proptest::prelude::*;

    use super::*;

    fn entries(rows: &[(i64, u8)]) -> Entries {
        let mut entries = Entries::default();
        for (time_ns, line) in rows {
            let metadata = LabelSet::from_pairs([("n", (line % 2).to_string().as_str())]);
            assert!(entries.push(*time_ns, &[*line], &metadata));
        }
        entries
    }

    /// Rows that come out of a merge of ranges that follow each other, and what was left out.
    fn merged(runs: &[Vec<(i64, u8)>], ends_ns: &[i64]) -> (Vec<(i64, u8)>, LeftOut) {
        let stream = LabelSet::from_pairs([("app", "web")]);
        let mut writer = Writer::new(1, 1 << 20);
        writer.start(&stream);
        let sources = runs
            .iter()
            .map(|run| Source::new(HashedRows::new(entries(run))));
        let mut sources: Vec<Source> = sources.collect();
        let (mut left_out, mut start_ns) = (LeftOut::default(), 0);
        for end_ns in ends_ns {
            let range = TimeRange::new(start_ns, *end_ns);
            let deletes = StreamDeletes::default();
            left_out += merge(&mut sources, range, deletes, &mut writer).unwrap();
            start_ns = *end_ns;
        }
        assert!(sources.iter().all(|source| !source.goes_on()));
        writer.end().unwrap();
        let Some(object) = writer.finish(2).unwrap() else {
            return (Vec::new(), left_out);
        };
        let bytes = object.to_bytes();
        let meta = chunk::ObjectMeta::parse_object(&bytes).unwrap();
        let piece = chunk::Piece { offset: 0, bytes };
        let block = meta.open(0, vec![piece]).unwrap();
        let rows = block.rows(0, chunk::Projection::ALL, None).unwrap();
        let rows = rows.into_entries().unwrap();
        let row = |row: model::EntryRef<'_>| (row.timestamp_ns, row.line[0]);
        (rows.iter().map(row).collect(), left_out)
    }

    #[test]
    fn rows_of_one_time_keep_the_order_of_their_sources_and_lose_their_copies() {
        let runs = [
            vec![(1, b'a'), (2, b'b'), (2, b'c'), (5, b'x'), (5, b'x')],
            vec![(2, b'c'), (2, b'd'), (4, b'e')],
            vec![(2, b'b'), (2, b'd'), (2, b'd')],
        ];
        let expected = [
            (1, b'a'),
            (2, b'b'),
            (2, b'c'),
            (2, b'd'),
            (4, b'e'),
            (5, b'x'),
            (5, b'x'),
        ];
        let (rows, left_out) = merged(&runs, &[9]);
        assert_eq!(rows, expected);
        assert_eq!(left_out.duplicates, 4);
    }

    proptest! {
        #[test]
        fn it_is_the_sorted_rows_each_once(
            mut runs in proptest::collection::vec(
                proptest::collection::btree_set((0_i64..40, 0_u8..4), 0..60), 0..5),
            cut_ns in 0_i64..40,
        ) {
            let runs: Vec<Vec<(i64, u8)>> =
                runs.drain(..).map(|run| run.into_iter().collect()).collect();
            let mut expected: Vec<(i64, u8)> = runs.iter().flatten().copied().collect();
            let all = expected.len();
            expected.sort_unstable();
            expected.dedup();
            let (mut rows, left_out) = merged(&runs, &[cut_ns, 40]);
            prop_assert!(rows.is_sorted_by_key(|row| row.0));
            rows.sort_unstable();
            prop_assert_eq!(left_out.duplicates, (all - expected.len()) as u64);
            prop_assert_eq!(rows, expected);
        }
    }
}
