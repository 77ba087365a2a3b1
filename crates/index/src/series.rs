//! Series: their labels, their totals, their blocks.

use std::sync::OnceLock;

use codec::{CodecError, Reader, ints, put_varint, put_zigzag};
use model::LabelSet;

use crate::{MAX_NAMES, MAX_PAGE_BLOCKS, MAX_PAGE_LABELS};

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
    labels: Labels,
    pub(crate) totals: Vec<Totals>,
    /// Where the blocks of each series end in the page of blocks.
    pub(crate) block_ends: Vec<u32>,
    /// Labels of the series that were asked for, with their fingerprints: most are again.
    pub(crate) known: Vec<OnceLock<(LabelSet, u64)>>,
}

/// The labels of the series of a page. In the file they are columns, one for each name and as long
/// as the page; where each series has names of its own nearly all of that is zeros.
#[derive(Debug, Default)]
struct Labels {
    /// Of one series after the other, by number of the name: that and the number of the value.
    all: Vec<(u32, u32)>,
    /// Where those of each series end.
    ends: Vec<u32>,
}

/// A series as it is written.
#[derive(Debug, Default)]
pub(crate) struct SeriesRow<'a> {
    /// Number of the name, number of the value plus one.
    pub(crate) labels: Vec<(u32, u32)>,
    pub(crate) blocks: &'a [BlockRef],
}

impl SeriesRow<'_> {
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

impl Labels {
    /// Reads the columns of `count` series.
    fn parse(reader: &mut Reader<'_>, count: usize) -> Result<Self, CodecError> {
        let names = reader.items("label names", MAX_NAMES)?;
        // Series, name, value, by name.
        let mut found: Vec<(u32, u32, u32)> = Vec::new();
        let mut last = None;
        for _ in 0..names {
            let name = reader.count("label name", MAX_NAMES)? as u32;
            if last.is_some_and(|last| last >= name) {
                return Err(CodecError::Invalid("label names are not in order"));
            }
            last = Some(name);
            let mut series = 0;
            ints::unpack(reader, count, |group| {
                for (value, series) in group.iter().zip(series..) {
                    if *value > 0 {
                        let value = u32::try_from(*value - 1).unwrap_or(u32::MAX);
                        found.push((series, name, value));
                    }
                }
                series += group.len() as u32;
            })?;
            CodecError::cap("labels of a page", found.len() as u64, MAX_PAGE_LABELS)?;
        }
        let mut ends = vec![0u32; count];
        for (series, ..) in &found {
            ends.iter_mut()
                .skip(*series as usize)
                .take(1)
                .for_each(|labels| *labels += 1);
        }
        // Stable: of each series the names stay in order.
        found.sort_by_key(|(series, ..)| *series);
        let mut end = 0;
        for labels in &mut ends {
            end += *labels;
            *labels = end;
        }
        let all = found
            .into_iter()
            .map(|(_, name, value)| (name, value))
            .collect();
        Ok(Self { all, ends })
    }

    fn of(&self, at: usize) -> &[(u32, u32)] {
        let end_of = |at: usize| self.ends.get(at).map_or(0, |end| *end as usize);
        let start = at.checked_sub(1).map_or(0, end_of);
        self.all.get(start..end_of(at)).unwrap_or_default()
    }
}

pub(crate) fn write_series(rows: &[SeriesRow<'_>]) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::new();
    // By name: its number, the series and the number of the value plus one.
    let mut labels: Vec<(u32, u32, u32)> = Vec::new();
    for (row, series) in rows.iter().zip(0u32..) {
        labels.extend(
            row.labels
                .iter()
                .map(|(name, value)| (*name, series, *value)),
        );
        CodecError::cap("labels of a page", labels.len() as u64, MAX_PAGE_LABELS)?;
    }
    labels.sort_unstable();
    let columns = || labels.chunk_by(|(a, ..), (b, ..)| a == b);
    put_varint(&mut out, columns().count() as u64);
    let mut values = Vec::with_capacity(rows.len());
    for column in columns() {
        values.clear();
        values.resize(rows.len(), 0);
        for (_, series, value) in column {
            if let Some(slot) = values.get_mut(*series as usize) {
                *slot = u64::from(*value);
            }
        }
        let name = column.first().map_or(0, |(name, ..)| *name);
        put_varint(&mut out, u64::from(name));
        ints::pack(&values, &mut out);
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
    Ok(out)
}

impl SeriesPage {
    pub(crate) fn parse(bytes: &[u8], count: usize) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let labels = Labels::parse(&mut reader, count)?;
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
            labels,
            totals,
            block_ends,
            known: (0..count).map(|_| OnceLock::new()).collect(),
        })
    }

    /// The labels of a series, by name: numbers of names and of their values.
    pub(crate) fn labels(&self, at: usize) -> &[(u32, u32)] {
        self.labels.of(at)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let of_series = size_of::<Totals>() + 8 + size_of::<OnceLock<(LabelSet, u64)>>();
        self.labels.all.len() * size_of::<(u32, u32)>() + self.totals.len() * of_series
    }
}

pub(crate) fn write_blocks(rows: &[SeriesRow<'_>]) -> Vec<u8> {
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
