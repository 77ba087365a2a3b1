//! Records: what a segment consists of.
//!
//! ```text
//! record  := len u32 | crc u32 | kind u8 | payload     len and CRC32C cover kind and payload;
//!                                                       the CRC32C begins with the segment's seed
//! kind 1, streams := codec u8 | raw_len u32 | body      body, uncompressed: (ref labels)*
//! kind 2, rows    := seq u64 | tenant | codec u8 | raw_len u32 | varint parts | (ref rows)* | body
//! kind 3, rows as received
//!                 := seq u64 | tenant | varint parts | (ref rows)* | varint len, columns | snappy
//! ```
//! Kind 2 has columns and lines, compressed by us ([`body`]). Kind 3 has the body of the push as it
//! came, one block of snappy, and columns that say where in it the lines are ([`super::received`]); a
//! segment of version 2 or less has none.
//!
//! `ref` is a varint that stands for a stream; the first record of a segment that uses it comes
//! after a `streams` record of the same segment that says which stream it is, so a segment can be
//! read alone. `seq` rises with every record of rows, also from one run of the process to the next.

use std::cell::RefCell;

use bytes::Bytes;
use codec::{Codec, CodecError, Reader, put_bytes, put_varint};
use model::{Entries, LabelSet, TenantId};

use super::RUN_SHIFT;
use super::body::{self, Part};
use super::received::ReceivedBody;
use crate::head;

/// Bytes before the payload's first: length and checksum.
pub(crate) const FRAME_LEN: usize = 8;
/// Bytes that say whether a record may begin with them: the frame, the kind, and what comes first.
pub(crate) const HEAD_LEN: usize = FRAME_LEN + FIRST_LEN;
const FIRST_LEN: usize = 9;
/// Kind and payload of a record, at most.
pub(crate) const RECORD_BYTES_MAX: usize = 96 << 20;
/// Lines of a record: a larger push is split.
pub(crate) const RECORD_RAW_TARGET: usize = 4 << 20;
/// A body uncompressed, at most: a record may have one line that is much longer than the target.
pub(super) const BODY_BYTES_MAX: usize = 80 << 20;
/// Rows of a record, at most: each counts as so many bytes at least.
const RECORD_ROWS_MAX: u64 = (RECORD_RAW_TARGET / head::ROW_BYTES) as u64 + 1;
/// The longest row that fits.
pub(crate) const ROW_BYTES_MAX: usize = 64 << 20;

const KIND_STREAMS: u8 = 1;
const KIND_ROWS: u8 = 2;
const KIND_RECEIVED: u8 = 3;

/// The rows of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Columns and lines.
    Packed(Packed),
    /// Columns, and the body that has the lines.
    Received(ReceivedBody),
}

impl Body {
    /// The rows of all parts.
    pub(crate) fn rows(parts: &[Part<'_>]) -> Self {
        Self::Packed(Packed::rows(parts))
    }

    /// The rows of all parts, as they are.
    #[cfg(test)]
    pub(crate) fn uncompressed(parts: &[Part<'_>]) -> Self {
        let mut bytes = Vec::new();
        body::encode(parts, &mut bytes);
        Self::Packed(Packed {
            codec: Codec::Stored,
            raw_len: bytes.len() as u32,
            bytes,
        })
    }

    pub(super) fn decode(&self, rows: &[usize]) -> Result<Vec<Entries>, CodecError> {
        match self {
            Self::Packed(packed) => body::decode(&packed.decompress()?, rows),
            Self::Received(received) => received.decode(rows),
        }
    }
}

/// Bytes of ours, compressed where that pays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    codec: Codec,
    raw_len: u32,
    bytes: Vec<u8>,
}

impl Packed {
    fn rows(parts: &[Part<'_>]) -> Self {
        thread_local! {
            /// What is compressed. Pushes are many, and of one size.
            static RAW: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        RAW.with_borrow_mut(|raw| {
            body::encode(parts, raw);
            let body = Self::compress(raw);
            raw.clear();
            raw.shrink_to(2 * RECORD_RAW_TARGET);
            body
        })
    }

    fn compress(raw: &[u8]) -> Self {
        let mut bytes = Vec::new();
        let codec = codec::frame::Compressor::default().append(Codec::Lz4Pieces, raw, &mut bytes);
        Self {
            codec,
            raw_len: raw.len() as u32,
            bytes,
        }
    }

    fn head(&self, out: &mut Vec<u8>) {
        out.push(self.codec.to_byte());
        out.extend_from_slice(&self.raw_len.to_le_bytes());
    }
}

/// A record of rows, ready to be written.
#[derive(Clone, Debug)]
pub(crate) struct RowsRecord {
    /// Its number.
    pub(crate) seq: u64,
    head: Vec<u8>,
    tail: Bytes,
}

impl RowsRecord {
    /// Joins a body with the streams whose rows it has, as (ref, rows).
    pub(crate) fn new(seq: u64, tenant: &TenantId, parts: &[(u64, usize)], body: Body) -> Self {
        let mut head = vec![match &body {
            Body::Packed(_) => KIND_ROWS,
            Body::Received(_) => KIND_RECEIVED,
        }];
        head.extend_from_slice(&seq.to_le_bytes());
        put_bytes(&mut head, tenant.as_str().as_bytes());
        if let Body::Packed(packed) = &body {
            packed.head(&mut head);
        }
        put_varint(&mut head, parts.len() as u64);
        for (stream, rows) in parts {
            put_varint(&mut head, *stream);
            put_varint(&mut head, *rows as u64);
        }
        let tail = match body {
            Body::Packed(packed) => packed.bytes.into(),
            Body::Received(received) => {
                put_bytes(&mut head, &received.columns);
                received.snappy
            }
        };
        Self { seq, head, tail }
    }

    /// Bytes in a segment.
    pub(crate) fn len(&self) -> usize {
        FRAME_LEN + self.head.len() + self.tail.len()
    }

    /// Appends the record to those of the segment that has this seed.
    pub(crate) fn append(&self, seed: u32, out: &mut Vec<u8>) {
        append_frame(seed, &self.head, &self.tail, out);
    }
}

/// Appends a record that says which streams some refs stand for.
pub(crate) fn append_streams<'a>(
    streams: impl Iterator<Item = (u64, &'a LabelSet)>,
    seed: u32,
    out: &mut Vec<u8>,
) {
    let mut raw = Vec::new();
    for (stream, labels) in streams {
        put_varint(&mut raw, stream);
        body::put_labels(labels, &mut raw);
    }
    let body = Packed::compress(&raw);
    let mut head = vec![KIND_STREAMS];
    body.head(&mut head);
    append_frame(seed, &head, &body.bytes, out);
}

fn append_frame(seed: u32, head: &[u8], body: &[u8], out: &mut Vec<u8>) {
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(seed, head), body);
    out.extend_from_slice(&((head.len() + body.len()) as u32).to_le_bytes());
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(head);
    out.extend_from_slice(body);
}

/// Length, checksum, and the first bytes that these are about.
pub(crate) fn split_head(head: &[u8; HEAD_LEN]) -> (usize, u32, &[u8; FIRST_LEN]) {
    let [a, b, c, d, e, f, g, h, first @ ..] = head;
    let len = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
    (len, u32::from_le_bytes([*e, *f, *g, *h]), first)
}

/// Whether kind and payload may begin like this, in a segment that has a record with the number
/// `after` before.
pub(crate) fn may_begin(first: &[u8; FIRST_LEN], after: u64) -> bool {
    let [kind, rest @ ..] = first;
    match *kind {
        KIND_STREAMS => {
            let [codec, a, b, c, d, ..] = *rest;
            let raw_len = u32::from_le_bytes([a, b, c, d]) as usize;
            Codec::from_byte(codec).is_ok() && raw_len <= BODY_BYTES_MAX
        }
        KIND_ROWS | KIND_RECEIVED => {
            let seq = u64::from_le_bytes(*rest);
            // All records of a segment are of one run.
            after == 0 || (seq > after && seq >> RUN_SHIFT == after >> RUN_SHIFT)
        }
        _ => false,
    }
}

/// A record as read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record {
    /// Which streams some refs stand for.
    Streams(Vec<(u64, LabelSet)>),
    /// Rows.
    Rows(RowsHead),
}

/// A record of rows whose body is not decoded yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RowsHead {
    /// Its number.
    pub(crate) seq: u64,
    /// Whose rows.
    pub(crate) tenant: TenantId,
    /// (ref, rows) of each part.
    pub(crate) parts: Vec<(u64, usize)>,
    body: Body,
}

impl RowsHead {
    /// The rows of each part.
    pub(crate) fn decode(&self) -> Result<Vec<Entries>, CodecError> {
        let rows: Vec<usize> = self.parts.iter().map(|(_, rows)| *rows).collect();
        self.body.decode(&rows)
    }

    /// What is lost if they cannot be decoded.
    pub(crate) fn lost(&self) -> LostRows {
        LostRows {
            seq: self.seq,
            tenant: self.tenant.clone(),
            rows: self.parts.iter().map(|(_, rows)| *rows as u64).sum(),
        }
    }
}

impl Packed {
    fn read(reader: &mut Reader<'_>) -> Result<(Codec, usize), CodecError> {
        let codec = Codec::from_byte(reader.u8()?)?;
        let raw_len = CodecError::cap("body", u64::from(reader.u32()?), BODY_BYTES_MAX)?;
        Ok((codec, raw_len))
    }

    fn rest(codec: Codec, raw_len: usize, reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let bytes = reader.take(reader.remaining())?.to_vec();
        // LZ4 makes at most 255 bytes of one: a longer length is a lie, found before memory is
        // taken for it.
        if raw_len > bytes.len().saturating_mul(255) {
            return Err(CodecError::Invalid("body of an impossible length"));
        }
        Ok(Self {
            codec,
            raw_len: raw_len as u32,
            bytes,
        })
    }

    fn decompress(&self) -> Result<Vec<u8>, CodecError> {
        let mut raw = vec![0; self.raw_len as usize];
        let crc = codec::frame::checksum(&self.bytes);
        let mut decompressor = codec::frame::Decompressor::default();
        decompressor.read_into(self.codec, &self.bytes, crc, &mut raw)?;
        Ok(raw)
    }
}

/// Reads kind and payload, whose checksum was right.
pub(crate) fn parse(bytes: &[u8]) -> Result<Record, CodecError> {
    let mut reader = Reader::new(bytes);
    match reader.u8()? {
        KIND_STREAMS => parse_streams(&mut reader).map(Record::Streams),
        kind @ (KIND_ROWS | KIND_RECEIVED) => parse_rows(kind, &mut reader).map(Record::Rows),
        _ => Err(CodecError::Invalid("unknown kind of record")),
    }
}

fn parse_streams(reader: &mut Reader<'_>) -> Result<Vec<(u64, LabelSet)>, CodecError> {
    let (codec, raw_len) = Packed::read(reader)?;
    let raw = Packed::rest(codec, raw_len, reader)?.decompress()?;
    let mut reader = Reader::new(&raw);
    let mut streams = Vec::new();
    while reader.remaining() > 0 {
        streams.push((reader.varint()?, body::read_labels(&mut reader)?));
    }
    Ok(streams)
}

/// What the beginning of a damaged record says of its rows. Nobody vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LostRows {
    /// The record's number.
    pub(crate) seq: u64,
    /// Whose rows.
    pub(crate) tenant: TenantId,
    /// How many.
    pub(crate) rows: u64,
}

impl LostRows {
    /// Reads kind and payload, which may be cut off.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u8().ok()?;
        if kind != KIND_ROWS && kind != KIND_RECEIVED {
            return None;
        }
        let Parts {
            seq, tenant, parts, ..
        } = Parts::read(kind, &mut reader).ok()?;
        let rows = parts.iter().map(|(_, rows)| *rows as u64).sum();
        (rows <= RECORD_ROWS_MAX).then_some(Self { seq, tenant, rows })
    }
}

/// A record of rows but for its body.
struct Parts {
    seq: u64,
    tenant: TenantId,
    packed: Option<(Codec, usize)>,
    parts: Vec<(u64, usize)>,
}

impl Parts {
    fn read(kind: u8, reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let seq = reader.u64()?;
        let tenant = TenantId::new(reader.text()?);
        let tenant = tenant.map_err(|_| CodecError::Invalid("not a tenant"))?;
        let packed = (kind == KIND_ROWS).then(|| Packed::read(reader));
        let packed = packed.transpose()?;
        let count = reader.items("parts of a record", usize::MAX)?;
        let mut parts = Vec::with_capacity(count.min(1 << 16));
        for _ in 0..count {
            parts.push((
                reader.varint()?,
                reader.count("rows of a part", BODY_BYTES_MAX)?,
            ));
        }
        Ok(Self {
            seq,
            tenant,
            packed,
            parts,
        })
    }
}

fn parse_rows(kind: u8, reader: &mut Reader<'_>) -> Result<RowsHead, CodecError> {
    let Parts {
        seq,
        tenant,
        packed,
        parts,
    } = Parts::read(kind, reader)?;
    let body = match packed {
        Some((codec, raw_len)) => Body::Packed(Packed::rest(codec, raw_len, reader)?),
        None => Body::Received(ReceivedBody {
            columns: reader.bytes()?.to_vec(),
            snappy: Bytes::copy_from_slice(reader.take(reader.remaining())?),
        }),
    };
    Ok(RowsHead {
        seq,
        tenant,
        parts,
        body,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::body::tests::{any_entries, rows};
    use super::*;

    proptest! {
        #[test]
        fn records_come_back(seq: u64, all in proptest::collection::vec((any::<u64>(), any_entries()), 0..4)) {
            let tenant = TenantId::single();
            let parts: Vec<_> = all.iter().map(|(_, entries)| Part::all(entries)).collect();
            let refs: Vec<_> = all.iter().map(|(id, entries)| (*id, entries.len())).collect();
            let record = RowsRecord::new(seq, &tenant, &refs, Body::rows(&parts));
            let mut bytes = Vec::new();
            record.append(7, &mut bytes);
            prop_assert_eq!(bytes.len(), record.len());
            let Record::Rows(read) = parse(&bytes[FRAME_LEN..]).unwrap() else { panic!() };
            prop_assert_eq!((read.seq, &read.parts), (seq, &refs));
            for ((_, entries), read) in all.iter().zip(read.decode().unwrap()) {
                prop_assert_eq!(rows(entries), rows(&read));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            if let Ok(Record::Rows(rows)) = parse(&bytes) {
                let _ = rows.decode();
            }
        }
    }

    #[test]
    fn streams_come_back() {
        let sets = [LabelSet::from_pairs([("app", "web")]), LabelSet::default()];
        let mut bytes = Vec::new();
        append_streams([7, 8].into_iter().zip(&sets), 7, &mut bytes);
        let expected = vec![(7, sets[0].clone()), (8, sets[1].clone())];
        assert_eq!(parse(&bytes[FRAME_LEN..]), Ok(Record::Streams(expected)));
    }
}
