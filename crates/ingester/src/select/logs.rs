//! Lines.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use logql::pipeline::Pipeline;
use model::{CodedError, Direction, Matcher, TimeRange};
use proto::role::{LogRow, LogRows, SelectLogs};
use scan::{Context, Deletes, LogScan, Prefilter, Pushdown, ScanStats, scan_logs};

use super::top::{Top, row_bytes};
use super::{Output, Scan, wrong};
use crate::head;
use crate::stream::StreamSnapshot;

/// Bytes of a batch.
const BATCH_BYTES: usize = 1 << 20;

/// Takes a row that passes, and says whether more are wanted.
type RowSink<'a> = dyn FnMut(LogRow) -> Result<ControlFlow<()>, CodedError> + 'a;

/// A log query.
pub(super) struct Query {
    matchers: Vec<Matcher>,
    pipeline: Pipeline,
    prefilter: Prefilter,
    deletes: Deletes,
    range: TimeRange,
    direction: Direction,
    limit: usize,
    pushdown: Pushdown,
}

impl Query {
    /// Reads and compiles the query.
    pub(super) fn parse(
        request: &SelectLogs,
        deletes: Deletes,
        now_ns: i64,
        pushdown: Pushdown,
    ) -> Result<Self, CodedError> {
        let log = logql::syntax::parse_log(&request.query).map_err(wrong)?;
        let (prefilter, left) = pushdown.split_log(&log);
        Ok(Self {
            pipeline: Pipeline::new(&left, now_ns).map_err(wrong)?,
            matchers: left.matchers,
            prefilter,
            deletes,
            range: request.range,
            direction: request.direction,
            limit: request.limit as usize,
            pushdown,
        })
    }

    /// What selects streams.
    pub(super) fn matchers(&self) -> Vec<Matcher> {
        self.matchers.clone()
    }

    /// Gives the passing rows of one stream to `sink`.
    fn stream(
        &self,
        stream: &StreamSnapshot,
        out: &Output<'_, LogRows>,
        sink: &mut RowSink<'_>,
        is_wanted: &dyn Fn(i64) -> bool,
    ) -> Result<(), CodedError> {
        let sources = out.sources(stream);
        let scan = LogScan {
            range: self.range,
            direction: self.direction,
            limit: self.limit,
            prefilter: &self.prefilter,
            hashes: true,
            pushdown: self.pushdown,
        };
        let deletes = self.deletes.for_stream_in(&stream.labels, self.range);
        let mut stages = deletes.before(self.pipeline.for_stream(&stream.labels));
        let mut memory = out.budget.reservation();
        let mut stats = ScanStats::default();
        let is_cancelled = || out.is_cancelled();
        let mut context = Context {
            is_cancelled: &is_cancelled,
            memory: &mut memory,
            stats: &mut stats,
        };
        let mut failed = Ok(());
        let mut take = |row: scan::LogRow<'_>| {
            if !is_wanted(row.timestamp_ns) {
                return ControlFlow::Break(());
            }
            let row = LogRow {
                timestamp_ns: row.timestamp_ns,
                line: Bytes::copy_from_slice(row.line),
                labels: Arc::clone(row.labels),
                row_hash: row.row_hash.unwrap_or_default(),
            };
            sink(row).unwrap_or_else(|error| {
                failed = Err(error);
                ControlFlow::Break(())
            })
        };
        scan_logs(&sources, &scan, &mut stages, &mut context, &mut take)
            .map_err(|error| out.failed(error))?;
        failed
    }

    /// The first rows of all streams.
    fn first(
        &self,
        mut streams: Vec<StreamSnapshot>,
        out: &Output<'_, LogRows>,
    ) -> Result<(), CodedError> {
        // The stream that has the first row comes first: the others then show early that they have
        // none that is wanted.
        match self.direction {
            Direction::Forward => streams.sort_by_key(|one| (bounds(one).0, one.fingerprint)),
            Direction::Backward => streams.sort_by_key(|one| (!bounds(one).1, one.fingerprint)),
        }
        let top = RefCell::new(Top::new(self.limit, self.direction, &out.budget));
        for stream in &streams {
            let (min_ns, max_ns) = bounds(stream);
            let first_ns = match self.direction {
                Direction::Forward => min_ns,
                Direction::Backward => max_ns,
            };
            let fingerprint = stream.fingerprint;
            if !top.borrow().wants(fingerprint, first_ns) {
                break;
            }
            let mut sink = |row| {
                let pushed = top.borrow_mut().push(fingerprint, row);
                pushed.map_err(|error| out.refused(&error))?;
                Ok(ControlFlow::Continue(()))
            };
            self.stream(stream, out, &mut sink, &|time_ns| {
                top.borrow().wants(fingerprint, time_ns)
            })?;
        }
        out.send(top.into_inner().into_rows())
    }

    /// All rows, stream by stream.
    fn all(&self, streams: &[StreamSnapshot], out: &Output<'_, LogRows>) -> Result<(), CodedError> {
        let batch = RefCell::new(Batch::default());
        for stream in streams {
            batch.borrow_mut().start(stream.fingerprint);
            let mut sink = |row: LogRow| {
                let full = batch.borrow_mut().push(row);
                full.map_or(Ok(()), |full| out.send(full))?;
                Ok(ControlFlow::Continue(()))
            };
            self.stream(stream, out, &mut sink, &|_| true)?;
        }
        out.send(batch.into_inner().streams)
    }
}

/// Rows that go out together.
#[derive(Default)]
struct Batch {
    stream: u64,
    streams: Vec<LogRows>,
    bytes: usize,
}

impl Batch {
    /// What follows is of this stream.
    fn start(&mut self, fingerprint: u64) {
        self.stream = fingerprint;
    }

    /// Adds a row; gives the batch if it is full.
    fn push(&mut self, row: LogRow) -> Option<Vec<LogRows>> {
        self.bytes = self.bytes.saturating_add(row_bytes(&row) as usize);
        match self.streams.last_mut() {
            Some(last) if last.stream_fingerprint == self.stream => last.rows.push(row),
            _ => self.streams.push(LogRows {
                stream_fingerprint: self.stream,
                rows: vec![row],
            }),
        }
        (self.bytes >= BATCH_BYTES).then(|| {
            self.bytes = 0;
            std::mem::take(&mut self.streams)
        })
    }
}

impl Scan for Query {
    type Row = LogRows;

    fn scan(
        self,
        streams: Vec<StreamSnapshot>,
        out: &Output<'_, LogRows>,
    ) -> Result<(), CodedError> {
        if self.limit == 0 {
            self.all(&streams, out)
        } else {
            self.first(streams, out)
        }
    }
}

/// Oldest and newest time of what the snapshot has.
fn bounds(stream: &StreamSnapshot) -> (i64, i64) {
    let runs = stream.runs.iter().filter_map(|run| head::span(run));
    let blocks = stream.blocks.iter().filter_map(|run| run.meta());
    let blocks = blocks.map(|meta| (meta.min_ts_ns, meta.max_ts_ns));
    let wider = |all: (i64, i64), one: (i64, i64)| (all.0.min(one.0), all.1.max(one.1));
    runs.chain(blocks).fold((i64::MAX, i64::MIN), wider)
}
