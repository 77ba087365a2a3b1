//! Objects of a partition, written anew: merged, without copies of replicas and without rows that
//! are not to be kept.

use std::sync::Arc;

use chunk::{FinishedObject, Layout, Projection};
use model::{LabelSet, Reservation, TenantId};
use scan::{
    Deletes, LogScan, LogStages, Prefilter, Pushdown, ScanStats, Source, StreamDeletes, scan_logs,
};
use storage::{ObjectFile, PartitionState, key};

use crate::metrics::Dropped;
use crate::open::OpenBlocks;
use crate::plan::LEVEL_MERGED;
use crate::retention::Retention;
use crate::slices::{Extent, Slice, slices};
use crate::survey::{RunRef, Survey};
use crate::writer::Writer;
use crate::{CompactError, Compactor};

/// Blocks whose lines have this part of a new block's size are large: not worth to be encoded again.
const LARGE_PART: u64 = 4;
/// Part of the memory that the blocks of one slice may take, once decoded.
const SLICE_PART: u64 = 8;

/// What is to be rewritten.
pub(crate) struct Job<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) day: i64,
    pub(crate) state: &'a PartitionState,
    /// Streams of the objects.
    pub(crate) streams: Survey,
    /// Rows to leave out.
    pub(crate) deletes: &'a Deletes,
    pub(crate) retention: &'a Retention,
    /// Of the result.
    pub(crate) level: u8,
}

/// What came out; written, but not committed.
#[derive(Debug, Default)]
pub(crate) struct Rewritten {
    pub(crate) files: Vec<ObjectFile>,
    /// The same objects without their bytes.
    pub(crate) objects: Vec<FinishedObject>,
}

impl Compactor {
    /// Writes the rows of the job's objects into as few new ones as it takes.
    pub(crate) async fn rewrite(&self, mut job: Job<'_>) -> Result<Rewritten, CompactError> {
        let streams = std::mem::take(&mut job.streams);
        let memory = self.config.memory.0 / self.config.max_concurrent.max(1) as u64;
        let open = self.config.open_bytes();
        let mut rewrite = Rewrite {
            open: OpenBlocks::new(&self.catalog, job.tenant, job.day, job.state, open),
            writer: Writer::new(self.new_id(), self.config.block_size.as_usize()),
            slice_bytes: memory / SLICE_PART,
            rewritten: Rewritten::default(),
            compactor: self,
            job,
        };
        for (labels, runs) in streams {
            rewrite.stream(labels, runs).await?;
        }
        rewrite.put().await?;
        let written = rewrite.writer.written;
        self.metrics.blocks_copied.inc_by(written.blocks_copied);
        self.metrics.blocks_encoded.inc_by(written.blocks_encoded);
        Ok(rewrite.rewritten)
    }

    pub(crate) fn new_id(&self) -> u128 {
        key::new_id(self.now_ns())
    }
}

/// A job under way.
struct Rewrite<'a> {
    compactor: &'a Compactor,
    job: Job<'a>,
    open: OpenBlocks<'a>,
    writer: Writer,
    /// Bytes of a slice.
    slice_bytes: u64,
    rewritten: Rewritten,
}

impl Rewrite<'_> {
    async fn stream(&mut self, labels: LabelSet, runs: Vec<RunRef>) -> Result<(), CompactError> {
        let now_ns = self.compactor.now_ns();
        let cutoff_ns = self.job.retention.cutoff_ns(&labels, now_ns);
        let (kept, expired): (Vec<RunRef>, Vec<RunRef>) =
            runs.into_iter().partition(|run| run.max_ts_ns >= cutoff_ns);
        let expired: u64 = expired.iter().map(|run| run.rows).sum();
        self.compactor.metrics.dropped(Dropped::Expired, expired);
        self.writer.start(&labels);
        for unit in units(&kept) {
            match unit {
                [run] if self.is_large(&labels, run) => self.copy(&labels, run).await?,
                _ => self.merge(&labels, unit).await?,
            }
        }
        self.blocking(|mut writer| {
            writer.end()?;
            Ok((writer, ()))
        })
        .await?;
        self.put_if_large().await
    }

    /// Whether all of a run is kept and its block so large that encoding it again gains nothing.
    fn is_large(&self, labels: &LabelSet, run: &RunRef) -> bool {
        let deletes = self.job.deletes;
        run.raw_bytes >= self.compactor.config.block_size.0 / LARGE_PART
            && !deletes.touch(labels, run.min_ts_ns, run.max_ts_ns)
    }

    /// Copies a block byte for byte, every frame of it checked, if it is of this stream alone. One
    /// that an ingester laid out plainly is encoded again, once: in a hurry it lays out all so.
    async fn copy(&mut self, labels: &LabelSet, run: &RunRef) -> Result<(), CompactError> {
        let block = self.open.block(run).await?;
        let is_untried = block.meta().layout() == Layout::Plain && self.job.level == LEVEL_MERGED;
        if block.meta().runs().len() > 1 || is_untried {
            return self.merge(labels, std::slice::from_ref(run)).await;
        }
        let streams = vec![labels.clone()];
        let copied = tokio::task::spawn_blocking(move || block.copy(streams));
        let copied = copied.await.map_err(|_| CompactError::Worker)?;
        let copied = copied.map_err(|error| self.open.damaged(run, error))?;
        self.blocking(|mut writer| {
            writer.copy(copied)?;
            Ok((writer, ()))
        })
        .await?;
        self.put_if_large().await
    }

    /// Writes runs that overlap in time, slice by slice.
    async fn merge(&mut self, labels: &LabelSet, unit: &[RunRef]) -> Result<(), CompactError> {
        let (before, mut left_out) = (self.writer.written.rows, LeftOut::default());
        for slice in slices(&extents(unit), self.slice_bytes) {
            let mut sources = Vec::with_capacity(slice.blocks.len());
            for run in slice.blocks.iter().filter_map(|at| unit.get(*at)) {
                sources.push(Source::Block {
                    block: self.open.block(run).await?,
                    run: run.run as usize,
                });
            }
            let last_ns = slice.range.end_ns.saturating_sub(1);
            let deletes = self.job.deletes;
            let deletes = deletes.for_stream(labels, slice.range.start_ns, last_ns);
            let (labels, memory) = (labels.clone(), self.compactor.memory.reservation());
            let of_slice = self
                .blocking(move |writer| merge(&labels, &sources, &slice, deletes, memory, writer))
                .await;
            if let Err(CompactError::Scan { .. }) = &of_slice {
                self.find_damage(unit).await?;
            }
            let of_slice = of_slice?;
            left_out.duplicates += of_slice.duplicates;
            left_out.deleted += of_slice.deleted;
            self.put_if_large().await?;
        }
        let metrics = &self.compactor.metrics;
        metrics.dropped(Dropped::Duplicate, left_out.duplicates);
        metrics.dropped(Dropped::Deleted, left_out.deleted);
        let rows: u64 = unit.iter().map(|run| run.rows).sum();
        let found = self.writer.written.rows - before + left_out.duplicates + left_out.deleted;
        if found == rows {
            return Ok(());
        }
        Err(CompactError::Unequal(format!(
            "{found} rows of {labels} instead of {rows}"
        )))
    }

    /// Fails with the first of the runs that cannot be read: an error of a merge does not say.
    async fn find_damage(&mut self, unit: &[RunRef]) -> Result<(), CompactError> {
        for run in unit {
            let block = self.open.block(run).await?;
            let ordinal = run.run as usize;
            let read = move || block.rows(ordinal, Projection::ALL, None).map(|_| ());
            let read = tokio::task::spawn_blocking(read).await;
            let read = read.map_err(|_| CompactError::Worker)?;
            read.map_err(|error| self.open.damaged(run, error))?;
        }
        Ok(())
    }

    /// Runs CPU work with the writer on a thread for that. After an error the writer is of no use.
    async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(Writer) -> Result<(Writer, T), CompactError> + Send + 'static,
    ) -> Result<T, CompactError> {
        let writer = std::mem::replace(&mut self.writer, Writer::new(0, 0));
        let done = tokio::task::spawn_blocking(move || work(writer)).await;
        let (writer, result) = done.map_err(|_| CompactError::Worker)??;
        self.writer = writer;
        Ok(result)
    }

    async fn put_if_large(&mut self) -> Result<(), CompactError> {
        if self.writer.len() < self.compactor.config.target_object_size.0 {
            return Ok(());
        }
        self.put().await
    }

    /// Puts what is written so far into the store, as an object.
    async fn put(&mut self) -> Result<(), CompactError> {
        let next_id = self.compactor.new_id();
        let finished = self
            .blocking(move |mut writer| {
                let object = writer.finish(next_id)?;
                Ok((writer, object))
            })
            .await?;
        let Some(mut object) = finished else {
            return Ok(());
        };
        let (catalog, job) = (&self.compactor.catalog, &self.job);
        let mut file = catalog.put_object(job.tenant, job.day, &object).await?;
        file.level = job.level;
        self.compactor.metrics.objects_written.inc();
        self.compactor.metrics.bytes_written.inc_by(object.len);
        object.pieces.clear();
        self.rewritten.files.push(file);
        self.rewritten.objects.push(object);
        Ok(())
    }
}

/// Runs that overlap in time, together; they are sorted by time.
fn units(runs: &[RunRef]) -> impl Iterator<Item = &[RunRef]> {
    let mut last_ns = i64::MIN;
    let mut starts: Vec<usize> = Vec::new();
    for (number, run) in runs.iter().enumerate() {
        if number == 0 || run.min_ts_ns > last_ns {
            starts.push(number);
        }
        last_ns = last_ns.max(run.max_ts_ns);
    }
    let ends: Vec<usize> = starts.iter().skip(1).copied().chain([runs.len()]).collect();
    let unit = move |(start, end)| runs.get(start..end).unwrap_or_default();
    starts.into_iter().zip(ends).map(unit)
}

fn extents(unit: &[RunRef]) -> Vec<Extent> {
    let extent = |run: &RunRef| Extent {
        min_ts_ns: run.min_ts_ns,
        max_ts_ns: run.max_ts_ns,
        bytes: run.raw_bytes + run.rows * 16,
    };
    unit.iter().map(extent).collect()
}

/// Rows that are not written.
#[derive(Clone, Copy, Debug, Default)]
struct LeftOut {
    duplicates: u64,
    deleted: u64,
}

/// Writes the rows of a slice in time order, each once.
fn merge(
    labels: &LabelSet,
    sources: &[Source],
    slice: &Slice,
    deletes: StreamDeletes,
    mut memory: Reservation,
    writer: Writer,
) -> Result<(Writer, LeftOut), CompactError> {
    let prefilter = Prefilter::default();
    let scan = LogScan {
        range: slice.range,
        direction: model::Direction::Forward,
        limit: 0,
        prefilter: &prefilter,
        hashes: false,
        pushdown: Pushdown::On,
    };
    let mut stats = ScanStats::default();
    let mut context = scan::Context {
        is_cancelled: &|| false,
        memory: &mut memory,
        stats: &mut stats,
    };
    let mut taking = Taking {
        writer,
        deletes,
        deleted: 0,
        failed: None,
    };
    let mut none = |_: scan::LogRow<'_>| std::ops::ControlFlow::Continue(());
    scan_logs(sources, &scan, &mut taking, &mut context, &mut none).map_err(|source| {
        CompactError::Scan {
            stream: labels.to_string(),
            source,
        }
    })?;
    let left_out = LeftOut {
        duplicates: stats.duplicates,
        deleted: taking.deleted,
    };
    match taking.failed {
        Some(error) => Err(error),
        None => Ok((taking.writer, left_out)),
    }
}

/// Takes rows as they are stored, out of a scan that gives nothing.
struct Taking {
    writer: Writer,
    deletes: StreamDeletes,
    deleted: u64,
    failed: Option<CompactError>,
}

impl LogStages for Taking {
    fn process<'a>(
        &'a mut self,
        timestamp_ns: i64,
        line: &'a [u8],
        metadata: &'a LabelSet,
    ) -> Option<(std::borrow::Cow<'a, [u8]>, &'a Arc<model::RowLabels>)> {
        if self.deletes.has(timestamp_ns, line, metadata) {
            self.deleted += 1;
        } else if self.failed.is_none() {
            self.failed = self.writer.row(timestamp_ns, line, metadata).err();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_overlap_are_one_unit() {
        let run = |min_ts_ns, max_ts_ns| RunRef {
            object: 1,
            block: 0,
            run: 0,
            min_ts_ns,
            max_ts_ns,
            rows: 1,
            raw_bytes: 1,
        };
        let runs = [run(0, 10), run(5, 8), run(10, 12), run(20, 30), run(31, 31)];
        let lengths: Vec<usize> = units(&runs).map(<[RunRef]>::len).collect();
        assert_eq!(lengths, [3, 1, 1]);
        assert_eq!(units(&[]).count(), 0);
    }
}
