//! Lines that queries must not show.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use futures::StreamExt;
use logql::pipeline::{Pipeline, StreamPipeline};
use logql::syntax::ast::LogExpr;
use model::{Code, CodedError, Direction, LabelSet, Reservation, RowLabels, TimeRange};
use proto::role::SelectLogs;
use scan::{LogStages, SampleStages};

use super::parse;
use crate::query::Context;
use crate::recent;
use crate::stored::Unit;

/// Bytes that a hidden row holds.
const ROW_BYTES: u64 = 48;

/// The requests that matter to one query, compiled.
#[derive(Debug, Default)]
pub(crate) struct Deleting(Vec<Delete>);

#[derive(Debug)]
struct Delete {
    log: LogExpr,
    pipeline: Pipeline,
    range: TimeRange,
}

/// Rows of ingesters that must not be shown: stream, time and hash.
#[derive(Debug)]
pub(crate) struct HiddenRows {
    rows: HashSet<(u64, i64, u64)>,
    _memory: Reservation,
}

impl HiddenRows {
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn has(&self, stream: u64, timestamp_ns: i64, row_hash: u64) -> bool {
        self.rows.contains(&(stream, timestamp_ns, row_hash))
    }
}

impl Context {
    /// The tenant's requests about a range.
    ///
    /// # Errors
    /// If storage fails.
    pub(crate) async fn deleting(&self, range: TimeRange) -> Result<Deleting, CodedError> {
        let mut deletes = Vec::new();
        for request in self.querier.known_deletes(&self.tenant).await?.iter() {
            let range = request.range().intersect(&range);
            if range.is_empty() {
                continue;
            }
            let log = parse(&request.query)?;
            let pipeline = Pipeline::new(&log, request.created_ns)
                .map_err(|error| CodedError::new(Code::Internal, error.to_string()))?;
            deletes.push(Delete {
                log,
                pipeline,
                range,
            });
        }
        Ok(Deleting(deletes))
    }

    /// The rows of ingesters that must not be shown. Asked for before the rows themselves: rows
    /// that move to storage in between are looked at there.
    ///
    /// # Errors
    /// If ingesters fail, or memory is short.
    pub(crate) async fn hidden_rows(&self, deleting: &Deleting) -> Result<HiddenRows, CodedError> {
        let mut hidden = HiddenRows {
            rows: HashSet::new(),
            _memory: self.memory.reservation(),
        };
        for delete in &deleting.0 {
            let request = SelectLogs {
                tenant: self.tenant.clone(),
                query: delete.log.to_string(),
                range: delete.range,
                limit: 0,
                direction: Direction::Forward,
            };
            let querier = &self.querier;
            let answers = recent::ask(&querier.readers(), querier.ingester_timeout(), |ingester| {
                let request = request.clone();
                async move { ingester.select_logs(request).await }
            })
            .await?;
            for mut answer in answers {
                while let Some(batch) = answer.batches.next().await {
                    for stream in batch? {
                        let bytes = stream.rows.len() as u64 * ROW_BYTES;
                        hidden
                            ._memory
                            .grow(bytes)
                            .map_err(|error| self.over_budget(&error))?;
                        let fingerprint = stream.stream_fingerprint;
                        let rows = stream.rows.iter();
                        hidden
                            .rows
                            .extend(rows.map(|row| (fingerprint, row.timestamp_ns, row.row_hash)));
                    }
                }
            }
        }
        Ok(hidden)
    }
}

impl Deleting {
    /// What requests want of the rows of a unit; `None` if nothing.
    pub(crate) fn of_unit(&self, unit: &Unit) -> Option<Vec<(TimeRange, StreamPipeline)>> {
        let concerns = |delete: &&Delete| {
            delete.range.overlaps(unit.min_ts_ns, unit.max_ts_ns)
                && delete
                    .log
                    .matchers
                    .iter()
                    .all(|matcher| matcher.matches(&unit.labels))
        };
        let deletes: Vec<_> = self
            .0
            .iter()
            .filter(concerns)
            .map(|delete| (delete.range, delete.pipeline.for_stream(&unit.labels)))
            .collect();
        (!deletes.is_empty()).then_some(deletes)
    }
}

/// Stages that see no deleted rows.
#[derive(Debug)]
pub(crate) struct Keeping<S> {
    pub(crate) deletes: Vec<(TimeRange, StreamPipeline)>,
    pub(crate) stages: S,
}

impl<S> Keeping<S> {
    fn deletes(&mut self, timestamp_ns: i64, line: &[u8], metadata: &LabelSet) -> bool {
        self.deletes.iter_mut().any(|(range, pipeline)| {
            range.contains(timestamp_ns) && pipeline.process(timestamp_ns, line, metadata).is_some()
        })
    }
}

impl<S: LogStages> LogStages for Keeping<S> {
    fn process<'a>(
        &'a mut self,
        timestamp_ns: i64,
        line: &'a [u8],
        metadata: &'a LabelSet,
    ) -> Option<(Cow<'a, [u8]>, &'a Arc<RowLabels>)> {
        if self.deletes(timestamp_ns, line, metadata) {
            return None;
        }
        self.stages.process(timestamp_ns, line, metadata)
    }
}

impl<S: SampleStages> SampleStages for Keeping<S> {
    fn process<'a>(
        &'a mut self,
        timestamp_ns: i64,
        line: &'a [u8],
        metadata: &'a LabelSet,
    ) -> Option<Result<(f64, &'a LabelSet), String>> {
        if self.deletes(timestamp_ns, line, metadata) {
            return None;
        }
        self.stages.process(timestamp_ns, line, metadata)
    }
}
