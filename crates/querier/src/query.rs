//! Queries from text to answer: parse, check, wait for a turn, execute within time and memory.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use logql::metric::{self, Steps};
use logql::syntax;
use logql::syntax::ast::{Expr, MetricExpr, VectorOp};
use model::{Budget, Code, CodedError, Direction, Limits, TenantId, TimeRange};

use crate::encode::Answer;
use crate::metrics::QueryLabels;
use crate::stats::{QueryStats, Report};
use crate::{Querier, check, logs, samples};

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
}

/// `/query`
#[derive(Clone, Debug)]
pub struct InstantQuery {
    /// LogQL; a metric query.
    pub text: String,
    /// When.
    pub at_ns: i64,
    /// Lines wanted; of no use for metric queries, but checked.
    pub limit: usize,
    /// Of no use for metric queries.
    pub direction: Direction,
}

/// What the parts of one query share.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) querier: Arc<Querier>,
    pub(crate) tenant: TenantId,
    pub(crate) limits: Arc<Limits>,
    pub(crate) memory: Arc<Budget>,
    pub(crate) stats: Arc<QueryStats>,
    pub(crate) cancelled: Arc<AtomicBool>,
}

impl Context {
    /// Runs a scan with the query's memory and cancellation, and counts what it cost.
    pub(crate) fn scan(
        &self,
        work: impl FnOnce(&mut scan::Context<'_>) -> Result<(), scan::ScanError>,
    ) -> Result<(), CodedError> {
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
        result.map_err(CodedError::from)
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
    syntax::parse(text).map_err(|error| CodedError::new(Code::InvalidArgument, error.to_string()))
}

impl Querier {
    /// Lines, or series over time.
    ///
    /// # Errors
    /// If the query is wrong, asks for more than its tenant may have, takes too long, or data
    /// cannot be read.
    pub async fn range_query(
        self: &Arc<Self>,
        tenant: &TenantId,
        query: RangeQuery,
    ) -> Result<(Answer, Report), CodedError> {
        let expr = parse(&query.text)?;
        let limits = self.limits(tenant);
        check::query(&query.text, &expr, &limits, false)?;
        let range = check::time_range(query.range, &limits, self.now_ns())?;
        match expr {
            Expr::Log(log) => {
                check::entries_limit(query.limit, &limits)?;
                let wanted = logs::Wanted {
                    range,
                    limit: query.limit,
                    direction: query.direction,
                    interval_ns: query.interval_ns,
                };
                self.run("logs", tenant, limits, |context| async move {
                    Ok(Answer::Streams(logs::select(&context, &log, wanted).await?))
                })
                .await
            }
            Expr::Metric(expr) => {
                let steps = Steps::aligned(range.start_ns, range.end_ns, query.step_ns);
                self.run("metric", tenant, limits, |context| async move {
                    Ok(Answer::Matrix(
                        match evaluate(&context, &expr, steps).await? {
                            metric::Value::Matrix(series) => series,
                            metric::Value::Scalar(points) => {
                                vec![metric::Series {
                                    labels: Default::default(),
                                    points,
                                }]
                            }
                        },
                    ))
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
        tenant: &TenantId,
        query: InstantQuery,
    ) -> Result<(Answer, Report), CodedError> {
        let expr = parse(&query.text)?;
        let limits = self.limits(tenant);
        check::query(&query.text, &expr, &limits, true)?;
        let Expr::Metric(expr) = expr else {
            return Err(CodedError::new(
                Code::InvalidArgument,
                "log queries are not supported as an instant query type, please change your query to a range query type",
            ));
        };
        let steps = Steps::instant(query.at_ns);
        self.run("instant", tenant, limits, |context| async move {
            Ok(match evaluate(&context, &expr, steps).await? {
                metric::Value::Scalar(points) => {
                    let value = points.first().map_or(f64::NAN, |(_, value)| *value);
                    Answer::Scalar {
                        timestamp_ns: query.at_ns,
                        value,
                    }
                }
                metric::Value::Matrix(mut series) => {
                    if !is_sorted_by_value(&expr) {
                        series.sort_by(|a, b| a.labels.cmp(&b.labels));
                    }
                    Answer::Vector(series)
                }
            })
        })
        .await
    }

    /// Runs `work` in its turn, within the tenant's time and memory, and reports what it cost.
    pub(crate) async fn run<F, Fut>(
        self: &Arc<Self>,
        kind: &'static str,
        tenant: &TenantId,
        limits: Arc<Limits>,
        work: F,
    ) -> Result<(Answer, Report), CodedError>
    where
        F: FnOnce(Context) -> Fut,
        Fut: Future<Output = Result<Answer, CodedError>>,
    {
        let arrived = Instant::now();
        let timeout = match limits.query_timeout.as_std() {
            Duration::ZERO => Duration::from_secs(3600),
            timeout => timeout,
        };
        let cancelled = Arc::new(AtomicBool::new(false));
        let _cancel_on_drop = CancelOnDrop(Arc::clone(&cancelled));
        let stats = Arc::new(QueryStats::default());
        let context = Context {
            querier: Arc::clone(self),
            tenant: tenant.clone(),
            memory: self
                .memory()
                .child("max_query_memory", limits.max_query_memory.0),
            limits,
            stats: Arc::clone(&stats),
            cancelled,
        };
        let mut queued = Duration::ZERO;
        let in_turn = async {
            let permit = self.admission().acquire(tenant).await?;
            queued = arrived.elapsed();
            let answer = work(context).await;
            drop(permit);
            answer
        };
        let result = tokio::time::timeout(timeout, in_turn).await.unwrap_or_else(|_| {
            let limit = model::units::format_go_duration(timeout.as_nanos() as i64);
            Err(CodedError::new(
                Code::DeadlineExceeded,
                format!("request timed out, the query took longer than query_timeout ({limit}) of tenant {tenant}; decrease the duration of the request or add more label matchers (prefer exact match over regex match) to reduce the amount of data processed"),
            ))
        });
        self.observe(kind, &result, arrived.elapsed(), queued, &stats);
        let answer = result?;
        QueryStats::add(&stats.entries_returned, answer.entries() as u64);
        let report = stats.report(arrived.elapsed().saturating_sub(queued), queued);
        Ok((answer, report))
    }

    fn observe<T>(
        &self,
        kind: &'static str,
        result: &Result<T, CodedError>,
        elapsed: Duration,
        queued: Duration,
        stats: &QueryStats,
    ) {
        let outcome = match result {
            Ok(_) => "ok".to_owned(),
            Err(error) => error.code.http_status().to_string(),
        };
        let metrics = self.metrics();
        metrics
            .queries
            .get_or_create(&QueryLabels { kind, outcome })
            .inc();
        if let (Some(duration), Some(waited)) = (&metrics.duration, &metrics.queued) {
            duration.observe(elapsed.as_secs_f64());
            waited.observe(queued.as_secs_f64());
        }
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        metrics.bytes_processed.inc_by(get(&stats.bytes_processed));
        metrics.lines_processed.inc_by(get(&stats.lines_processed));
        metrics.memory_bytes.set(self.memory().used_bytes() as i64);
    }
}

async fn evaluate(
    context: &Context,
    expr: &MetricExpr,
    steps: Steps,
) -> Result<metric::Value, CodedError> {
    let mut results = VecDeque::new();
    let mut memory = Vec::new();
    for leaf in metric::leaf_contexts(expr) {
        let (series, reserved) = samples::aggregate(context, &leaf, steps).await?;
        results.push_back(series);
        memory.push(reserved);
    }
    let limits = metric::Limits { max_series: context.limits.max_query_series };
    metric::evaluate(expr, steps, limits, &mut |_| Ok(results.pop_front().unwrap_or_default()))
        .map_err(|error| CodedError::new(error.code(), error.to_string()))
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
