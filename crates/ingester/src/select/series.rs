//! Streams and their sizes.

use chunk::{Projection, metadata_bytes};
use model::{Code, CodedError, Entries, EntryRef, Matcher, TimeRange};
use proto::role::SeriesStats;
use scan::{Deletes, Source, StreamDeletes};

use super::{Output, Scan, wrong};
use crate::head::rows_within;
use crate::stream::StreamSnapshot;

/// Streams of a batch.
const BATCH_STREAMS: usize = 1024;

/// A question for streams.
pub(super) struct Query {
    /// When.
    pub(super) range: TimeRange,
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
                if stats.rows > 0 {
                    batch.push(stats);
                }
            }
            out.send(batch)?;
        }
        Ok(())
    }
}

impl Query {
    /// Counts the rows of the range and the bytes of their lines and structured metadata. Only a
    /// block that lies partly outside, or has rows that may be deleted, has to be decoded for that;
    /// metadata of a part counts in proportion.
    fn stats(
        &self,
        stream: &StreamSnapshot,
        out: &Output<'_, SeriesStats>,
    ) -> Result<SeriesStats, CodedError> {
        let mut stats = SeriesStats {
            labels: stream.labels.clone(),
            rows: 0,
            bytes: 0,
            chunks: 0,
        };
        let mut deletes = self.deletes.for_stream_in(&stream.labels, self.range);
        for source in out.sources(stream) {
            let (rows, bytes) = match &source {
                _ if !deletes.is_empty() => self.count_undeleted(&source, &mut deletes)?,
                Source::Rows(entries) => count(entries, self.range),
                Source::Block { block, run } => {
                    let Some(meta) = block.meta().runs().get(*run) else {
                        continue;
                    };
                    if self.range.covers(meta.min_ts_ns, meta.max_ts_ns) {
                        (u64::from(meta.rows), meta.raw_bytes + meta.metadata_bytes)
                    } else {
                        let rows = block.rows(*run, Projection::LENGTHS, Some(self.range));
                        let rows = rows.map_err(|error| damaged(&error))?;
                        let bytes = rows.line_ends().last().copied().unwrap_or(0);
                        let metadata = u128::from(meta.metadata_bytes) * rows.len() as u128
                            / u128::from(meta.rows.max(1));
                        (rows.len() as u64, u64::from(bytes) + metadata as u64)
                    }
                }
            };
            if rows > 0 {
                stats.rows += rows;
                stats.bytes += bytes;
                stats.chunks += 1;
            }
        }
        Ok(stats)
    }

    /// Rows of the range that are not deleted, and bytes of their lines and metadata.
    fn count_undeleted(
        &self,
        source: &Source,
        deletes: &mut StreamDeletes,
    ) -> Result<(u64, u64), CodedError> {
        let decoded;
        let entries = match source {
            Source::Rows(entries) => entries.as_ref(),
            Source::Block { block, run } => {
                let rows = block.rows(*run, Projection::ALL, Some(self.range));
                decoded = rows
                    .map_err(|error| damaged(&error))?
                    .to_entries()
                    .unwrap_or_default();
                &decoded
            }
        };
        let mut counts = |row: &EntryRef<'_>| {
            self.range.contains(row.timestamp_ns)
                && !deletes.has(row.timestamp_ns, row.line, row.metadata)
        };
        let kept = entries.iter().enumerate();
        let kept = kept.filter(|(_, row)| counts(row)).map(|(at, _)| at);
        let kept: Vec<usize> = kept.collect();
        let kept = entries.select(kept);
        let bytes = kept.lines().len() as u64 + metadata_bytes(&kept, 0..kept.len());
        Ok((kept.len() as u64, bytes))
    }
}

fn damaged(error: &chunk::ChunkError) -> CodedError {
    CodedError::new(Code::Internal, error.to_string())
}

fn count(entries: &Entries, range: TimeRange) -> (u64, u64) {
    let rows = rows_within(entries, range);
    let end_of = |row: usize| {
        let end = row
            .checked_sub(1)
            .and_then(|before| entries.line_ends().get(before));
        end.map_or(0, |end| u64::from(*end))
    };
    let lines = end_of(rows.end) - end_of(rows.start);
    (rows.len() as u64, lines + metadata_bytes(entries, rows))
}
