//! Samples of a range aggregation.
//!
//! Rows that may be elsewhere, too, give samples one by one, with hashes. The others, which are most
//! of them where each row is in one ingester, are counted as those of stored blocks, and their samples
//! are added up as long as they count for the same points in time.

use std::collections::HashMap;
use std::ops::ControlFlow;

use logql::metric::{RangeAccumulator, Steps, leaf_contexts};
use logql::pipeline::Extractor;
use logql::syntax::ast::{Expr, RangeAggregation};
use model::{CodedError, LabelSet, Matcher, TimeRange};
use proto::role::{AddUp, SampleRows, SelectSamples};
use scan::{
    Context, Deletes, Prefilter, Pushdown, SampleScan, SampleShape, SampleSink, SampleValue,
    ScanStats, Source, Values, scan_samples,
};

use super::{Output, Scan, wrong};
use crate::stream::StreamSnapshot;

/// Samples of a batch.
const BATCH_SAMPLES: usize = 16 << 10;

/// What of a metric query concerns single rows.
pub(super) struct Query {
    /// Without what the prefilter does.
    aggregation: RangeAggregation,
    extractor: Extractor,
    prefilter: Prefilter,
    deletes: Deletes,
    shape: SampleShape,
    pushdown: Pushdown,
    range: TimeRange,
    add_up: Option<AddUp>,
}

impl Query {
    /// Reads and compiles the query.
    pub(super) fn parse(
        request: &SelectSamples,
        deletes: Deletes,
        now_ns: i64,
        pushdown: Pushdown,
    ) -> Result<Self, CodedError> {
        let expression = logql::syntax::parse(&request.query).map_err(wrong)?;
        let Expr::Metric(expression) = &expression else {
            return Err(wrong("samples are wanted of a query that gives lines"));
        };
        let leaves = leaf_contexts(expression);
        let [leaf] = leaves.as_slice() else {
            return Err(wrong(
                "samples are wanted of a query without one range aggregation",
            ));
        };
        let (prefilter, left) = pushdown.split_aggregation(leaf.aggregation);
        let extractor = Extractor::new(&left, leaf.reduce_to.as_ref(), now_ns);
        Ok(Self {
            shape: pushdown.shape(&left),
            extractor: extractor.map_err(wrong)?,
            aggregation: left,
            prefilter,
            deletes,
            pushdown,
            range: request.range,
            add_up: request.add_up,
        })
    }

    /// What selects streams.
    pub(super) fn matchers(&self) -> Vec<Matcher> {
        self.aggregation.log.matchers.clone()
    }

    /// Scans the rows of a stream that are in `range`.
    fn scan_stream(
        &self,
        stream: &StreamSnapshot,
        sources: &[Source],
        range: TimeRange,
        hashes: bool,
        collected: &mut Collected<'_>,
    ) -> Result<(), CodedError> {
        let out = collected.out;
        let deletes = self.deletes.for_stream_in(&stream.labels, range);
        let reader = self.pushdown.reader(self.extractor.reader(&stream.labels));
        let scan = SampleScan {
            range,
            shape: deletes.shape(self.shape),
            prefilter: &self.prefilter,
            reader: reader.filter(|_| deletes.is_empty()),
            known_by: None,
            hashes,
        };
        let mut stages = deletes.before(self.extractor.for_stream(&stream.labels));
        let mut memory = out.budget.reservation();
        let mut stats = ScanStats::default();
        let is_cancelled = || out.is_cancelled();
        let mut context = Context {
            is_cancelled: &is_cancelled,
            memory: &mut memory,
            stats: &mut stats,
        };
        scan_samples(sources, &scan, &mut stages, &mut context, collected)
            .map_err(|error| out.failed(error))?;
        std::mem::replace(&mut collected.failed, Ok(()))
    }

    /// What says up to when samples count for the same points in time, if sums of them do. Other
    /// values are not whole numbers: what they sum up to depends on who adds which of them first.
    fn steps(&self, out: &Output<'_, SampleRows>) -> Option<RangeAccumulator> {
        let add_up = self.add_up?;
        let steps = Steps {
            start_ns: add_up.start_ns,
            end_ns: add_up.end_ns,
            step_ns: add_up.step_ns,
        };
        (self.shape.value != SampleValue::Stages)
            .then(|| RangeAccumulator::new(&self.aggregation, steps, out.budget.reservation()))
    }
}

impl Scan for Query {
    type Row = SampleRows;

    fn scan(
        self,
        streams: Vec<StreamSnapshot>,
        out: &Output<'_, SampleRows>,
    ) -> Result<(), CodedError> {
        let mut collected = Collected::new(out);
        let steps = self.steps(out);
        for stream in &streams {
            let sources = out.sources(stream);
            let stored_until_ns = stream.stored_until_ns.unwrap_or(i64::MIN);
            let alone_ns = match self.add_up {
                Some(add_up) => add_up.after_ns.max(stored_until_ns).saturating_add(1),
                None => i64::MAX,
            };
            let elsewhere = self.range.intersect(&TimeRange::new(i64::MIN, alone_ns));
            if span(&sources, elsewhere).is_some() {
                collected.start(stream.fingerprint, None, Vec::new());
                self.scan_stream(stream, &sources, elsewhere, true, &mut collected)?;
            }
            let alone = self.range.intersect(&TimeRange::new(alone_ns, i64::MAX));
            if let Some(span) = span(&sources, alone) {
                let cuts = steps.as_ref().and_then(|steps| {
                    // More sums than rows are of no use.
                    steps.cuts(span.start_ns, span.end_ns - 1, stream.rows())
                });
                let cuts = cuts.unwrap_or_default();
                collected.start(stream.fingerprint, Some(span), cuts);
                self.scan_stream(stream, &sources, span, false, &mut collected)?;
            }
        }
        collected.send()
    }
}

/// The part of a range in which sources may have rows; `None` if there is none.
fn span(sources: &[Source], range: TimeRange) -> Option<TimeRange> {
    let bounds = sources.iter().filter_map(Source::bounds);
    let inside = bounds.filter(|(min_ns, max_ns)| range.overlaps(*min_ns, *max_ns));
    let all = inside.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)));
    let (min_ns, max_ns) = all?;
    let span = range.intersect(&TimeRange::new(min_ns, max_ns.saturating_add(1)));
    (!span.is_empty()).then_some(span)
}

/// Samples on their way out.
struct Collected<'a> {
    out: &'a Output<'a, SampleRows>,
    fingerprint: u64,
    /// When all rows are that are scanned, if they are in no other place.
    alone: Option<TimeRange>,
    /// Times up to which samples count for the same points in time, ascending; none if samples are
    /// not added up.
    cuts: Vec<i64>,
    series: Vec<SampleRows>,
    /// Series of the stream that is scanned.
    number_of: HashMap<LabelSet, usize, foldhash::fast::RandomState>,
    /// The series of the last sample: the next is mostly of the same.
    last: usize,
    samples: usize,
    failed: Result<(), CodedError>,
}

impl<'a> Collected<'a> {
    fn new(out: &'a Output<'a, SampleRows>) -> Self {
        Self {
            out,
            fingerprint: 0,
            alone: None,
            cuts: Vec::new(),
            series: Vec::new(),
            number_of: HashMap::default(),
            last: usize::MAX,
            samples: 0,
            failed: Ok(()),
        }
    }

    /// What follows is of this stream.
    fn start(&mut self, fingerprint: u64, alone: Option<TimeRange>, cuts: Vec<i64>) {
        (self.fingerprint, self.alone, self.cuts) = (fingerprint, alone, cuts);
        self.number_of.clear();
        self.last = usize::MAX;
    }

    fn number(&mut self, labels: &LabelSet) -> usize {
        if self
            .series
            .get(self.last)
            .is_some_and(|series| series.labels == *labels)
        {
            return self.last;
        }
        if let Some(number) = self.number_of.get(labels) {
            return *number;
        }
        self.series.push(SampleRows {
            stream_fingerprint: self.fingerprint,
            labels: labels.clone(),
            timestamps_ns: Vec::new(),
            values: Vec::new(),
            row_hashes: Vec::new(),
            without_hashes: self.alone,
        });
        self.number_of.insert(labels.clone(), self.series.len() - 1);
        self.series.len() - 1
    }

    /// The time up to which samples are added to one of this time.
    fn cut_of(&self, timestamp_ns: i64) -> i64 {
        let at = self.cuts.partition_point(|cut| *cut < timestamp_ns);
        self.cuts.get(at).copied().unwrap_or(timestamp_ns)
    }

    /// Adds a sample, or a sum of samples at their cut.
    fn add(&mut self, labels: &LabelSet, at_ns: i64, value: f64, row_hash: Option<u64>) {
        self.last = self.number(labels);
        let Some(series) = self.series.get_mut(self.last) else {
            return;
        };
        if !self.cuts.is_empty()
            && series.timestamps_ns.last() == Some(&at_ns)
            && let Some(sum) = series.values.last_mut()
        {
            *sum += value;
            return;
        }
        series.timestamps_ns.push(at_ns);
        series.values.push(value);
        if series.without_hashes.is_none() {
            series.row_hashes.push(row_hash.unwrap_or_default());
        }
        self.samples += 1;
    }

    fn send_if_full(&mut self) -> ControlFlow<()> {
        if self.samples < BATCH_SAMPLES {
            return ControlFlow::Continue(());
        }
        match self.send() {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Err(error);
                ControlFlow::Break(())
            }
        }
    }

    fn send(&mut self) -> Result<(), CodedError> {
        self.number_of.clear();
        (self.last, self.samples) = (usize::MAX, 0);
        self.out.send(std::mem::take(&mut self.series))
    }
}

impl SampleSink for Collected<'_> {
    fn sample(
        &mut self,
        labels: &LabelSet,
        timestamp_ns: i64,
        value: f64,
        row_hash: Option<u64>,
    ) -> ControlFlow<()> {
        self.add(labels, self.cut_of(timestamp_ns), value, row_hash);
        self.send_if_full()
    }

    fn samples(
        &mut self,
        labels: &LabelSet,
        timestamps_ns: &[i64],
        values: Values<'_>,
    ) -> ControlFlow<()> {
        let mut next = 0;
        while let Some(time_ns) = timestamps_ns.get(next) {
            let cut = self.cut_of(*time_ns);
            let rest = timestamps_ns.get(next..).unwrap_or_default();
            let count = match self.cuts.is_empty() {
                true => 1,
                false => rest.partition_point(|time_ns| *time_ns <= cut).max(1),
            };
            let value = match values {
                Values::Ones => count as f64,
                Values::Each(values) => {
                    let values = values.get(next..next + count).unwrap_or_default();
                    values.iter().sum()
                }
            };
            self.add(labels, cut, value, None);
            self.send_if_full()?;
            next += count;
        }
        ControlFlow::Continue(())
    }

    fn cuts(&self, min_ns: i64, max_ns: i64, most: usize) -> Option<Vec<i64>> {
        let from = self.cuts.partition_point(|cut| *cut < min_ns);
        let cuts = self.cuts.get(from..).filter(|cuts| !cuts.is_empty())?;
        let inside = cuts.iter().copied().take_while(|cut| *cut < max_ns);
        let cuts: Vec<i64> = inside.chain([max_ns]).take(most + 1).collect();
        (cuts.len() <= most).then_some(cuts)
    }
}
