//! The same rows in blocks of every layout, with all of their bytes or with those that a query says
//! it needs.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use chunk::{
    Block, EncodeOptions, EncodedBlock, Layout, LinesPolicy, Piece, Projection, Reduction, Run,
    encode_block,
};
use model::{Entries, LabelSet, TimeRange};
use scan::{Prefilter, Source};

use super::rows::Row;

/// The labels of the stream that queries ask for.
pub fn stream() -> LabelSet {
    LabelSet::from_pairs([("app", "web"), ("n", "17")])
}

/// A block whose bytes are fetched when they are asked for. Its last run is the stream's.
pub struct Stored(EncodedBlock);

/// The same rows in one or several sources.
pub struct Laid {
    /// How.
    pub name: &'static str,
    /// With everything in memory; what queries before decoded is kept.
    pub held: Vec<Source>,
    /// The same, to be fetched.
    pub stored: Vec<Stored>,
    /// Whether rows of several sources have to be merged.
    pub overlaps: bool,
}

/// Rows in all layouts.
pub struct Prepared {
    /// In time order.
    pub rows: Vec<Row>,
    /// In time order; of those that are the same, the first.
    pub once: Vec<Row>,
    /// Sources of `rows`, or of `once` if they overlap.
    pub laid: Vec<Laid>,
}

fn entries<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Entries {
    let mut entries = Entries::default();
    for (time, line, metadata) in rows {
        assert!(entries.push(*time, line, metadata));
    }
    entries
}

impl Stored {
    fn new(entries: &Entries, is_shared: bool, lines: LinesPolicy) -> Self {
        let (web, other) = (stream(), LabelSet::from_pairs([("app", "other")]));
        let mut runs = vec![Run::new(&web, entries)];
        if is_shared {
            runs.insert(0, Run::new(&other, entries));
        }
        let options = EncodeOptions {
            lines,
            ..EncodeOptions::default()
        };
        Self(encode_block(&runs, &options).unwrap())
    }

    /// The block with all of its bytes.
    fn open(&self) -> Arc<Block> {
        Arc::new(self.0.open())
    }

    fn source(&self, block: Arc<Block>) -> Source {
        let run = self.run();
        Source::Block { block, run }
    }

    /// The number of the stream's run.
    pub fn run(&self) -> usize {
        self.0.meta().runs().len() - 1
    }

    /// What the block says about itself.
    pub fn meta(&self) -> &chunk::BlockMeta {
        self.0.meta()
    }

    /// The block with the bytes that a query asks for; `None` if it says that it has no row which
    /// the query wants. Goes about it as queriers do.
    pub fn fetched(&self, wanted: &Wanted<'_>) -> Option<Source> {
        let block = Block::new(Arc::clone(self.0.meta()), Vec::new());
        let (meta, search) = (self.meta(), wanted.prefilter.search());
        let is_shared = meta.runs().len() > 1;
        if wanted.prefilter.is_empty() || meta.layout() == Layout::Plain {
            let lines = wanted.projection.lines || !wanted.prefilter.is_empty();
            let columns = Projection {
                lines,
                ..wanted.projection
            };
            let (runs, range) = ([self.run()], Some(wanted.range));
            let ranges = match is_shared {
                true => meta.fetch_ranges(columns, &[], None),
                false => meta.fetch_ranges(columns, &runs, range),
            };
            self.fetch(&block, &ranges);
            self.fetch_reduced(&block, wanted);
            return Some(self.source(Arc::new(block)));
        }
        self.fetch(&block, &meta.search_ranges(search).unwrap()?);
        let found = block.search(search).unwrap();
        if !found.has_any(meta.runs()[self.run()].row_range()) {
            return None;
        }
        if is_shared {
            self.fetch(&block, &meta.fetch_ranges(wanted.projection, &[], None));
        } else {
            let metadata = wanted.projection.metadata;
            let others = Projection {
                metadata,
                ..Projection::TIMESTAMPS
            };
            self.fetch(&block, &meta.fetch_ranges(others, &[], None));
            if wanted.projection.lines || wanted.projection.lengths {
                self.fetch(&block, &block.lines_ranges(&found).unwrap());
            }
        }
        self.fetch_reduced(&block, wanted);
        Some(self.source(Arc::new(block)))
    }

    fn fetch_reduced(&self, block: &Block, wanted: &Wanted<'_>) {
        if let Some(reduction) = wanted.reduction {
            self.fetch(block, &self.meta().reduced_ranges(reduction).unwrap());
        }
    }

    fn fetch(&self, block: &Block, ranges: &[Range<u64>]) {
        let piece = |range: Range<u64>| Piece {
            offset: range.start,
            bytes: self
                .0
                .body()
                .slice(range.start as usize..range.end as usize),
        };
        let missing = block.missing(ranges);
        block.add_pieces(missing.into_iter().map(piece).collect());
    }
}

/// What a query asks of a block.
pub struct Wanted<'a> {
    /// The columns.
    pub projection: Projection,
    /// What is read of the lines if they are not among these.
    pub reduction: Option<&'a Reduction>,
    /// Which rows.
    pub prefilter: &'a Prefilter,
    /// When.
    pub range: TimeRange,
}

impl Laid {
    fn new(name: &'static str, stored: Vec<Stored>) -> Self {
        let held = stored.iter().map(|stored| stored.source(stored.open()));
        Self {
            name,
            held: held.collect(),
            stored,
            overlaps: false,
        }
    }
}

impl Prepared {
    /// Lays out the rows, of which there is one at least.
    pub fn new(rows: Vec<Row>) -> Self {
        let (all, structured) = (entries(&rows), LinesPolicy::Structured);
        let one = |is_shared, lines| vec![Stored::new(&all, is_shared, lines)];
        let decoded = Laid::new("a shared block that others decoded", one(true, structured));
        if let [Source::Block { block, .. }] = decoded.held.as_slice() {
            block.rows(0, Projection::ALL, None).unwrap();
        }
        let head = Laid {
            held: vec![Source::Rows(Arc::new(late(&rows)))],
            ..Laid::new("a head", Vec::new())
        };
        let mut seen = HashSet::new();
        let once: Vec<Row> = rows
            .iter()
            .filter(|row| seen.insert(*row))
            .cloned()
            .collect();
        let laid = vec![
            Laid::new("a block", one(false, structured)),
            Laid::new("a shared block", one(true, structured)),
            decoded,
            Laid::new("a plain block", one(false, LinesPolicy::Plain)),
            Laid::new("a plain shared block", one(true, LinesPolicy::Plain)),
            Laid::new("blocks one after the other", in_turn(&rows)),
            head,
            overlapping(&once),
            with_head(&once),
        ];
        Self { rows, once, laid }
    }
}

/// The rows out of order; those of the same time in order.
fn late(rows: &[Row]) -> Entries {
    let mut late: Vec<&Row> = rows.iter().collect();
    late.sort_by_key(|(time, ..)| time % 3);
    entries(late)
}

/// Three blocks that do not overlap.
fn in_turn(rows: &[Row]) -> Vec<Stored> {
    let third = rows.len().div_ceil(3);
    let mut parts = Vec::new();
    let mut left = rows;
    while let Some(last) = left.get(third.min(left.len()).saturating_sub(1)) {
        let (part, after) = left.split_at(left.partition_point(|row| row.0 <= last.0));
        parts.push(Stored::new(&entries(part), false, LinesPolicy::Structured));
        left = after;
    }
    parts
}

/// Two structured blocks that overlap: some rows in one, some in the other, and some in both, as
/// replicas write them.
fn overlapping(rows: &[Row]) -> Laid {
    let mut stored = Vec::new();
    for part in [|time: i64| time % 3 < 2, |time: i64| time % 3 > 0] {
        let part = entries(
            rows.iter()
                .filter(|row| part(row.0 / 1_000_000_007 + row.0)),
        );
        if !part.is_empty() {
            stored.push(Stored::new(&part, false, LinesPolicy::Structured));
        }
    }
    Laid {
        overlaps: true,
        ..Laid::new("blocks that overlap", stored)
    }
}

/// A plain block, a shared one and a head, which have the first, the second and the last of the rows
/// and some of their neighbours'.
fn with_head(rows: &[Row]) -> Laid {
    let at = |part: usize| rows[(rows.len() * part / 6).min(rows.len() - 1)].0;
    let part = |from: i64, to: i64| entries(rows.iter().filter(|row| from <= row.0 && row.0 <= to));
    let (first, second, last) = (
        part(i64::MIN, at(3)),
        part(at(2), at(5)),
        part(at(4), i64::MAX),
    );
    let mut laid = Laid::new(
        "blocks and a head",
        vec![
            Stored::new(&first, false, LinesPolicy::Plain),
            Stored::new(&second, true, LinesPolicy::Structured),
        ],
    );
    laid.held.push(Source::Rows(Arc::new(last)));
    // Its head is not stored.
    laid.stored.clear();
    Laid {
        overlaps: true,
        ..laid
    }
}
