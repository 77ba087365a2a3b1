//! Labels, series and sizes, from the label index and the ingesters alone; no block is read.

mod labels;
mod shards;
mod sizes;
mod volume;

pub use shards::{Shards, SizedShard};
pub use sizes::Sum;
pub use volume::{Aggregate, VolumeQuery, VolumeSeries};

use std::collections::BTreeSet;

use index::RoaringBitmap;
use model::{BudgetError, CodedError, LabelSet, Matcher, Parts, Reservation, Shard, TimeRange};
use proto::role::{SelectSeries, SeriesStats};
use scan::Deletes;

use crate::damage::Lost;
use crate::deletes::Deleting;
use crate::query::Context;
use crate::recent::{self, Covered};
use crate::stored::damaged;

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
    /// damaged is left out.
    async fn for_each_index(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        covered: &Covered,
        deletes: &Deletes,
        mut each: impl FnMut(&index::Index, &RoaringBitmap) -> Result<(), EachError>,
    ) -> Result<(), CodedError> {
        let snapshot = self.snapshot(range, covered).await?;
        for partition in snapshot.partitions() {
            for file in partition.indexes() {
                let Some(index) = self.open_index(partition, file).await? else {
                    continue;
                };
                let selected = Selected {
                    range,
                    is_file_inside: range.covers(file.min_ts_ns, file.max_ts_ns),
                    shard: self.shard,
                    deletes,
                };
                let found = selected.of(&index, matchers).map_err(EachError::from);
                let looked_at = found.and_then(|found| each(&index, &found));
                let looked_at = looked_at.map_err(|error| match error {
                    EachError::Index(error) => damaged(partition, file, &error),
                    EachError::Memory(error) => self.over_budget(&error).into(),
                });
                self.unless_damaged(looked_at, Lost::file(file))?;
            }
        }
        Ok(())
    }
}

/// Which series of an index file are looked at.
struct Selected<'a> {
    range: TimeRange,
    /// Whether all rows that the file lists are in the range.
    is_file_inside: bool,
    shard: Shard,
    deletes: &'a Deletes,
}

impl Selected<'_> {
    fn of(
        &self,
        index: &index::Index,
        matchers: &[Matcher],
    ) -> Result<RoaringBitmap, index::IndexError> {
        let mut found = index.select(matchers)?;
        if !self.is_file_inside {
            found = in_range(index, &found, self.range)?;
        }
        if self.shard != Shard::ALL {
            found = in_shard(index, &found, self.shard)?;
        }
        if !self.deletes.is_empty() {
            found = undeleted(index, &found, self.range, self.deletes)?;
        }
        Ok(found)
    }
}

/// Why looking at an index file ends early.
enum EachError {
    Index(index::IndexError),
    Memory(BudgetError),
}

impl From<index::IndexError> for EachError {
    fn from(error: index::IndexError) -> Self {
        Self::Index(error)
    }
}

impl From<BudgetError> for EachError {
    fn from(error: BudgetError) -> Self {
        Self::Memory(error)
    }
}

/// Those of the series that have a block in the range.
fn in_range(
    index: &index::Index,
    series: &RoaringBitmap,
    range: TimeRange,
) -> Result<RoaringBitmap, index::IndexError> {
    let mut kept = RoaringBitmap::new();
    for number in series {
        if index.series_stats(number, range)?.streams > 0 {
            kept.insert(number);
        }
    }
    Ok(kept)
}

/// Those of the series that are in a shard.
fn in_shard(
    index: &index::Index,
    series: &RoaringBitmap,
    shard: Shard,
) -> Result<RoaringBitmap, index::IndexError> {
    let mut kept = RoaringBitmap::new();
    for number in series {
        if shard.has(index.stream(number)?.1) {
            kept.insert(number);
        }
    }
    Ok(kept)
}

/// Those of the series that have a block in the range with a row that may not be deleted.
fn undeleted(
    index: &index::Index,
    series: &RoaringBitmap,
    range: TimeRange,
    deletes: &Deletes,
) -> Result<RoaringBitmap, index::IndexError> {
    let mut kept = RoaringBitmap::new();
    for number in series {
        let labels = index.labels(number)?;
        let is_kept = |block: &index::BlockRef| {
            let (min_ns, max_ns) = (block.min_ts_ns, block.max_ts_ns);
            range.overlaps(min_ns, max_ns) && !deletes.cover_in(&labels, range, min_ns, max_ns)
        };
        if index.blocks(number)?.iter().any(is_kept) {
            kept.insert(number);
        }
    }
    Ok(kept)
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
