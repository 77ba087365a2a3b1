//! Queries from text to answer: parse, check, wait for a turn, execute within time and memory.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use logql::metric::{self, EvalError, Leaf, Series, Steps};
use logql::syntax;
use logql::syntax::ast::{Expr, MetricExpr, RangeAggregation, RangeOp, VectorOp};
use model::{
    Budget, BudgetError, Code, CodedError, Direction, Limits, Reservation, Shard, TenantId,
    TimeRange,
};
use parking_lot::Mutex;
use scan::ScanError;

use crate::damage::Missing;
use crate::encode::Answer;
use crate::metrics::{Outcome, QueryKind, QueryLabels};
use crate::recent::Awaited;
use crate::stats::{QueryStats, Report};
use crate::{Querier, check, lines, logs, samples, tenancy};

/// The longest that a query of a tenant without `query_timeout` may take.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// A wait for a turn that whoever ran out of time should know of.
const NOTABLE_WAIT: Duration = Duration::from_secs(1);

/// `/query_range`
#[derive(Clone, Debug)]
pub struct RangeQuery {
    /// LogQL.
    pub text: String,
    /// From start to end.
    pub range: TimeRange,
    /// Between two points of a metric query.
    pub step_ns: i64,
    /// Least distance of two lines of a log query; 0 for all lines.
    pub interval_ns: i64,
    /// Lines wanted.
    pub limit: usize,
    /// Which lines come first.
    pub direction: Direction,
    /// Which of the streams.
    pub shard: Shard,
}

/// `/query`
#[derive(Clone, Debug)]
pub struct InstantQuery {
    /// LogQL; a metric query.
    pub text: String,
    /// When.
    pub at_ns: i64,
    /// Which of the streams.
    pub shard: Shard,
}

/// What a query gave.
#[derive(Debug)]
pub struct Answered<T> {
    /// It.
    pub value: T,
    /// What it cost.
    pub report: Report,
    /// What it lacks, for people.
    pub warnings: Vec<String>,
    /// Of what is in the value; kept until the value was encoded.
    pub(crate) memory: Vec<Reservation>,
}

impl<T> Answered<T> {
    /// What a query gave and cost, with the memory that the value takes.
    pub(crate) fn new(value: T, report: Report, memory: Vec<Reservation>) -> Self {
        Self {
            value,
            report,
            warnings: Vec::new(),
            memory,
        }
    }
}

/// What the parts of one query share.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) querier: Arc<Querier>,
    pub(crate) tenant: TenantId,
    pub(crate) limits: Arc<Limits>,
    pub(crate) memory: Arc<Budget>,
    /// When it began; what templates call now.
    pub(crate) now_ns: i64,
    pub(crate) stats: Arc<QueryStats>,
    pub(crate) cancelled: Arc<AtomicBool>,
    /// Who it waits for.
    pub(crate) awaited: Arc<Awaited>,
    /// Which of the streams it looks at.
    pub(crate) shard: Shard,
    /// What could not be read.
    pub(crate) missing: Arc<Missing>,
    held: Arc<Mutex<Vec<Reservation>>>,
}

impl Context {
    /// The same query, of another of its tenants.
    pub(crate) fn of(&self, tenant: &TenantId) -> Self {
        Self {
            tenant: tenant.clone(),
            limits: self.querier.limits(tenant),
            ..self.clone()
        }
    }

    /// The same query, of only some of the streams.
    pub(crate) fn within(self, shard: Shard) -> Self {
        Self { shard, ..self }
    }

    /// Keeps memory until the answer was sent.
    pub(crate) fn hold(&self, memory: Reservation) {
        self.held.lock().push(memory);
    }

    /// How much is carried out inside blocks.
    pub(crate) fn pushdown(&self) -> scan::Pushdown {
        self.querier.pushdown()
    }

    /// Parts of the query that run at once: so many for each thread that scans, and no more than
    /// the tenant may have.
    pub(crate) fn parallelism(&self, per_thread: usize) -> usize {
        let useful = self.querier.scan_threads() * per_thread;
        match self.limits.max_query_parallelism {
            0 => useful,
            max => useful.min(max),
        }
    }

    /// The query has no memory left.
    pub(crate) fn over_budget(&self, error: &BudgetError) -> CodedError {
        let own_bytes = match error.name == crate::QUERY_MEMORY {
            true => error.used_bytes,
            false => self.memory.used_bytes(),
        };
        scan::out_of_memory(error, &self.tenant, own_bytes)
    }

    /// What the query may hold if no other holds anything.
    pub(crate) fn memory_max(&self) -> u64 {
        let of_all = self.querier.memory().limit_bytes();
        self.memory.limit_bytes().min(of_all)
    }

    /// Bytes of lines of which one of so many workers may have the blocks open at once: open blocks
    /// hold less than their lines, and half of the memory is for what is made of them.
    pub(crate) fn open_bytes(&self, workers: usize) -> u64 {
        self.memory_max() / 2 / workers.max(1) as u64
    }

    /// Bytes of lines from which on overlapping blocks are not open all at once.
    pub(crate) fn slice_bytes(&self) -> u64 {
        self.memory_max() / 8
    }

    /// A metric query that cannot be computed.
    pub(crate) fn failed(&self, error: &EvalError) -> CodedError {
        match error {
            EvalError::Memory(memory) => self.over_budget(memory),
            EvalError::TooManySeries { limit } => {
                let refused = CodedError::new(error.code(), error.to_string());
                refused.beyond("max_query_series", limit, &self.tenant)
            }
            other => CodedError::new(other.code(), other.to_string()),
        }
    }

    /// Runs what only computes on a thread of its own, in its turn for a core. `work` is given what
    /// says that nobody waits for it any more, and has to ask.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Fn() -> bool) -> Result<T, CodedError> + Send + 'static,
    ) -> Result<T, CodedError> {
        let permit = self.querier.scan_permit(&self.tenant).await?;
        let cancelled = Arc::clone(&self.cancelled);
        let computed = tokio::task::spawn_blocking(move || {
            let result = work(&|| cancelled.load(Ordering::Relaxed));
            drop(permit);
            result
        });
        computed
            .await
            .map_err(|_| CodedError::new(Code::Internal, "a computation ended abnormally"))?
    }

    /// Runs a scan with the query's memory and cancellation, and counts what it cost.
    pub(crate) fn scan(
        &self,
        work: impl FnOnce(&mut scan::Context<'_>) -> Result<(), ScanError>,
    ) -> Result<(), ScanError> {
        let (mut memory, mut cost) = (self.memory.reservation(), scan::ScanStats::default());
        let is_cancelled = || self.cancelled.load(Ordering::Relaxed);
        let result = work(&mut scan::Context {
            is_cancelled: &is_cancelled,
            memory: &mut memory,
            stats: &mut cost,
        });
        let stats = &self.stats;
        QueryStats::add(&stats.lines_processed, cost.rows);
        QueryStats::add(&stats.bytes_processed, cost.line_bytes);
        QueryStats::add(&stats.lines_passed, cost.results);
        QueryStats::add(&stats.duplicates, cost.duplicates);
        result
    }

    /// A scan that ended early, but not because of what it read.
    pub(crate) fn ended(&self, error: ScanError) -> CodedError {
        match &error {
            ScanError::Memory(memory) => self.over_budget(memory),
            _ => CodedError::from(error),
        }
    }
}

/// Tells the parts of a query that nobody waits for it any more.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(crate) fn parse(text: &str) -> Result<Expr, CodedError> {
    syntax::parse(text).map_err(|error| check::unparsable(&error))
}

impl Querier {
    /// Lines, or series over time.
    ///
    /// # Errors
    /// If the query is wrong, asks for more than its tenants may have, takes too long, or data
    /// cannot be read.
    pub async fn range_query(
        self: &Arc<Self>,
        tenants: &[TenantId],
        query: RangeQuery,
    ) -> Result<Answered<Answer>, CodedError> {
        let expr = parse(&query.text)?;
        let mut range = query.range;
        for tenant in tenants {
            let (limits, now_ns) = (self.limits(tenant), self.now_ns());
            range = check::range_query(&query, range, &expr, &limits, tenant, now_ns)?;
        }
        match expr {
            Expr::Log(log) => {
                let wanted = logs::Wanted {
                    range,
                    limit: query.limit,
                    direction: query.direction,
                };
                self.run(QueryKind::Logs, tenants, |context| async move {
                    let context = context.within(query.shard);
                    let rows =
                        lines::apart(&context, tenants, &log, wanted, query.interval_ns).await?;
                    Ok(context.returned(Answer::Streams(rows)))
                })
                .await
            }
            Expr::Metric(expr) => {
                let steps = Steps::aligned(range.start_ns, range.end_ns, query.step_ns);
                self.run(QueryKind::Range, tenants, |context| async move {
                    let context = context.within(query.shard);
                    let series = match evaluate(&context, tenants, &expr, steps).await? {
                        metric::Value::Matrix(series) => series,
                        metric::Value::Scalar(points) => vec![Series {
                            labels: Default::default(),
                            points,
                        }],
                    };
                    Ok(context.returned(Answer::Matrix(series)))
                })
                .await
            }
        }
    }

    /// Series at one time.
    ///
    /// # Errors
    /// As [`Self::range_query`]; log queries are refused.
    pub async fn instant_query(
        self: &Arc<Self>,
        tenants: &[TenantId],
        query: InstantQuery,
    ) -> Result<Answered<Answer>, CodedError> {
        let expr = parse(&query.text)?;
        for tenant in tenants {
            check::instant_query(&query.text, &expr, &self.limits(tenant), tenant)?;
        }
        let Expr::Metric(expr) = expr else {
            return Err(CodedError::new(
                Code::InvalidArgument,
                "log queries are not supported as an instant query type, please change your query to a range query type",
            ));
        };
        let steps = Steps::instant(query.at_ns);
        self.run(QueryKind::Instant, tenants, |context| async move {
            let context = context.within(query.shard);
            let answer = match evaluate(&context, tenants, &expr, steps).await? {
                metric::Value::Scalar(points) => Answer::Scalar {
                    timestamp_ns: query.at_ns,
                    value: points.first().map_or(f64::NAN, |(_, value)| *value),
                },
                metric::Value::Matrix(mut series) => {
                    if !is_sorted_by_value(&expr) {
                        series.sort_by(|a, b| a.labels.cmp(&b.labels));
                    }
                    Answer::Vector(series)
                }
            };
            Ok(context.returned(answer))
        })
        .await
    }

    /// Runs `work` in its turn, within the time and memory of the tenants, and reports what it
    /// cost. The context given to it is that of the first tenant.
    pub(crate) async fn run<T, F, Fut>(
        self: &Arc<Self>,
        kind: QueryKind,
        tenants: &[TenantId],
        work: F,
    ) -> Result<Answered<T>, CodedError>
    where
        F: FnOnce(Context) -> Fut,
        Fut: Future<Output = Result<T, CodedError>>,
    {
        let arrived = Instant::now();
        let context = self.context(tenants)?;
        let _cancel_on_drop = CancelOnDrop(Arc::clone(&context.cancelled));
        let (stats, held) = (Arc::clone(&context.stats), Arc::clone(&context.held));
        let awaited = Arc::clone(&context.awaited);
        let missing = Arc::clone(&context.missing);
        let timeout = self.timeout(tenants);
        let mut queued = None;
        let tenant = context.tenant.clone();
        let in_turn = async {
            let permit = match kind.waits_for_turn() {
                true => Some(self.admission().acquire(&tenant).await?),
                false => None,
            };
            queued = Some(arrived.elapsed());
            let answer = work(context).await;
            drop(permit);
            answer
        };
        let result = tokio::time::timeout(timeout, in_turn).await;
        let late = || self.timed_out(&tenant, timeout, queued, &awaited);
        let result = result.unwrap_or_else(|_| Err(late()));
        let queued = queued.unwrap_or_else(|| arrived.elapsed());
        self.observe(kind, &result, arrived.elapsed(), queued, &stats);
        let memory = std::mem::take(&mut *held.lock());
        let report = stats.report(arrived.elapsed().saturating_sub(queued), queued);
        Ok(Answered {
            warnings: missing.warnings(),
            ..Answered::new(result?, report, memory)
        })
    }

    /// A context with the tightest memory limit of the tenants.
    pub(crate) fn context(self: &Arc<Self>, tenants: &[TenantId]) -> Result<Context, CodedError> {
        let nobody = || CodedError::new(Code::Unauthenticated, "no org id");
        let is_somebody = |tenant: &&TenantId| !tenant.is_nameless();
        let tenant = tenants.iter().find(is_somebody).ok_or_else(nobody)?;
        let limits = tenants
            .iter()
            .map(|tenant| self.limits(tenant).max_query_memory.0);
        let bytes = limits.filter(|bytes| *bytes > 0).min().unwrap_or(u64::MAX);
        Ok(Context {
            querier: Arc::clone(self),
            tenant: tenant.clone(),
            limits: self.limits(tenant),
            memory: self.memory().child(crate::QUERY_MEMORY, bytes),
            now_ns: self.now_ns(),
            stats: Arc::default(),
            cancelled: Arc::default(),
            awaited: Arc::default(),
            shard: Shard::ALL,
            missing: Arc::default(),
            held: Arc::default(),
        })
    }

    fn timeout(&self, tenants: &[TenantId]) -> Duration {
        let timeouts = tenants
            .iter()
            .map(|tenant| self.limits(tenant).query_timeout.as_std());
        timeouts
            .filter(|timeout| !timeout.is_zero())
            .min()
            .unwrap_or(TIMEOUT_MAX)
    }

    /// What a query is told whose time has passed. Without its turn it did not ask for too much, too
    /// many did.
    fn timed_out(
        &self,
        tenant: &TenantId,
        timeout: Duration,
        queued: Option<Duration>,
        awaited: &Awaited,
    ) -> CodedError {
        let text = |time: Duration| model::units::format_go_duration(time.as_nanos() as i64);
        let (limit, at_once) = (text(timeout), self.config.max_concurrent);
        let error = match queued {
            None => CodedError::new(
                Code::ResourceExhausted,
                format!(
                    "too many queries: the turn of this one did not come within query_timeout ({limit}) of tenant {tenant}, as no more than querier.max_concurrent ({at_once}) run at once; try again later, or ask fewer and narrower queries"
                ),
            ),
            Some(queued) => {
                let waited = match queued >= NOTABLE_WAIT {
                    true => format!(
                        ", {} of it for its turn as querier.max_concurrent is {at_once}",
                        text(queued)
                    ),
                    false => String::new(),
                };
                let silent = awaited.names().map_or_else(String::new, |names| {
                    format!(", and ingester {names} had not answered yet")
                });
                CodedError::new(
                    Code::DeadlineExceeded,
                    format!(
                        "request timed out, the query took longer than query_timeout ({limit}) of tenant {tenant}{waited}{silent}; decrease the duration of the request or add more label matchers (prefer exact match over regex match) to reduce the amount of data processed"
                    ),
                )
            }
        };
        error.beyond("query_timeout", &limit, tenant)
    }

    fn observe<T>(
        &self,
        kind: QueryKind,
        result: &Result<T, CodedError>,
        elapsed: Duration,
        queued: Duration,
        stats: &QueryStats,
    ) {
        let outcome = Outcome::of(result.as_ref().err().map(|error| error.code));
        let metrics = self.metrics();
        metrics
            .queries
            .get_or_create(&QueryLabels { kind, outcome })
            .inc();
        metrics.duration.observe(elapsed.as_secs_f64());
        metrics.queued.observe(queued.as_secs_f64());
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        metrics.bytes_processed.inc_by(get(&stats.bytes_processed));
        metrics.lines_processed.inc_by(get(&stats.lines_processed));
    }
}

impl Context {
    /// Counts what is returned.
    fn returned(&self, answer: Answer) -> Answer {
        QueryStats::add(&self.stats.entries_returned, answer.entries() as u64);
        answer
    }
}

async fn evaluate(
    context: &Context,
    tenants: &[TenantId],
    expr: &MetricExpr,
    steps: Steps,
) -> Result<metric::Value, CodedError> {
    let mut results = VecDeque::new();
    for leaf in metric::leaf_contexts(expr) {
        results.push_back(leaf_series(context, tenants, &leaf, steps).await?);
    }
    let series_max = tenants
        .iter()
        .map(|tenant| context.querier.limits(tenant).max_query_series);
    let max_series = series_max.filter(|max| *max > 0).min().unwrap_or(0);
    let split_ns = match steps.is_instant() {
        true => context.limits.split_instant_metric_queries_by_interval.0,
        false => context.limits.split_queries_by_interval.0,
    };
    let (expr, computing) = (expr.clone(), context.clone());
    let compute = move |is_cancelled: &dyn Fn() -> bool| {
        let limits = metric::Limits {
            max_series,
            split_ns,
            is_cancelled,
        };
        let mut take = |_: &RangeAggregation| Ok(results.pop_front().unwrap_or_default());
        let mut memory = computing.memory.reservation();
        let value = metric::evaluate(&expr, steps, limits, &mut memory, &mut take)
            .map_err(|error| computing.failed(&error))?;
        computing.hold(memory);
        Ok(value)
    };
    context.compute(compute).await
}

/// The series of a range aggregation, of all tenants.
async fn leaf_series(
    context: &Context,
    tenants: &[TenantId],
    leaf: &Leaf<'_>,
    steps: Steps,
) -> Result<Vec<Series>, CodedError> {
    let shares = tenancy::log_shares(&leaf.aggregation.log, tenants)?;
    let is_absence = leaf.aggregation.op == RangeOp::Absent && shares.len() > 1;
    let mut all: Vec<Series> = Vec::new();
    for (number, (share, log)) in shares.into_iter().enumerate() {
        let aggregation = RangeAggregation {
            log,
            ..leaf.aggregation.clone()
        };
        let context = context.of(&share.tenant);
        let mut series = samples::aggregate(&context, &leaf.over(&aggregation), steps).await?;
        if is_absence && number > 0 {
            keep_common(&mut all, &series);
            continue;
        }
        if !is_absence {
            for series in &mut series {
                series.labels = share.labels(&series.labels);
            }
        }
        all.append(&mut series);
    }
    Ok(all)
}

/// Leaves of what is absent of some tenants the times at which it is absent of another one too.
fn keep_common(absent: &mut Vec<Series>, of_another: &[Series]) {
    let other = of_another.iter().flat_map(|series| &series.points);
    let times: HashSet<i64> = other.map(|(time_ns, _)| *time_ns).collect();
    for series in absent.iter_mut() {
        series.points.retain(|(time_ns, _)| times.contains(time_ns));
    }
    absent.retain(|series| !series.points.is_empty());
}

/// Whether the order of the series is that of their values.
fn is_sorted_by_value(expr: &MetricExpr) -> bool {
    let MetricExpr::Vector(vector) = expr else {
        return false;
    };
    matches!(
        vector.op,
        VectorOp::Sort
            | VectorOp::SortDesc
            | VectorOp::Topk
            | VectorOp::Bottomk
            | VectorOp::ApproxTopk
    )
}
