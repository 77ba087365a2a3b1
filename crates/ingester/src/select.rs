//! Recent queries: rows that are not in the store yet.
//!
//! A query takes a snapshot of its streams, references only, and scans it on a worker; what it
//! finds goes through a bounded channel. With the rows goes the [`Coverage`]: the objects that are
//! being written with these rows, and the manifest entries that a reader of the store must have
//! seen because their rows are not here any more. Both are taken under one lock with the snapshot.
//! An object that is held may get rows pushed later, which the answer does not have: a query that
//! began before they were pushed may or may not see them.

mod earlier;
mod logs;
mod patterns;
mod samples;
mod series;
mod tailing;
mod top;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use admission::{Admission, Permit};
use async_trait::async_trait;
use chunk::Block as OpenBlock;
use futures::StreamExt;
use futures::stream::BoxStream;
use model::{Budget, BudgetError, Code, CodedError, Matcher, Shard, TenantId, TimeRange};
use proto::role::{
    Coverage, Deletion, LogRows, SampleRows, Select, SelectLogs, SelectPatterns, SelectSamples,
    SelectSeries, Selected, SeriesStats, StreamPatterns, TailRequest, Tailing,
};
use scan::{Deletes, ScanError, Source};
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use crate::block::Block;
use crate::ingester::{Ingester, Inner};
use crate::metrics::QueryKind;
use crate::stream::StreamSnapshot;
use crate::tenant::TenantSnapshot;

/// The longest that a query keeps its place while others wait for one.
const TURN_MAX: Duration = Duration::from_millis(50);
/// Rows between two looks at the clock.
const ASKED_BETWEEN: u32 = 256;
/// Batches of an answer that may wait for the reader.
const BATCHES_MAX: usize = 4;
/// Open blocks that a query keeps for the next stream: small streams share blocks.
const OPEN_BLOCKS_MAX: usize = 16;

#[async_trait]
impl Select for Ingester {
    async fn select_logs(&self, request: SelectLogs) -> Result<Selected<LogRows>, CodedError> {
        let inner = self.inner();
        inner.metrics.query(QueryKind::Logs);
        let deletes = inner.deletes(&request.deletions).await?;
        let (now_ns, pushdown) = (inner.clock.now_ns(), inner.config.pushdown.into());
        let query = logs::Query::parse(&request, deletes, now_ns, pushdown)?;
        let selected = Selection::limited(query.matchers(), request.shard);
        inner
            .run(request.tenant, selected, request.range, query)
            .await
    }

    async fn select_samples(
        &self,
        request: SelectSamples,
    ) -> Result<Selected<SampleRows>, CodedError> {
        let inner = self.inner();
        inner.metrics.query(QueryKind::Samples);
        let deletes = inner.deletes(&request.deletions).await?;
        let (now_ns, pushdown) = (inner.clock.now_ns(), inner.config.pushdown.into());
        let query = samples::Query::parse(&request, deletes, now_ns, pushdown)?;
        let selected = Selection::limited(query.matchers(), request.shard);
        inner
            .run(request.tenant, selected, request.range, query)
            .await
    }

    async fn select_patterns(
        &self,
        request: SelectPatterns,
    ) -> Result<Selected<StreamPatterns>, CodedError> {
        let inner = self.inner();
        inner.metrics.query(QueryKind::Patterns);
        let deletes = inner.deletes(&request.deletions).await?;
        let query = patterns::Query::parse(&request, deletes)?;
        let selected = Selection::limited(query.matchers(), request.shard);
        inner
            .run(request.tenant, selected, request.range, query)
            .await
    }

    async fn select_series(
        &self,
        request: SelectSeries,
    ) -> Result<(Coverage, Vec<SeriesStats>), CodedError> {
        let inner = self.inner();
        inner.metrics.query(QueryKind::Series);
        let query = series::Query {
            parts: request.parts,
            deletes: inner.deletes(&request.deletions).await?,
        };
        let selected = Selection {
            selectors: series::parse(&request.selectors)?,
            shard: request.shard,
            is_limited: false,
        };
        let selected = inner
            .run(request.tenant, selected, request.parts.range, query)
            .await?;
        let batches: Vec<_> = selected.batches.collect().await;
        let batches = batches.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok((selected.coverage, batches.into_iter().flatten().collect()))
    }

    async fn tail(&self, request: TailRequest) -> Result<Tailing, CodedError> {
        let inner = self.inner();
        inner.metrics.query(QueryKind::Tail);
        let deletes = inner.deletes(&request.deletions).await?;
        tailing::tail(inner, &request, deletes)
    }
}

/// The limit of a tenant's query, by name.
const QUERY_MEMORY: &str = "max_query_memory";

/// Which streams of a tenant are looked at.
struct Selection {
    /// One of them must match; none means all streams.
    selectors: Vec<Vec<Matcher>>,
    shard: Shard,
    /// Whether there may be no more than `cardinality_limit`, rows of which pass or not: after a
    /// flush the querier counts them so.
    is_limited: bool,
}

impl Selection {
    /// The streams of a query for rows.
    fn limited(matchers: Vec<Matcher>, shard: Shard) -> Self {
        Self {
            selectors: vec![matchers],
            shard,
            is_limited: true,
        }
    }
}

/// A query that looks at one stream after the other.
trait Scan: Send + 'static {
    /// What it finds.
    type Row: Send + 'static;

    /// Looks at all streams and gives what it finds to `out`.
    fn scan(
        self,
        streams: Vec<StreamSnapshot>,
        out: &Output<'_, Self::Row>,
    ) -> Result<(), CodedError>;
}

/// Where a scan puts what it finds, and what it needs besides.
struct Output<'a, T> {
    sender: &'a mpsc::Sender<Result<Vec<T>, CodedError>>,
    /// Who asks.
    tenant: &'a TenantId,
    /// Memory for decoded rows.
    budget: Arc<Budget>,
    /// Blocks that were opened for an earlier stream.
    open: RefCell<HashMap<*const Block, Arc<OpenBlock>>>,
    turn: Turn,
}

/// A place among the queries that may use a processor; tenants take turns. It is left while a query
/// waits for its reader: who reads slowly, or reads another answer first, keeps nobody waiting. And
/// it is left now and then to those who wait for one.
struct Turn {
    places: Arc<Admission>,
    tenant: TenantId,
    held: Cell<Option<Permit>>,
    since: Cell<Instant>,
    asked: Cell<u32>,
    runtime: Handle,
}

impl Turn {
    /// Does something that may take long and needs no processor.
    fn leave_for<T>(&self, waiting: impl FnOnce() -> T) -> T {
        drop(self.held.take());
        let done = waiting();
        // As many may wait as there are queries.
        let place = self.places.acquire(&self.tenant);
        self.held.set(self.runtime.block_on(place).ok());
        self.since.set(Instant::now());
        done
    }

    /// Lets others have a turn, if this one is long.
    fn share(&self) {
        let asked = self.asked.get().wrapping_add(1);
        self.asked.set(asked);
        let is_long = || self.since.get().elapsed() >= TURN_MAX;
        if asked.is_multiple_of(ASKED_BETWEEN) && self.places.waiting() > 0 && is_long() {
            self.leave_for(|| ());
        }
    }
}

impl<T> Output<'_, T> {
    /// Hands a batch over, waiting for the reader. An error means that nobody reads any more.
    fn send(&self, batch: Vec<T>) -> Result<(), CodedError> {
        if batch.is_empty() {
            return Ok(());
        }
        let gone = || CodedError::new(Code::Cancelled, "the query was cancelled");
        match self.sender.try_send(Ok(batch)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(gone()),
            Err(TrySendError::Full(batch)) => {
                let sent = self.turn.leave_for(|| self.sender.blocking_send(batch));
                sent.map_err(|_| gone())
            }
        }
    }

    /// What the reader is told when there is no memory.
    fn refused(&self, error: &BudgetError) -> CodedError {
        let own_bytes = match error.name == QUERY_MEMORY {
            true => error.used_bytes,
            false => self.budget.used_bytes(),
        };
        scan::out_of_memory(error, self.tenant, own_bytes)
    }

    /// What the reader is told of a scan that ended early.
    fn failed(&self, error: ScanError) -> CodedError {
        match error {
            ScanError::Memory(error) => self.refused(&error),
            other => other.into(),
        }
    }

    /// Whether nobody reads any more. Asked all the time, so others may have a turn here.
    fn is_cancelled(&self) -> bool {
        self.turn.share();
        self.sender.is_closed()
    }

    /// The rows of a stream as the scanner wants them.
    fn sources(&self, stream: &StreamSnapshot) -> Vec<Source> {
        let mut sources: Vec<Source> = stream
            .runs
            .iter()
            .map(|run| Source::Rows(Arc::clone(run)))
            .collect();
        for run in &stream.blocks {
            let block = self.open(&run.block);
            sources.push(Source::Block {
                block,
                run: run.run,
            });
        }
        sources
    }

    fn open(&self, block: &Arc<Block>) -> Arc<OpenBlock> {
        // The snapshot keeps the block, so nothing else can get its address.
        let key = Arc::as_ptr(block);
        let mut known = self.open.borrow_mut();
        if known.len() >= OPEN_BLOCKS_MAX && !known.contains_key(&key) {
            known.clear();
        }
        let open = known.entry(key);
        Arc::clone(open.or_insert_with(|| Arc::new(block.encoded.open())))
    }
}

impl Inner {
    /// Compiles what an answer leaves out.
    async fn deletes(&self, asked: &[Deletion]) -> Result<Deletes, CodedError> {
        if asked.is_empty() {
            return Ok(Deletes::default());
        }
        let compiled = match self.compiled_deletes.known(parts(asked)) {
            Some(known) => known,
            None => {
                let (compiled, asked) = (Arc::clone(&self.compiled_deletes), asked.to_vec());
                let compiling =
                    tokio::task::spawn_blocking(move || compiled.compile(parts(&asked)));
                let failed =
                    |_| CodedError::new(Code::Internal, "compiling deletions ended abnormally");
                compiling.await.map_err(failed)?
            }
        };
        compiled
            .into_iter()
            .collect::<Result<_, _>>()
            .map_err(wrong)
    }

    /// Takes the snapshot and runs a query over it.
    async fn run<S: Scan>(
        self: &Arc<Self>,
        tenant: TenantId,
        selected: Selection,
        range: TimeRange,
        query: S,
    ) -> Result<Selected<S::Row>, CodedError> {
        let too_many = |_| {
            let text = "too many queries at once, see queries_max of the ingester";
            CodedError::new(Code::ResourceExhausted, text)
        };
        let running = Arc::clone(&self.queries).try_acquire_owned();
        let running = running.map_err(too_many)?;
        let earlier = self.earlier_commits(&tenant, range).await;
        let turn = Turn {
            held: Cell::new(Some(self.query_places.acquire(&tenant).await?)),
            places: Arc::clone(&self.query_places),
            tenant: tenant.clone(),
            since: Cell::new(Instant::now()),
            asked: Cell::new(0),
            runtime: Handle::current(),
        };
        let limits = (self.limits)(&tenant);
        let budget = self.query_memory.child(
            QUERY_MEMORY,
            match limits.max_query_memory.0 {
                0 => u64::MAX,
                limit => limit,
            },
        );
        let inner = Arc::clone(self);
        let (sender, receiver) = mpsc::channel(BATCHES_MAX);
        let (covered, coverage) = oneshot::channel();
        tokio::task::spawn_blocking(move || {
            let snapshot = inner.tenants.get(&tenant);
            let snapshot =
                snapshot.map(|tenant| tenant.snapshot(&selected.selectors, range, &inner.epochs));
            let TenantSnapshot {
                mut streams,
                holding,
                mut committed,
            } = snapshot.unwrap_or_default();
            streams.retain(|stream| selected.shard.has(stream.fingerprint));
            committed.extend(earlier.iter().filter(|(_, seq)| *seq > 0));
            let coverage = Coverage {
                holding,
                committed,
                ingester: inner.id.clone(),
                lost: inner.losses.of(&tenant, range, &limits),
            };
            if covered.send(coverage).is_err() {
                return;
            }
            let out = Output {
                sender: &sender,
                tenant: &tenant,
                budget,
                open: RefCell::default(),
                turn,
            };
            // Streams that share a block next to each other: it is opened once.
            streams.sort_by_key(|stream| stream.blocks.last().map(|run| Arc::as_ptr(&run.block)));
            let checked = match selected.is_limited {
                true => limits.check_cardinality(streams.len(), &tenant),
                false => Ok(()),
            };
            if let Err(error) = checked.and_then(|()| query.scan(streams, &out)) {
                drop(out);
                // Fails only if nobody reads any more.
                let _ = sender.blocking_send(Err(error));
            }
            drop(running);
        });
        let failed = |_| CodedError::new(Code::Internal, "the query ended abnormally");
        let coverage = coverage.await.map_err(failed)?;
        let batches: BoxStream<'static, _> = ReceiverStream::new(receiver).boxed();
        Ok(Selected { coverage, batches })
    }
}

/// Deletions as they are compiled.
fn parts(asked: &[Deletion]) -> impl Iterator<Item = (&str, TimeRange, i64)> {
    asked
        .iter()
        .map(|asked| (asked.query.as_str(), asked.range, asked.created_ns))
}

/// An error of the query's text.
fn wrong(error: impl std::fmt::Display) -> CodedError {
    CodedError::new(Code::InvalidArgument, error.to_string())
}
