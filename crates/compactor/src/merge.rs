//! The rows of one stream in blocks that overlap, merged in time order, each once.
//!
//! Blocks are decoded plainly, without anything that spares queries work, and the number of their
//! rows and the bytes of their lines compared with what was noted when they were written. From then
//! on rows have a hash, which follows them into the block that they are written to (`check`).
//!
//! What overlaps is cut into slices of time (`slices`), which are merged one after the other
//! (`kway`); a block is decoded when the first slice with rows of it is reached, and let go after
//! the last. Where the blocks of one slice take more memory than a job has, their times are looked
//! at (`sketch`), and of each block only the rows of a smaller part are kept at once. A time that
//! alone has too much goes block by block from the old to the new, with no more in memory than the
//! hashes of its rows.

use std::collections::{BTreeMap, HashSet};

use chunk::Projection;
use model::{LabelSet, Reservation, TimeRange};
use scan::StreamDeletes;

use crate::CompactError;
use crate::check::{Digest, HashedRows};
use crate::kway::{self, Source};
use crate::rewrite::Rewrite;
use crate::sketch::Sketch;
use crate::slices::{Extent, Slice, slices};
use crate::survey::RunRef;
use crate::writer::Writer;

/// Part of a job's memory that the rows of one slice are to take.
const SLICE_PART: u64 = 8;
/// Part of a job's memory that blocks which overlap may take, all of their rows at once.
const CROWD_PART: u64 = 2;
/// Part of a job's memory for the hashes of rows of one time.
const SEEN_PART: u64 = 2;
/// What a row takes beside its line: its time, where it ends, its metadata's number, its hash.
const ROW_BYTES: u64 = 8 + 4 + 4 + 8;
/// What the hash of a row takes in a set.
const SEEN_BYTES: u64 = 24;
/// Of a block so many times are looked at.
const SAMPLES_MIN: u64 = 16;
const SAMPLES_MAX: u64 = 4096;

/// Rows that are not written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub(crate) duplicates: u64,
    pub(crate) deleted: u64,
    pub(crate) expired: u64,
}

impl std::ops::AddAssign for LeftOut {
    fn add_assign(&mut self, other: Self) {
        self.duplicates += other.duplicates;
        self.deleted += other.deleted;
        self.expired += other.expired;
    }
}

/// Memory of rows that were decoded; given back with them.
type Memory = Reservation;

/// Decoded runs of a unit by their number in it.
type Held = BTreeMap<usize, (Source, Memory)>;

impl Rewrite<'_> {
    /// Writes runs that overlap in time. If it is their rows that cannot be merged, their objects
    /// are left out from now on.
    pub(crate) async fn merge(
        &mut self,
        labels: &LabelSet,
        unit: &[RunRef],
    ) -> Result<(), CompactError> {
        let merged = self.merge_unit(labels, unit).await;
        if merged.as_ref().is_err_and(CompactError::is_of_rows) {
            let objects = unit.iter().map(|run| run.object);
            self.compactor.put_aside(objects);
        }
        merged
    }

    async fn merge_unit(&mut self, labels: &LabelSet, unit: &[RunRef]) -> Result<(), CompactError> {
        let (before, mut left_out) = (self.writer.written.rows, LeftOut::default());
        let extents: Vec<Extent> = unit.iter().map(extent).collect();
        let mut held = Held::new();
        for slice in slices(&extents, self.memory.limit_bytes() / SLICE_PART) {
            left_out += self.slice(labels, unit, &slice, &mut held).await?;
            self.put_if_large().await?;
        }
        self.rewritten.done.left_out += left_out;
        let rows: u64 = unit.iter().map(|run| run.rows).sum();
        let found = self.writer.written.rows - before + left_out.duplicates + left_out.deleted;
        if found == rows {
            return Ok(());
        }
        Err(CompactError::Unequal(format!(
            "{found} rows of {labels} instead of {rows}"
        )))
    }

    /// Writes the rows of a slice. Runs that go on behind it are held.
    async fn slice(
        &mut self,
        labels: &LabelSet,
        unit: &[RunRef],
        slice: &Slice,
        held: &mut Held,
    ) -> Result<LeftOut, CompactError> {
        let numbered = |number: &usize| Some((*number, *unit.get(*number)?));
        let runs: Vec<(usize, RunRef)> = slice.blocks.iter().filter_map(numbered).collect();
        let bytes: u64 = runs.iter().map(|(_, run)| extent(run).bytes).sum();
        if bytes <= self.memory.limit_bytes() / CROWD_PART {
            match self.hold(&runs, held).await {
                // Metadata may take much more than it took to say.
                Err(CompactError::Memory(_)) => {}
                Ok(()) => return self.write(labels, held, slice.range).await,
                Err(error) => return Err(error),
            }
        }
        held.clear();
        let runs: Vec<RunRef> = runs.into_iter().map(|(_, run)| run).collect();
        let mut left_out = LeftOut::default();
        for part in self.parts(&runs, slice.range).await? {
            if part.end_ns.saturating_sub(part.start_ns) == 1 {
                left_out += self.crowded(labels, &runs, part).await?;
            } else {
                let mut held = self.load(&runs, part).await?;
                left_out += self.write(labels, &mut held, part).await?;
            }
            self.put_if_large().await?;
        }
        Ok(left_out)
    }

    /// Parts of a range whose rows fit into memory, but for those of one time.
    async fn parts(
        &mut self,
        runs: &[RunRef],
        range: TimeRange,
    ) -> Result<Vec<TimeRange>, CompactError> {
        let part_bytes = self.memory.limit_bytes() / SLICE_PART;
        let all: u64 = runs.iter().map(|run| extent(run).bytes).sum();
        // A step of each block more or less in a part is then not much of it.
        let samples = (all.saturating_mul(4) / part_bytes.max(1)).clamp(SAMPLES_MIN, SAMPLES_MAX);
        let mut sketch = Sketch::default();
        for run in runs {
            let block = self.open.block(run).await?;
            let ordinal = run.run as usize;
            let mut memory = self.memory.reservation();
            memory.grow(block.meta().decoded_bytes(ordinal, Projection::TIMESTAMPS))?;
            let read = move || block.rows(ordinal, Projection::TIMESTAMPS, Some(range));
            let rows = tokio::task::spawn_blocking(read).await;
            let rows = rows.map_err(|_| CompactError::Worker)?;
            let rows = rows.map_err(|error| self.open.damaged(run, error))?;
            let part = u128::from(extent(run).bytes) * rows.len() as u128;
            let bytes = part / u128::from(run.rows.max(1));
            sketch.add(rows.timestamps_ns(), bytes as u64, samples as usize);
        }
        Ok(sketch.parts(range, part_bytes))
    }

    /// Decodes those of some runs that are not held yet.
    async fn hold(
        &mut self,
        runs: &[(usize, RunRef)],
        held: &mut Held,
    ) -> Result<(), CompactError> {
        for (number, run) in runs {
            if !held.contains_key(number) {
                let (rows, memory) = self.rows_of(run, None).await?;
                held.insert(*number, (Source::new(rows), memory));
            }
        }
        Ok(())
    }

    /// The rows of runs in a range.
    async fn load(&mut self, runs: &[RunRef], range: TimeRange) -> Result<Held, CompactError> {
        let mut held = Held::new();
        for (number, run) in runs.iter().enumerate() {
            if range.overlaps(run.min_ts_ns, run.max_ts_ns) {
                let (rows, memory) = self.rows_of(run, Some(range)).await?;
                held.insert(number, (Source::new(rows), memory));
            }
        }
        Ok(held)
    }

    /// The rows of a run, those in a range if there is one.
    async fn rows_of(
        &mut self,
        run: &RunRef,
        range: Option<TimeRange>,
    ) -> Result<(HashedRows, Memory), CompactError> {
        let block = self.open.block(run).await?;
        let ordinal = run.run as usize;
        self.writer.learn(block.meta().layout());
        let mut memory = self.memory.reservation();
        memory.grow(block.meta().decoded_bytes(ordinal, Projection::ALL))?;
        let noted = block.meta().runs().get(ordinal);
        let noted = noted.map(|noted| (u64::from(noted.rows), noted.raw_bytes));
        let read = move || {
            let rows = block.rows(ordinal, Projection::ALL, range)?;
            Ok(rows.into_entries().map(HashedRows::new))
        };
        let read = tokio::task::spawn_blocking(read).await;
        let read = read.map_err(|_| CompactError::Worker)?;
        let read = read.map_err(|error| self.open.damaged(run, error))?;
        let unequal =
            || CompactError::Unequal(format!("block {} of {}", run.block, self.open.key(run)));
        let rows = read.ok_or_else(unequal)?;
        if range.is_none_or(|range| range.covers(run.min_ts_ns, run.max_ts_ns)) {
            let found = (rows.len() as u64, rows.rows().lines().len() as u64);
            if noted != Some(found) {
                return Err(unequal());
            }
        }
        let decoded = memory.bytes();
        memory.grow(rows.heap_bytes())?;
        memory.shrink(decoded);
        Ok((rows, memory))
    }

    /// Writes the rows of a range, and lets those go of which there is no more.
    async fn write(
        &mut self,
        labels: &LabelSet,
        held: &mut Held,
        range: TimeRange,
    ) -> Result<LeftOut, CompactError> {
        let deletes = self.job.deletes.for_stream_in(labels, range);
        let taken = std::mem::take(held);
        let (mut merged, left_out) = self
            .blocking(move |mut writer| {
                let numbers: Vec<usize> = taken.keys().copied().collect();
                let (mut sources, memory): (Vec<Source>, Vec<Memory>) = taken.into_values().unzip();
                let left_out = kway::merge(&mut sources, range, deletes, &mut writer)?;
                let merged = sources.into_iter().zip(memory);
                let merged: Held = numbers.into_iter().zip(merged).collect();
                Ok((writer, (merged, left_out)))
            })
            .await?;
        merged.retain(|_, (source, _)| source.goes_on());
        *held = merged;
        Ok(left_out)
    }

    /// Writes the rows of one time, block after block. If not even the hashes of all of them fit
    /// into memory, those with some hashes come first.
    async fn crowded(
        &mut self,
        labels: &LabelSet,
        runs: &[RunRef],
        range: TimeRange,
    ) -> Result<LeftOut, CompactError> {
        let at_time = runs
            .iter()
            .filter(|run| range.overlaps(run.min_ts_ns, run.max_ts_ns));
        let rows: u64 = at_time.clone().map(|run| run.rows).sum();
        let bytes_max = (self.memory.limit_bytes() / SEEN_PART).max(1);
        let passes = (rows.saturating_mul(SEEN_BYTES) / bytes_max).saturating_add(1);
        let mut left_out = LeftOut::default();
        for pass in 0..passes {
            let mut memory = self.memory.reservation();
            memory.grow(rows.saturating_mul(SEEN_BYTES) / passes)?;
            let mut seen = HashSet::new();
            for run in at_time.clone() {
                let (rows, memory) = self.rows_of(run, Some(range)).await?;
                let deletes = self.job.deletes.for_stream_in(labels, range);
                let turn = Turn { pass, passes };
                let (hashes, of_run) = self
                    .blocking(move |mut writer| {
                        let of_run = turn.write(&rows, &mut seen, deletes, &mut writer)?;
                        drop((rows, memory));
                        Ok((writer, (seen, of_run)))
                    })
                    .await?;
                seen = hashes;
                left_out += of_run;
                self.put_if_large().await?;
            }
        }
        Ok(left_out)
    }
}

fn extent(run: &RunRef) -> Extent {
    Extent {
        min_ts_ns: run.min_ts_ns,
        max_ts_ns: run.max_ts_ns,
        bytes: run
            .raw_bytes
            .saturating_add(run.rows.saturating_mul(ROW_BYTES)),
    }
}

/// Which hashes have their turn.
#[derive(Clone, Copy)]
struct Turn {
    pass: u64,
    passes: u64,
}

impl Turn {
    /// Writes rows of one time that were not seen before.
    fn write(
        self,
        rows: &HashedRows,
        seen: &mut HashSet<u64>,
        mut deletes: StreamDeletes,
        writer: &mut Writer,
    ) -> Result<LeftOut, CompactError> {
        writer.begin_sources(1);
        let mut left_out = LeftOut::default();
        let (mut of_turn, mut done) = (Digest::default(), Digest::default());
        let hashes = rows.hashes(0..rows.len()).iter();
        for (number, (row, hash)) in rows.rows().iter().zip(hashes).enumerate() {
            if hash % self.passes != self.pass {
                continue;
            }
            let this = rows.digest(number..number + 1);
            of_turn += this;
            if !seen.insert(*hash) {
                left_out.duplicates += 1;
                done += this;
            } else if deletes.has(row.timestamp_ns, row.line, row.metadata) {
                left_out.deleted += 1;
                done += this;
            } else {
                done += writer.take(0, rows, number..number + 1)?;
            }
        }
        if of_turn == done {
            Ok(left_out)
        } else {
            Err(CompactError::Unequal("rows of one time".to_owned()))
        }
    }
}
