//! Labels, series and sizes, from the label index and the ingesters alone; no block is read.

mod labels;
mod shards;
mod sizes;
mod volume;

pub use shards::{Shards, SizedShard};
pub use sizes::Sum;
pub use volume::{Aggregate, VolumeQuery, VolumeSeries};

use std::collections::BTreeSet;
use std::sync::Arc;

use index::{BlockRef, Index, IndexError, RoaringBitmap};
use model::{BudgetError, CodedError, LabelSet, Matcher, Parts, Reservation, Shard, TimeRange};
use proto::role::{SelectSeries, SeriesStats};
use scan::Deletes;

use crate::damage::Lost;
use crate::deletes::Deleting;
use crate::query::Context;
use crate::recent::{self, Covered};
use crate::stored::OpenIndex;

fn print_selector(matchers: &[Matcher]) -> String {
    let matchers: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    format!("{{{}}}", matchers.join(","))
}

impl Context {
    /// Streams that ingesters hold, and what their answers cover. No selector means all streams.
    async fn recent_series(
        &self,
        selectors: &[Vec<Matcher>],
        parts: Parts,
        deleting: &Deleting,
    ) -> Result<(Covered, Vec<SeriesStats>), CodedError> {
        let selects_all = selectors.iter().any(Vec::is_empty);
        let selectors = if selects_all { &[] } else { selectors };
        let request = SelectSeries {
            tenant: self.tenant.clone(),
            selectors: selectors
                .iter()
                .map(|matchers| print_selector(matchers))
                .collect(),
            parts,
            deletions: deleting.deletions.clone(),
            shard: self.shard,
        };
        let answers = recent::ask(self, |ingester| {
            let request = request.clone();
            async move { ingester.select_series(request).await }
        })
        .await?;
        let (mut covered, mut series) = (Covered::default(), Vec::new());
        for (coverage, found) in answers {
            covered.add(&coverage);
            series.extend(found);
        }
        Ok((covered, series))
    }

    /// Calls `each` with every index file in the range and the series of it that match. Series of
    /// which all is deleted do not; a series of which some lines are deleted does. A file that is
    /// damaged is left out. What `each` finds goes from file to file.
    async fn for_each_index<T: Send + 'static>(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        covered: &Covered,
        deletes: &Deletes,
        mut found: T,
        each: impl Each<T>,
    ) -> Result<T, CodedError> {
        let snapshot = self.snapshot(range, covered).await?;
        let selected = Arc::new(Selected {
            matchers: matchers.to_vec(),
            range,
            shard: self.shard,
            deletes: deletes.clone(),
        });
        let each = Arc::new(each);
        for partition in snapshot.partitions() {
            for file in partition.indexes() {
                let Some(index) = self.open_index(partition, file).await? else {
                    continue;
                };
                let (context, selected, each) =
                    (self.clone(), Arc::clone(&selected), Arc::clone(&each));
                let read = index.read(move |open| {
                    let series = selected.of(open).map_err(EachError::from);
                    let looked_at = series.and_then(|series| each(&mut found, open, &series));
                    let looked_at = looked_at.map_err(|error| match error {
                        EachError::Index(error) => open.failed(&error),
                        EachError::Memory(error) => context.over_budget(&error).into(),
                    });
                    (found, looked_at)
                });
                let looked_at;
                (found, looked_at) = read.await?;
                self.unless_damaged(looked_at, Lost::file(file))?;
            }
        }
        Ok(found)
    }
}

/// Adds what is found in an index file, of these of its series.
trait Each<T>:
    Fn(&mut T, &OpenIndex, &RoaringBitmap) -> Result<(), EachError> + Send + Sync + 'static
{
}

impl<T, F> Each<T> for F where
    F: Fn(&mut T, &OpenIndex, &RoaringBitmap) -> Result<(), EachError> + Send + Sync + 'static
{
}

/// Which series of index files are looked at.
struct Selected {
    matchers: Vec<Matcher>,
    range: TimeRange,
    shard: Shard,
    deletes: Deletes,
}

impl Selected {
    fn of(&self, open: &OpenIndex) -> Result<RoaringBitmap, IndexError> {
        let index = open.index();
        let mut found = index.select(&self.matchers, &|| open.goes_on())?;
        let file = open.file();
        if !self.range.covers(file.min_ts_ns, file.max_ts_ns) {
            let is_in_range = |number| Ok(index.series_stats(number, self.range)?.streams > 0);
            found = kept(open, &found, is_in_range)?;
        }
        if self.shard != Shard::ALL {
            found = kept(open, &found, |number| {
                Ok(self.shard.has(index.stream(number)?.1))
            })?;
        }
        if !self.deletes.is_empty() {
            found = kept(open, &found, |number| self.is_left(index, number))?;
        }
        Ok(found)
    }

    /// Whether a series has a block in the range with a row that may not be deleted.
    fn is_left(&self, index: &Index, number: u32) -> Result<bool, IndexError> {
        let labels = index.labels(number)?;
        let is_left = |block: &BlockRef| {
            let (range, min_ns, max_ns) = (self.range, block.min_ts_ns, block.max_ts_ns);
            range.overlaps(min_ns, max_ns) && !self.deletes.cover_in(&labels, range, min_ns, max_ns)
        };
        Ok(index.blocks(number)?.iter().any(is_left))
    }
}

/// Those of some series for which something holds.
fn kept(
    open: &OpenIndex,
    series: &RoaringBitmap,
    is_kept: impl Fn(u32) -> Result<bool, IndexError>,
) -> Result<RoaringBitmap, IndexError> {
    let mut kept = RoaringBitmap::new();
    open.each(series, |number| {
        if is_kept(number)? {
            kept.insert(number);
        }
        Ok::<_, IndexError>(())
    })?;
    Ok(kept)
}

/// Why looking at an index file ends early.
enum EachError {
    Index(IndexError),
    Memory(BudgetError),
}

impl From<IndexError> for EachError {
    fn from(error: IndexError) -> Self {
        Self::Index(error)
    }
}

impl From<BudgetError> for EachError {
    fn from(error: BudgetError) -> Self {
        Self::Memory(error)
    }
}

/// A sorted set that takes its memory from the query's.
struct Found<T> {
    items: BTreeSet<T>,
    memory: Reservation,
}

/// Bytes that an item of a set holds besides its text.
const ITEM_BYTES: u64 = 64;

impl<T: Ord> Found<T> {
    fn new(context: &Context) -> Self {
        Self {
            items: BTreeSet::new(),
            memory: context.memory.reservation(),
        }
    }

    fn add(&mut self, item: T, text_bytes: usize) -> Result<(), BudgetError> {
        if self.items.insert(item) {
            self.memory.grow(ITEM_BYTES + text_bytes as u64)?;
        }
        Ok(())
    }

    /// The set as it is, with an empty one in its place.
    fn take(&mut self, context: &Context) -> Self {
        std::mem::replace(self, Self::new(context))
    }

    /// The items in order; their memory is held by the query.
    fn finish(self, context: &Context) -> Vec<T> {
        context.hold(self.memory);
        self.items.into_iter().collect()
    }
}

impl Found<String> {
    fn add_text(&mut self, text: &str) -> Result<(), BudgetError> {
        if self.items.contains(text) {
            return Ok(());
        }
        self.add(text.to_owned(), text.len())
    }
}

impl Found<LabelSet> {
    fn add_labels(&mut self, labels: LabelSet) -> Result<(), BudgetError> {
        let bytes = labels.text_len() + 64 * labels.len();
        self.add(labels, bytes)
    }
}
