//! Samples of a range aggregation.

use std::collections::HashMap;
use std::ops::ControlFlow;

use logql::metric::leaf_contexts;
use logql::pipeline::Extractor;
use logql::syntax::ast::Expr;
use model::{CodedError, LabelSet, Matcher, TimeRange};
use proto::role::{SampleRows, SelectSamples};
use scan::{
    Context, Deletes, Prefilter, Pushdown, SampleScan, SampleShape, SampleSink, ScanStats,
    scan_samples,
};

use super::{Output, Scan, wrong};
use crate::stream::StreamSnapshot;

/// Samples of a batch.
const BATCH_SAMPLES: usize = 16 << 10;

/// What of a metric query concerns single rows.
pub(super) struct Query {
    matchers: Vec<Matcher>,
    extractor: Extractor,
    prefilter: Prefilter,
    deletes: Deletes,
    shape: SampleShape,
    range: TimeRange,
}

impl Query {
    /// Reads and compiles the query.
    pub(super) fn parse(
        request: &SelectSamples,
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
            matchers: left.log.matchers,
            prefilter,
            deletes: super::deletes(&request.deletions)?,
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
        out: &Output<'_, SampleRows>,
    ) -> Result<(), CodedError> {
        let mut collected = Collected::new(out);
        for stream in &streams {
            let sources = out.sources(stream);
            let deletes = self.deletes.for_stream_in(&stream.labels, self.range);
            let scan = SampleScan {
                range: self.range,
                shape: deletes.shape(self.shape),
                prefilter: &self.prefilter,
                reader: None,
                hashes: true,
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
            collected.start(stream.fingerprint);
            scan_samples(&sources, &scan, &mut stages, &mut context, &mut collected)
                .map_err(|error| out.failed(error))?;
            std::mem::replace(&mut collected.failed, Ok(()))?;
        }
        collected.send()
    }
}

/// Samples on their way out.
struct Collected<'a> {
    out: &'a Output<'a, SampleRows>,
    fingerprint: u64,
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
            series: Vec::new(),
            number_of: HashMap::default(),
            last: usize::MAX,
            samples: 0,
            failed: Ok(()),
        }
    }

    /// What follows is of this stream.
    fn start(&mut self, fingerprint: u64) {
        self.fingerprint = fingerprint;
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
        });
        self.number_of.insert(labels.clone(), self.series.len() - 1);
        self.series.len() - 1
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
