//! Recent rows: asks all ingesters at once, and says what their answers cover.
//!
//! Ingesters are asked before storage is looked at. Their coverage names the manifest entries that
//! the store's snapshot must have seen, and the objects to leave out of it; between the two nothing
//! is missed and nothing counted twice, also while a flush is under way. With replication as many
//! ingesters may fail as leave every row one healthy holder.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use model::{Code, CodedError};
use parking_lot::Mutex;
use proto::role::{Coverage, Select, Selected};

use crate::damage::{Damage, Lost};
use crate::query::Context;
use crate::stats::QueryStats;

/// The ingesters to ask now.
#[derive(Clone)]
pub struct Readers {
    /// Name and read side of each.
    pub ingesters: Vec<(String, Arc<dyn Select>)>,
    /// How many of them may fail without rows going missing; `None` if rows are missing already.
    pub failures_max: Option<usize>,
    /// How many of them have each row.
    pub copies: u64,
}

/// Gives the ingesters to ask; called once for each query, as membership changes.
pub type ReadSet = Arc<dyn Fn() -> Readers + Send + Sync>;

/// What all answers together cover.
#[derive(Clone, Debug, Default)]
pub(crate) struct Covered {
    /// Objects whose rows the ingesters have given.
    pub holding: HashSet<u128>,
    /// Per day the newest manifest entry that a store snapshot must have seen.
    pub at_least: BTreeMap<i64, u64>,
    /// Fingerprints of the streams that ingesters gave something of, if they are limited.
    pub streams: HashSet<u64>,
}

impl Covered {
    /// Adds the coverage of one answer.
    pub(crate) fn add(&mut self, coverage: &Coverage) {
        self.holding.extend(&coverage.holding);
        for (day, sequence) in &coverage.committed {
            let newest = self.at_least.entry(*day).or_default();
            *newest = (*newest).max(*sequence);
        }
    }

    /// Counts a stream that an ingester gave something of. Of a stream whose rows were all filtered
    /// out it gave nothing, though they were looked at: each ingester refuses by itself what touches
    /// more streams there than the limit; here are counted those of all ingesters and of storage.
    ///
    /// # Errors
    /// If there are more than `cardinality_limit`.
    pub(crate) fn add_stream(
        &mut self,
        context: &Context,
        fingerprint: u64,
    ) -> Result<(), CodedError> {
        let (limits, tenant) = (&context.limits, &context.tenant);
        if limits.cardinality_limit > 0 && self.streams.insert(fingerprint) {
            limits.check_cardinality(self.streams.len(), tenant)?;
        }
        Ok(())
    }
}

/// Bytes of a place for a remembered row: its own, and one that says whether there is a row.
const PLACE_BYTES: u64 = size_of::<(i64, u64)>() as u64 + 1;

/// Rows of a stream that ingesters gave: which they are, and the times of the first and the last.
#[derive(Debug)]
pub(crate) struct KnownRows {
    min_ts_ns: i64,
    max_ts_ns: i64,
    rows: HashSet<(i64, u64), foldhash::fast::RandomState>,
}

impl Default for KnownRows {
    fn default() -> Self {
        Self {
            min_ts_ns: i64::MAX,
            max_ts_ns: i64::MIN,
            rows: HashSet::default(),
        }
    }
}

impl KnownRows {
    /// Takes in a row by its time and hash. Whether it was not known.
    pub(crate) fn insert(&mut self, time_ns: i64, row_hash: u64) -> bool {
        self.min_ts_ns = self.min_ts_ns.min(time_ns);
        self.max_ts_ns = self.max_ts_ns.max(time_ns);
        self.rows.insert((time_ns, row_hash))
    }

    /// Whether a row is known.
    pub(crate) fn has(&self, time_ns: i64, row_hash: u64) -> bool {
        self.rows.contains(&(time_ns, row_hash))
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        // Of eight places one stays free.
        (self.rows.capacity() as u64).div_ceil(7) * 8 * PLACE_BYTES
    }

    /// Whether a row between two times, both included, may be known.
    pub(crate) fn overlap(&self, min_ns: i64, max_ns: i64) -> bool {
        self.min_ts_ns <= max_ns && min_ns <= self.max_ts_ns
    }
}

/// The ingesters that a query waits for at this moment, which it names if its time passes meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Awaited(Mutex<BTreeSet<String>>);

impl Awaited {
    /// Waits for what an ingester says; it stays among the awaited ones if nobody waits any longer.
    pub(crate) async fn of<T>(&self, ingester: &str, answer: impl Future<Output = T>) -> T {
        self.0.lock().insert(ingester.to_owned());
        let answer = answer.await;
        self.0.lock().remove(ingester);
        answer
    }

    /// Their names, if there are any.
    pub(crate) fn names(&self) -> Option<String> {
        let names: Vec<String> = self.0.lock().iter().cloned().collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// Those that have not answered are done without.
    fn give_up(&self) {
        self.0.lock().clear();
    }
}

/// Asks every ingester and returns the answers that came, in the order of the ingesters. Who takes
/// longer than `querier.ingester_timeout` is left out if the others have all its rows, and waited
/// for if they have not: how long a query may take is not known here.
///
/// # Errors
/// If a request is refused as wrong, or more ingesters fail than may.
pub(crate) async fn ask<T, F, Fut>(context: &Context, question: F) -> Result<Vec<T>, CodedError>
where
    T: Covers,
    F: Fn(Arc<dyn Select>) -> Fut,
    Fut: Future<Output = Result<T, CodedError>>,
{
    let (readers, awaited) = (context.querier.readers(), &context.awaited);
    let failures_max = readers.failures_max.ok_or_else(|| {
        CodedError::new(
            Code::Unavailable,
            "too many ingesters are not reachable: recent lines would be missing",
        )
    })?;
    let asked = readers.ingesters.iter().enumerate();
    let mut asking: FuturesUnordered<_> = asked
        .map(|(at, (name, ingester))| {
            let answer = question(Arc::clone(ingester));
            async move { (at, name, awaited.of(name, answer).await) }
        })
        .collect();
    let mut patience = pin!(tokio::time::sleep(context.querier.ingester_timeout()));
    let (mut answers, mut failed) = (Vec::new(), Vec::new());
    loop {
        if patience.is_elapsed() && failed.len() + asking.len() <= failures_max {
            awaited.give_up();
            break;
        }
        let answered = tokio::select! {
            answered = asking.next() => answered,
            () = &mut patience, if !patience.is_elapsed() => {
                tracing::warn!(late = asking.len(), "ingesters have not begun to answer");
                continue;
            }
        };
        match answered {
            None => break,
            Some((at, _, Ok(answer))) => answers.push((at, answer)),
            Some((_, name, Err(error))) => {
                if error.code == Code::InvalidArgument || error.code == Code::ResourceExhausted {
                    return Err(error);
                }
                tracing::warn!(ingester = %name, error = %error, "ingester did not answer");
                failed.push(format!("{name}: {error}"));
            }
        }
        if failed.len() > failures_max {
            return Err(too_few(&readers, failures_max, &failed));
        }
    }
    answers.sort_unstable_by_key(|(at, _)| *at);
    let without = readers.ingesters.len() - answers.len();
    let coverages = answers.iter().map(|(_, answer)| answer.coverage());
    tell_losses(context, failures_max.saturating_sub(without), coverages);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

/// Asks every ingester and hands `take` what each gives, batch by batch, with the number of its
/// answer. Returns what the answers cover, with what `take` added to it.
///
/// # Errors
/// As [`ask`], if an ingester breaks off, or what `take` says.
pub(crate) async fn gather<T, F, Fut>(
    context: &Context,
    question: F,
    mut take: impl FnMut(usize, T, &mut Covered) -> Result<(), CodedError>,
) -> Result<Covered, CodedError>
where
    F: Fn(Arc<dyn Select>) -> Fut,
    Fut: Future<Output = Result<Selected<T>, CodedError>>,
{
    let asked = Instant::now();
    let mut covered = Covered::default();
    for (number, answer) in ask(context, question).await?.into_iter().enumerate() {
        covered.add(&answer.coverage);
        let ingester = &answer.coverage.ingester;
        QueryStats::add(&context.stats.ingesters_reached, 1);
        let mut batches = answer.batches;
        while let Some(batch) = context.awaited.of(ingester, batches.next()).await {
            QueryStats::add(&context.stats.ingester_batches, 1);
            for found in batch? {
                take(number, found, &mut covered)?;
            }
        }
    }
    let waited_ns = asked.elapsed().as_nanos() as u64;
    QueryStats::add(&context.stats.ingester_wait_ns, waited_ns.max(1));
    Ok(covered)
}

/// An answer that says what it covers.
pub(crate) trait Covers {
    /// What it covers.
    fn coverage(&self) -> &Coverage;
}

impl<T> Covers for Selected<T> {
    fn coverage(&self) -> &Coverage {
        &self.coverage
    }
}

impl<T> Covers for (Coverage, T) {
    fn coverage(&self) -> &Coverage {
        &self.0
    }
}

/// Says what ingesters have lost, unless every row is in another that has lost nothing: of so many
/// all may be lost.
fn tell_losses<'a>(
    context: &Context,
    losers_max: usize,
    coverages: impl Iterator<Item = &'a Coverage>,
) {
    let losers: Vec<_> = coverages.filter(|one| !one.lost.is_empty()).collect();
    if losers.len() <= losers_max {
        return;
    }
    for coverage in losers {
        for lost in &coverage.lost {
            let damage = Damage::of_log(&coverage.ingester, lost.segment);
            let (rows, pushes) = (lost.rows, lost.records);
            context.leave_out(&damage, Lost::Log { rows, pushes });
        }
    }
}

fn too_few(readers: &Readers, failures_max: usize, failed: &[String]) -> CodedError {
    CodedError::new(
        Code::Unavailable,
        format!(
            "{} of {} ingesters did not answer, {failures_max} may be missing: {}",
            failed.len(),
            readers.ingesters.len(),
            failed.join("; ")
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_keeps_the_newest_sequence_of_each_day() {
        let mut covered = Covered::default();
        for (holding, sequence) in [(1, 5), (2, 3)] {
            covered.add(&Coverage {
                holding: vec![holding],
                committed: vec![(7, sequence)],
                ingester: "a".to_owned(),
                lost: Vec::new(),
            });
        }
        assert_eq!(covered.at_least.get(&7), Some(&5));
        assert_eq!(covered.holding.len(), 2);
    }
}
