//! Cutting and encoding, on a bounded number of workers.
//!
//! A pass cuts heads, plans blocks and encodes them. One pass runs at a time, so that a flush,
//! which is a pass over all that a tenant has, knows that no rows are on their way elsewhere. The blocks of a
//! pass take the place of the raw rows all together or not at all.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use chunk::{ChunkError, EncodeOptions, EncodedBlock, LinesMemory, LinesPolicy};
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::block::{Block, BlockRun};
use crate::ingester::Inner;
use crate::plan::{Job, plan};
use crate::stream::{Cut, Stream};
use crate::tenant::{Tenant, Waiting};

/// Raw bytes that are planned and encoded together.
const PASS_BYTES: usize = 16 << 20;

/// Streams whose heads are full, and the lock of the pass.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    full: Mutex<Vec<(Arc<Tenant>, Arc<Stream>)>>,
    wake: Notify,
    pass: tokio::sync::Mutex<()>,
}

/// Why a pass did not encode what it cut. The rows stay where they are.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncodeError {
    /// The encoder refuses the rows.
    #[error("a block cannot be encoded")]
    Chunk(#[from] ChunkError),
    /// The worker panicked or the runtime ends.
    #[error("an encode worker did not finish")]
    Worker,
}

impl Cutter {
    /// A head has reached the size of a block.
    pub(crate) fn is_full(&self, tenant: &Arc<Tenant>, stream: &Arc<Stream>) {
        self.full
            .lock()
            .push((Arc::clone(tenant), Arc::clone(stream)));
        self.wake.notify_one();
    }

    /// There is more in memory than there should be.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }
}

impl Inner {
    /// Encodes full heads, and the largest ones when all together are too large, until the process
    /// stops.
    pub(crate) async fn run_cutter(self: Arc<Self>) {
        let stopped = self.stop.clone();
        loop {
            tokio::select! {
                () = stopped.cancelled() => return,
                () = self.cutter.wake.notified() => {}
            }
            let _pass = self.cutter.pass.lock().await;
            let mut chosen = std::mem::take(&mut *self.cutter.full.lock());
            if self.memory.excess() > 0 {
                let largest = self.largest();
                for (_, stream) in &largest {
                    stream.forget_newest();
                }
                self.memory.freed();
                chosen.extend(largest);
            }
            if let Err(error) = self.encode_streams(chosen).await {
                self.metrics.encode_failures.inc();
                tracing::error!(%error, "rows stay in memory and in the write-ahead log");
            }
        }
    }

    /// Streams with the largest heads, enough of them to come well below the limit.
    fn largest(&self) -> Vec<(Arc<Tenant>, Arc<Stream>)> {
        let mut all = Vec::new();
        for tenant in self.tenants.all() {
            let sized = tenant
                .streams()
                .into_iter()
                .map(|stream| (stream.head_bytes(), stream));
            let sized = sized.filter(|(bytes, _)| *bytes > 0);
            all.extend(sized.map(|(bytes, stream)| (bytes, Arc::clone(&tenant), stream)));
        }
        all.sort_by_key(|(bytes, ..)| std::cmp::Reverse(*bytes));
        let excess = self.memory.excess();
        let mut so_far = 0;
        let needed = |(bytes, ..): &(usize, Arc<Tenant>, Arc<Stream>)| {
            let is_needed = so_far < excess;
            so_far += bytes;
            is_needed
        };
        let chosen = all.into_iter().take_while(needed);
        chosen.map(|(_, tenant, stream)| (tenant, stream)).collect()
    }

    /// Cuts and encodes these streams.
    async fn encode_streams(
        &self,
        chosen: Vec<(Arc<Tenant>, Arc<Stream>)>,
    ) -> Result<(), EncodeError> {
        let mut by_tenant: Vec<(Arc<Tenant>, Vec<Arc<Stream>>)> = Vec::new();
        for (tenant, stream) in chosen {
            match by_tenant
                .iter_mut()
                .find(|(known, _)| Arc::ptr_eq(known, &tenant))
            {
                Some((_, streams)) => streams.push(stream),
                None => by_tenant.push((tenant, vec![stream])),
            }
        }
        let mut all = Ok(());
        for (tenant, mut streams) in by_tenant {
            streams.sort_by(|a, b| a.labels().cmp(b.labels()));
            streams.dedup_by(|a, b| Arc::ptr_eq(a, b));
            // What one tenant has is no reason to leave the others' rows as they are.
            all = all.and(self.encode(&tenant, &streams, u64::MAX).await);
        }
        all
    }

    /// Cuts everything that a tenant has up to an epoch, and encodes it.
    pub(crate) async fn encode_tenant(
        &self,
        tenant: &Arc<Tenant>,
        epoch: u64,
    ) -> Result<(), EncodeError> {
        let _pass = self.cutter.pass.lock().await;
        let all = Arc::clone(tenant);
        let sorted = tokio::task::spawn_blocking(move || {
            let mut streams = all.streams();
            streams.sort_by(|a, b| a.labels().cmp(b.labels()));
            streams
        });
        let streams = sorted.await.map_err(|_| EncodeError::Worker)?;
        self.encode(tenant, &streams, epoch).await
    }

    /// Cuts and encodes some streams of a tenant, a bounded number of bytes at a time.
    async fn encode(
        &self,
        tenant: &Arc<Tenant>,
        streams: &[Arc<Stream>],
        epoch: u64,
    ) -> Result<(), EncodeError> {
        let mut cuts = Vec::new();
        let mut bytes = 0;
        for stream in streams {
            let from = cuts.len();
            stream.cut(epoch, &mut cuts);
            bytes += cuts.iter().skip(from).map(|cut| cut.bytes).sum::<usize>();
            if bytes >= PASS_BYTES {
                self.encode_cuts(tenant, std::mem::take(&mut cuts)).await?;
                bytes = 0;
            }
        }
        self.encode_cuts(tenant, cuts).await
    }

    fn is_replaying(&self) -> bool {
        !self.replayed.is_cancelled()
    }

    /// Blocks encoded at once. A replay takes all cores: what it waits for is the encoding, and a
    /// restart is over when it is.
    fn encode_workers(&self) -> usize {
        let takes_all = self.is_replaying() && self.config.encode_workers == 0;
        self.encode_workers * if takes_all { 2 } else { 1 }
    }

    async fn encode_cuts(&self, tenant: &Arc<Tenant>, cuts: Vec<Cut>) -> Result<(), EncodeError> {
        if cuts.is_empty() {
            return Ok(());
        }
        let block_bytes = self.config.block_bytes.as_usize().max(1);
        let planned = tokio::task::spawn_blocking(move || (plan(&cuts, block_bytes), cuts));
        let (jobs, cuts) = planned.await.map_err(|_| EncodeError::Worker)?;
        let cuts = Arc::new(cuts);
        let is_urgent = self.is_replaying() && self.is_long_replay.load(Ordering::Relaxed);
        let options = EncodeOptions {
            codec: self.config.codec.into(),
            lines: if is_urgent {
                LinesPolicy::Plain
            } else {
                LinesPolicy::Probe
            },
        };
        let encoded = jobs.into_iter().map(|job| {
            let (cuts, metrics) = (Arc::clone(&cuts), self.metrics.clone());
            async move {
                let work = move || {
                    let started = Instant::now();
                    let block = encode_job(&job, &cuts, &options)?;
                    metrics
                        .encode_seconds
                        .observe(started.elapsed().as_secs_f64());
                    metrics.encoded_raw_bytes.inc_by(block.meta().raw_bytes());
                    metrics.encoded_bytes.inc_by(block.body().len() as u64);
                    let cuts: Vec<usize> = job.runs.iter().map(|run| run.cut).collect();
                    let block = Arc::new(Block::new(block, job.day, job.epoch));
                    Ok::<_, EncodeError>((block, cuts))
                };
                let done = tokio::task::spawn_blocking(work).await;
                done.map_err(|_| EncodeError::Worker)?
            }
        });
        let blocks: Vec<(Arc<Block>, Vec<usize>)> = futures::stream::iter(encoded)
            .buffer_unordered(self.encode_workers())
            .try_collect()
            .await?;
        self.install(tenant, &cuts, blocks);
        Ok(())
    }

    /// Blocks take the place of the raw rows.
    fn install(&self, tenant: &Arc<Tenant>, cuts: &[Cut], blocks: Vec<(Arc<Block>, Vec<usize>)>) {
        let mut runs: Vec<Vec<BlockRun>> = vec![Vec::new(); cuts.len()];
        let mut block_bytes = 0;
        for (block, cut_of_run) in blocks {
            block_bytes += block.bytes();
            let mut streams = Vec::with_capacity(cut_of_run.len());
            for (run, cut) in cut_of_run.into_iter().enumerate() {
                if let (Some(runs), Some(cut)) = (runs.get_mut(cut), cuts.get(cut)) {
                    runs.push(BlockRun {
                        block: Arc::clone(&block),
                        run,
                    });
                    streams.push(Arc::clone(&cut.stream));
                }
            }
            self.metrics.blocks.inc();
            tenant.add_block(Waiting { block, streams });
        }
        let mut raw_bytes = 0;
        for (cut, runs) in cuts.iter().zip(runs) {
            raw_bytes += cut.bytes;
            cut.stream.encoded(cut.part, runs);
        }
        self.memory.encode(raw_bytes, block_bytes);
    }
}

fn encode_job(
    job: &Job,
    cuts: &[Cut],
    options: &EncodeOptions,
) -> Result<EncodedBlock, EncodeError> {
    let runs = job.runs.iter().filter_map(|run| {
        let labels = cuts.get(run.cut)?.stream.labels();
        let parts = run.rows.iter().map(Arc::as_ref);
        Some(chunk::Run::of_parts(labels, parts))
    });
    let runs: Vec<_> = runs.collect();
    // A stream that has the block alone remembers what suits its lines.
    let alone = match (job.runs.as_slice(), options.lines) {
        ([run], LinesPolicy::Probe) => cuts.get(run.cut).map(|cut| cut.stream.lines()),
        _ => None,
    };
    let lines = alone.map_or(options.lines, LinesMemory::policy);
    let block = chunk::encode_block(&runs, &EncodeOptions { lines, ..*options })?;
    if let Some(memory) = alone {
        memory.learn(block.meta().layout());
    }
    Ok(block)
}
