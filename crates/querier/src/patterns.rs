//! Patterns: what lines have in common, and how many of each kind there are over time.
//!
//! They are found in the lines when they are asked for, in recent and stored ones alike; nothing is
//! kept for them. The newest lines up to a bound are looked at; if there are more, the answer says so.

mod miner;
mod tokens;

use std::collections::BTreeMap;
use std::sync::Arc;

use logql::syntax::ast::LogExpr;
use model::{CodedError, Direction, Matcher, TenantId, TimeRange};
use proto::role::LogRow;

use crate::metrics::QueryKind;
use crate::query::{Answered, Context, lines};
use crate::tenancy::shares;
use crate::{Querier, check, logs};
use miner::Miner;

/// Metadata that says how bad it is.
const LEVEL: &str = "detected_level";
/// Kinds of lines in one answer, the most frequent first.
const PATTERNS_MAX: usize = 300;

/// `/patterns`
#[derive(Clone, Debug)]
pub struct PatternsQuery {
    /// Which streams.
    pub matchers: Vec<Matcher>,
    /// When.
    pub range: TimeRange,
    /// Between two samples.
    pub step_ns: i64,
}

/// A kind of lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Its text, with `<_>` for what differs; a pattern filter (`|>`) finds its lines.
    pub text: String,
    /// How bad its lines are; empty if nothing is known.
    pub level: String,
    /// Seconds since the epoch and lines in the step that begins then, ascending.
    pub samples: Vec<(i64, u64)>,
}

impl Querier {
    /// Kinds of the newest lines of a selector, the most frequent first. A range that is too long for
    /// a tenant is cut: Loki has patterns of the newest lines only, whatever the range.
    ///
    /// # Errors
    /// If data cannot be read.
    pub async fn patterns(
        self: &Arc<Self>,
        tenants: &[TenantId],
        query: PatternsQuery,
    ) -> Result<Answered<Vec<Pattern>>, CodedError> {
        let range = tenants.iter().fold(query.range, |range, tenant| {
            check::newest_part(range, &self.limits(tenant), self.now_ns())
        });
        let wanted = logs::Wanted {
            range,
            limit: self.config.pattern_lines,
            direction: Direction::Backward,
            interval_ns: 0,
        };
        let log = LogExpr {
            matchers: query.matchers,
            stages: Vec::new(),
        };
        let step_ns = query.step_ns;
        self.run(QueryKind::Samples, tenants, |context| async move {
            let rows = lines(&context, tenants, &log, wanted).await?;
            if rows.len() >= wanted.limit {
                tell_left_out(&context, tenants, &log.matchers, &rows, range).await?;
            }
            context.compute(move |_| Ok(mine(&rows, step_ns))).await
        })
        .await
    }
}

/// Says in the answer how many lines were not looked at, and since when all were.
async fn tell_left_out(
    context: &Context,
    tenants: &[TenantId],
    matchers: &[Matcher],
    rows: &[LogRow],
    range: TimeRange,
) -> Result<(), CodedError> {
    let mut all = 0;
    for share in shares(matchers, tenants) {
        let context = context.of(&share.tenant);
        all += context.total(&share.matchers, range).await?.rows;
    }
    let left_out = all.saturating_sub(rows.len() as u64);
    if left_out > 0 {
        let oldest_ns = rows.last().map_or(range.start_ns, |row| row.timestamp_ns);
        let since = jiff::Timestamp::from_nanosecond(i128::from(oldest_ns));
        let since = since.map(|since| since.to_string()).unwrap_or_default();
        context.missing.left_out(format!(
            "patterns are those of the newest {} lines (querier.pattern_lines), since {since}; about {left_out} older ones of the range were not looked at",
            rows.len()
        ));
    }
    Ok(())
}

/// Lines of different levels are of different kinds, even where their texts are alike.
fn mine(rows: &[LogRow], step_ns: i64) -> Vec<Pattern> {
    let mut levels: BTreeMap<&str, Miner> = BTreeMap::new();
    for row in rows {
        let level = row.labels.metadata.get(LEVEL).unwrap_or_default();
        let line = String::from_utf8_lossy(&row.line);
        let at_s = row.timestamp_ns.div_euclid(step_ns).saturating_mul(step_ns) / 1_000_000_000;
        levels.entry(level).or_default().add(&line, at_s);
    }
    let of_level = |(level, miner): (&str, Miner)| {
        let level = level.to_owned();
        miner
            .finish()
            .into_iter()
            .map(move |(text, samples)| Pattern {
                text,
                level: level.clone(),
                samples,
            })
    };
    let mut patterns: Vec<Pattern> = levels.into_iter().flat_map(of_level).collect();
    let lines = |pattern: &Pattern| pattern.samples.iter().map(|(_, count)| *count).sum::<u64>();
    patterns.sort_by_cached_key(|pattern| std::cmp::Reverse(lines(pattern)));
    patterns.truncate(PATTERNS_MAX);
    patterns
}
