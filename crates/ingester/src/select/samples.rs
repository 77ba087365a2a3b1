//! Samples of a range aggregation.

use std::collections::HashMap;
use std::ops::ControlFlow;

use logql::metric::leaf_contexts;
use logql::pipeline::Extractor;
use logql::syntax::ast::Expr;
use model::{CodedError, LabelSet, Matcher, TimeRange};
use proto::role::{SampleRows, SelectSamples};
use scan::{Context, Prefilter, SampleScan, SampleShape, SampleSink, ScanStats, scan_samples};

use super::{Output, Scan, wrong};
use crate::stream::StreamSnapshot;

/// Samples of a batch.
const BATCH_SAMPLES: usize = 16 << 10;

/// What of a metric query concerns single rows.
pub(super) struct Query {
    matchers: Vec<Matcher>,
    extractor: Extractor,
    prefilter: Prefilter,
    shape: SampleShape,
    range: TimeRange,
}

impl Query {
    /// Reads and compiles the query.
    pub(super) fn parse(request: &SelectSamples, now_ns: i64) -> Result<Self, CodedError> {
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
        let (aggregation, reduce_to) = (leaf.aggregation, leaf.reduce_to.as_ref());
        let extractor = Extractor::new(aggregation, reduce_to, now_ns).map_err(wrong)?;
        Ok(Self {
            matchers: aggregation.log.matchers.clone(),
            prefilter: Prefilter::new(extractor.required_literals()),
            extractor,
            shape: SampleShape::of(aggregation),
            range: request.range,
        })
    }

    /// What selects streams.
    pub(super) fn matchers(&self) -> Vec<Matcher> {
        self.matchers.clone()
    }
}

impl Scan for Query {
    type Row = SampleRows;

    fn scan(
        self,
        streams: Vec<StreamSnapshot>,
        out: &mut Output<'_, SampleRows>,
    ) -> Result<(), CodedError> {
        let scan = SampleScan {
            range: self.range,
            shape: self.shape,
            prefilter: &self.prefilter,
            hashes: true,
        };
        for stream in &streams {
            let sources = out.sources(stream);
            let mut stages = self.extractor.for_stream(&stream.labels);
            let mut memory = out.budget.reservation();
            let mut stats = ScanStats::default();
            let is_cancelled = || out.is_cancelled();
            let mut context = Context {
                is_cancelled: &is_cancelled,
                memory: &mut memory,
                stats: &mut stats,
            };
            let mut collected = Collected::new(stream.fingerprint, out);
            scan_samples(&sources, &scan, &mut stages, &mut context, &mut collected)?;
            collected.finish()?;
        }
        Ok(())
    }
}

/// Samples of one stream on their way out.
struct Collected<'a> {
    out: &'a Output<'a, SampleRows>,
    fingerprint: u64,
    series: Vec<SampleRows>,
    number_of: HashMap<LabelSet, usize, foldhash::fast::RandomState>,
    /// The series of the last sample: the next is mostly of the same.
    last: usize,
    samples: usize,
    failed: Result<(), CodedError>,
}

impl<'a> Collected<'a> {
    fn new(fingerprint: u64, out: &'a Output<'a, SampleRows>) -> Self {
        Self {
            out,
            fingerprint,
            series: Vec::new(),
            number_of: HashMap::default(),
            last: 0,
            samples: 0,
            failed: Ok(()),
        }
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
        });
        self.number_of.insert(labels.clone(), self.series.len() - 1);
        self.series.len() - 1
    }

    fn send(&mut self) -> Result<(), CodedError> {
        self.number_of.clear();
        (self.last, self.samples) = (0, 0);
        self.out.send(std::mem::take(&mut self.series))
    }

    fn finish(mut self) -> Result<(), CodedError> {
        std::mem::replace(&mut self.failed, Ok(()))?;
        if self.series.is_empty() {
            Ok(())
        } else {
            self.send()
        }
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
        self.last = self.number(labels);
        if let Some(series) = self.series.get_mut(self.last) {
            series.timestamps_ns.push(timestamp_ns);
            series.values.push(value);
            series.row_hashes.push(row_hash.unwrap_or_default());
        }
        self.samples += 1;
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
}
