//! The stream table: which streams an object has, in pages with a symbol table each.

use std::collections::HashMap;
use std::sync::Arc;

use codec::{CodecError, Reader, put_bytes, put_varint, put_zigzag};
use model::{Label, LabelSet};

use crate::RunMeta;

const MAX_SYMBOLS: usize = 1 << 24;
const MAX_LABELS: usize = 1 << 16;

/// A stream of an object and what all its runs have together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its labels.
    pub labels: LabelSet,
    /// Their fingerprint.
    pub fingerprint: u64,
    /// Time of its oldest row.
    pub min_ts_ns: i64,
    /// Time of its newest row.
    pub max_ts_ns: i64,
    /// Rows.
    pub rows: u64,
    /// Bytes of its lines.
    pub raw_bytes: u64,
}

impl StreamInfo {
    pub(super) fn new(labels: LabelSet) -> Self {
        let fingerprint = labels.fingerprint();
        Self {
            labels,
            fingerprint,
            min_ts_ns: i64::MAX,
            max_ts_ns: i64::MIN,
            rows: 0,
            raw_bytes: 0,
        }
    }

    pub(super) fn add(&mut self, run: &RunMeta) {
        self.min_ts_ns = self.min_ts_ns.min(run.min_ts_ns);
        self.max_ts_ns = self.max_ts_ns.max(run.max_ts_ns);
        self.rows += u64::from(run.rows);
        self.raw_bytes += run.raw_bytes;
    }
}

/// A decoded page.
#[derive(Debug)]
pub(super) struct StreamPage {
    pub(super) streams: Vec<StreamInfo>,
    symbol_bytes: usize,
}

pub(super) fn write_page(streams: &[StreamInfo]) -> Vec<u8> {
    let mut number_of: HashMap<&str, u64, foldhash::fast::RandomState> = HashMap::default();
    let mut symbols: Vec<&str> = Vec::new();
    let mut table = Vec::new();
    let mut number = |symbol| {
        *number_of.entry(symbol).or_insert_with(|| {
            symbols.push(symbol);
            symbols.len() as u64 - 1
        })
    };
    for stream in streams {
        put_varint(&mut table, stream.labels.len() as u64);
        for label in &stream.labels {
            put_varint(&mut table, number(&label.name));
            put_varint(&mut table, number(&label.value));
        }
    }
    for stream in streams {
        table.extend_from_slice(&stream.fingerprint.to_le_bytes());
    }
    streams
        .iter()
        .for_each(|stream| put_zigzag(&mut table, stream.min_ts_ns));
    for stream in streams {
        put_varint(
            &mut table,
            stream.max_ts_ns.wrapping_sub(stream.min_ts_ns) as u64,
        );
    }
    streams
        .iter()
        .for_each(|stream| put_varint(&mut table, stream.rows));
    streams
        .iter()
        .for_each(|stream| put_varint(&mut table, stream.raw_bytes));
    let mut out = Vec::new();
    put_varint(&mut out, symbols.len() as u64);
    symbols
        .iter()
        .for_each(|symbol| put_bytes(&mut out, symbol.as_bytes()));
    out.extend_from_slice(&table);
    out
}

impl StreamPage {
    pub(super) fn parse(bytes: &[u8], count: usize) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let symbol_count = reader.items("symbols", MAX_SYMBOLS)?;
        let symbols = (0..symbol_count)
            .map(|_| reader.text().map(Arc::<str>::from))
            .collect::<Result<Vec<_>, _>>()?;
        let mut sets = Vec::new();
        for _ in 0..count {
            sets.push(labels(&mut reader, &symbols)?);
        }
        let fingerprints = column(count, || reader.u64())?;
        let mins = column(count, || reader.zigzag())?;
        let spans = column(count, || reader.varint())?;
        let rows = column(count, || reader.varint())?;
        let bytes = column(count, || reader.varint())?;
        reader.finish()?;
        let streams = sets
            .into_iter()
            .zip(fingerprints)
            .zip(mins.into_iter().zip(spans))
            .zip(rows.into_iter().zip(bytes))
            .map(
                |(((labels, fingerprint), (min_ts_ns, span)), (rows, raw_bytes))| StreamInfo {
                    labels,
                    fingerprint,
                    min_ts_ns,
                    max_ts_ns: min_ts_ns.wrapping_add_unsigned(span),
                    rows,
                    raw_bytes,
                },
            )
            .collect();
        let symbol_bytes = symbols.iter().map(|symbol| symbol.len() + 16).sum();
        Ok(Self {
            streams,
            symbol_bytes,
        })
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let labels: usize = self
            .streams
            .iter()
            .map(|stream| stream.labels.len() * 32)
            .sum();
        self.symbol_bytes + labels + self.streams.len() * size_of::<StreamInfo>()
    }
}

fn column<T>(
    count: usize,
    mut read: impl FnMut() -> Result<T, CodecError>,
) -> Result<Vec<T>, CodecError> {
    (0..count).map(|_| read()).collect()
}

fn labels(reader: &mut Reader<'_>, symbols: &[Arc<str>]) -> Result<LabelSet, CodecError> {
    let symbol = |reader: &mut Reader<'_>| {
        let number = reader.count("symbol", symbols.len())?;
        symbols
            .get(number)
            .cloned()
            .ok_or(CodecError::Invalid("symbol that is not in the table"))
    };
    let count = reader.items("labels", MAX_LABELS)?;
    (0..count)
        .map(|_| {
            Ok(Label {
                name: symbol(reader)?,
                value: symbol(reader)?,
            })
        })
        .collect::<Result<LabelSet, CodecError>>()
}
