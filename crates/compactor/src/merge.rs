//! The rows of one stream in blocks that overlap, merged in time order, each once.
//!
//! Blocks are decoded plainly, without anything that spares queries work, and the number of their
//! rows and the bytes of their lines compared with what was noted when they were written. Merged are
//! those rows, and what comes out is compared with what went in, by hash.
//!
//! What overlaps is cut into slices of time (`slices`), which are merged one after the other. Where
//! even the blocks of one slice take more memory than a job has, their times are looked at
//! (`sketch`), and of each block only the rows of a smaller part are kept at once. A time that alone
//! has too much goes block by block from the old to the new, with no more in memory than the hashes
//! of its rows.

use std::collections::HashSet;
use std::sync::Arc;

use chunk::Projection;
use model::{Entries, EntryRef, LabelSet, Reservation, TimeRange};
use scan::{LogScan, LogStages, Prefilter, Pushdown, ScanStats, Source, StreamDeletes, scan_logs};

use crate::CompactError;
use crate::check::RowSet;
use crate::rewrite::Rewrite;
use crate::sketch::Sketch;
use crate::slices::{Extent, slices};
use crate::survey::RunRef;
use crate::writer::Writer;

/// Part of a job's memory that the rows of one slice are to take.
const SLICE_PART: u64 = 8;
/// Part of a job's memory that blocks which overlap may take, all of their rows at once.
const CROWD_PART: u64 = 2;
/// Part of a job's memory for the hashes of rows of one time.
const SEEN_PART: u64 = 2;
/// What a row takes beside its line: its time, where it ends, its metadata's number, and what it is
/// compared by, before and after.
const ROW_BYTES: u64 = 16 + 32;
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

/// Rows of a run, and the memory that they take.
struct Loaded {
    rows: Arc<Entries>,
    /// Given back with them.
    _memory: Reservation,
}

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
        for slice in slices(&extents, self.memory.limit_bytes() / SLICE_PART) {
            let runs = slice.blocks.iter().filter_map(|at| unit.get(*at).copied());
            let runs: Vec<RunRef> = runs.collect();
            left_out += self.slice(labels, &runs, slice.range).await?;
            self.put_if_large().await?;
        }
        self.rewritten.left_out += left_out;
        let rows: u64 = unit.iter().map(|run| run.rows).sum();
        let found = self.writer.written.rows - before + left_out.duplicates + left_out.deleted;
        if found == rows {
            return Ok(());
        }
        Err(CompactError::Unequal(format!(
            "{found} rows of {labels} instead of {rows}"
        )))
    }

    /// Writes the rows of a range.
    async fn slice(
        &mut self,
        labels: &LabelSet,
        runs: &[RunRef],
        range: TimeRange,
    ) -> Result<LeftOut, CompactError> {
        let bytes: u64 = runs.iter().map(|run| extent(run).bytes).sum();
        if bytes <= self.memory.limit_bytes() / CROWD_PART {
            match self.load(runs, range).await {
                // Metadata may take much more than it took to say.
                Err(CompactError::Memory(_)) => {}
                loaded => return self.write(labels, loaded?, range).await,
            }
        }
        let mut left_out = LeftOut::default();
        for part in self.parts(runs, range).await? {
            if part.end_ns.saturating_sub(part.start_ns) == 1 {
                left_out += self.crowded(labels, runs, part).await?;
            } else {
                let loaded = self.load(runs, part).await?;
                left_out += self.write(labels, loaded, part).await?;
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

    /// The rows of runs in a range.
    async fn load(
        &mut self,
        runs: &[RunRef],
        range: TimeRange,
    ) -> Result<Vec<Loaded>, CompactError> {
        let mut loaded = Vec::with_capacity(runs.len());
        for run in runs {
            if range.overlaps(run.min_ts_ns, run.max_ts_ns) {
                loaded.push(self.rows_of(run, range).await?);
            }
        }
        Ok(loaded)
    }

    /// The rows of a run in a range.
    async fn rows_of(&mut self, run: &RunRef, range: TimeRange) -> Result<Loaded, CompactError> {
        let block = self.open.block(run).await?;
        let ordinal = run.run as usize;
        let mut memory = self.memory.reservation();
        memory.grow(block.meta().decoded_bytes(ordinal, Projection::ALL))?;
        let noted = block.meta().runs().get(ordinal);
        let noted = noted.map(|noted| (u64::from(noted.rows), noted.raw_bytes));
        let read = move || {
            let rows = block.rows(ordinal, Projection::ALL, Some(range))?;
            Ok(rows.to_entries())
        };
        let read = tokio::task::spawn_blocking(read).await;
        let read = read.map_err(|_| CompactError::Worker)?;
        let read = read.map_err(|error| self.open.damaged(run, error))?;
        let unequal =
            || CompactError::Unequal(format!("block {} of {}", run.block, self.open.key(run)));
        let rows = read.ok_or_else(unequal)?;
        if range.covers(run.min_ts_ns, run.max_ts_ns) {
            let found = (rows.len() as u64, rows.lines().len() as u64);
            if noted != Some(found) {
                return Err(unequal());
            }
        }
        let decoded = memory.bytes();
        memory.grow(rows.heap_bytes() as u64 + 2 * RowSet::bytes(rows.len()))?;
        memory.shrink(decoded);
        let rows = Arc::new(rows);
        Ok(Loaded {
            rows,
            _memory: memory,
        })
    }

    /// Writes what was loaded of a range.
    async fn write(
        &mut self,
        labels: &LabelSet,
        loaded: Vec<Loaded>,
        range: TimeRange,
    ) -> Result<LeftOut, CompactError> {
        let deletes = self.job.deletes.for_stream_in(labels, range);
        let (labels, mut memory) = (labels.clone(), self.memory.reservation());
        self.blocking(move |writer| merge(&labels, &loaded, range, deletes, &mut memory, writer))
            .await
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
                let loaded = self.rows_of(run, range).await?;
                let deletes = self.job.deletes.for_stream_in(labels, range);
                let turn = Turn { pass, passes };
                let (hashes, of_run) = self
                    .blocking(move |mut writer| {
                        let of_run = turn.write(&loaded.rows, &mut seen, deletes, &mut writer)?;
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
        rows: &Entries,
        seen: &mut HashSet<u64>,
        mut deletes: StreamDeletes,
        writer: &mut Writer,
    ) -> Result<LeftOut, CompactError> {
        let mut left_out = LeftOut::default();
        for row in rows.iter() {
            let hash = model::row_hash(row.line, row.metadata);
            if hash % self.passes != self.pass {
                continue;
            }
            if !seen.insert(hash) {
                left_out.duplicates += 1;
            } else if deletes.has(row.timestamp_ns, row.line, row.metadata) {
                left_out.deleted += 1;
            } else {
                writer.row(row.timestamp_ns, row.line, row.metadata)?;
            }
        }
        Ok(left_out)
    }
}

/// Writes rows in time order, each once, and checks that none was lost or changed on the way.
fn merge(
    labels: &LabelSet,
    loaded: &[Loaded],
    range: TimeRange,
    deletes: StreamDeletes,
    memory: &mut Reservation,
    writer: Writer,
) -> Result<(Writer, LeftOut), CompactError> {
    let rows = loaded.iter().map(|loaded| loaded.rows.len()).sum();
    let (mut before, after) = (RowSet::with_capacity(rows), RowSet::with_capacity(rows));
    for row in loaded.iter().flat_map(|loaded| loaded.rows.iter()) {
        before.add(row);
    }
    let prefilter = Prefilter::default();
    let scan = LogScan {
        range,
        direction: model::Direction::Forward,
        limit: 0,
        prefilter: &prefilter,
        hashes: false,
        pushdown: Pushdown::Off,
    };
    let sources = loaded
        .iter()
        .map(|loaded| Source::Rows(Arc::clone(&loaded.rows)));
    let sources: Vec<Source> = sources.collect();
    let mut stats = ScanStats::default();
    let mut context = scan::Context {
        is_cancelled: &|| false,
        memory,
        stats: &mut stats,
    };
    let mut taking = Taking {
        writer,
        deletes,
        deleted: 0,
        after,
        failed: None,
    };
    let mut none = |_: scan::LogRow<'_>| std::ops::ControlFlow::Continue(());
    scan_logs(&sources, &scan, &mut taking, &mut context, &mut none).map_err(|source| {
        CompactError::Scan {
            stream: labels.to_string(),
            source,
        }
    })?;
    if let Some(error) = taking.failed {
        return Err(error);
    }
    if !before.equals(taking.after) {
        return Err(CompactError::Unequal(format!("rows of {labels}")));
    }
    let left_out = LeftOut {
        duplicates: stats.duplicates,
        deleted: taking.deleted,
        expired: 0,
    };
    Ok((taking.writer, left_out))
}

/// Takes rows as they are stored, out of a scan that gives nothing.
struct Taking {
    writer: Writer,
    deletes: StreamDeletes,
    deleted: u64,
    /// All rows that came, deleted or not.
    after: RowSet,
    failed: Option<CompactError>,
}

impl LogStages for Taking {
    fn process<'a>(
        &'a mut self,
        timestamp_ns: i64,
        line: &'a [u8],
        metadata: &'a LabelSet,
    ) -> Option<(std::borrow::Cow<'a, [u8]>, &'a Arc<model::RowLabels>)> {
        self.after.add(EntryRef {
            timestamp_ns,
            line,
            metadata,
        });
        if self.deletes.has(timestamp_ns, line, metadata) {
            self.deleted += 1;
        } else if self.failed.is_none() {
            self.failed = self.writer.row(timestamp_ns, line, metadata).err();
        }
        None
    }
}
