//! Rows whose lines stay in the body that they came in.
//!
//! Agents compress what they send. To write that down as it came takes nothing but its bytes; to
//! compress the lines once more took a tenth of what it costs to take rows in.
//!
//! ```text
//! columns := part*
//! part    := times lengths metadata starts     rows of one stream, see [`body`]
//! starts  := zigzag varint per row: where the line begins in the decompressed body, less where the
//!            line before ends (of the first row of all: 0)
//! ```
//! Times and metadata are those that were accepted, whatever the body says.

use bytes::Bytes;
use codec::{CodecError, Reader, put_zigzag};
use model::Entries;
use proto::role::Received;

use super::body::{self, Columns, Part};
use super::record::BODY_BYTES_MAX;

/// A copy of three bytes gives at most 64: no block of snappy grows more than this.
const SNAPPY_RATIO_MAX: usize = 22;

/// Columns, and the body that has the lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReceivedBody {
    /// What is known of the rows besides their lines.
    pub(super) columns: Vec<u8>,
    /// One block of snappy.
    pub(super) snappy: Bytes,
}

impl ReceivedBody {
    /// All rows of a push that came in one body, each part with the starts of its lines; `None` if
    /// it is better to compress the lines: they are not most of the body, or do not fill less than
    /// three fifths of their bytes in it, or are not all there.
    pub(crate) fn new(parts: &[(&Entries, &[u32])], received: &Received) -> Option<Self> {
        let line_bytes: usize = parts.iter().map(|(rows, _)| rows.lines().len()).sum();
        let pays = |bytes: usize| bytes <= line_bytes / 5 * 3;
        let is_most = line_bytes >= received.raw_len - received.raw_len / 4;
        if !is_most || !pays(received.snappy.len()) || received.raw_len > BODY_BYTES_MAX {
            return None;
        }
        let mut columns = Vec::new();
        let mut end = 0;
        for (entries, starts) in parts {
            let part = Part::all(entries);
            body::encode_columns(&part, &mut columns);
            end = put_starts(entries, starts, received.raw_len, end, &mut columns)?;
        }
        pays(columns.len() + received.snappy.len()).then(|| Self {
            columns,
            snappy: received.snappy.clone(),
        })
    }

    /// The rows of each part; `rows` says how many each has.
    pub(super) fn decode(&self, rows: &[usize]) -> Result<Vec<Entries>, CodecError> {
        let raw = decompress(&self.snappy)?;
        let mut reader = Reader::new(&self.columns);
        let mut lines = Lines {
            raw: &raw,
            end: 0,
            bytes_left: raw.len(),
        };
        let parts = rows
            .iter()
            .map(|rows| {
                let columns = body::decode_columns(&mut reader, *rows)?;
                let lines = lines.take(&columns, &mut reader)?;
                columns.with_lines(lines)
            })
            .collect::<Result<Vec<_>, _>>()?;
        reader.finish()?;
        Ok(parts)
    }
}

/// Appends where the lines of a part begin; gives where its last line ends. `None` if that is not
/// known of every line.
fn put_starts(
    entries: &Entries,
    starts: &[u32],
    raw_len: usize,
    mut end: i64,
    out: &mut Vec<u8>,
) -> Option<i64> {
    if starts.len() != entries.len() {
        return None;
    }
    let mut before = 0;
    for (start, line_end) in starts.iter().zip(entries.line_ends()) {
        let (start, len) = (i64::from(*start), i64::from(line_end - before));
        put_zigzag(out, start - end);
        end = start + len;
        if end > raw_len as i64 {
            return None;
        }
        before = *line_end;
    }
    Some(end)
}

fn decompress(snappy: &[u8]) -> Result<Vec<u8>, CodecError> {
    let wrong = |_| CodecError::Invalid("snappy does not decompress");
    let len = snap::raw::decompress_len(snappy).map_err(wrong)?;
    CodecError::cap("body", len as u64, BODY_BYTES_MAX)?;
    if len > snappy.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(CodecError::Invalid("body of an impossible length"));
    }
    let raw = snap::raw::Decoder::new().decompress_vec(snappy);
    raw.map_err(wrong)
}

/// The lines that lie in a body.
struct Lines<'a> {
    raw: &'a [u8],
    /// Where the last one ends.
    end: i64,
    /// Lines do not overlap: together they have no more bytes than the body.
    bytes_left: usize,
}

impl Lines<'_> {
    /// The lines of a part, one after the other.
    fn take(&mut self, columns: &Columns, starts: &mut Reader<'_>) -> Result<Vec<u8>, CodecError> {
        const OUTSIDE: CodecError = CodecError::Invalid("line outside of its body");
        let bytes = columns.line_bytes();
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or(OUTSIDE)?;
        let mut lines = Vec::with_capacity(bytes);
        for len in columns.line_lens() {
            let start = self.end.checked_add(starts.zigzag()?).ok_or(OUTSIDE)?;
            let from = usize::try_from(start).map_err(|_| OUTSIDE)?;
            let rest = self.raw.get(from..).ok_or(OUTSIDE)?;
            lines.extend_from_slice(rest.get(..len).ok_or(OUTSIDE)?);
            self.end = start + len as i64;
        }
        Ok(lines)
    }
}

#[cfg(test)]
mod tests;
