//! Samples without the stages: from counters, or from columns.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use chunk::{Block, BlockMeta, LEVEL_KEY, Layout, Projection, RunMeta};
use model::LabelSet;

use super::visitor::{Samples, Scratch};
use super::{SampleStages, Span, Values};
use crate::cursor::{Cursor, Grouping};
use crate::{Context, SampleValue, ScanError};

/// The group of a metadata set that no row had yet.
const UNKNOWN: u32 = u32::MAX;

impl<S: SampleStages> Samples<'_, S> {
    /// Gives all samples of a run from its counters, if the sink takes them so and they say
    /// enough. Returns whether it did.
    pub(super) fn count(&mut self, block: &BlockMeta, run: &RunMeta) -> bool {
        if !self.is_bulk() {
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

    /// As [`Self::count`], of the rows that the prefilter lets through, if the block knows them
    /// without looking at lines.
    pub(super) fn count_found(&mut self, block: &Block, run: &RunMeta) -> Result<bool, ScanError> {
        let shape = self.scan.shape;
        let keys = block.meta().metadata_keys();
        if !self.is_bulk()
            || shape.value != SampleValue::Rows
            || block.meta().layout() == Layout::Plain
            || keys.is_none_or(|keys| keys.iter().any(|key| self.matters(&key.name)))
        {
            return Ok(false);
        }
        let found = block.search(self.scan.prefilter.search())?;
        let rows = found.count_in(run.row_range());
        if rows == 0 {
            return Ok(true);
        }
        let Some(labels) = self.plain_labels() else {
            return Ok(false);
        };
        Ok(self.give(&labels, span(run, rows as u64, rows as f64)))
    }

    fn count_plain(&mut self, run: &RunMeta, sum: u64) -> bool {
        let Some(labels) = self.plain_labels() else {
            return false;
        };
        self.give(&labels, span(run, u64::from(run.rows), sum as f64))
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
        // The sink takes all of them or, by their times, none.
        labels.is_some_and(|labels| {
            labels.iter().all(|(labels, count)| {
                self.give(labels, span(run, u64::from(*count), f64::from(*count)))
            })
        })
    }

    fn give(&mut self, labels: &LabelSet, span: Span) -> bool {
        let flow = self.sink.span(labels, span);
        self.stopped |= flow.is_some_and(|flow| flow.is_break());
        flow.is_some()
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

fn span(run: &RunMeta, count: u64, sum: f64) -> Span {
    Span {
        min_ts_ns: run.min_ts_ns,
        max_ts_ns: run.max_ts_ns,
        count,
        sum,
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
