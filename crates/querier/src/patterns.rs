//! Patterns: what lines have in common, and how many of each kind there are over time.
//!
//! Stored blocks with templates know the patterns of their lines without the lines, so that all lines
//! of a range are counted, however many. Lines of blocks without templates and those that ingesters
//! have in no block yet are looked at one by one, up to a bound; if there are more, the answer says
//! so. What is counted is exact: [`counts`] adds up patterns that are known from single lines, and
//! only then [`miner`] finds those that belong together, the most frequent first.

mod counts;
mod miner;
mod recent;
mod stored;

use std::sync::Arc;

use logql::syntax::ast::LogExpr;
use model::{CodedError, Matcher, TenantId, TimeRange};
use scan::LinesLeft;

use crate::metrics::QueryKind;
use crate::query::{Answered, Context};
use crate::{Querier, check, tenancy};
use counts::Counts;

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

/// What is counted of one tenant.
struct Counting {
    context: Context,
    matchers: Vec<Matcher>,
    range: TimeRange,
    step_ns: i64,
    /// Of all tenants.
    lines: Arc<LinesLeft>,
}

impl Querier {
    /// Kinds of lines of a selector, the most frequent first. A range that is too long for a tenant
    /// is cut: Loki has patterns of the newest lines only, whatever the range.
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
        let step_ns = query.step_ns;
        let log = LogExpr {
            matchers: query.matchers,
            stages: Vec::new(),
        };
        let lines = Arc::new(LinesLeft::new(self.config.pattern_lines as u64));
        self.run(QueryKind::Samples, tenants, |context| async move {
            let mut counts = Counts::new(&context, step_ns);
            for (share, log) in tenancy::log_shares(&log, tenants)? {
                let counting = Counting {
                    context: context.of(&share.tenant),
                    matchers: log.matchers,
                    range,
                    step_ns,
                    lines: Arc::clone(&lines),
                };
                counting.count(&mut counts).await?;
            }
            let (patterns, rarer) = context
                .compute(move |is_cancelled| Ok(counts.mine(is_cancelled)))
                .await?;
            tell_left_out(&context, lines.left_out(), rarer);
            Ok(patterns)
        })
        .await
    }
}

impl Counting {
    /// Adds what ingesters and storage have.
    async fn count(self, counts: &mut Counts) -> Result<(), CodedError> {
        let (context, range) = (&self.context, self.range);
        context.check_bytes(&self.matchers, range).await?;
        let deleting = context.deleting(range).await?;
        let (covered, recent) = self.recent(&deleting, counts).await?;
        let units = context
            .units(&self.matchers, range, &covered, &deleting.stored)
            .await?;
        context.check_stored(&self.matchers, range, &units)?;
        stored::count(self, recent, deleting.stored, units, counts).await
    }
}

/// Says in the answer which lines are in none of its patterns.
fn tell_left_out(context: &Context, not_looked_at: u64, rarer: u64) {
    if not_looked_at > 0 {
        context.missing.left_out(format!(
            "about {not_looked_at} lines that are in no block with templates were not looked at, as querier.pattern_lines is {}",
            context.querier.config.pattern_lines
        ));
    }
    if rarer > 0 {
        context.missing.left_out(format!(
            "{rarer} lines have patterns that are rarer than the {PATTERNS_MAX} of this answer"
        ));
    }
}
