//! Patterns of lines that ingesters have.

use std::collections::HashMap;
use std::sync::Arc;

use model::{BudgetError, CodedError, Reservation};
use proto::role::{Select, SelectPatterns, StreamPatterns};
use scan::PatternRows;

use super::Counting;
use super::counts::Counts;
use crate::deletes::Deleting;
use crate::query::Context;
use crate::recent::{self, Covered, KnownRows};
use crate::stats::QueryStats;
use crate::stored::Unit;

/// Rows that several ingesters may have given, by stream; none where each has rows of its own.
pub(super) struct Recent {
    streams: HashMap<u64, KnownRows>,
    memory: Reservation,
}

impl Recent {
    /// Rows of the unit's stream that were counted already and may be in the unit too.
    pub(super) fn of(&self, unit: &Unit) -> Option<&KnownRows> {
        let known = self.streams.get(&unit.fingerprint);
        known.filter(|known| known.overlap(unit.min_ts_ns, unit.max_ts_ns))
    }

    /// Counts the rows that no other replica gave before.
    fn add(
        &mut self,
        context: &Context,
        stream: &StreamPatterns,
        counts: &mut Counts,
    ) -> Result<(), BudgetError> {
        for found in &stream.patterns {
            let lines: u64 = found.rows.iter().sum();
            QueryStats::add(&context.stats.ingester_lines, lines);
            let mut rows = PatternRows {
                pattern: &found.pattern,
                level: &found.level,
                timestamp_ns: 0,
                rows: 0,
                row_hash: None,
            };
            let mut hashes = found.row_hashes.iter();
            for (time_ns, count) in found.timestamps_ns.iter().zip(&found.rows) {
                (rows.timestamp_ns, rows.rows) = (*time_ns, *count);
                if let Some(hash) = hashes.next() {
                    let known = self.streams.entry(stream.stream_fingerprint).or_default();
                    let before = known.bytes();
                    if !known.insert(*time_ns, *hash) {
                        QueryStats::add(&context.stats.duplicates, 1);
                        continue;
                    }
                    if known.bytes() > before {
                        self.memory.grow(known.bytes() - before)?;
                    }
                }
                counts.add(&rows)?;
            }
        }
        Ok(())
    }
}

impl Counting {
    /// Adds what ingesters have. Where several have the same rows, these are remembered.
    pub(super) async fn recent(
        &self,
        deleting: &Deleting,
        counts: &mut Counts,
    ) -> Result<(Covered, Recent), CodedError> {
        let context = &self.context;
        let selector: Vec<String> = self.matchers.iter().map(ToString::to_string).collect();
        let request = SelectPatterns {
            tenant: context.tenant.clone(),
            selector: format!("{{{}}}", selector.join(",")),
            range: self.range,
            deletions: deleting.deletions.clone(),
            shard: context.shard,
            step_ns: self.step_ns,
            lines_max: context.querier.config.pattern_lines as u64,
            hashes: context.querier.readers().copies > 1,
        };
        let ask = |ingester: Arc<dyn Select>| {
            let request = request.clone();
            async move { ingester.select_patterns(request).await }
        };
        let mut recent = Recent {
            streams: HashMap::new(),
            memory: context.memory.reservation(),
        };
        let covered = recent::gather(context, ask, |_, stream, _| {
            self.lines.leave_out(stream.left_out);
            recent
                .add(context, &stream, counts)
                .map_err(|error| context.over_budget(&error))
        })
        .await?;
        Ok((covered, recent))
    }
}
