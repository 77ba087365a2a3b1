//! Log lines: one at a time, and as columns of a stream.

use std::ops::Range;

use bytes::Bytes;

use crate::LabelSet;

/// One log line as a query returns it or a tail delivers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Nanoseconds since the Unix epoch.
    pub timestamp_ns: i64,
    /// The line without its newline. Usually UTF-8, but any bytes are kept as they came.
    pub line: Bytes,
    /// Structured metadata, without the stream's labels.
    pub metadata: LabelSet,
}

/// A borrowed row of [`Entries`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRef<'a> {
    /// Nanoseconds since the Unix epoch.
    pub timestamp_ns: i64,
    /// The line without its newline.
    pub line: &'a [u8],
    /// Structured metadata.
    pub metadata: &'a LabelSet,
}

/// Rows of one stream as columns: what travels from distributor to ingester, lies in a head and is
/// encoded into a block.
///
/// `timestamps_ns`, `line_ends` and `metadata_ids` have one element per row. Line `i` is
/// `lines[line_ends[i - 1]..line_ends[i]]`. Metadata sets are stored once: `metadata_ids[i]` is an
/// index into `metadata_sets`, whose element 0 is always the empty set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries {
    timestamps_ns: Vec<i64>,
    line_ends: Vec<u32>,
    lines: Vec<u8>,
    metadata_ids: Vec<u32>,
    metadata_sets: Vec<LabelSet>,
}

impl Default for Entries {
    fn default() -> Self {
        Self {
            timestamps_ns: Vec::new(),
            line_ends: Vec::new(),
            lines: Vec::new(),
            metadata_ids: Vec::new(),
            metadata_sets: vec![LabelSet::default()],
        }
    }
}

impl Entries {
    /// Room for `rows` rows and `bytes` of lines.
    #[must_use]
    pub fn with_capacity(rows: usize, bytes: usize) -> Self {
        Self {
            timestamps_ns: Vec::with_capacity(rows),
            line_ends: Vec::with_capacity(rows),
            lines: Vec::with_capacity(bytes),
            metadata_ids: Vec::with_capacity(rows),
            metadata_sets: vec![LabelSet::default()],
        }
    }

    /// Makes room for `rows` more rows and `bytes` more of lines.
    pub fn reserve(&mut self, rows: usize, bytes: usize) {
        self.timestamps_ns.reserve(rows);
        self.line_ends.reserve(rows);
        self.lines.reserve(bytes);
        self.metadata_ids.reserve(rows);
    }

    /// Assembles rows from columns that came over the wire or from a file. `None` unless the
    /// columns agree: equal lengths, ends ascending and within `lines`, ids within the sets, set 0
    /// empty.
    #[must_use]
    pub fn from_columns(
        timestamps_ns: Vec<i64>,
        line_ends: Vec<u32>,
        lines: Vec<u8>,
        metadata_ids: Vec<u32>,
        metadata_sets: Vec<LabelSet>,
    ) -> Option<Self> {
        let rows = timestamps_ns.len();
        let agree = line_ends.len() == rows
            && metadata_ids.len() == rows
            && line_ends.is_sorted()
            && line_ends.last().map_or(0, |end| *end as usize) == lines.len()
            && metadata_ids
                .iter()
                .all(|id| (*id as usize) < metadata_sets.len())
            && metadata_sets.first().is_some_and(LabelSet::is_empty);
        agree.then_some(Self {
            timestamps_ns,
            line_ends,
            lines,
            metadata_ids,
            metadata_sets,
        })
    }

    /// Adds a row. Returns `false`, and adds nothing, if the lines would exceed 4 GiB.
    pub fn push(&mut self, timestamp_ns: i64, line: &[u8], metadata: &LabelSet) -> bool {
        let Ok(end) = u32::try_from(self.lines.len() + line.len()) else {
            return false;
        };
        let id = self.metadata_id(metadata);
        self.timestamps_ns.push(timestamp_ns);
        self.lines.extend_from_slice(line);
        self.line_ends.push(end);
        self.metadata_ids.push(id);
        true
    }

    /// The id under which rows may refer to `metadata`, adding the set if it is new.
    fn metadata_id(&mut self, metadata: &LabelSet) -> u32 {
        if metadata.is_empty() {
            return 0;
        }
        if let Some(id) = recent(&self.metadata_sets, metadata) {
            return id;
        }
        self.metadata_sets.push(metadata.clone());
        (self.metadata_sets.len() - 1) as u32
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.timestamps_ns.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.timestamps_ns.is_empty()
    }

    /// Row `i`.
    #[must_use]
    pub fn get(&self, i: usize) -> Option<EntryRef<'_>> {
        let start = match i.checked_sub(1) {
            Some(before) => *self.line_ends.get(before)?,
            None => 0,
        };
        let id = *self.metadata_ids.get(i)?;
        Some(EntryRef {
            timestamp_ns: *self.timestamps_ns.get(i)?,
            line: self
                .lines
                .get(start as usize..*self.line_ends.get(i)? as usize)?,
            metadata: self.metadata_sets.get(id as usize)?,
        })
    }

    /// The rows in order.
    #[must_use]
    pub fn iter(&self) -> EntriesIter<'_> {
        EntriesIter {
            entries: self,
            next: 0,
        }
    }

    /// The time column, nanoseconds since the Unix epoch.
    #[must_use]
    pub fn timestamps_ns(&self) -> &[i64] {
        &self.timestamps_ns
    }

    /// Where each line ends in [`Self::lines`].
    #[must_use]
    pub fn line_ends(&self) -> &[u32] {
        &self.line_ends
    }

    /// All lines, one after the other, without separators.
    #[must_use]
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Per row an index into [`Self::metadata_sets`].
    #[must_use]
    pub fn metadata_ids(&self) -> &[u32] {
        &self.metadata_ids
    }

    /// The distinct metadata sets; the first is empty.
    #[must_use]
    pub fn metadata_sets(&self) -> &[LabelSet] {
        &self.metadata_sets
    }

    /// Appends all rows of `other`. Returns `false`, and adds nothing, if the lines would exceed
    /// 4 GiB.
    pub fn append(&mut self, other: &Self) -> bool {
        if u32::try_from(self.lines.len() + other.lines.len()).is_err() {
            return false;
        }
        let base = self.lines.len() as u32;
        let ids: Vec<u32> = other
            .metadata_sets
            .iter()
            .map(|set| self.metadata_id(set))
            .collect();
        let rows = other.timestamps_ns.len();
        grow(&mut self.timestamps_ns, rows);
        grow(&mut self.line_ends, rows);
        grow(&mut self.lines, other.lines.len());
        grow(&mut self.metadata_ids, rows);
        self.timestamps_ns.extend_from_slice(&other.timestamps_ns);
        self.lines.extend_from_slice(&other.lines);
        self.line_ends
            .extend(other.line_ends.iter().map(|end| base + end));
        let id_of = |id: &u32| ids.get(*id as usize).copied().unwrap_or(0);
        self.metadata_ids
            .extend(other.metadata_ids.iter().map(id_of));
        true
    }

    /// Appends some rows of `other`; `known` is what was learned of these two so far. Returns
    /// `false`, and adds nothing, if there are no such rows or the lines would exceed 4 GiB.
    pub fn extend_from(&mut self, other: &Self, rows: Range<usize>, known: &mut KnownSets) -> bool {
        let Some(ids) = other.metadata_ids.get(rows.clone()) else {
            return false;
        };
        if u32::try_from(self.lines.len() + other.line_range(&rows).len()).is_err() {
            return false;
        }
        self.copy_lines(other, rows);
        self.metadata_ids.reserve(ids.len());
        for id in ids {
            let id = known.id(*id, &other.metadata_sets, &mut self.metadata_sets);
            self.metadata_ids.push(id);
        }
        true
    }

    /// Takes all rows out, and keeps their memory for the next.
    pub fn clear(&mut self) {
        self.timestamps_ns.clear();
        self.line_ends.clear();
        self.lines.clear();
        self.metadata_ids.clear();
        self.metadata_sets.truncate(1);
    }

    /// [`row_hash`] of each row. What rows share, their metadata, is hashed once.
    #[must_use]
    pub fn row_hashes(&self) -> Vec<u64> {
        let sets = self.metadata_sets.iter().map(metadata_hash);
        let sets: Vec<Option<u64>> = sets.collect();
        let mut start = 0;
        let rows = self.line_ends.iter().zip(&self.metadata_ids);
        rows.map(|(end, id)| {
            let line = self.lines.get(start..*end as usize).unwrap_or_default();
            start = *end as usize;
            joined_hash(line, sets.get(*id as usize).copied().flatten())
        })
        .collect()
    }

    /// The rows whose numbers `order` names, in that order; numbers out of range are passed over.
    #[must_use]
    pub fn select(&self, order: impl IntoIterator<Item = usize>) -> Self {
        let mut selected = Self {
            metadata_sets: self.metadata_sets.clone(),
            ..Self::default()
        };
        // Mostly rows that follow each other are wanted: they are copied in one go.
        let mut rows = 0..0;
        for row in order.into_iter().filter(|row| *row < self.len()) {
            if row != rows.end || rows.is_empty() {
                selected.copy(self, rows);
                rows = row..row;
            }
            rows.end += 1;
        }
        selected.copy(self, rows);
        selected
    }

    /// Appends some rows of entries with the same metadata sets.
    fn copy(&mut self, from: &Self, rows: Range<usize>) {
        let ids = from.metadata_ids.get(rows.clone());
        self.metadata_ids.extend_from_slice(ids.unwrap_or_default());
        self.copy_lines(from, rows);
    }

    /// Appends times and lines of some rows.
    fn copy_lines(&mut self, from: &Self, rows: Range<usize>) {
        let lines = from.line_range(&rows);
        let (start, base) = (lines.start, self.lines.len());
        let ends = from.line_ends.get(rows.clone()).unwrap_or_default();
        let lines = from.lines.get(lines);
        self.lines.extend_from_slice(lines.unwrap_or_default());
        self.line_ends
            .extend(ends.iter().map(|end| (base + *end as usize - start) as u32));
        let times = from.timestamps_ns.get(rows);
        self.timestamps_ns
            .extend_from_slice(times.unwrap_or_default());
    }

    /// Where the lines of some rows lie in [`Self::lines`].
    #[must_use]
    pub fn line_range(&self, rows: &Range<usize>) -> Range<usize> {
        let end_of = |row: usize| self.line_ends.get(row).map_or(0, |end| *end as usize);
        let start = rows.start.checked_sub(1).map_or(0, end_of);
        start..rows.end.checked_sub(1).map_or(0, end_of).max(start)
    }

    /// Whether times never go back.
    #[must_use]
    pub fn is_time_ordered(&self) -> bool {
        self.timestamps_ns.is_sorted()
    }

    /// The same rows in time order; equal times keep their order.
    #[must_use]
    pub fn into_time_ordered(self) -> Self {
        if self.is_time_ordered() {
            return self;
        }
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by_key(|i| self.timestamps_ns.get(*i).copied());
        self.select(order)
    }

    /// Heap bytes held, for memory accounting.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let sets: usize = self
            .metadata_sets
            .iter()
            .map(|set| 16 + set.len() * 64 + set.text_len())
            .sum();
        self.timestamps_ns.capacity() * 8
            + (self.line_ends.capacity() + self.metadata_ids.capacity()) * 4
            + self.lines.capacity()
            + sets
    }
}

/// Under which numbers the metadata sets of some rows are known to others, to which rows are
/// appended by [`Entries::extend_from`]. It is of these two alone, and of no use once rows were
/// taken out of those that are appended to.
#[derive(Clone, Debug, Default)]
pub struct KnownSets(Vec<Option<u32>>);

impl KnownSets {
    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The number that set `id` of `from` has in `to`, which gets it if it is new.
    #[inline]
    fn id(&mut self, id: u32, from: &[LabelSet], to: &mut Vec<LabelSet>) -> u32 {
        match (id, self.0.get(id as usize)) {
            (0, _) => 0,
            (_, Some(Some(known))) => *known,
            _ => self.learn(id, from, to),
        }
    }

    #[cold]
    fn learn(&mut self, id: u32, from: &[LabelSet], to: &mut Vec<LabelSet>) -> u32 {
        let Some(set) = from.get(id as usize).filter(|set| !set.is_empty()) else {
            return 0;
        };
        let new = recent(to, set).unwrap_or_else(|| {
            to.push(set.clone());
            to.len() as u32 - 1
        });
        self.0.resize(from.len(), None);
        if let Some(known) = self.0.get_mut(id as usize) {
            *known = Some(new);
        }
        new
    }
}

/// The number of a set, if it is among those that were added last: repeated metadata (a level, a
/// trace) comes in runs.
fn recent(sets: &[LabelSet], set: &LabelSet) -> Option<u32> {
    const SEARCHED: usize = 16;
    let from = sets.len().saturating_sub(SEARCHED);
    let recent = sets.get(from..).unwrap_or_default();
    let at = recent.iter().rposition(|known| known == set)?;
    Some((from + at) as u32)
}

impl<'a> IntoIterator for &'a Entries {
    type Item = EntryRef<'a>;
    type IntoIter = EntriesIter<'a>;
    fn into_iter(self) -> EntriesIter<'a> {
        self.iter()
    }
}

/// Iterates over the rows of [`Entries`].
#[derive(Clone, Debug)]
pub struct EntriesIter<'a> {
    entries: &'a Entries,
    next: usize,
}

impl<'a> Iterator for EntriesIter<'a> {
    type Item = EntryRef<'a>;
    fn next(&mut self) -> Option<EntryRef<'a>> {
        let row = self.entries.get(self.next)?;
        self.next += 1;
        Some(row)
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.entries.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for EntriesIter<'_> {}

/// The labels of a row after a pipeline, by where they come from. A name is in one part only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RowLabels {
    /// From the stream's label set.
    pub stream: LabelSet,
    /// From structured metadata.
    pub metadata: LabelSet,
    /// Parsed or set by a stage; values may be empty.
    pub parsed: LabelSet,
}

impl RowLabels {
    /// All parts as one set.
    #[must_use]
    pub fn merged(&self) -> LabelSet {
        if self.metadata.is_empty() && self.parsed.is_empty() {
            return self.stream.clone();
        }
        let stored = self.stream.iter().chain(&self.metadata);
        LabelSet::keeping_empty(stored.chain(&self.parsed).cloned())
    }
}

/// A hash of a row as stored, equal on all replicas: XXH3 of the line mixed with its metadata.
/// Together with stream and time it identifies a row.
#[must_use]
pub fn row_hash(line: &[u8], metadata: &LabelSet) -> u64 {
    joined_hash(line, metadata_hash(metadata))
}

/// The part of metadata in [`row_hash`].
fn metadata_hash(metadata: &LabelSet) -> Option<u64> {
    (!metadata.is_empty()).then(|| metadata.fingerprint())
}

fn joined_hash(line: &[u8], metadata: Option<u64>) -> u64 {
    let hash = xxhash_rust::xxh3::xxh3_64(line);
    metadata.map_or(hash, |metadata| hash.rotate_left(1) ^ metadata)
}

/// The rows that one push has for one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamBatch {
    /// The stream.
    pub labels: LabelSet,
    /// Its rows, in the order in which they were pushed.
    pub entries: Entries,
}

/// Makes room for `more` values. It grows by a half and not, as vectors do, to the double: tens of
/// thousands of streams grow at the same time, and what they do not use is memory all the same.
fn grow<T>(values: &mut Vec<T>, more: usize) {
    let wanted = values.len() + more;
    if wanted > values.capacity() {
        let room = wanted.max(values.len() + values.len() / 2);
        values.reserve_exact(room - values.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Entries {
        let info = LabelSet::from_pairs([("level", "info")]);
        let mut entries = Entries::default();
        assert!(entries.push(3, b"three", &info));
        assert!(entries.push(1, b"", &LabelSet::default()));
        assert!(entries.push(2, b"two", &info));
        entries
    }

    #[test]
    fn rows_come_back_as_pushed_and_share_metadata() {
        let entries = sample();
        let rows: Vec<_> = entries
            .iter()
            .map(|row| (row.timestamp_ns, row.line.to_vec(), row.metadata.len()))
            .collect();
        assert_eq!(
            rows,
            [
                (3, b"three".to_vec(), 1),
                (1, Vec::new(), 0),
                (2, b"two".to_vec(), 1)
            ]
        );
        assert_eq!(entries.metadata_sets().len(), 2);
    }

    #[test]
    fn rows_are_taken_over_with_their_metadata() {
        let from = sample();
        let (mut to, mut known) = (Entries::default(), KnownSets::default());
        assert!(to.push(0, b"zero", &LabelSet::from_pairs([("level", "warn")])));
        assert!(to.extend_from(&from, 1..3, &mut known));
        assert!(to.extend_from(&from, 0..1, &mut known));
        assert!(!to.extend_from(&from, 2..4, &mut known));
        let rows: Vec<_> = to
            .iter()
            .map(|row| (row.timestamp_ns, row.line, row.metadata.get("level")))
            .collect();
        let expected = [
            (0, &b"zero"[..], Some("warn")),
            (1, b"", None),
            (2, b"two", Some("info")),
            (3, b"three", Some("info")),
        ];
        assert_eq!(rows, expected);
        assert_eq!(to.metadata_sets().len(), 3);
        let one_by_one = to.iter().map(|row| row_hash(row.line, row.metadata));
        assert_eq!(to.row_hashes(), one_by_one.collect::<Vec<_>>());
        to.clear();
        assert_eq!(to, Entries::default());
    }

    #[test]
    fn ordering_and_appending_keep_lines_with_their_times() {
        let mut twice = sample();
        assert!(twice.append(&sample()));
        let ordered = twice.into_time_ordered();
        let rows: Vec<_> = ordered
            .iter()
            .map(|row| (row.timestamp_ns, row.line))
            .collect();
        assert_eq!(
            rows,
            [
                (1, &b""[..]),
                (1, b""),
                (2, b"two"),
                (2, b"two"),
                (3, b"three"),
                (3, b"three")
            ]
        );
    }

    #[test]
    fn columns_that_disagree_are_refused() {
        let set = || vec![LabelSet::default()];
        assert!(Entries::from_columns(vec![1], vec![2], b"ab".to_vec(), vec![0], set()).is_some());
        assert!(Entries::from_columns(vec![1], vec![3], b"ab".to_vec(), vec![0], set()).is_none());
        assert!(Entries::from_columns(vec![1], vec![2], b"ab".to_vec(), vec![1], set()).is_none());
        assert!(
            Entries::from_columns(vec![1, 2], vec![2, 1], b"a".to_vec(), vec![0, 0], set())
                .is_none()
        );
        assert!(Entries::from_columns(vec![1], vec![0], vec![], vec![0], vec![]).is_none());
    }
}
