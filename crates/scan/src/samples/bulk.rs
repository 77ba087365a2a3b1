//! Samples without the stages: from counters, or from columns.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use chunk::{Block, BlockMeta, ChunkError, LEVEL_KEY, Layout, Projection, RowSet, RunMeta};
use model::LabelSet;

use super::visitor::{Samples, Scratch};
use super::{SampleStages, Values};
use crate::cursor::{Cursor, Grouping};
use crate::{Context, SampleValue, ScanError};

/// The group of a metadata set that no row had yet.
const UNKNOWN: u32 = u32::MAX;

impl<S: SampleStages> Samples<'_, S> {
    /// Gives all samples of a run from its counters, if all are wanted, the sink takes them so and
    /// the counters say enough. Returns whether it did.
    pub(super) fn count(&mut self, block: &BlockMeta, run: &RunMeta) -> bool {
        let is_all =
            self.scan.prefilter.is_empty() && self.scan.range.covers(run.min_ts_ns, run.max_ts_ns);
        if !is_all || !self.is_bulk() || self.sink.cuts(run.min_ts_ns, run.max_ts_ns, 1).is_none() {
            return false;
        }
        let Some(keys) = block.metadata_keys() else {
            return false;
        };
        let matters: Vec<&str> = keys
            .iter()
            .map(|key| &*key.name)
            .filter(|key| self.matters(key))
            .collect();
        let rows = u64::from(run.rows);
        match (matters.as_slice(), self.scan.shape.value) {
            ([], SampleValue::Bytes) => self.count_plain(run, run.raw_bytes),
            ([], _) => self.count_plain(run, rows),
            ([LEVEL_KEY], SampleValue::Rows) if run.levels.total() == rows => {
                self.count_levels(run)
            }
            _ => false,
        }
    }

    fn count_plain(&mut self, run: &RunMeta, sum: u64) -> bool {
        let Some(labels) = self.plain_labels() else {
            return false;
        };
        self.give(&labels, &[run.max_ts_ns], &[sum as f64]);
        true
    }

    fn count_levels(&mut self, run: &RunMeta) -> bool {
        let labels: Option<Vec<(LabelSet, u32)>> = run
            .levels
            .iter()
            .map(|(level, count)| {
                let labels = self.labels(&LabelSet::from_pairs([(LEVEL_KEY, level)]))?;
                Some((labels, count))
            })
            .collect();
        let Some(labels) = labels else {
            return false;
        };
        for (labels, count) in labels {
            self.give(&labels, &[run.max_ts_ns], &[f64::from(count)]);
        }
        true
    }

    /// Gives the samples of a run that are in the range and that the prefilter lets through as one
    /// sum for each step, if the block knows these without a look at each row. Returns whether it
    /// did.
    pub(super) fn count_between(
        &mut self,
        block: &Block,
        number: usize,
        run: &RunMeta,
    ) -> Result<bool, ChunkError> {
        if !self.may_count_between(block.meta()) {
            return Ok(false);
        }
        let (min_ns, max_ns) = self.times_of(run);
        let Some(cuts) = self.sink.cuts(min_ns, max_ns, run.rows as usize) else {
            return Ok(false);
        };
        let Some(labels) = self.plain_labels() else {
            return Ok(false);
        };
        let found = match self.scan.prefilter.is_empty() {
            true => None,
            false => Some(block.search(self.scan.prefilter.search())?),
        };
        let is_none = |found: &Arc<RowSet>| !found.has_any(run.row_range());
        if found.as_ref().is_some_and(is_none) {
            return Ok(true);
        }
        let first_row = run.row_range().start;
        let mut times = block.row_times(number)?;
        let mut next = match min_ns > run.min_ts_ns {
            true => times.rows_until(min_ns - 1)?,
            false => 0,
        };
        let (mut ends, mut sums) = (Vec::with_capacity(cuts.len()), Vec::new());
        for cut in cuts {
            let rows = next..times.rows_until(cut)?;
            next = rows.end;
            let count = match &found {
                Some(found) => found.count_in(first_row + rows.start..first_row + rows.end),
                None => rows.len(),
            };
            if count > 0 {
                ends.push(cut);
                sums.push(match self.scan.shape.value {
                    SampleValue::Bytes => block.line_bytes(number, rows)? as f64,
                    _ => count as f64,
                });
            }
        }
        if !ends.is_empty() {
            self.give(&labels, &ends, &sums);
        }
        Ok(true)
    }

    /// Whether samples of a block differ in nothing but their times, and the block knows what they
    /// sum up to.
    fn may_count_between(&mut self, block: &BlockMeta) -> bool {
        let is_searched = !self.scan.prefilter.is_empty();
        let is_known = match self.scan.shape.value {
            SampleValue::Rows => !is_searched || block.layout() != Layout::Plain,
            SampleValue::Bytes => !is_searched,
            SampleValue::Stages => false,
        };
        let keys = block.metadata_keys();
        is_known
            && self.is_bulk()
            && keys.is_some_and(|keys| !keys.iter().any(|key| self.matters(&key.name)))
    }

    /// Gives sums of samples.
    fn give(&mut self, labels: &LabelSet, times_ns: &[i64], sums: &[f64]) {
        let flow = self.sink.samples(labels, times_ns, Values::Each(sums));
        self.stopped |= flow.is_break();
    }

    /// What has to be decoded of a block that nothing overlaps. Asks about every metadata key, so
    /// that `wants_key` knows.
    pub(super) fn projection_of(&mut self, block: &BlockMeta) -> Projection {
        let shape = self.scan.shape;
        if self.scan.hashes || shape.projection().lines {
            return Projection::ALL;
        }
        let metadata = match block.metadata_keys() {
            Some(keys) => {
                let matters = keys.iter().filter(|key| self.matters(&key.name)).count();
                matters > 0 || (!shape.takes_all && !keys.is_empty())
            }
            None => true,
        };
        Projection {
            metadata,
            ..shape.projection()
        }
    }

    /// Rows that are all samples, handed on as columns.
    pub(super) fn bulk(
        &mut self,
        cursor: &mut Cursor<'_>,
        rows: Range<usize>,
        context: &mut Context<'_>,
    ) -> Result<ControlFlow<()>, ScanError> {
        let grouping = match &cursor.grouping {
            Some(grouping) => Arc::clone(grouping),
            None => {
                let grouping = Arc::new(self.grouping(cursor));
                cursor.grouping = Some(Arc::clone(&grouping));
                grouping
            }
        };
        match grouping.groups.as_slice() {
            // A sample that fails, or none: the stages decide row by row.
            [] => self.rows(cursor, rows, context),
            [labels] if cursor.selects_all() => {
                context.stats.results += rows.len() as u64;
                Ok(self.one_group(labels, cursor, rows))
            }
            groups => {
                let mut found = std::mem::take(&mut self.scratch.found);
                found.clear();
                cursor.select(rows, &mut found);
                context.stats.results += found.len() as u64;
                let flow = if found.len() < groups.len() {
                    self.few_rows(&grouping, cursor, &found)
                } else {
                    self.many_groups(&grouping, cursor, &found)
                };
                self.scratch.found = found;
                Ok(flow)
            }
        }
    }

    /// Groups all rows of a source by the labels of their samples.
    fn grouping(&mut self, cursor: &Cursor<'_>) -> Grouping {
        let (set_of_row, sets) = cursor.metadata_sets();
        let set_of_row = set_of_row.get(cursor.inside()).unwrap_or_default();
        let mut groups: Vec<LabelSet> = Vec::new();
        let mut known: HashMap<LabelSet, u32, foldhash::fast::RandomState> = HashMap::default();
        let mut group_of_set = vec![UNKNOWN; sets.len()];
        let mut group_of_row = Vec::with_capacity(set_of_row.len());
        for set in set_of_row {
            let Some(group) = group_of_set.get_mut(*set as usize) else {
                continue;
            };
            if *group == UNKNOWN {
                let labels = sets
                    .get(*set as usize)
                    .and_then(|metadata| self.labels(metadata));
                let Some(labels) = labels else {
                    return Grouping {
                        groups: Vec::new(),
                        group_of_row: Vec::new(),
                    };
                };
                *group = *known.entry(labels.clone()).or_insert_with(|| {
                    groups.push(labels);
                    groups.len() as u32 - 1
                });
            }
            group_of_row.push(*group);
        }
        if groups.len() < 2 {
            group_of_row = Vec::new();
        }
        Grouping {
            groups,
            group_of_row,
        }
    }

    fn one_group(
        &mut self,
        labels: &LabelSet,
        cursor: &Cursor<'_>,
        rows: Range<usize>,
    ) -> ControlFlow<()> {
        let times = cursor.timestamps_ns().get(rows.clone()).unwrap_or_default();
        if self.scan.shape.value == SampleValue::Rows {
            return self.sink.samples(labels, times, Values::Ones);
        }
        let lengths: Vec<f64> = lengths(cursor, rows).collect();
        self.sink.samples(labels, times, Values::Each(&lengths))
    }

    /// The value of the sample of a row.
    fn value(&self, cursor: &Cursor<'_>, row: usize) -> f64 {
        match self.scan.shape.value {
            SampleValue::Bytes => cursor.line_range(&(row..row + 1)).len() as f64,
            _ => 1.0,
        }
    }

    fn few_rows(
        &mut self,
        grouping: &Grouping,
        cursor: &Cursor<'_>,
        rows: &[usize],
    ) -> ControlFlow<()> {
        for row in rows {
            let labels = grouping.labels_of(*row - cursor.inside().start);
            let time = cursor.timestamps_ns().get(*row);
            if let (Some(labels), Some(time)) = (labels, time) {
                let value = self.value(cursor, *row);
                self.sink.sample(labels, *time, value, None)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn many_groups(
        &mut self,
        grouping: &Grouping,
        cursor: &Cursor<'_>,
        rows: &[usize],
    ) -> ControlFlow<()> {
        let bytes = self.scan.shape.value == SampleValue::Bytes;
        let groups = grouping.groups.len();
        let Scratch {
            mut times,
            mut values,
            ..
        } = std::mem::take(&mut self.scratch);
        times.iter_mut().for_each(Vec::clear);
        times.resize_with(groups.max(times.len()), Vec::new);
        values.iter_mut().for_each(Vec::clear);
        values.resize_with(groups.max(values.len()), Vec::new);
        let first = cursor.inside().start;
        let all_times = cursor.timestamps_ns();
        for row in rows {
            let group = grouping.group_of(*row - first);
            if let (Some(times), Some(time)) = (times.get_mut(group), all_times.get(*row)) {
                times.push(*time);
            }
            if let (true, Some(values)) = (bytes, values.get_mut(group)) {
                values.push(self.value(cursor, *row));
            }
        }
        let mut flow = ControlFlow::Continue(());
        for ((labels, times), values) in grouping.groups.iter().zip(&times).zip(&values) {
            let values = if bytes {
                Values::Each(values)
            } else {
                Values::Ones
            };
            if flow.is_continue() && !times.is_empty() {
                flow = self.sink.samples(labels, times, values);
            }
        }
        (self.scratch.times, self.scratch.values) = (times, values);
        flow
    }
}

fn lengths(cursor: &Cursor<'_>, rows: Range<usize>) -> impl Iterator<Item = f64> {
    let mut start = cursor.line_range(&(rows.start..rows.start)).start;
    let ends = cursor.line_ends().get(rows).unwrap_or_default();
    ends.iter().map(move |end| {
        let end = *end as usize;
        let length = end - start;
        start = end;
        length as f64
    })
}
