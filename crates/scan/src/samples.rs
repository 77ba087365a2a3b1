//! Samples of one stream.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use chunk::{LEVEL_KEY, Projection};
use model::{Direction, LabelSet, TimeRange, row_hash};

use crate::cursor::{Cursor, Grouping};
use crate::logs::windows;
use crate::merge::{Visitor, merge};
use crate::{Context, Prefilter, SampleShape, SampleValue, ScanError, Source};

/// The group of a metadata set that no row had yet.
const UNKNOWN: u32 = u32::MAX;

/// What a range aggregation does to the rows of one stream.
pub trait SampleStages {
    /// Value of a row that is a sample, and labels of its series.
    ///
    /// # Errors
    /// If the query fails because of this row; the text is for its user.
    fn process<'a>(
        &'a mut self,
        timestamp_ns: i64,
        line: &'a [u8],
        metadata: &'a LabelSet,
    ) -> Option<Result<(f64, &'a LabelSet), String>>;
}

/// Which samples are wanted.
#[derive(Clone, Copy, Debug)]
pub struct SampleScan<'a> {
    /// When.
    pub range: TimeRange,
    /// What is needed of a row.
    pub shape: SampleShape,
    /// What every line that is a sample must contain.
    pub prefilter: &'a Prefilter,
    /// Whether hashes of the rows are wanted; then samples are given one by one only.
    pub hashes: bool,
}

/// Values of many samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Values<'a> {
    /// 1 each.
    Ones,
    /// One per time.
    Each(&'a [f64]),
}

/// All samples of a series between two times, as one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Time of the first.
    pub min_ts_ns: i64,
    /// Time of the last.
    pub max_ts_ns: i64,
    /// How many.
    pub count: u64,
    /// The sum of their values.
    pub sum: f64,
}

/// Takes samples. Times ascend within a call; between calls they may go back.
pub trait SampleSink {
    /// A sample. The hash is there if the scan was asked for hashes.
    fn sample(
        &mut self,
        labels: &LabelSet,
        timestamp_ns: i64,
        value: f64,
        row_hash: Option<u64>,
    ) -> ControlFlow<()>;

    /// Samples of one series.
    fn samples(
        &mut self,
        labels: &LabelSet,
        timestamps_ns: &[i64],
        values: Values<'_>,
    ) -> ControlFlow<()> {
        for (at, time) in timestamps_ns.iter().enumerate() {
            let value = match values {
                Values::Ones => 1.0,
                Values::Each(values) => values.get(at).copied().unwrap_or_default(),
            };
            self.sample(labels, *time, value, None)?;
        }
        ControlFlow::Continue(())
    }

    /// Whether all samples between these times, both included, may come as a [`Span`]: because
    /// they count for the same steps whatever their times are.
    fn takes_span(&self, min_ts_ns: i64, max_ts_ns: i64) -> bool {
        let _ = (min_ts_ns, max_ts_ns);
        false
    }

    /// All samples of a series between two times; only after [`Self::takes_span`] said yes.
    fn span(&mut self, labels: &LabelSet, span: Span) -> ControlFlow<()> {
        let _ = (labels, span);
        ControlFlow::Continue(())
    }
}

/// Gives the samples of a stream, in no particular order.
///
/// # Errors
/// If a block cannot be read, memory is short, the scan is cancelled, or a sample fails the query.
pub fn scan_samples<S: SampleStages>(
    sources: &[Source],
    scan: &SampleScan<'_>,
    stages: &mut S,
    context: &mut Context<'_>,
    sink: &mut dyn SampleSink,
) -> Result<(), ScanError> {
    let mut samples = Samples {
        scan,
        stages,
        sink,
        plain: None,
        key_matters: HashMap::default(),
        stopped: false,
        scratch: Scratch::default(),
    };
    merge(
        sources,
        scan.range,
        Direction::Forward,
        &mut samples,
        context,
    )
}

struct Samples<'a, S> {
    scan: &'a SampleScan<'a>,
    stages: &'a mut S,
    sink: &'a mut dyn SampleSink,
    /// Labels of a row without metadata; `None` until asked for.
    plain: Option<Option<LabelSet>>,
    /// Whether a metadata key changes the labels of a sample.
    key_matters: HashMap<Arc<str>, bool, foldhash::fast::RandomState>,
    stopped: bool,
    scratch: Scratch,
}

/// Kept to be used again.
#[derive(Default)]
struct Scratch {
    found: Vec<usize>,
    times: Vec<Vec<i64>>,
    values: Vec<Vec<f64>>,
    zeros: Vec<u8>,
}

impl<S: SampleStages> Visitor for Samples<'_, S> {
    fn whole(&mut self, source: &Source, _: &mut Context<'_>) -> Result<bool, ScanError> {
        let (Source::Block { block, .. }, Some(run)) = (source, source.run_meta()) else {
            return Ok(false);
        };
        if !self.is_bulk() || !self.sink.takes_span(run.min_ts_ns, run.max_ts_ns) {
            return Ok(false);
        }
        let Some(keys) = block.meta().metadata_keys() else {
            return Ok(false);
        };
        let matters: Vec<&str> = keys
            .iter()
            .map(|key| &*key.name)
            .filter(|key| self.matters(key))
            .collect();
        let span = |count, sum| Span {
            min_ts_ns: run.min_ts_ns,
            max_ts_ns: run.max_ts_ns,
            count,
            sum,
        };
        let rows = u64::from(run.rows);
        match (matters.as_slice(), self.scan.shape.value) {
            ([], value) => {
                let Some(labels) = self.plain_labels() else {
                    return Ok(false);
                };
                let sum = if value == SampleValue::Bytes {
                    run.raw_bytes
                } else {
                    rows
                };
                self.stopped |= self.sink.span(&labels, span(rows, sum as f64)).is_break();
                Ok(true)
            }
            ([LEVEL_KEY], SampleValue::Rows) if run.levels.total() == rows => {
                let levels: Vec<_> = run.levels.iter().collect();
                let labels: Option<Vec<LabelSet>> = levels
                    .iter()
                    .map(|(level, _)| self.labels(&LabelSet::from_pairs([(LEVEL_KEY, *level)])))
                    .collect();
                let Some(labels) = labels else {
                    return Ok(false);
                };
                for (labels, (_, count)) in labels.iter().zip(levels) {
                    let count = u64::from(count);
                    self.stopped |= self.sink.span(labels, span(count, count as f64)).is_break();
                }
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn projection(&mut self, source: &Source) -> Projection {
        let shape = self.scan.shape;
        if self.scan.hashes || shape.reads_lines || shape.value == SampleValue::Stages {
            return Projection::ALL;
        }
        let lengths = shape.value == SampleValue::Bytes;
        let metadata = match source {
            Source::Rows(_) => true,
            Source::Block { block, .. } => match block.meta().metadata_keys() {
                // Asks about every key, so that `wants_key` knows.
                Some(keys) => {
                    let matters = keys.iter().filter(|key| self.matters(&key.name)).count();
                    !shape.takes_all || matters > 0
                }
                None => true,
            },
        };
        Projection {
            metadata,
            lengths,
            lines: false,
        }
    }

    fn wants_key(&self, key: &str) -> bool {
        !self.is_bulk() || self.key_matters.get(key).copied().unwrap_or(true)
    }

    fn batch(
        &mut self,
        cursor: &mut Cursor<'_>,
        rows: Range<usize>,
        context: &mut Context<'_>,
    ) -> Result<ControlFlow<()>, ScanError> {
        if self.stopped {
            return Ok(ControlFlow::Break(()));
        }
        if self.is_bulk() {
            return self.bulk(cursor, rows, context);
        }
        for part in windows(rows, Direction::Forward) {
            context.check()?;
            if self.rows(cursor, part, context)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl<S: SampleStages> Samples<'_, S> {
    /// Whether samples can be counted without giving rows to the stages.
    fn is_bulk(&self) -> bool {
        self.scan.shape.takes_all
            && self.scan.shape.value != SampleValue::Stages
            && self.scan.prefilter.is_empty()
            && !self.scan.hashes
    }

    /// The labels of a sample whose row has this metadata.
    fn labels(&mut self, metadata: &LabelSet) -> Option<LabelSet> {
        match self.stages.process(self.scan.range.start_ns, b"", metadata) {
            Some(Ok((_, labels))) => Some(labels.clone()),
            _ => None,
        }
    }

    fn plain_labels(&mut self) -> Option<LabelSet> {
        if self.plain.is_none() {
            self.plain = Some(self.labels(&LabelSet::default()));
        }
        self.plain.clone().flatten()
    }

    /// Whether a metadata key changes the labels of a sample: asks the stages with a made-up value.
    fn matters(&mut self, key: &str) -> bool {
        if let Some(matters) = self.key_matters.get(key) {
            return *matters;
        }
        let plain = self.plain_labels();
        let matters =
            plain.is_none() || self.labels(&LabelSet::from_pairs([(key, "\u{1}")])) != plain;
        self.key_matters.insert(Arc::from(key), matters);
        matters
    }

    /// Rows that are all samples, handed on as columns.
    fn bulk(
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
            [labels] => {
                context.stats.results += rows.len() as u64;
                Ok(self.one_group(labels, cursor, rows))
            }
            groups if rows.len() < groups.len() => {
                context.stats.results += rows.len() as u64;
                Ok(self.few_rows(&grouping, cursor, rows))
            }
            _ => {
                context.stats.results += rows.len() as u64;
                Ok(self.many_groups(&grouping, cursor, rows))
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

    fn few_rows(
        &mut self,
        grouping: &Grouping,
        cursor: &Cursor<'_>,
        rows: Range<usize>,
    ) -> ControlFlow<()> {
        let first = cursor.inside().start;
        let groups = grouping
            .group_of_row
            .get(rows.start - first..rows.end - first);
        let times = cursor.timestamps_ns().get(rows.clone()).unwrap_or_default();
        let mut lengths = lengths(cursor, rows);
        for (group, time) in groups.unwrap_or_default().iter().zip(times) {
            let value = match self.scan.shape.value {
                SampleValue::Bytes => lengths.next().unwrap_or_default(),
                _ => 1.0,
            };
            if let Some(labels) = grouping.groups.get(*group as usize) {
                self.sink.sample(labels, *time, value, None)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn many_groups(
        &mut self,
        grouping: &Grouping,
        cursor: &Cursor<'_>,
        rows: Range<usize>,
    ) -> ControlFlow<()> {
        let bytes = self.scan.shape.value == SampleValue::Bytes;
        let groups = grouping.groups.len();
        let Scratch { times, values, .. } = &mut self.scratch;
        times.iter_mut().for_each(Vec::clear);
        times.resize_with(groups.max(times.len()), Vec::new);
        values.iter_mut().for_each(Vec::clear);
        values.resize_with(groups.max(values.len()), Vec::new);
        let first = cursor.inside().start;
        let group_of_row = grouping
            .group_of_row
            .get(rows.start - first..rows.end - first);
        let group_of_row = group_of_row.unwrap_or_default();
        let all_times = cursor.timestamps_ns().get(rows.clone()).unwrap_or_default();
        for (group, time) in group_of_row.iter().zip(all_times) {
            if let Some(times) = times.get_mut(*group as usize) {
                times.push(*time);
            }
        }
        if bytes {
            for (group, length) in group_of_row.iter().zip(lengths(cursor, rows)) {
                if let Some(values) = values.get_mut(*group as usize) {
                    values.push(length);
                }
            }
        }
        for ((labels, times), values) in grouping.groups.iter().zip(times).zip(values) {
            if times.is_empty() {
                continue;
            }
            let values = if bytes {
                Values::Each(values)
            } else {
                Values::Ones
            };
            self.sink.samples(labels, times, values)?;
        }
        ControlFlow::Continue(())
    }

    fn rows(
        &mut self,
        cursor: &mut Cursor<'_>,
        rows: Range<usize>,
        context: &mut Context<'_>,
    ) -> Result<ControlFlow<()>, ScanError> {
        let mut found = std::mem::take(&mut self.scratch.found);
        found.clear();
        if self.scan.prefilter.is_empty() {
            found.extend(rows.clone());
        } else {
            self.scan
                .prefilter
                .find(rows.clone(), cursor.line_ends(), cursor.lines(), &mut found);
        }
        if self.scan.shape.reads_lines {
            context.stats.line_bytes += cursor.line_range(&rows).len() as u64;
        }
        let mut flow = Ok(ControlFlow::Continue(()));
        for row in &found {
            flow = self.row(cursor, *row, context);
            if !matches!(flow, Ok(ControlFlow::Continue(()))) {
                break;
            }
        }
        self.scratch.found = found;
        flow
    }

    fn row(
        &mut self,
        cursor: &mut Cursor<'_>,
        row: usize,
        context: &mut Context<'_>,
    ) -> Result<ControlFlow<()>, ScanError> {
        let range = cursor.line_range(&(row..row + 1));
        let decoded = range.end <= cursor.lines().len();
        let Some((timestamp_ns, mut line, metadata)) = cursor.row(row) else {
            return Ok(ControlFlow::Continue(()));
        };
        if !decoded {
            // Only the length counts where lines were not decoded.
            let zeros = &mut self.scratch.zeros;
            zeros.resize(range.len().max(zeros.len()), 0);
            line = zeros.get(..range.len()).unwrap_or_default();
        }
        context.stats.processed_rows += 1;
        let row_hash = self.scan.hashes.then(|| row_hash(line, metadata));
        match self.stages.process(timestamp_ns, line, metadata) {
            None => Ok(ControlFlow::Continue(())),
            Some(Err(error)) => Err(ScanError::Sample(error)),
            Some(Ok((value, labels))) => {
                context.stats.results += 1;
                Ok(self.sink.sample(labels, timestamp_ns, value, row_hash))
            }
        }
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
