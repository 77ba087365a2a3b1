//! What a query has to read, told before it runs, and what it read, told after.
//!
//! The estimate goes the way of the query itself: the label index names streams and blocks, the
//! footers of blocks say which of their bytes are wanted, or that their counters are enough. Only
//! what the footers cannot tell stays open: lines that ingesters still have, and blocks that a log
//! query leaves alone once it has its lines, and what is read besides of blocks in which a search
//! found something.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use chunk::Projection;
use logql::metric::{Steps, leaf_contexts};
use logql::pipeline::{Literal, LiteralFilter, split_literals};
use logql::syntax::ast::{Expr, LogExpr, RangeAggregation};
use model::units::quote;
use model::{CodedError, Direction, Shard, TenantId, TimeRange};
use scan::Pushdown;
use serde::Serialize;

use crate::metrics::QueryKind;
use crate::query::{Answered, Context, InstantQuery, RangeQuery, parse};
use crate::recent::Covered;
use crate::stats::Report;
use crate::stored::{Lines, RunRef, Unit, Wanted, first_ranges};
use crate::tenancy;
use crate::{Querier, check, samples};

/// What a query has to read, and what it read.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The query as it is understood.
    pub query: String,
    /// What is selected from the lines of each tenant, before anything is computed from it.
    pub parts: Vec<Part>,
    /// Before the query ran: all parts together.
    pub estimate: Reading,
    /// After the query ran; none if it failed.
    pub actual: Option<Actual>,
    /// Why the query failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What estimate and answer lack, for people.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// A selection of lines.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// Whose lines.
    pub tenant: String,
    /// What is selected.
    pub selection: String,
    /// From this time, in nanoseconds since the Unix epoch.
    pub start_ns: i64,
    /// To before this time.
    pub end_ns: i64,
    /// Ingesters that are asked for what is recent.
    pub ingesters: usize,
    /// What decides before lines are decoded, and where.
    pub pushed_down: Vec<String>,
    /// Columns of blocks that are read.
    pub columns: BTreeSet<&'static str>,
    /// How much storage has to give.
    #[serde(flatten)]
    pub reading: Reading,
}

/// How much is read from storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reading {
    /// Streams with lines in the range.
    pub streams: u64,
    /// Objects that hold them.
    pub objects: u64,
    /// Blocks of these objects.
    pub blocks: u64,
    /// Runs of streams in blocks whose counters answer, so that nothing of them is read.
    pub runs_counted: u64,
    /// Lines of the blocks' runs.
    pub rows: u64,
    /// Bytes of these lines and their metadata.
    pub bytes: u64,
    /// Stored, compressed bytes that are wanted of the blocks.
    pub bytes_to_read: u64,
    /// Those of them that are in memory.
    pub bytes_cached: u64,
}

impl std::ops::AddAssign for Reading {
    fn add_assign(&mut self, other: Self) {
        self.streams += other.streams;
        self.objects += other.objects;
        self.blocks += other.blocks;
        self.runs_counted += other.runs_counted;
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.bytes_to_read += other.bytes_to_read;
        self.bytes_cached += other.bytes_cached;
    }
}

/// What a query that ran has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Actual {
    /// Seconds that it ran.
    pub seconds: f64,
    /// Seconds that it waited for its turn.
    pub seconds_queued: f64,
    /// Runs of streams in blocks that the index named.
    pub runs_matched: u64,
    /// Of how many of them, or of several together that overlap, a query before told what they
    /// amount to.
    pub results_reused: u64,
    /// Blocks read.
    pub blocks_read: u64,
    /// Stored, compressed bytes wanted of them.
    pub bytes_read: u64,
    /// Lines of storage looked at.
    pub lines_processed: u64,
    /// Bytes of lines searched or given to stages.
    pub bytes_processed: u64,
    /// Lines or samples that passed all stages.
    pub lines_passed: u64,
    /// Lines or samples that ingesters gave.
    pub lines_of_ingesters: u64,
    /// Copies dropped.
    pub duplicates: u64,
    /// Lines or points of the answer.
    pub returned: u64,
}

impl From<&Report> for Actual {
    fn from(report: &Report) -> Self {
        let (summary, store) = (&report.summary, &report.querier.store);
        Self {
            seconds: summary.exec_time,
            seconds_queued: summary.queue_time,
            runs_matched: store.total_chunks_ref,
            results_reused: report.cache.result.entries_found,
            blocks_read: store.total_chunks_downloaded,
            bytes_read: store.chunk.compressed_bytes,
            lines_processed: summary.total_lines_processed,
            bytes_processed: summary.total_bytes_processed,
            lines_passed: summary.total_post_filter_lines,
            lines_of_ingesters: report.ingester.total_lines_sent,
            duplicates: store.chunk.total_duplicates,
            returned: summary.total_entries_returned,
        }
    }
}

/// What is to be estimated: a query, checked, at its times.
struct Question {
    expr: Expr,
    range: TimeRange,
    steps: Steps,
    limit: usize,
    direction: Direction,
    shard: Shard,
}

impl Querier {
    /// Estimates what a range query reads, runs it, and says what it has read.
    ///
    /// # Errors
    /// If the query is wrong or its tenants may not ask it, or the estimate fails. An error of the
    /// query itself is part of the explanation.
    pub async fn explain_range(
        self: &Arc<Self>,
        tenants: &[TenantId],
        query: RangeQuery,
    ) -> Result<Explanation, CodedError> {
        let expr = parse(&query.text)?;
        let mut range = query.range;
        for tenant in tenants {
            let (limits, now_ns) = (self.limits(tenant), self.now_ns());
            range = check::range_query(&query, range, &expr, &limits, tenant, now_ns)?;
        }
        let question = Question {
            expr,
            range,
            steps: Steps::aligned(range.start_ns, range.end_ns, query.step_ns),
            limit: query.limit,
            direction: query.direction,
            shard: query.shard,
        };
        let explanation = self.estimate(tenants, question).await?;
        let ran = self.range_query(tenants, query).await;
        Ok(explanation.with(ran))
    }

    /// [`Self::explain_range`] of an instant query.
    ///
    /// # Errors
    /// As [`Self::explain_range`].
    pub async fn explain_instant(
        self: &Arc<Self>,
        tenants: &[TenantId],
        query: InstantQuery,
    ) -> Result<Explanation, CodedError> {
        let expr = parse(&query.text)?;
        for tenant in tenants {
            check::instant_query(&query.text, &expr, &self.limits(tenant), tenant)?;
        }
        let question = Question {
            expr,
            range: TimeRange::new(query.at_ns, query.at_ns),
            steps: Steps::instant(query.at_ns),
            limit: 0,
            direction: Direction::Backward,
            shard: query.shard,
        };
        let explanation = self.estimate(tenants, question).await?;
        let ran = self.instant_query(tenants, query).await;
        Ok(explanation.with(ran))
    }

    async fn estimate(
        self: &Arc<Self>,
        tenants: &[TenantId],
        question: Question,
    ) -> Result<Explanation, CodedError> {
        let query = question.expr.to_string();
        let estimated = self
            .run(QueryKind::Metadata, tenants, |context| async move {
                parts(&context.within(question.shard), tenants, &question).await
            })
            .await?;
        let parts = estimated.value;
        let mut estimate = Reading::default();
        parts.iter().for_each(|part| estimate += part.reading);
        Ok(Explanation {
            query,
            parts,
            estimate,
            actual: None,
            error: None,
            warnings: estimated.warnings,
        })
    }
}

impl Explanation {
    fn with<T>(mut self, ran: Result<Answered<T>, CodedError>) -> Self {
        match ran {
            Ok(answered) => {
                self.actual = Some(Actual::from(&answered.report));
                self.warnings = answered.warnings;
            }
            Err(error) => self.error = Some(error.message),
        }
        self
    }
}

async fn parts(
    context: &Context,
    tenants: &[TenantId],
    question: &Question,
) -> Result<Vec<Part>, CodedError> {
    let mut parts = Vec::new();
    match &question.expr {
        Expr::Log(log) => {
            for (share, log) in tenancy::log_shares(log, tenants)? {
                parts.push(of_lines(&context.of(&share.tenant), &log, question).await?);
            }
        }
        Expr::Metric(metric) => {
            for leaf in leaf_contexts(metric) {
                for (share, log) in tenancy::log_shares(&leaf.aggregation.log, tenants)? {
                    let aggregation = RangeAggregation {
                        log,
                        ..leaf.aggregation.clone()
                    };
                    let (context, leaf) = (context.of(&share.tenant), leaf.over(&aggregation));
                    parts.push(of_samples(&context, &leaf, question.steps).await?);
                }
            }
        }
    }
    Ok(parts)
}

/// The line filters that blocks are searched for.
fn literals(context: &Context, log: &LogExpr) -> Vec<String> {
    if context.pushdown() == Pushdown::Off {
        return Vec::new();
    }
    let (conditions, _) = split_literals(&log.stages);
    let text = |condition: &LiteralFilter| {
        let quoted = |literal: &Literal| {
            let text = quote(&String::from_utf8_lossy(&literal.text));
            let case = if literal.any_case { " in any case" } else { "" };
            format!("{text}{case}")
        };
        let any_of: Vec<String> = condition.any_of.iter().map(quoted).collect();
        let has = if condition.negative { "lacks" } else { "has" };
        format!(
            "line {has} {}: searched in blocks before lines are decoded",
            any_of.join(" or ")
        )
    };
    conditions.iter().map(text).collect()
}

fn selector(log: &LogExpr) -> String {
    let selector = LogExpr {
        matchers: log.matchers.clone(),
        stages: Vec::new(),
    };
    format!("{selector}: label index; time range: label index and footers of blocks")
}

async fn of_lines(
    context: &Context,
    log: &LogExpr,
    question: &Question,
) -> Result<Part, CodedError> {
    let (prefilter, _) = context.pushdown().split_log(log);
    let mut pushed_down = vec![selector(log)];
    pushed_down.extend(literals(context, log));
    let order = match question.direction {
        Direction::Backward => "newest",
        Direction::Forward => "oldest",
    };
    pushed_down.push(format!(
        "limit {}: {order} blocks first, the rest is left alone when there are enough lines",
        question.limit
    ));
    let mut part = Part::new(context, log.to_string(), question.range, pushed_down);
    let covered = Covered::default();
    let deleting = context.deleting(question.range).await?;
    let units = context
        .units(&log.matchers, question.range, &covered, &deleting.stored)
        .await?;
    let mut seen = Seen::default();
    for unit in &units {
        for run in &unit.blocks {
            let wanted = Wanted {
                projection: Projection::ALL,
                lines: Lines::Projected,
                prefilter: &prefilter,
                range: question.range,
            };
            part.add(context, unit, run, Some(wanted), &mut seen)
                .await?;
        }
    }
    Ok(part)
}

async fn of_samples(
    context: &Context,
    leaf: &logql::metric::Leaf<'_>,
    steps: Steps,
) -> Result<Part, CodedError> {
    let log = &leaf.aggregation.log;
    let planner = samples::Planner::new(context, leaf, steps).await?;
    let mut pushed_down = vec![selector(log)];
    pushed_down.extend(literals(context, log));
    if let Some(grouping) = &leaf.reduce_to {
        let kept = grouping.labels.join(", ");
        let kind = if grouping.without { "without" } else { "by" };
        pushed_down.push(format!("grouping {kind} ({kept}): applied to each sample"));
    }
    let range = planner.range();
    let mut part = Part::new(context, leaf.aggregation.to_string(), range, pushed_down);
    let units = planner.units().await?;
    let (mut seen, mut sum) = (Seen::default(), planner.accumulator());
    for unit in &units {
        let needed = planner.plan(unit, &mut sum).await?;
        let wanted = needed.as_ref().map(|needed| Wanted {
            projection: needed.projection,
            lines: needed.lines(),
            prefilter: planner.prefilter(),
            range,
        });
        for run in &unit.blocks {
            part.add(context, unit, run, wanted, &mut seen).await?;
        }
    }
    if part.reading.runs_counted > 0 {
        let counters = "counters in footers of blocks answer where all lines of a run count";
        part.pushed_down.push(counters.to_owned());
    }
    Ok(part)
}

/// What was counted already: a stream may be in several units, a block may hold several streams.
#[derive(Default)]
struct Seen {
    streams: HashSet<u64>,
    objects: HashSet<u128>,
    blocks: HashSet<(u128, u32)>,
}

impl Part {
    fn new(
        context: &Context,
        selection: String,
        range: TimeRange,
        pushed_down: Vec<String>,
    ) -> Self {
        Self {
            tenant: context.tenant.to_string(),
            selection,
            start_ns: range.start_ns,
            end_ns: range.end_ns,
            ingesters: context.querier.readers().ingesters.len(),
            pushed_down,
            columns: BTreeSet::new(),
            reading: Reading::default(),
        }
    }

    /// Counts a run of which something is wanted; nothing if its counters answer.
    async fn add(
        &mut self,
        context: &Context,
        unit: &Unit,
        run: &RunRef,
        wanted: Option<Wanted<'_>>,
        seen: &mut Seen,
    ) -> Result<(), CodedError> {
        let reading = &mut self.reading;
        reading.rows += run.rows;
        reading.bytes += run.raw_bytes;
        reading.streams += u64::from(seen.streams.insert(unit.fingerprint));
        reading.objects += u64::from(seen.objects.insert(run.object.id));
        let is_new = seen.blocks.insert((run.object.id, run.block));
        reading.blocks += u64::from(is_new);
        let Some(wanted) = wanted else {
            reading.runs_counted += 1;
            return Ok(());
        };
        self.columns.extend(columns(wanted));
        let may_have = run.may_have(context, wanted.prefilter.search()).await;
        if context.unless_damaged(may_have, run.lost())? != Some(true) {
            return Ok(());
        }
        let meta = run.block_meta(context).await;
        let Some(meta) = context.unless_damaged(meta, run.lost())? else {
            return Ok(());
        };
        // A block of several streams is read once for all of them.
        if meta.runs().len() > 1 && !is_new {
            return Ok(());
        }
        let ranges = context.unless_damaged(first_ranges(&meta, run, wanted), run.lost())?;
        let ranges = ranges.flatten().unwrap_or_default();
        reading.bytes_to_read += ranges
            .iter()
            .map(|range| range.end - range.start)
            .sum::<u64>();
        let objects = context.querier.catalog().objects();
        reading.bytes_cached += objects.cached_bytes(run.object.id, &meta, &ranges);
        Ok(())
    }
}

fn columns(wanted: Wanted<'_>) -> impl Iterator<Item = &'static str> {
    let Projection {
        metadata,
        lengths,
        lines,
    } = wanted.projection;
    [
        (true, "times"),
        (metadata, "structured metadata"),
        (lengths || lines, "line lengths"),
        (lines, "lines"),
        (matches!(wanted.lines, Lines::Reduced(_)), "fields of lines"),
        (!wanted.prefilter.is_empty(), "what is searched of lines"),
    ]
    .into_iter()
    .filter_map(|(is_read, name)| is_read.then_some(name))
}
