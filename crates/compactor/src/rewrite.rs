//! Objects of a partition, written anew: merged, without copies of replicas and without rows that
//! are not to be kept. How rows are merged is in `merge`.

use std::sync::Arc;

use chunk::{FinishedObject, Layout};
use model::{Budget, LabelSet, TenantId};
use scan::Deletes;
use storage::{ObjectFile, PartitionState, key};

use crate::merge::LeftOut;
use crate::open::OpenBlocks;
use crate::plan::LEVEL_MERGED;
use crate::retention::Retention;
use crate::survey::{RunRef, Survey};
use crate::writer::{Writer, Written};
use crate::{CompactError, Compactor};

/// Blocks whose lines have this part of a new block's size are large: not worth to be encoded again.
const LARGE_PART: u64 = 4;

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
    pub(crate) done: Done,
}

/// What a job did, to be counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    /// Rows that are not in the new objects.
    pub(crate) left_out: LeftOut,
    /// What is.
    pub(crate) written: Written,
    /// Blocks that were read.
    pub(crate) fetched: u64,
}

impl Compactor {
    /// Writes the rows of the job's objects into as few new ones as it takes. If that fails, what
    /// was written is deleted again.
    pub(crate) async fn rewrite(&self, mut job: Job<'_>) -> Result<Rewritten, CompactError> {
        let streams = std::mem::take(&mut job.streams);
        let (of, open) = ((job.tenant, job.day), self.config.open_bytes());
        let mut rewrite = Rewrite {
            open: OpenBlocks::new(&self.catalog, of, job.state, &streams, open),
            writer: Writer::new(self.new_id(), self.config.block_size.as_usize()),
            memory: self.job_memory(),
            rewritten: Rewritten::default(),
            put: Vec::new(),
            compactor: self,
            job,
        };
        let done = rewrite.run(streams).await;
        if done.is_err() {
            self.discard(&rewrite.put).await;
        }
        done?;
        rewrite.rewritten.done.written = rewrite.writer.written;
        rewrite.rewritten.done.fetched = rewrite.open.fetched;
        Ok(rewrite.rewritten)
    }

    pub(crate) fn new_id(&self) -> u128 {
        key::new_id(self.now_ns())
    }

    /// The part of the memory that one job may take.
    pub(crate) fn job_memory(&self) -> Arc<Budget> {
        let jobs = self.config.max_concurrent.max(1) as u64;
        let bytes = self.config.memory.0 / jobs;
        self.memory.child("compactor.memory", bytes)
    }

    /// Deletes files that nothing refers to. Those that cannot be deleted now are swept one day.
    pub(crate) async fn discard(&self, keys: &[String]) {
        for key in keys {
            match self.catalog.store().delete(key).await {
                Ok(()) => _ = self.metrics.files_discarded.inc(),
                Err(error) => tracing::debug!(key, %error, "left for the sweep"),
            }
        }
    }
}

/// A job under way.
pub(crate) struct Rewrite<'a> {
    pub(crate) compactor: &'a Compactor,
    pub(crate) job: Job<'a>,
    pub(crate) open: OpenBlocks<'a>,
    pub(crate) writer: Writer,
    /// For rows while they are merged.
    pub(crate) memory: Arc<Budget>,
    pub(crate) rewritten: Rewritten,
    /// Keys of objects that were put into the store, or may have been.
    put: Vec<String>,
}

impl Rewrite<'_> {
    async fn run(&mut self, streams: Survey) -> Result<(), CompactError> {
        for (number, (labels, runs)) in (0u32..).zip(streams) {
            self.open.reach(number);
            self.stream(labels, runs).await?;
        }
        self.put().await
    }

    async fn stream(&mut self, labels: LabelSet, runs: Vec<RunRef>) -> Result<(), CompactError> {
        let now_ns = self.compactor.now_ns();
        let cutoff_ns = self.job.retention.cutoff_ns(&labels, now_ns);
        let (kept, expired): (Vec<RunRef>, Vec<RunRef>) =
            runs.into_iter().partition(|run| run.max_ts_ns >= cutoff_ns);
        let expired: u64 = expired.iter().map(|run| run.rows).sum();
        self.rewritten.done.left_out.expired += expired;
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

    /// Runs CPU work with the writer on a thread for that. After an error the writer is of no use.
    pub(crate) async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(Writer) -> Result<(Writer, T), CompactError> + Send + 'static,
    ) -> Result<T, CompactError> {
        let writer = std::mem::replace(&mut self.writer, Writer::new(0, 0));
        let done = tokio::task::spawn_blocking(move || work(writer)).await;
        let (writer, result) = done.map_err(|_| CompactError::Worker)??;
        self.writer = writer;
        Ok(result)
    }

    pub(crate) async fn put_if_large(&mut self) -> Result<(), CompactError> {
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
        let key = key::data_key(job.tenant, job.day, object.object_id);
        self.put.push(key);
        let mut file = catalog.put_object(job.tenant, job.day, &object).await?;
        file.level = job.level;
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
