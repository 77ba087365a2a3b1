//! A live tail's answer: the pipeline over what is pushed.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use logql::pipeline::{Pipeline, StreamPipeline};
use model::{Code, CodedError, StreamBatch, row_hash};
use proto::role::{LogRow, LogRows, TailBatch, TailRequest, Tailing};
use scan::{Deletes, LogStages, Undeleted};

use super::wrong;
use crate::head::size_of;
use crate::ingester::Inner;
use crate::tail::{TailReader, TooManyTails};

/// Streams whose pipelines a tail keeps.
const PIPELINES_MAX: usize = 1024;
/// Bytes of rows after which it begins anew with them: what they remember grows with what they see.
const REMEMBERED_BYTES_MAX: usize = 4 << 20;

/// A tail and what it has compiled.
struct State {
    reader: TailReader,
    pipeline: Pipeline,
    deletes: Deletes,
    streams: HashMap<u64, Undeleted<StreamPipeline>, foldhash::fast::RandomState>,
    /// Bytes of rows that they have seen.
    seen_bytes: usize,
}

/// Starts a tail.
pub(super) fn tail(
    inner: &Arc<Inner>,
    request: &TailRequest,
    deletes: Deletes,
) -> Result<Tailing, CodedError> {
    let log = logql::syntax::parse_log(&request.query).map_err(wrong)?;
    let pipeline = Pipeline::new(&log, inner.clock.now_ns()).map_err(wrong)?;
    let too_many = |TooManyTails| {
        let text = "too many tails, see tails_max of the ingester";
        CodedError::new(Code::ResourceExhausted, text)
    };
    let reader = inner
        .tails
        .open(&request.tenant, log.matchers, request.start_ns);
    let reader = reader.map_err(too_many)?;
    let state = State {
        reader,
        pipeline,
        deletes,
        streams: HashMap::default(),
        seen_bytes: 0,
    };
    let batches = futures::stream::unfold(state, |mut state| async move {
        let batch = state.next().await?;
        Some((Ok(batch), state))
    });
    Ok(batches.boxed())
}

impl State {
    /// The next batch that has something to tell.
    async fn next(&mut self) -> Option<TailBatch> {
        loop {
            let taken = self.reader.next().await?;
            let mut batch = TailBatch {
                streams: Vec::new(),
                dropped: taken.dropped,
            };
            for pushed in &taken.batches {
                let rows = self.rows(pushed);
                if !rows.rows.is_empty() {
                    batch.streams.push(rows);
                }
                // Pipelines may be slow; others want the worker too.
                tokio::task::consume_budget().await;
            }
            if batch.dropped > 0 || !batch.streams.is_empty() {
                return Some(batch);
            }
        }
    }

    fn rows(&mut self, pushed: &StreamBatch) -> LogRows {
        let stream_fingerprint = pushed.labels.fingerprint();
        let is_full =
            self.streams.len() >= PIPELINES_MAX && !self.streams.contains_key(&stream_fingerprint);
        if is_full || self.seen_bytes > REMEMBERED_BYTES_MAX {
            self.streams.clear();
            self.seen_bytes = 0;
        }
        self.seen_bytes += size_of(&pushed.entries);
        let stages = self.streams.entry(stream_fingerprint);
        let stages = stages.or_insert_with(|| {
            let deletes = self.deletes.for_stream(&pushed.labels, i64::MIN, i64::MAX);
            deletes.before(self.pipeline.for_stream(&pushed.labels))
        });
        let start_ns = self.reader.start_ns();
        let mut rows = Vec::new();
        for row in pushed
            .entries
            .iter()
            .filter(|row| row.timestamp_ns >= start_ns)
        {
            let Some((line, labels)) = stages.process(row.timestamp_ns, row.line, row.metadata)
            else {
                continue;
            };
            rows.push(LogRow {
                timestamp_ns: row.timestamp_ns,
                line: Bytes::copy_from_slice(&line),
                labels: Arc::clone(labels),
                row_hash: row_hash(row.line, row.metadata),
            });
        }
        LogRows {
            stream_fingerprint,
            rows,
        }
    }
}
