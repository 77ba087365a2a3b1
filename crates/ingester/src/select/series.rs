//! Streams and their sizes.

use std::collections::BTreeMap;
use std::ops::Range;

use chunk::{Block, Projection, metadata_bytes};
use model::{Code, CodedError, Entries, EntryRef, Matcher, Parts, TimeRange};
use proto::role::{PartStats, SeriesStats};
use scan::{Deletes, Source, StreamDeletes};

use super::{Output, Scan, wrong};
use crate::stream::StreamSnapshot;

/// Streams of a batch.
const BATCH_STREAMS: usize = 1024;

/// A question for streams.
pub(super) struct Query {
    /// When, and how rows are counted.
    pub(super) parts: Parts,
    /// Rows that do not count.
    pub(super) deletes: Deletes,
}

/// Reads the selectors.
pub(super) fn parse(selectors: &[String]) -> Result<Vec<Vec<Matcher>>, CodedError> {
    let parse = |selector: &String| logql::syntax::parse_open_selector(selector).map_err(wrong);
    selectors.iter().map(parse).collect()
}

impl Scan for Query {
    type Row = SeriesStats;

    fn scan(
        self,
        streams: Vec<StreamSnapshot>,
        out: &Output<'_, SeriesStats>,
    ) -> Result<(), CodedError> {
        for streams in streams.chunks(BATCH_STREAMS) {
            let mut batch = Vec::with_capacity(streams.len());
            for stream in streams {
                let stats = self.stats(stream, out)?;
                if !stats.parts.is_empty() {
                    batch.push(stats);
                }
            }
            out.send(batch)?;
        }
        Ok(())
    }
}

impl Query {
    /// Counts the rows of each part and the bytes of their lines and structured metadata. Only a
    /// block that lies in several parts, or has rows that may be deleted, has to be decoded for that;
    /// metadata of a piece of it counts in proportion.
    fn stats(
        &self,
        stream: &StreamSnapshot,
        out: &Output<'_, SeriesStats>,
    ) -> Result<SeriesStats, CodedError> {
        let mut counts = Counts::default();
        let range = self.parts.range;
        let mut deletes = self.deletes.for_stream_in(&stream.labels, range);
        for source in out.sources(stream) {
            match &source {
                _ if !deletes.is_empty() => {
                    let kept = undeleted(&source, &mut deletes, range)?;
                    counts.add_rows(&kept, &self.parts);
                }
                Source::Rows(entries) => counts.add_rows(entries, &self.parts),
                Source::Block { block, run } => counts.add_block(block, *run, &self.parts)?,
            }
        }
        Ok(SeriesStats {
            labels: stream.labels.clone(),
            parts: counts.0.into_values().collect(),
        })
    }
}

/// What was counted, by part.
#[derive(Default)]
struct Counts(BTreeMap<u32, PartStats>);

impl Counts {
    fn add(&mut self, number: u32, rows: u64, bytes: u64) {
        let part = self.0.entry(number).or_insert_with(|| PartStats {
            number,
            ..PartStats::default()
        });
        part.rows += rows;
        part.bytes += bytes;
        part.chunks += 1;
    }

    fn add_rows(&mut self, entries: &Entries, parts: &Parts) {
        for (number, rows) in parts.split(entries.timestamps_ns()) {
            let lines = line_bytes(entries.line_ends(), &rows);
            let count = rows.len() as u64;
            self.add(number, count, lines + metadata_bytes(entries, rows));
        }
    }

    fn add_block(&mut self, block: &Block, run: usize, parts: &Parts) -> Result<(), CodedError> {
        let Some(meta) = block.meta().runs().get(run) else {
            return Ok(());
        };
        let number = parts.number_of(meta.min_ts_ns);
        if parts.part(number).covers(meta.min_ts_ns, meta.max_ts_ns) {
            let bytes = meta.raw_bytes + meta.metadata_bytes;
            self.add(number, u64::from(meta.rows), bytes);
            return Ok(());
        }
        let decoded = block.rows(run, Projection::LENGTHS, Some(parts.range));
        let decoded = decoded.map_err(|error| damaged(&error))?;
        for (number, rows) in parts.split(decoded.timestamps_ns()) {
            let metadata =
                u128::from(meta.metadata_bytes) * rows.len() as u128 / u128::from(meta.rows.max(1));
            let lines = line_bytes(decoded.line_ends(), &rows);
            self.add(number, rows.len() as u64, lines + metadata as u64);
        }
        Ok(())
    }
}

/// The rows of the range that are not deleted.
fn undeleted(
    source: &Source,
    deletes: &mut StreamDeletes,
    range: TimeRange,
) -> Result<Entries, CodedError> {
    let decoded;
    let entries = match source {
        Source::Rows(entries) => entries.as_ref(),
        Source::Block { block, run } => {
            let rows = block.rows(*run, Projection::ALL, Some(range));
            decoded = rows
                .map_err(|error| damaged(&error))?
                .to_entries()
                .unwrap_or_default();
            &decoded
        }
    };
    let mut counts = |row: &EntryRef<'_>| {
        range.contains(row.timestamp_ns) && !deletes.has(row.timestamp_ns, row.line, row.metadata)
    };
    let kept = entries.iter().enumerate();
    let kept = kept.filter(|(_, row)| counts(row)).map(|(at, _)| at);
    let kept: Vec<usize> = kept.collect();
    Ok(entries.select(kept))
}

fn damaged(error: &chunk::ChunkError) -> CodedError {
    CodedError::new(Code::Internal, error.to_string())
}

/// Bytes of the lines of some rows.
fn line_bytes(line_ends: &[u32], rows: &Range<usize>) -> u64 {
    let end_of = |row: usize| {
        let before = row.checked_sub(1);
        let end = before.and_then(|before| line_ends.get(before));
        end.map_or(0, |end| u64::from(*end))
    };
    end_of(rows.end).saturating_sub(end_of(rows.start))
}
