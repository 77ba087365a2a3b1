//! Patterns of lines.

use std::collections::HashMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use model::{CodedError, Matcher, TimeRange};
use proto::role::{PatternRows, SelectPatterns, StreamPatterns};
use scan::{Context, Deletes, LinesLeft, PatternScan, ScanStats, scan_patterns};

use super::{Output, Scan, wrong};
use crate::stream::StreamSnapshot;

/// Counts of a batch.
const BATCH_COUNTS: usize = 16 << 10;

/// A question for patterns.
pub(super) struct Query {
    matchers: Vec<Matcher>,
    deletes: Deletes,
    range: TimeRange,
    step_ns: i64,
    lines: LinesLeft,
    hashes: bool,
}

impl Query {
    /// Reads the question.
    pub(super) fn parse(request: &SelectPatterns, deletes: Deletes) -> Result<Self, CodedError> {
        Ok(Self {
            matchers: logql::syntax::parse_open_selector(&request.selector).map_err(wrong)?,
            deletes,
            range: request.range,
            step_ns: request.step_ns,
            lines: LinesLeft::new(request.lines_max),
            hashes: request.hashes,
        })
    }

    /// What selects streams.
    pub(super) fn matchers(&self) -> Vec<Matcher> {
        self.matchers.clone()
    }
}

impl Scan for Query {
    type Row = StreamPatterns;

    fn scan(
        self,
        streams: Vec<StreamSnapshot>,
        out: &Output<'_, StreamPatterns>,
    ) -> Result<(), CodedError> {
        for stream in &streams {
            let sources = out.sources(stream);
            let scan = PatternScan {
                range: self.range,
                step_ns: self.step_ns,
                hashes: self.hashes,
                lines: &self.lines,
            };
            let mut deletes = self.deletes.for_stream_in(&stream.labels, self.range);
            let mut memory = out.budget.reservation();
            let mut stats = ScanStats::default();
            let is_cancelled = || out.is_cancelled();
            let mut context = Context {
                is_cancelled: &is_cancelled,
                memory: &mut memory,
                stats: &mut stats,
            };
            let left_out = self.lines.left_out();
            let mut collected = Collected::new(out, stream.fingerprint);
            let mut sink = |rows: scan::PatternRows<'_>| collected.add(&rows);
            scan_patterns(&sources, &scan, &mut deletes, &mut context, &mut sink)
                .map_err(|error| out.failed(error))?;
            collected.finish(self.lines.left_out() - left_out)?;
        }
        Ok(())
    }
}

/// Patterns of a stream on their way out.
struct Collected<'a> {
    out: &'a Output<'a, StreamPatterns>,
    fingerprint: u64,
    patterns: Vec<PatternRows>,
    /// By level and pattern.
    numbers: HashMap<(String, Bytes), usize, foldhash::fast::RandomState>,
    counts: usize,
    failed: Result<(), CodedError>,
}

impl<'a> Collected<'a> {
    fn new(out: &'a Output<'a, StreamPatterns>, fingerprint: u64) -> Self {
        Self {
            out,
            fingerprint,
            patterns: Vec::new(),
            numbers: HashMap::default(),
            counts: 0,
            failed: Ok(()),
        }
    }

    fn add(&mut self, rows: &scan::PatternRows<'_>) -> ControlFlow<()> {
        let key = (rows.level.to_owned(), Bytes::copy_from_slice(rows.pattern));
        let number = match self.numbers.get(&key) {
            Some(number) => *number,
            None => {
                self.patterns.push(PatternRows {
                    level: key.0.clone(),
                    pattern: key.1.clone(),
                    ..PatternRows::default()
                });
                self.numbers.insert(key, self.patterns.len() - 1);
                self.patterns.len() - 1
            }
        };
        if let Some(found) = self.patterns.get_mut(number) {
            match (found.timestamps_ns.last(), found.rows.last_mut()) {
                (Some(last), Some(count))
                    if rows.row_hash.is_none() && *last == rows.timestamp_ns =>
                {
                    *count += rows.rows;
                    return ControlFlow::Continue(());
                }
                _ => {
                    found.timestamps_ns.push(rows.timestamp_ns);
                    found.rows.push(rows.rows);
                    found.row_hashes.extend(rows.row_hash);
                }
            }
        }
        self.counts += 1;
        if self.counts < BATCH_COUNTS {
            return ControlFlow::Continue(());
        }
        match self.send(0) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Err(error);
                ControlFlow::Break(())
            }
        }
    }

    fn send(&mut self, left_out: u64) -> Result<(), CodedError> {
        self.numbers.clear();
        self.counts = 0;
        let patterns = std::mem::take(&mut self.patterns);
        if patterns.is_empty() && left_out == 0 {
            return Ok(());
        }
        self.out.send(vec![StreamPatterns {
            stream_fingerprint: self.fingerprint,
            patterns,
            left_out,
        }])
    }

    fn finish(mut self, left_out: u64) -> Result<(), CodedError> {
        std::mem::replace(&mut self.failed, Ok(()))?;
        self.send(left_out)
    }
}
