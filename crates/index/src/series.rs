//! Series: their labels, their totals, their blocks.

use std::sync::OnceLock;

use codec::{CodecError, Reader, ints, put_varint, put_zigzag};
use model::LabelSet;

use crate::{MAX_NAMES, MAX_PAGE_BLOCKS};

/// A stream of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesEntry {
    /// Its labels.
    pub labels: LabelSet,
    /// Time of its oldest row.
    pub min_ts_ns: i64,
    /// Time of its newest row.
    pub max_ts_ns: i64,
    /// Rows of all its blocks.
    pub rows: u64,
    /// Bytes of their lines and of their structured metadata.
    pub raw_bytes: u64,
}

/// Rows of a series: one run of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockRef {
    /// Time of the first row.
    pub min_ts_ns: i64,
    /// Time of the last row.
    pub max_ts_ns: i64,
    /// The object, as a position in [`Index::objects`](crate::Index::objects).
    pub object: u32,
    /// The block's ordinal in the object.
    pub block: u32,
    /// The run's ordinal in the block.
    pub run: u32,
    /// Rows.
    pub rows: u64,
    /// Bytes of their lines and of their structured metadata.
    pub raw_bytes: u64,
}

/// What a series has in all its blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Totals {
    pub(crate) min_ts_ns: i64,
    pub(crate) max_ts_ns: i64,
    pub(crate) rows: u64,
    pub(crate) raw_bytes: u64,
    pub(crate) blocks: u64,
}

/// A decoded page of series.
#[derive(Debug)]
pub(crate) struct SeriesPage {
    /// Per label name in use: its number, and per series 0 or the number of the value plus one.
    pub(crate) columns: Vec<(u32, Vec<u32>)>,
    pub(crate) totals: Vec<Totals>,
    /// Where the blocks of each series end in the page of blocks.
    pub(crate) block_ends: Vec<u32>,
    /// Labels of the series that were asked for, with their fingerprints: most are again.
    pub(crate) known: Vec<OnceLock<(LabelSet, u64)>>,
}

/// A series as it is written.
#[derive(Debug, Default)]
pub(crate) struct SeriesRow {
    /// Number of the name, number of the value plus one.
    pub(crate) labels: Vec<(u32, u32)>,
    pub(crate) blocks: Vec<BlockRef>,
}

impl SeriesRow {
    fn totals(&self) -> Totals {
        let blocks = self.blocks.iter();
        Totals {
            min_ts_ns: blocks
                .clone()
                .map(|block| block.min_ts_ns)
                .min()
                .unwrap_or(0),
            max_ts_ns: blocks
                .clone()
                .map(|block| block.max_ts_ns)
                .max()
                .unwrap_or(0),
            rows: blocks.clone().map(|block| block.rows).sum(),
            raw_bytes: blocks.clone().map(|block| block.raw_bytes).sum(),
            blocks: self.blocks.len() as u64,
        }
    }
}

pub(crate) fn write_series(rows: &[SeriesRow]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut names: Vec<u32> = rows
        .iter()
        .flat_map(|row| row.labels.iter().map(|(name, _)| *name))
        .collect();
    names.sort_unstable();
    names.dedup();
    put_varint(&mut out, names.len() as u64);
    for name in names {
        put_varint(&mut out, u64::from(name));
        let value = |row: &SeriesRow| {
            let at = row.labels.binary_search_by_key(&name, |(name, _)| *name);
            at.ok()
                .and_then(|at| row.labels.get(at))
                .map_or(0, |(_, value)| u64::from(*value))
        };
        put_ints(&mut out, rows.iter().map(value));
    }
    let totals: Vec<Totals> = rows.iter().map(SeriesRow::totals).collect();
    let first = totals
        .iter()
        .map(|totals| totals.min_ts_ns)
        .min()
        .unwrap_or(0);
    put_zigzag(&mut out, first);
    put_ints(
        &mut out,
        totals.iter().map(|t| distance(first, t.min_ts_ns)),
    );
    put_ints(
        &mut out,
        totals.iter().map(|t| distance(t.min_ts_ns, t.max_ts_ns)),
    );
    put_ints(&mut out, totals.iter().map(|t| t.rows));
    put_ints(&mut out, totals.iter().map(|t| t.raw_bytes));
    put_ints(&mut out, totals.iter().map(|t| t.blocks));
    out
}

impl SeriesPage {
    pub(crate) fn parse(bytes: &[u8], count: usize) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let names = reader.items("label names", MAX_NAMES)?;
        let mut columns = Vec::with_capacity(names);
        for _ in 0..names {
            let name = reader.count("label name", MAX_NAMES)? as u32;
            let to_u32 = |value| u32::try_from(value).unwrap_or(u32::MAX);
            columns.push((name, read_ints(&mut reader, count, to_u32)?));
        }
        if !columns.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(CodecError::Invalid("label names are not in order"));
        }
        let first = reader.zigzag()?;
        let mins = read_ints(&mut reader, count, |min| first.wrapping_add_unsigned(min))?;
        let spans = read_ints(&mut reader, count, |span| span)?;
        let rows = read_ints(&mut reader, count, |rows| rows)?;
        let bytes = read_ints(&mut reader, count, |bytes| bytes)?;
        let blocks = read_ints(&mut reader, count, |blocks| blocks)?;
        reader.finish()?;
        let mut end = 0usize;
        let block_ends = blocks
            .iter()
            .map(|count| {
                end = end.saturating_add(usize::try_from(*count).unwrap_or(usize::MAX));
                CodecError::cap("blocks of a page", end as u64, MAX_PAGE_BLOCKS).map(|n| n as u32)
            })
            .collect::<Result<_, _>>()?;
        let totals = mins
            .into_iter()
            .zip(spans)
            .zip(rows.into_iter().zip(bytes))
            .zip(blocks)
            .map(|(((min_ts_ns, span), (rows, raw_bytes)), blocks)| Totals {
                min_ts_ns,
                max_ts_ns: min_ts_ns.wrapping_add_unsigned(span),
                rows,
                raw_bytes,
                blocks,
            })
            .collect();
        Ok(Self {
            columns,
            totals,
            block_ends,
            known: (0..count).map(|_| OnceLock::new()).collect(),
        })
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.columns.len() * (self.totals.len() * 4 + 32)
            + self.totals.len() * (size_of::<Totals>() + 4 + size_of::<OnceLock<(LabelSet, u64)>>())
    }
}

pub(crate) fn write_blocks(rows: &[SeriesRow]) -> Vec<u8> {
    let mut out = Vec::new();
    let blocks = || {
        rows.iter().flat_map(|row| {
            let first = row.totals().min_ts_ns;
            row.blocks.iter().map(move |block| (first, block))
        })
    };
    put_ints(&mut out, blocks().map(|(_, block)| u64::from(block.object)));
    put_ints(&mut out, blocks().map(|(_, block)| u64::from(block.block)));
    put_ints(&mut out, blocks().map(|(_, block)| u64::from(block.run)));
    put_ints(
        &mut out,
        blocks().map(|(first, block)| distance(first, block.min_ts_ns)),
    );
    put_ints(
        &mut out,
        blocks().map(|(_, block)| distance(block.min_ts_ns, block.max_ts_ns)),
    );
    put_ints(&mut out, blocks().map(|(_, block)| block.rows));
    put_ints(&mut out, blocks().map(|(_, block)| block.raw_bytes));
    out
}

pub(crate) fn parse_blocks(
    bytes: &[u8],
    page: &SeriesPage,
    objects: usize,
) -> Result<Vec<BlockRef>, CodecError> {
    let count = page.block_ends.last().map_or(0, |end| *end as usize);
    let mut reader = Reader::new(bytes);
    let to_u32 = |value| u32::try_from(value).unwrap_or(u32::MAX);
    let object = read_ints(&mut reader, count, to_u32)?;
    let block = read_ints(&mut reader, count, to_u32)?;
    let run = read_ints(&mut reader, count, to_u32)?;
    let since_first = read_ints(&mut reader, count, |since| since)?;
    let spans = read_ints(&mut reader, count, |span| span)?;
    let rows = read_ints(&mut reader, count, |rows| rows)?;
    let bytes = read_ints(&mut reader, count, |bytes| bytes)?;
    reader.finish()?;
    if object.iter().any(|object| *object as usize >= objects) {
        return Err(CodecError::Invalid("object that is not in the table"));
    }
    let firsts = page
        .totals
        .iter()
        .flat_map(|t| std::iter::repeat_n(t.min_ts_ns, t.blocks as usize));
    let places = object.into_iter().zip(block).zip(run);
    let times = firsts.zip(since_first).zip(spans);
    Ok(places
        .zip(times)
        .zip(rows.into_iter().zip(bytes))
        .map(
            |((((object, block), run), ((first, since), span)), (rows, raw_bytes))| {
                let min_ts_ns = first.wrapping_add_unsigned(since);
                let max_ts_ns = min_ts_ns.wrapping_add_unsigned(span);
                BlockRef {
                    min_ts_ns,
                    max_ts_ns,
                    object,
                    block,
                    run,
                    rows,
                    raw_bytes,
                }
            },
        )
        .collect())
}

fn put_ints(out: &mut Vec<u8>, values: impl Iterator<Item = u64>) {
    let values: Vec<u64> = values.collect();
    ints::pack(&values, out);
}

fn read_ints<T>(
    reader: &mut Reader<'_>,
    count: usize,
    convert: impl Fn(u64) -> T,
) -> Result<Vec<T>, CodecError> {
    // A group of 128 takes at least two bytes.
    let mut values = Vec::with_capacity(count.min(reader.remaining().saturating_mul(64)));
    ints::unpack(reader, count, |group| {
        values.extend(group.iter().map(|value| convert(*value)));
    })?;
    Ok(values)
}

/// From `a` to `b`, which is not before it; any two times have one.
fn distance(a: i64, b: i64) -> u64 {
    b.wrapping_sub(a) as u64
}
