//! Labels, series and sizes, from the label index and the ingesters alone; no block is read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use index::{RoaringBitmap, Stats};
use model::{CodedError, LabelSet, Matcher, TenantId, TimeRange};
use proto::role::{SelectSeries, SeriesStats};

use crate::query::Context;
use crate::recent::{self, Covered};
use crate::stats::QueryStats;
use crate::stored::{damaged, open_index};
use crate::{Querier, check};

/// How much a selector matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Streams.
    pub streams: u64,
    /// Runs of rows in blocks, and heads.
    pub chunks: u64,
    /// Bytes of lines.
    pub bytes: u64,
    /// Lines.
    pub rows: u64,
}

fn print_selector(matchers: &[Matcher]) -> String {
    let matchers: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    format!("{{{}}}", matchers.join(","))
}

impl Querier {
    fn metadata_context(self: &Arc<Self>, tenant: &TenantId) -> Context {
        let limits = self.limits(tenant);
        Context {
            querier: Arc::clone(self),
            tenant: tenant.clone(),
            memory: self
                .memory()
                .child("max_query_memory", limits.max_query_memory.0),
            limits,
            stats: Arc::new(QueryStats::default()),
            cancelled: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Streams that ingesters hold, and what their answers cover.
    async fn recent_series(
        &self,
        tenant: &TenantId,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
    ) -> Result<(Covered, Vec<Vec<SeriesStats>>), CodedError> {
        let request = SelectSeries {
            tenant: tenant.clone(),
            selectors: selectors
                .iter()
                .filter(|matchers| !matchers.is_empty())
                .map(|matchers| print_selector(matchers))
                .collect(),
            range,
        };
        let answers = recent::ask(&self.readers(), self.ingester_timeout(), |ingester| {
            let request = request.clone();
            async move { ingester.select_series(request).await }
        })
        .await?;
        let mut covered = Covered::default();
        let mut series = Vec::new();
        for (coverage, found) in answers {
            covered.add(&coverage);
            series.push(found);
        }
        Ok((covered, series))
    }

    /// Calls `each` with every index file in the range and the series of it that match.
    async fn for_each_index(
        self: &Arc<Self>,
        tenant: &TenantId,
        matchers: &[Matcher],
        range: TimeRange,
        covered: &Covered,
        mut each: impl FnMut(&index::Index, &RoaringBitmap) -> Result<(), index::IndexError>,
    ) -> Result<(), CodedError> {
        let snapshot = self
            .metadata_context(tenant)
            .snapshot(range, covered)
            .await?;
        for partition in snapshot.partitions() {
            for file in partition.indexes() {
                let index = open_index(self.catalog(), partition, file).await?;
                let mut found = index.select(matchers).map_err(|e| damaged(&e))?;
                if !range.covers(file.min_ts_ns, file.max_ts_ns) {
                    found = in_range(&index, &found, range).map_err(|e| damaged(&e))?;
                }
                each(&index, &found).map_err(|e| damaged(&e))?;
            }
        }
        Ok(())
    }

    /// Names of labels, sorted.
    ///
    /// # Errors
    /// If the range is too long for the tenant, or data cannot be read.
    pub async fn label_names(
        self: &Arc<Self>,
        tenant: &TenantId,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, CodedError> {
        let range = check::time_range(range, &self.limits(tenant), self.now_ns())?;
        let (covered, recent) = self
            .recent_series(tenant, &[matchers.to_vec()], range)
            .await?;
        let mut names: BTreeSet<String> = BTreeSet::new();
        for label in recent.iter().flatten().flat_map(|series| &series.labels) {
            if !names.contains(&*label.name) {
                names.insert(label.name.to_string());
            }
        }
        self.for_each_index(tenant, matchers, range, &covered, |index, found| {
            names.extend(
                index
                    .label_names(Some(found))
                    .iter()
                    .map(ToString::to_string),
            );
            Ok(())
        })
        .await?;
        Ok(names.into_iter().collect())
    }

    /// Values of a label, sorted.
    ///
    /// # Errors
    /// If the range is too long for the tenant, or data cannot be read.
    pub async fn label_values(
        self: &Arc<Self>,
        tenant: &TenantId,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, CodedError> {
        let range = check::time_range(range, &self.limits(tenant), self.now_ns())?;
        let (covered, recent) = self
            .recent_series(tenant, &[matchers.to_vec()], range)
            .await?;
        let mut values: BTreeSet<String> = BTreeSet::new();
        for value in recent
            .iter()
            .flatten()
            .filter_map(|series| series.labels.get(name))
        {
            if !values.contains(value) {
                values.insert(value.to_owned());
            }
        }
        self.for_each_index(tenant, matchers, range, &covered, |index, found| {
            let found = index.label_values(name, Some(found))?;
            values.extend(found.iter().map(ToString::to_string));
            Ok(())
        })
        .await?;
        Ok(values.into_iter().collect())
    }

    /// Streams that one of the selectors matches, sorted; no selector means all.
    ///
    /// # Errors
    /// If the range is too long for the tenant, or data cannot be read.
    pub async fn series(
        self: &Arc<Self>,
        tenant: &TenantId,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
    ) -> Result<Vec<LabelSet>, CodedError> {
        let range = check::time_range(range, &self.limits(tenant), self.now_ns())?;
        let all = [Vec::new()];
        let matches_all = selectors.is_empty() || selectors.iter().any(Vec::is_empty);
        let selectors = if matches_all { &all } else { selectors };
        let (covered, recent) = self.recent_series(tenant, selectors, range).await?;
        let mut sets: BTreeSet<LabelSet> = recent
            .into_iter()
            .flatten()
            .map(|series| series.labels)
            .collect();
        for matchers in selectors {
            self.for_each_index(tenant, matchers, range, &covered, |index, found| {
                for series in found {
                    sets.insert(index.labels(series)?);
                }
                Ok(())
            })
            .await?;
        }
        Ok(sets.into_iter().collect())
    }

    /// How much a selector matches. What several ingesters hold of a stream counts once, as the
    /// largest of them; blocks that are only partly in the range count in proportion.
    ///
    /// # Errors
    /// If the range is too long for the tenant, or data cannot be read.
    pub async fn index_stats(
        self: &Arc<Self>,
        tenant: &TenantId,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Sum, CodedError> {
        let range = check::time_range(range, &self.limits(tenant), self.now_ns())?;
        let (covered, recent) = self
            .recent_series(tenant, &[matchers.to_vec()], range)
            .await?;
        let mut streams: BTreeMap<LabelSet, Sum> = BTreeMap::new();
        for series in recent.into_iter().flatten() {
            let sum = streams.entry(series.labels).or_default();
            sum.chunks = sum.chunks.max(series.chunks);
            sum.bytes = sum.bytes.max(series.bytes);
            sum.rows = sum.rows.max(series.rows);
        }
        let context = self.metadata_context(tenant);
        for unit in context.units(matchers, range, &covered).await? {
            let sum = streams.entry(unit.labels).or_default();
            // Copies on replicas overlap in time; the largest run of a unit stands for all.
            let mut largest = Stats::default();
            for run in &unit.blocks {
                let block = index::BlockRef {
                    min_ts_ns: run.min_ts_ns,
                    max_ts_ns: run.max_ts_ns,
                    object: 0,
                    block: run.block,
                    run: run.run,
                    rows: run.rows,
                    raw_bytes: run.raw_bytes,
                };
                let stats = Stats::of_block(&block, range);
                if stats.rows > largest.rows {
                    largest = stats;
                }
            }
            sum.chunks += largest.blocks;
            sum.bytes += largest.bytes;
            sum.rows += largest.rows;
        }
        let mut total = Sum {
            streams: streams.len() as u64,
            ..Sum::default()
        };
        for sum in streams.values() {
            total.chunks += sum.chunks;
            total.bytes += sum.bytes;
            total.rows += sum.rows;
        }
        Ok(total)
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
