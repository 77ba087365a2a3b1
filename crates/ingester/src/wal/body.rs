//! The columns of a record: rows of several streams, before compression.
//!
//! ```text
//! body := part* lines
//! part := times lengths metadata           rows of one stream; the count is outside
//! times    := zigzag varint per row, the difference to the row before (the first to 0)
//! lengths  := varint per row
//! metadata := varint sets, set*, and if there are any a varint id per row (0 is none)
//! set      := varint labels, (name value)*
//! lines    := the lines of all parts, one after the other
//! ```

use std::ops::Range;

use codec::{CodecError, Reader, put_bytes, put_varint, put_zigzag};
use model::{Entries, LabelSet, LabelSetBuilder};

/// Rows of one stream that go into a record.
#[derive(Clone, Debug)]
pub(crate) struct Part<'a> {
    /// The rows, and perhaps others.
    pub(crate) entries: &'a Entries,
    /// Which of them.
    pub(crate) rows: Range<usize>,
}

impl<'a> Part<'a> {
    /// All rows.
    pub(crate) fn all(entries: &'a Entries) -> Self {
        Self {
            entries,
            rows: 0..entries.len(),
        }
    }

    /// Where the lines lie in the column of lines.
    fn line_span(&self) -> Range<usize> {
        let ends = self.entries.line_ends();
        let at = |row: usize| row.checked_sub(1).and_then(|before| ends.get(before));
        let offset = |row| at(row).map_or(0, |end| *end as usize);
        offset(self.rows.start)..offset(self.rows.end)
    }

    /// Bytes of the lines.
    pub(crate) fn line_bytes(&self) -> usize {
        self.line_span().len()
    }
}

/// Labels of a set, and sets of a part, at most. Far above what a push may have.
const LABELS_MAX: usize = 1 << 16;

/// Appends the columns of all parts.
pub(crate) fn encode(parts: &[Part<'_>], out: &mut Vec<u8>) {
    let lines: usize = parts.iter().map(Part::line_bytes).sum();
    let rows: usize = parts.iter().map(|part| part.rows.len()).sum();
    out.reserve(lines + rows * 8);
    for part in parts {
        encode_columns(part, out);
    }
    for part in parts {
        out.extend_from_slice(
            part.entries
                .lines()
                .get(part.line_span())
                .unwrap_or_default(),
        );
    }
}

/// Appends times, lengths and metadata of a part.
pub(super) fn encode_columns(part: &Part<'_>, out: &mut Vec<u8>) {
    let rows = || part.rows.clone();
    let mut before = 0i64;
    for time in part.entries.timestamps_ns().get(rows()).unwrap_or_default() {
        put_zigzag(out, time.wrapping_sub(before));
        before = *time;
    }
    let mut start = part.line_span().start as u32;
    for end in part.entries.line_ends().get(rows()).unwrap_or_default() {
        put_varint(out, u64::from(end - start));
        start = *end;
    }
    encode_metadata(part, out);
}

fn encode_metadata(part: &Part<'_>, out: &mut Vec<u8>) {
    let ids = part
        .entries
        .metadata_ids()
        .get(part.rows.clone())
        .unwrap_or_default();
    if ids.iter().all(|id| *id == 0) {
        put_varint(out, 0);
        return;
    }
    // Only the sets that these rows use; new ids in the order of first use.
    let sets = part.entries.metadata_sets();
    let mut new_ids = vec![0u32; sets.len()];
    let mut used = Vec::new();
    for id in ids {
        if let Some(new) = new_ids
            .get_mut(*id as usize)
            .filter(|new| *id != 0 && **new == 0)
        {
            used.push(*id);
            *new = used.len() as u32;
        }
    }
    put_varint(out, used.len() as u64);
    for set in used.iter().filter_map(|id| sets.get(*id as usize)) {
        put_labels(set, out);
    }
    for id in ids {
        let new = new_ids.get(*id as usize).copied().unwrap_or(0);
        put_varint(out, u64::from(new));
    }
}

/// Appends a label set.
pub(crate) fn put_labels(set: &LabelSet, out: &mut Vec<u8>) {
    put_varint(out, set.len() as u64);
    for label in set {
        put_bytes(out, label.name.as_bytes());
        put_bytes(out, label.value.as_bytes());
    }
}

/// Reads what [`put_labels`] wrote.
pub(crate) fn read_labels(reader: &mut Reader<'_>) -> Result<LabelSet, CodecError> {
    let mut builder = LabelSetBuilder::default();
    for _ in 0..reader.items("labels of a set", LABELS_MAX)? {
        builder.push(reader.text()?, reader.text()?);
    }
    Ok(builder.build())
}

/// The columns of a part whose lines are still to come.
pub(super) struct Columns {
    times: Vec<i64>,
    ends: Vec<u32>,
    ids: Vec<u32>,
    sets: Vec<LabelSet>,
}

impl Columns {
    /// Bytes of all lines.
    pub(super) fn line_bytes(&self) -> usize {
        self.ends.last().map_or(0, |end| *end as usize)
    }

    /// Bytes of each line.
    pub(super) fn line_lens(&self) -> impl Iterator<Item = usize> {
        let starts = std::iter::once(&0).chain(&self.ends);
        let lens = starts.zip(&self.ends);
        lens.map(|(start, end)| (end - start) as usize)
    }

    /// The rows, with their lines one after the other.
    pub(super) fn with_lines(self, lines: Vec<u8>) -> Result<Entries, CodecError> {
        Entries::from_columns(self.times, self.ends, lines, self.ids, self.sets)
            .ok_or(CodecError::Invalid("columns do not agree"))
    }
}

/// Reads the parts of a body; `rows` says how many rows each has.
pub(crate) fn decode(body: &[u8], rows: &[usize]) -> Result<Vec<Entries>, CodecError> {
    let mut reader = Reader::new(body);
    let columns = rows
        .iter()
        .map(|rows| decode_columns(&mut reader, *rows))
        .collect::<Result<Vec<_>, _>>()?;
    let mut parts = Vec::with_capacity(columns.len());
    for columns in columns {
        let lines = reader.take(columns.line_bytes())?.to_vec();
        parts.push(columns.with_lines(lines)?);
    }
    reader.finish()?;
    Ok(parts)
}

/// Reads what [`encode_columns`] wrote of so many rows.
pub(super) fn decode_columns(reader: &mut Reader<'_>, rows: usize) -> Result<Columns, CodecError> {
    // Every row has at least a byte of time and one of length.
    CodecError::cap("rows of a part", rows as u64, reader.remaining() / 2)?;
    let mut times = Vec::with_capacity(rows);
    let mut time = 0i64;
    for _ in 0..rows {
        time = time.wrapping_add(reader.zigzag()?);
        times.push(time);
    }
    let mut ends = Vec::with_capacity(rows);
    let mut end = 0u32;
    for _ in 0..rows {
        let len = u32::try_from(reader.varint()?).ok();
        end = len
            .and_then(|len| end.checked_add(len))
            .ok_or(CodecError::Truncated)?;
        ends.push(end);
    }
    let count = reader.items("metadata sets", usize::MAX)?;
    let mut sets = vec![LabelSet::default()];
    for _ in 0..count {
        sets.push(read_labels(reader)?);
    }
    let mut ids = vec![0; rows];
    if count > 0 {
        for id in &mut ids {
            *id = u32::try_from(reader.varint()?).map_err(|_| CodecError::Truncated)?;
        }
    }
    Ok(Columns {
        times,
        ends,
        ids,
        sets,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn any_entries() -> impl Strategy<Value = Entries> {
        let row = (
            any::<i64>(),
            proptest::collection::vec(any::<u8>(), 0..20),
            0..4usize,
        );
        proptest::collection::vec(row, 0..20).prop_map(|rows| {
            let mut entries = Entries::default();
            for (time, line, set) in rows {
                let pairs = [("level", "info"), ("trace_id", "ü1"), ("pod", "p")];
                let set = LabelSet::from_pairs(pairs.into_iter().take(set));
                assert!(entries.push(time, &line, &set));
            }
            entries
        })
    }

    pub(crate) fn rows(entries: &Entries) -> Vec<(i64, Vec<u8>, LabelSet)> {
        entries
            .iter()
            .map(|row| (row.timestamp_ns, row.line.to_vec(), row.metadata.clone()))
            .collect()
    }

    proptest! {
        #[test]
        fn rows_come_back(all in proptest::collection::vec(any_entries(), 0..4), cut in 0..20usize) {
            let parts: Vec<_> = all
                .iter()
                .map(|entries| {
                    let start = cut.min(entries.len());
                    Part { entries, rows: start..entries.len() }
                })
                .collect();
            let mut body = Vec::new();
            encode(&parts, &mut body);
            let counts: Vec<_> = parts.iter().map(|part| part.rows.len()).collect();
            let decoded = decode(&body, &counts).unwrap();
            for (part, decoded) in parts.iter().zip(&decoded) {
                prop_assert_eq!(&rows(part.entries)[part.rows.clone()], rows(decoded));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(body: Vec<u8>, rows in proptest::collection::vec(any::<usize>(), 0..4)) {
            let _ = decode(&body, &rows);
        }
    }
}
