//! Samples of one stream.

use std::ops::ControlFlow;
use std::sync::Arc;

use chunk::{Block, BlockMeta, Projection, Reduction};
use logql::pipeline::{LineReader, StreamExtractor};
use model::{Direction, LabelSet, TimeRange};

use crate::merge::{Visitor, merge};
use crate::{Context, Prefilter, SampleShape, ScanError, Source, reduced::reduction};

mod bulk;
mod reduced;
mod summed;
mod visitor;

use visitor::Samples;

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

impl SampleStages for StreamExtractor {
    fn process<'a>(
        &'a mut self,
        timestamp_ns: i64,
        line: &'a [u8],
        metadata: &'a LabelSet,
    ) -> Option<Result<(f64, &'a LabelSet), String>> {
        Self::process(self, timestamp_ns, line, metadata)
    }
}

/// Which samples are wanted.
#[derive(Clone, Copy, Debug)]
pub struct SampleScan<'a> {
    /// When.
    pub range: TimeRange,
    /// What is needed of a row.
    pub shape: SampleShape,
    /// Which rows are given to the stages, or are samples if there are no stages.
    pub prefilter: &'a Prefilter,
    /// What the stages read of a line, if that is not all of it; see
    /// [`Extractor::reader`](logql::pipeline::Extractor::reader).
    pub reader: Option<&'a LineReader>,
    /// A text that only those scans have that take the same samples from the same rows; blocks
    /// remember these. Nothing is remembered without.
    pub known_by: Option<&'a Arc<str>>,
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

    /// The times between `min_ns` and `max_ns` up to which samples count for the same steps, and
    /// `max_ns`; ascending. The samples of a series that are later than one of these and not than the
    /// next may be given as their sum, at the next. `None` if there would be more than `most`, or if
    /// the sink has to see samples one by one; what it says depends on the times only.
    fn cuts(&self, min_ns: i64, max_ns: i64, most: usize) -> Option<Vec<i64>> {
        let _ = (min_ns, max_ns, most);
        None
    }

    /// As [`Self::cuts`], of samples that may be given as if they were at the next of these times, but
    /// one by one.
    fn value_cuts(&self, min_ns: i64, max_ns: i64, most: usize) -> Option<Vec<i64>> {
        let _ = (min_ns, max_ns, most);
        None
    }

    /// Samples of one series at one time.
    fn samples_at(
        &mut self,
        labels: &LabelSet,
        timestamp_ns: i64,
        values: &[f64],
    ) -> ControlFlow<()> {
        values
            .iter()
            .try_for_each(|value| self.sample(labels, timestamp_ns, *value, None))
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
    let mut samples = Samples::new(scan, stages, sink);
    merge(
        sources,
        scan.range,
        Direction::Forward,
        &mut samples,
        context,
    )
}

/// What has to be done about a run before its samples are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SamplePlan {
    /// Nothing: the sink has them, from the run's counters.
    Counted,
    /// Fetch these columns and scan.
    Fetch(Projection),
    /// Fetch what this keeps of the lines, and scan.
    Reduce(Reduction),
}

/// Gives the samples of a run to the sink from its counters, if they say enough, or says what has
/// to be fetched of its block. Only for a run that no other source of its stream overlaps; of
/// others everything has to be fetched, to compare their rows. `held` is the block as far as it is in
/// memory.
///
/// # Errors
/// If the block is damaged.
pub fn plan_samples<S: SampleStages>(
    block: &BlockMeta,
    held: Option<&Block>,
    run: usize,
    scan: &SampleScan<'_>,
    stages: &mut S,
    sink: &mut dyn SampleSink,
) -> Result<SamplePlan, ScanError> {
    let mut samples = Samples::new(scan, stages, sink);
    let Some(run) = block.runs().get(run) else {
        return Ok(SamplePlan::Fetch(Projection::ALL));
    };
    if samples.count(block, run) {
        return Ok(SamplePlan::Counted);
    }
    if let (Some(reader), false) = (samples.reader(), samples.is_bulk())
        && let Some(reduction) = reduction(reader, block, held, run, !scan.prefilter.is_empty())?
    {
        return Ok(SamplePlan::Reduce(reduction));
    }
    Ok(SamplePlan::Fetch(samples.projection_of(block)))
}
