//! Pipelines of the language as the scanner wants them.
// Stand-in until logql::pipeline is there.

use std::borrow::Cow;
use std::sync::Arc;

use logql::syntax::ast::{LineMatch, LineOp, RangeAggregation, Stage};
use model::{CodedError, LabelSet, RowLabels};
use scan::{LogStages, Prefilter, SampleStages};

use super::wrong;

pub(super) struct LogPipeline {
    prefilter: Prefilter,
    contains: Vec<Vec<u8>>,
}

impl LogPipeline {
    pub(super) fn new(stages: &[Stage]) -> Result<Self, CodedError> {
        let mut contains = Vec::new();
        for stage in stages {
            match stage {
                Stage::LineFilter(f) if f.op == LineOp::Contains && f.alternatives.len() == 1 => {
                    match &f.alternatives[0] {
                        LineMatch::Text(text) => contains.push(text.clone().into_bytes()),
                        LineMatch::Ip(_) => return Err(wrong("stage")),
                    }
                }
                _ => return Err(wrong("stage")),
            }
        }
        Ok(Self {
            prefilter: Prefilter::new(contains.clone()),
            contains,
        })
    }
    pub(super) fn prefilter(&self) -> &Prefilter {
        &self.prefilter
    }
    pub(super) fn for_stream(&self, labels: &LabelSet) -> StreamStages {
        StreamStages {
            labels: labels.clone(),
            row: Arc::new(RowLabels {
                stream: labels.clone(),
                ..RowLabels::default()
            }),
            contains: self.contains.clone(),
        }
    }
}

pub(super) struct StreamStages {
    labels: LabelSet,
    row: Arc<RowLabels>,
    contains: Vec<Vec<u8>>,
}

impl LogStages for StreamStages {
    fn process<'a>(
        &'a mut self,
        _timestamp_ns: i64,
        line: &'a [u8],
        metadata: &'a LabelSet,
    ) -> Option<(Cow<'a, [u8]>, &'a Arc<RowLabels>)> {
        let has = |needle: &Vec<u8>| line.windows(needle.len()).any(|w| w == &needle[..]);
        if !self.contains.iter().all(has) {
            return None;
        }
        if self.row.metadata != *metadata {
            self.row = Arc::new(RowLabels {
                stream: self.labels.clone(),
                metadata: metadata.clone(),
                ..RowLabels::default()
            });
        }
        Some((Cow::Borrowed(line), &self.row))
    }
}

pub(super) struct SamplePipeline(LogPipeline);

impl SamplePipeline {
    pub(super) fn new(aggregation: &RangeAggregation) -> Result<Self, CodedError> {
        Ok(Self(LogPipeline::new(&aggregation.log.stages)?))
    }
    pub(super) fn prefilter(&self) -> &Prefilter {
        self.0.prefilter()
    }
    pub(super) fn for_stream(&self, labels: &LabelSet) -> StreamSamples {
        StreamSamples(self.0.for_stream(labels))
    }
}

pub(super) struct StreamSamples(StreamStages);

impl SampleStages for StreamSamples {
    fn process<'a>(
        &'a mut self,
        timestamp_ns: i64,
        line: &'a [u8],
        metadata: &'a LabelSet,
    ) -> Option<Result<(f64, &'a LabelSet), String>> {
        LogStages::process(&mut self.0, timestamp_ns, line, metadata)?;
        Some(Ok((1.0, &self.0.labels)))
    }
}
