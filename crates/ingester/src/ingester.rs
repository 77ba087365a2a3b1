//! The ingester: what it is made of, how it starts and stops.

use admission::Admission;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use model::{Budget, CodedError, LabelSet, Limits, TenantId};
use parking_lot::Mutex;
use scan::CompiledDeletes;
use storage::{Catalog, Clock, key};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::encode::Cutter;
use crate::epoch::Epochs;
use crate::error::StartError;
use crate::flush::{FlushRequest, REQUESTS_MAX};
use crate::losses::Losses;
use crate::memory::Memory;
use crate::metrics::{FlushReason, Metrics};
use crate::outgoing::{Departures, Failing, Line};
use crate::stream::Stream;
use crate::tail::Tails;
use crate::tenant::{StreamLimit, Tenant, Tenants};
use crate::wal::{Disk, OsDisk, Wal};

/// The limits of a tenant.
pub type LimitsOf = Arc<dyn Fn(&TenantId) -> Arc<Limits> + Send + Sync>;

/// How many streams of a tenant with these limits this ingester may have; 0 is no limit.
pub type StreamLimitOf = Arc<dyn Fn(&Limits) -> u64 + Send + Sync>;

/// What an ingester needs from the process it is in.
#[derive(Clone)]
pub struct Deps {
    /// Its name among ingesters.
    pub id: String,
    /// Where the write-ahead log lies, unless configured.
    pub data_dir: PathBuf,
    /// The store.
    pub catalog: Catalog,
    /// The time.
    pub clock: Clock,
    /// The limits of each tenant.
    pub limits: LimitsOf,
    /// The limit of streams, see [`stream_limit`].
    pub stream_limit: StreamLimitOf,
    /// The file operations of the log.
    pub disk: Arc<dyn Disk>,
    /// Counters.
    pub metrics: Metrics,
}

impl Deps {
    /// An ingester that is alone, with default limits, on the disk of this machine.
    #[must_use]
    pub fn new(id: impl Into<String>, data_dir: PathBuf, catalog: Catalog) -> Self {
        let limits = Arc::new(Limits::default());
        Self {
            id: id.into(),
            data_dir,
            clock: catalog.clock().clone(),
            catalog,
            limits: Arc::new(move |_| Arc::clone(&limits)),
            stream_limit: Arc::new(|limits| stream_limit(limits, 1, 1)),
            disk: Arc::new(OsDisk),
            metrics: Metrics::unregistered(),
        }
    }
}

/// An ingester's share of a tenant's streams: its own limit, and its part of the limit of all
/// ingesters, of which `replication` have each stream.
#[must_use]
pub fn stream_limit(limits: &Limits, ingesters: usize, replication: usize) -> u64 {
    let (ingesters, replication) = (ingesters.max(1) as u64, replication.max(1) as u64);
    let shared = limits
        .max_global_streams_per_user
        .saturating_mul(replication.min(ingesters));
    let shared = shared.div_ceil(ingesters);
    match (limits.max_streams_per_user, shared) {
        (0, limit) | (limit, 0) => limit,
        (own, shared) => own.min(shared),
    }
}

/// Why an ingester is not ready.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NotReady {
    /// It replays its log. It answers, but queries may miss rows of the log.
    #[error("the ingester replays its log: {read_bytes} of {total_bytes} bytes")]
    Replaying {
        /// Bytes replayed.
        read_bytes: u64,
        /// Bytes to replay.
        total_bytes: u64,
    },
    /// It stops.
    #[error("the ingester is stopping")]
    Stopping,
}

/// Rows of streams that are not in the store yet. Cloning shares it.
#[derive(Clone)]
pub struct Ingester(Arc<Owned>);

/// Ends the tasks of an ingester that nobody has any more.
struct Owned(Arc<Inner>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.stopping.cancel();
        self.0.stop.cancel();
    }
}

pub(crate) struct Inner {
    pub(crate) id: String,
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) limits: LimitsOf,
    pub(crate) stream_limit: StreamLimitOf,
    pub(crate) metrics: Metrics,
    pub(crate) catalog: Catalog,
    pub(crate) wal: Arc<Wal>,
    pub(crate) tenants: Tenants,
    pub(crate) memory: Memory,
    pub(crate) cutter: Cutter,
    pub(crate) tails: Arc<Tails>,
    pub(crate) losses: Losses,
    pub(crate) epochs: Epochs,
    next_stream: AtomicU64,
    /// When the first row after the last flush came; 0 if none did.
    pub(crate) oldest_ns: AtomicI64,
    pub(crate) last_push_ns: AtomicI64,
    pub(crate) started_ns: i64,
    /// Held by the flush that runs.
    pub(crate) flushing: tokio::sync::Mutex<()>,
    /// What was replayed last, which no flush has taken yet.
    pub(crate) end_of_replay: Mutex<Option<Line>>,
    pub(crate) flush_requests: mpsc::Sender<FlushRequest>,
    /// What flushes have taken and could not store yet.
    pub(crate) departures: Departures,
    pub(crate) encode_workers: usize,
    /// What pushes under way hold.
    pub(crate) push_memory: Arc<Budget>,
    /// One for each query that may run.
    pub(crate) queries: Arc<Semaphore>,
    /// One for each query that may use a processor.
    pub(crate) query_places: Arc<Admission>,
    pub(crate) query_memory: Arc<Budget>,
    pub(crate) compiled_deletes: Arc<CompiledDeletes>,
    /// Cancelled when the replay is complete.
    pub(crate) replayed: CancellationToken,
    /// Whether there is so much to replay that blocks are encoded in the quickest way.
    pub(crate) is_long_replay: AtomicBool,
    /// Cancelled when pushes are no longer accepted.
    pub(crate) stopping: CancellationToken,
    /// Cancelled when tasks must end.
    pub(crate) stop: CancellationToken,
    tasks: TaskTracker,
}

impl Ingester {
    /// Starts an ingester: opens its log, replays what is in it, cuts and flushes. It accepts
    /// pushes and answers queries when this returns; [`Self::ready`] says when the replay is done.
    ///
    /// # Errors
    /// If the directory of the log cannot be used.
    pub fn start(config: Config, deps: Deps) -> Result<Self, StartError> {
        let directory = config.wal.directory(&deps.data_dir);
        let now_ns = deps.clock.now_ns();
        let owner = key::new_id(now_ns);
        let wal_metrics = deps.metrics.wal.clone();
        let (wal, left) = Wal::open(&config.wal, &directory, deps.disk, owner, wal_metrics)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let or_cores = |workers: usize, cores: usize| if workers == 0 { cores } else { workers };
        let (flush_requests, requests) = mpsc::channel(REQUESTS_MAX);
        let inner = Arc::new(Inner {
            id: deps.id,
            clock: deps.clock,
            limits: deps.limits,
            stream_limit: deps.stream_limit,
            catalog: deps.catalog,
            tenants: Tenants::default(),
            memory: Memory::new(&config, deps.metrics.clone()),
            cutter: Cutter::default(),
            tails: Arc::new(Tails::new(&config, deps.metrics.clone())),
            losses: Losses::default(),
            epochs: Epochs::new(now_ns),
            next_stream: AtomicU64::new(wal.first_stream()),
            oldest_ns: AtomicI64::new(0),
            last_push_ns: AtomicI64::new(now_ns),
            started_ns: now_ns,
            flushing: tokio::sync::Mutex::new(()),
            end_of_replay: Mutex::default(),
            flush_requests,
            departures: Departures::new(left.done),
            encode_workers: or_cores(config.encode_workers, cores.div_ceil(2)),
            push_memory: Budget::new("push_memory_max", config.push_memory_max.0),
            queries: Arc::new(Semaphore::new(config.queries_max.clamp(1, 1 << 20))),
            // Who is counted by `queries_max` may wait.
            query_places: Admission::new(or_cores(config.query_workers, cores), usize::MAX),
            query_memory: Budget::new("query_memory_max", config.query_memory_max.0),
            compiled_deletes: Arc::default(),
            replayed: CancellationToken::new(),
            is_long_replay: AtomicBool::new(false),
            stopping: CancellationToken::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            wal: Arc::new(wal),
            metrics: deps.metrics,
            config,
        });
        let until_stop = |task| {
            let stop = inner.stop.clone();
            inner
                .tasks
                .spawn(async move { stop.run_until_cancelled_owned(task).await });
        };
        let tasks: [std::pin::Pin<Box<dyn Future<Output = ()> + Send>>; 3] = [
            Box::pin(Arc::clone(&inner).run_cutter()),
            Box::pin(Arc::clone(&inner).run_flusher(requests)),
            Box::pin(Arc::clone(&inner).run_replay(left)),
        ];
        tasks.into_iter().for_each(until_stop);
        inner.tasks.close();
        Ok(Self(Arc::new(Owned(inner))))
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0.0
    }

    /// Whether it has replayed its log and is not stopping.
    ///
    /// # Errors
    /// Why it is not ready.
    pub fn ready(&self) -> Result<(), NotReady> {
        let inner = self.inner();
        if inner.stopping.is_cancelled() {
            return Err(NotReady::Stopping);
        }
        if !inner.replayed.is_cancelled() {
            let bytes = |gauge: i64| u64::try_from(gauge).unwrap_or(0);
            let replay = &inner.metrics.replay;
            return Err(NotReady::Replaying {
                read_bytes: bytes(replay.read_bytes.get()),
                total_bytes: bytes(replay.total_bytes.get()),
            });
        }
        Ok(())
    }

    /// What does not work although it is ready: the log, flushes, or new streams. `None` if all
    /// works.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let inner = self.inner();
        let log = inner.wal.failure();
        let log = log.map(|error| format!("pushes are refused: {error}"));
        let Failing { retried, stuck } = inner.departures.failing();
        let flushes = (retried + stuck > 0).then(|| {
            format!(
                "flushes fail, see the log: {retried} of a tenant's day are tried again, {stuck} cannot succeed by that and their tenants' pushes are refused"
            )
        });
        let streams = (!inner.has_stream_memory()).then(|| {
            format!(
                "new streams are refused: ingester.stream_memory_max is {}",
                inner.config.stream_memory_max
            )
        });
        let troubles = log.into_iter().chain(flushes).chain(streams);
        let troubles: Vec<String> = troubles.collect();
        (!troubles.is_empty()).then(|| troubles.join("; "))
    }

    /// Waits until the log is replayed.
    pub async fn replayed(&self) {
        self.inner().replayed.cancelled().await;
    }

    /// Waits until everything pushed before is in the store.
    ///
    /// # Errors
    /// If something could not be flushed, which is tried again later where that may help, or the
    /// ingester is stopping.
    pub async fn flush(&self) -> Result<(), CodedError> {
        self.inner().request_flush(FlushReason::Request).await
    }

    /// Waits until everything pushed before is in the store, however often that fails, for a process
    /// that is to go for good.
    ///
    /// # Errors
    /// If trying again does not help, or the ingester is stopping.
    pub async fn flush_before_leaving(&self) -> Result<(), CodedError> {
        self.inner().request_flush(FlushReason::Shutdown).await
    }

    /// Stops: no more pushes, a last flush for at most `grace`, the log closed. What could not be
    /// flushed stays in the log. Returns whether everything was flushed.
    pub async fn shutdown(&self, grace: Duration) -> bool {
        let inner = self.inner();
        inner.stopping.cancel();
        let is_flushed = inner.replayed.is_cancelled() && {
            let last = inner.request_flush(FlushReason::Shutdown);
            tokio::time::timeout(grace, last)
                .await
                .is_ok_and(|flushed| flushed.is_ok())
        };
        if !is_flushed {
            tracing::warn!("not everything was flushed; the write-ahead log keeps it");
        }
        self.stop_tasks().await;
        is_flushed
    }

    async fn stop_tasks(&self) {
        let inner = self.inner();
        inner.stopping.cancel();
        inner.tails.close();
        inner.stop.cancel();
        inner.tasks.wait().await;
        let wal = Arc::clone(&inner.wal);
        if tokio::task::spawn_blocking(move || wal.close())
            .await
            .is_err()
        {
            tracing::error!("the write-ahead log was not closed");
        }
    }

    /// Stops without a flush, as a process that is killed.
    #[cfg(test)]
    pub(crate) async fn kill(self) {
        self.stop_tasks().await;
    }
}

impl Inner {
    /// The stream with these labels, new or not. Without a limit it may be new whatever there is.
    pub(crate) fn stream(
        &self,
        tenant: &Arc<Tenant>,
        labels: &LabelSet,
        limit: Option<u64>,
    ) -> Result<Arc<Stream>, StreamLimit> {
        let make = || {
            let id = self.next_stream.fetch_add(1, Ordering::Relaxed);
            Stream::new(id, labels.clone(), self.clock.now_ns(), &self.metrics)
        };
        let has_memory = limit.is_none() || self.has_stream_memory();
        let (stream, is_new) = tenant.stream(labels, limit.unwrap_or(0), has_memory, make)?;
        if is_new {
            self.metrics.streams.inc();
        }
        Ok(stream)
    }

    /// Whether there may be more streams.
    fn has_stream_memory(&self) -> bool {
        let bytes = u64::try_from(self.metrics.stream_bytes.get()).unwrap_or(0);
        bytes < self.config.stream_memory_max.0
    }

    /// Remembers that there is something to flush, and since when.
    pub(crate) fn note_oldest(&self) {
        let now_ns = self.clock.now_ns().max(1);
        let order = Ordering::Relaxed;
        // Some row came earlier if this fails.
        let _ = self.oldest_ns.compare_exchange(0, now_ns, order, order);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_global_limit_of_streams_is_shared() {
        let mut limits = Limits {
            max_global_streams_per_user: 100,
            max_streams_per_user: 0,
            ..Limits::default()
        };
        assert_eq!(stream_limit(&limits, 1, 1), 100);
        assert_eq!(stream_limit(&limits, 4, 3), 75);
        assert_eq!(stream_limit(&limits, 2, 3), 100);
        limits.max_streams_per_user = 10;
        assert_eq!(stream_limit(&limits, 4, 3), 10);
        limits.max_global_streams_per_user = 0;
        assert_eq!(stream_limit(&limits, 4, 3), 10);
    }
}
