//! Recent queries: rows that are not in the store yet.
//!
//! A query takes a snapshot of its streams, references only, and scans it on a worker; what it
//! finds goes through a bounded channel. With the rows goes the [`Coverage`]: the objects that are
//! being written with these rows, and the manifest entries that a reader of the store must have
//! seen because their rows are not here any more. Both are taken under one lock with the snapshot.

mod logs;
mod samples;
mod series;
mod tailing;
mod top;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use chunk::Block as OpenBlock;
use futures::stream::BoxStream;
use futures::{StreamExt, future};
use model::units::DurationNs;
use model::{Budget, Code, CodedError, Matcher, TenantId, TimeRange};
use proto::role::{
    Coverage, LogRows, SampleRows, Select, SelectLogs, SelectSamples, SelectSeries, Selected,
    SeriesStats, TailRequest, Tailing,
};
use scan::Source;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use crate::block::Block;
use crate::ingester::{Ingester, Inner};
use crate::metrics::QueryKind;
use crate::stream::StreamSnapshot;
use crate::tenant::TenantSnapshot;

/// Batches of an answer that may wait for the reader.
const BATCHES_MAX: usize = 4;
/// Open blocks that a query keeps for the next stream: small streams share blocks.
const OPEN_BLOCKS_MAX: usize = 16;
/// For so long after the start it is asked what an earlier run has committed.
const EARLIER_RUN: DurationNs = DurationNs::from_secs(3600);
/// Days before today in which an earlier run may have committed something.
const EARLIER_DAYS: i64 = 31;

#[async_trait]
impl Select for Ingester {
    async fn select_logs(&self, request: SelectLogs) -> Result<Selected<LogRows>, CodedError> {
        let inner = self.inner();
        inner.metrics.query(QueryKind::Logs);
        let query = logs::Query::parse(&request, inner.clock.now_ns())?;
        inner.learn_days(&request.tenant, request.range).await;
        inner
            .run(request.tenant, vec![query.matchers()], request.range, query)
            .await
    }

    async fn select_samples(
        &self,
        request: SelectSamples,
    ) -> Result<Selected<SampleRows>, CodedError> {
        let inner = self.inner();
        inner.metrics.query(QueryKind::Samples);
        let query = samples::Query::parse(&request, inner.clock.now_ns())?;
        inner.learn_days(&request.tenant, request.range).await;
        inner
            .run(request.tenant, vec![query.matchers()], request.range, query)
            .await
    }

    async fn select_series(
        &self,
        request: SelectSeries,
    ) -> Result<(Coverage, Vec<SeriesStats>), CodedError> {
        let inner = self.inner();
        inner.metrics.query(QueryKind::Series);
        let query = series::Query {
            range: request.range,
        };
        let selectors = series::parse(&request.selectors)?;
        inner.learn_days(&request.tenant, request.range).await;
        let selected = inner
            .run(request.tenant, selectors, request.range, query)
            .await?;
        let batches: Vec<_> = selected.batches.collect().await;
        let batches = batches.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok((selected.coverage, batches.into_iter().flatten().collect()))
    }

    async fn tail(&self, request: TailRequest) -> Result<Tailing, CodedError> {
        let inner = self.inner();
        inner.metrics.query(QueryKind::Tail);
        tailing::tail(inner, &request)
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
        out: &mut Output<'_, Self::Row>,
    ) -> Result<(), CodedError>;
}

/// Where a scan puts what it finds, and what it needs besides.
struct Output<'a, T> {
    sender: &'a mpsc::Sender<Result<Vec<T>, CodedError>>,
    /// Memory for decoded rows.
    budget: Arc<Budget>,
    /// Blocks that were opened for an earlier stream.
    open: HashMap<*const Block, Arc<OpenBlock>>,
}

impl<T> Output<'_, T> {
    /// Hands a batch over, waiting for the reader. An error means that nobody reads any more.
    fn send(&self, batch: Vec<T>) -> Result<(), CodedError> {
        let gone = |_| CodedError::new(Code::Cancelled, "the query was cancelled");
        self.sender.blocking_send(Ok(batch)).map_err(gone)
    }

    /// Whether nobody reads any more.
    fn is_cancelled(&self) -> bool {
        self.sender.is_closed()
    }

    /// The rows of a stream as the scanner wants them.
    fn sources(&mut self, stream: &StreamSnapshot) -> Vec<Source> {
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

    fn open(&mut self, block: &Arc<Block>) -> Arc<OpenBlock> {
        // The snapshot keeps the block, so nothing else can get its address.
        let key = Arc::as_ptr(block);
        if let Some(open) = self.open.get(&key) {
            return Arc::clone(open);
        }
        if self.open.len() >= OPEN_BLOCKS_MAX {
            self.open.clear();
        }
        let open = Arc::new(block.encoded.open());
        self.open.insert(key, Arc::clone(&open));
        open
    }
}

impl Inner {
    /// Takes the snapshot and runs a query over it.
    async fn run<S: Scan>(
        self: &Arc<Self>,
        tenant: TenantId,
        selectors: Vec<Vec<Matcher>>,
        range: TimeRange,
        query: S,
    ) -> Result<Selected<S::Row>, CodedError> {
        let stopped = |_| CodedError::new(Code::Unavailable, "the ingester is stopping");
        let permit = Arc::clone(&self.query_permits)
            .acquire_owned()
            .await
            .map_err(stopped)?;
        let budget = self.query_memory.child(
            "max_query_memory",
            match (self.limits)(&tenant).max_query_memory.0 {
                0 => u64::MAX,
                limit => limit,
            },
        );
        let inner = Arc::clone(self);
        let (sender, receiver) = mpsc::channel(BATCHES_MAX);
        let (covered, coverage) = oneshot::channel();
        tokio::task::spawn_blocking(move || {
            let snapshot = inner.tenants.get(&tenant);
            let snapshot = snapshot.map(|tenant| tenant.snapshot(&selectors, range, &inner.epochs));
            let TenantSnapshot {
                streams,
                holding,
                committed,
            } = snapshot.unwrap_or_default();
            let coverage = Coverage {
                holding,
                committed,
                ingester: inner.id.clone(),
            };
            if covered.send(coverage).is_err() {
                return;
            }
            let open = HashMap::new();
            let mut out = Output {
                sender: &sender,
                budget,
                open,
            };
            if let Err(error) = query.scan(streams, &mut out) {
                // Fails only if nobody reads any more.
                let _ = sender.blocking_send(Err(error));
            }
            drop(permit);
        });
        let failed = |_| CodedError::new(Code::Internal, "the query ended abnormally");
        let coverage = coverage.await.map_err(failed)?;
        let batches: BoxStream<'static, _> = ReceiverStream::new(receiver).boxed();
        Ok(Selected { coverage, batches })
    }

    /// What an earlier run of this process committed shortly before it ended is not in its memory
    /// any more, and readers of the store may not have seen it yet. So for some time after the
    /// start the manifests are asked.
    async fn learn_days(&self, tenant: &TenantId, range: TimeRange) {
        let now_ns = self.clock.now_ns();
        if now_ns.saturating_sub(self.started_ns) > EARLIER_RUN.0 {
            return;
        }
        let owner = self.tenants.get_or_add(tenant);
        let today = TimeRange::day_of(now_ns);
        let days = range.days();
        let (first, last) = (*days.start(), *days.end());
        let days = first.max(today - EARLIER_DAYS)..=last.min(today + 1);
        let unknown = days.filter(|day| !owner.knows_day(*day));
        let asked = unknown.map(|day| {
            let owner = Arc::clone(&owner);
            async move {
                match self.catalog.latest(&owner.id, day).await {
                    Ok(state) => owner.learn_day(day, state.seq),
                    // Then the store cannot be read by the querier either, who will say so.
                    Err(error) => tracing::debug!(%error, day, "cannot read a manifest"),
                }
            }
        });
        future::join_all(asked).await;
    }
}

/// An error of the query's text.
fn wrong(error: impl std::fmt::Display) -> CodedError {
    CodedError::new(Code::InvalidArgument, error.to_string())
}

/// The query has no memory left.
fn over_budget(error: model::BudgetError) -> CodedError {
    CodedError::new(Code::ResourceExhausted, error.to_string())
}
