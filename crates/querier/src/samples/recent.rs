//! Samples of rows that ingesters have.
//!
//! A row may be at several ingesters, and in the store as well, if it was pushed again. Such rows have
//! to be told by their hashes, and remembered. Where each row is at one ingester most are in one place
//! only: then samples come without hashes, added up. Whether that was right is known when it is known
//! what else there is of a stream at that time: if there is something, ingesters are asked again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use logql::metric::{Leaf, RangeAccumulator, Steps};
use model::{BudgetError, CodedError, Reservation, TimeRange};
use proto::role::{AddUp, SampleRows, Select, SelectSamples};

use crate::deletes::Deleting;
use crate::query::Context;
use crate::recent::{self, Covered, KnownRows};
use crate::stats::QueryStats;
use crate::stored::Unit;

/// Bytes for a stream whose rows are not remembered.
const ALONE_BYTES: u64 = 64;

/// What ingesters are asked for.
pub(super) struct Question<'a> {
    pub(super) context: &'a Context,
    pub(super) leaf: &'a Leaf<'a>,
    pub(super) steps: Steps,
    pub(super) range: TimeRange,
    pub(super) deleting: &'a Deleting,
}

/// What ingesters gave, by stream.
pub(super) struct Recent {
    /// Rows that came with hashes.
    known: HashMap<u64, KnownRows>,
    /// When those are that came without.
    alone: HashMap<u64, Alone>,
    /// Whether several ingesters gave rows of one stream and time, and one of them without hashes.
    is_mixed: bool,
    memory: Reservation,
}

/// When rows of a stream are that came without hashes.
struct Alone {
    /// The number of the last answer that had some.
    answer: usize,
    span: TimeRange,
}

impl Question<'_> {
    /// Asks ingesters, adds up what they have, and says what storage has besides.
    pub(super) async fn ask(
        &self,
        new: impl Fn() -> RangeAccumulator,
    ) -> Result<(RangeAccumulator, Recent, Vec<Unit>), CodedError> {
        let (context, matchers) = (self.context, &self.leaf.aggregation.log.matchers);
        let mut tell_until_ns = match context.querier.readers().copies > 1 {
            true => i64::MAX,
            false => i64::MIN,
        };
        loop {
            let mut sum = new();
            let (covered, recent) = self.recent(tell_until_ns, &mut sum).await?;
            let units = context
                .units(matchers, self.range, &covered, &self.deleting.stored)
                .await?;
            let Some(doubtful_until_ns) = recent.doubtful_until(&units) else {
                return Ok((sum, recent, units));
            };
            // Should more have been stored meanwhile, all rows are told.
            tell_until_ns = match tell_until_ns {
                i64::MIN => doubtful_until_ns,
                _ => i64::MAX,
            };
        }
    }

    /// Adds the samples of ingesters; rows until a time come with hashes.
    async fn recent(
        &self,
        tell_until_ns: i64,
        sum: &mut RangeAccumulator,
    ) -> Result<(Covered, Recent), CodedError> {
        let context = self.context;
        let request = SelectSamples {
            tenant: context.tenant.clone(),
            query: self.leaf.to_expr().to_string(),
            range: self.range,
            deletions: self.deleting.deletions.clone(),
            shard: context.shard,
            add_up: (tell_until_ns < i64::MAX).then_some(AddUp {
                after_ns: tell_until_ns,
                start_ns: self.steps.start_ns,
                end_ns: self.steps.end_ns,
                step_ns: self.steps.step_ns,
            }),
        };
        let ask = |ingester: Arc<dyn Select>| {
            let request = request.clone();
            async move { ingester.select_samples(request).await }
        };
        let mut recent = Recent::new(context);
        let covered = recent::gather(context, ask, |number, samples, covered| {
            covered.add_stream(context, samples.stream_fingerprint)?;
            recent
                .add(context, number, &samples, sum)
                .map_err(|error| context.over_budget(&error))
        })
        .await?;
        Ok((covered, recent))
    }
}

impl Recent {
    /// Nothing.
    pub(super) fn new(context: &Context) -> Self {
        Self {
            known: HashMap::new(),
            alone: HashMap::new(),
            is_mixed: false,
            memory: context.memory.reservation(),
        }
    }

    /// Rows of the unit's stream that were counted already and may be in the unit too.
    pub(super) fn of(&self, unit: &Unit) -> Option<&KnownRows> {
        let known = self.known.get(&unit.fingerprint);
        known.filter(|known| known.overlap(unit.min_ts_ns, unit.max_ts_ns))
    }

    /// Adds the samples that no other replica gave before.
    fn add(
        &mut self,
        context: &Context,
        answer: usize,
        samples: &SampleRows,
        sum: &mut RangeAccumulator,
    ) -> Result<(), BudgetError> {
        let count = samples.timestamps_ns.len() as u64;
        QueryStats::add(&context.stats.ingester_lines, count);
        let stream = samples.stream_fingerprint;
        let series = sum.series(&samples.labels)?;
        sum.take_from(stream, true);
        if let Some(span) = samples.without_hashes {
            self.add_alone(stream, Alone { answer, span })?;
            return sum.add_all(series, &samples.timestamps_ns, &samples.values);
        }
        let known = self.known.entry(stream).or_default();
        let before = known.bytes();
        let times = samples.timestamps_ns.iter();
        for ((time_ns, value), row_hash) in times.zip(&samples.values).zip(&samples.row_hashes) {
            if known.insert(*time_ns, *row_hash) {
                sum.add(series, *time_ns, *value)?;
            } else {
                QueryStats::add(&context.stats.duplicates, 1);
            }
        }
        self.memory.grow(known.bytes() - before)
    }

    /// Remembers when rows of a stream are that came without hashes.
    fn add_alone(&mut self, stream: u64, new: Alone) -> Result<(), BudgetError> {
        match self.alone.entry(stream) {
            Entry::Vacant(entry) => {
                self.memory.grow(ALONE_BYTES)?;
                entry.insert(new);
            }
            Entry::Occupied(mut entry) => {
                let alone = entry.get_mut();
                let is_both = !alone.span.intersect(&new.span).is_empty();
                self.is_mixed |= alone.answer != new.answer && is_both;
                alone.answer = new.answer;
                alone.span.start_ns = alone.span.start_ns.min(new.span.start_ns);
                alone.span.end_ns = alone.span.end_ns.max(new.span.end_ns);
            }
        }
        Ok(())
    }

    /// Until when rows that came without hashes may be elsewhere, too; `None` if they are not.
    fn doubtful_until(&self, units: &[Unit]) -> Option<i64> {
        let is_known = |(stream, alone): (&u64, &Alone)| {
            let known = self.known.get(stream);
            known.is_some_and(|known| known.overlap(alone.span.start_ns, alone.span.end_ns - 1))
        };
        if self.is_mixed || self.alone.iter().any(is_known) {
            return Some(i64::MAX);
        }
        let is_stored = |unit: &&Unit| {
            let alone = self.alone.get(&unit.fingerprint);
            alone.is_some_and(|alone| alone.span.overlaps(unit.min_ts_ns, unit.max_ts_ns))
        };
        let stored = units.iter().filter(is_stored);
        stored.map(|unit| unit.max_ts_ns).max()
    }
}
