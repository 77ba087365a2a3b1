//! A shape as bytes.

use bytes::Bytes;
use codec::{CodecError, Reader, put_bytes, put_varint};
use smallvec::SmallVec;

use super::{
    Column, Group, IdTable, Integers, Kind, MAX_COLUMNS, MAX_DEPTH, MAX_ID_TABLES, MAX_SLOTS,
    MAX_TEMPLATES, Order, Payload, Planes, Shape, Template, placeholders,
};
use crate::format::{Grams, IdPattern, NumberFormat, Stamp};
use crate::meta::{FrameMeta, parse_blob, put_blob};
use crate::{MAX_BLOCK_RAW_BYTES, MAX_BLOCK_ROWS};

/// Added to the kind of a column that has [`Grams`]: they follow the stamp.
const HAS_GRAMS: u8 = 0x80;
/// Before [`Grams`] of short texts, where else the number of payloads is, which is never so high.
const SHORT_GRAMS: u64 = 1 << 20;
/// Payloads of one block.
const MAX_PAYLOADS: usize = MAX_COLUMNS * 10;

impl Shape {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(grams) = &self.short_grams {
            put_varint(&mut out, SHORT_GRAMS);
            put_bytes(&mut out, grams.as_bytes());
        }
        put_varint(&mut out, self.payloads.len() as u64);
        self.payloads
            .iter()
            .for_each(|blob| put_blob(&mut out, blob));
        put_varint(&mut out, self.ids.len() as u64);
        for table in &self.ids {
            table.pattern.put(&mut out);
            put_varint(&mut out, u64::from(table.count));
            put_varint(&mut out, u64::from(table.packed));
        }
        put_group(&self.lines, &mut out);
        out
    }

    /// Reads what [`Self::to_bytes`] wrote, for lines of so many bytes in so many rows.
    pub(crate) fn parse(
        bytes: &Bytes,
        frames: &[FrameMeta],
        rows: u32,
        raw_bytes: u64,
    ) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let mut marked = Reader::new(bytes);
        let has_grams = marked.varint()? == SHORT_GRAMS;
        let short_grams = has_grams.then(|| grams(&mut marked)).transpose()?;
        if has_grams {
            reader = marked;
        }
        let count = reader.items("payloads", MAX_PAYLOADS)?;
        let payloads = reader.list(count, |reader| parse_blob(reader, frames))?;
        let count = reader.items("identifier tables", MAX_ID_TABLES)?;
        let payload_count = payloads.len();
        let ids = reader.list(count, |reader| {
            Ok(IdTable {
                pattern: IdPattern::read(reader)?,
                count: reader.count("identifiers", u32::MAX as usize)? as u32,
                packed: payload(reader, payload_count)?,
            })
        })?;
        let mut parser = Parser {
            bytes,
            reader,
            places: Vec::new(),
            payloads: payload_count,
            id_tables: ids.len(),
            columns_left: MAX_COLUMNS,
            raw_bytes,
        };
        let lines = parser.group(rows, 0)?;
        parser.reader.finish()?;
        Ok(Self {
            lines,
            ids,
            payloads,
            short_grams,
        })
    }
}

fn put_group(group: &Group, out: &mut Vec<u8>) {
    put_varint(out, group.templates.len() as u64);
    for template in &group.templates {
        put_varint(
            out,
            u64::from(template.count) << 1 | u64::from(template.is_json),
        );
        put_bytes(out, &template.text);
    }
    for template in &group.templates {
        let mut next = 0;
        for slot in &template.slots {
            codec::put_zigzag(out, i64::from(*slot) - next);
            next = i64::from(*slot) + 1;
        }
    }
    put_planes(group.numbers, out);
    put_varint(out, group.columns.len() as u64);
    group
        .columns
        .iter()
        .for_each(|column| put_column(column, out));
}

fn put_column(column: &Column, out: &mut Vec<u8>) {
    let kind = match &column.kind {
        Kind::Constant(_) => 0,
        Kind::Number { scales: None, .. } => 1,
        Kind::Number {
            scales: Some(_), ..
        } => 2,
        Kind::Id { .. } => 3,
        Kind::Ip4(_) => 4,
        Kind::Dictionary { .. } => 5,
        Kind::Text(_) => 6,
        Kind::Plain { .. } => 7,
        Kind::Short(_) => 8,
    };
    let has_grams = if column.grams.is_some() { HAS_GRAMS } else { 0 };
    out.push(kind | has_grams);
    out.extend_from_slice(&column.stamp.classes.to_le_bytes());
    put_varint(out, u64::from(column.stamp.min_len));
    put_varint(out, u64::from(column.stamp.max_len - column.stamp.min_len));
    let grams = column.grams.iter();
    grams.for_each(|grams| put_bytes(out, grams.as_bytes()));
    match &column.kind {
        Kind::Constant(value) => put_bytes(out, value),
        Kind::Number {
            format,
            numbers,
            scales,
        } => {
            format.put(out);
            put_integers(*numbers, out);
            scales.iter().for_each(|planes| put_planes(*planes, out));
        }
        Kind::Id { table, places } => {
            put_varint(out, u64::from(*table));
            put_integers(*places, out);
        }
        Kind::Ip4(planes) => put_planes(*planes, out),
        Kind::Dictionary {
            values,
            lengths,
            text,
            ids,
        } => {
            put_varint(out, u64::from(*values));
            put_varint(out, u64::from(*lengths));
            put_varint(out, u64::from(*text));
            put_planes(*ids, out);
        }
        Kind::Text(group) => put_group(group, out),
        Kind::Plain { lengths, text } => {
            put_varint(out, u64::from(*lengths));
            put_varint(out, u64::from(*text));
        }
        Kind::Short(payload) => put_varint(out, u64::from(*payload)),
    }
}

fn put_planes(planes: Planes, out: &mut Vec<u8>) {
    out.push(planes.width);
    if planes.width > 0 {
        put_varint(out, u64::from(planes.first));
    }
}

fn put_integers(integers: Integers, out: &mut Vec<u8>) {
    out.push(match integers.order {
        Order::Base => 0,
        Order::Delta => 1,
        Order::Newest => 2,
    });
    put_varint(out, integers.base);
    put_planes(integers.planes, out);
}

fn payload(reader: &mut Reader<'_>, payloads: usize) -> Result<Payload, CodecError> {
    let number = reader.varint()?;
    if number >= payloads as u64 {
        return Err(CodecError::Invalid("payload that is not there"));
    }
    Ok(number as Payload)
}

fn grams(reader: &mut Reader<'_>) -> Result<Grams, CodecError> {
    let grams = Grams::from_bytes(reader.bytes()?);
    grams.ok_or(CodecError::Invalid(
        "sequences in a table of another length",
    ))
}

/// A template as far as it was read: texts, whether it is JSON, text.
type Head<'a> = (u32, bool, &'a [u8]);

struct Parser<'a> {
    /// All of them.
    bytes: &'a Bytes,
    reader: Reader<'a>,
    /// Those of the placeholders of a template.
    places: Vec<u32>,
    payloads: usize,
    id_tables: usize,
    columns_left: usize,
    /// Bytes of all lines.
    raw_bytes: u64,
}

impl<'a> Parser<'a> {
    fn group(&mut self, count: u32, depth: usize) -> Result<Group, CodecError> {
        if depth >= MAX_DEPTH {
            return Err(CodecError::Invalid("groups too deep in each other"));
        }
        let heads = self.heads(count)?;
        let mut templates = Vec::with_capacity(heads.len());
        for head in heads {
            templates.push(self.template(head)?);
        }
        let numbers = self.planes(count)?;
        let columns = self.reader.items("columns", self.columns_left)?;
        self.columns_left -= columns;
        let counts = self.counts(&templates, columns, count)?;
        let mut columns = Vec::with_capacity(counts.len());
        for count in counts {
            columns.push(self.column(count, depth)?);
        }
        if numbers.width > 2 {
            return Err(CodecError::Invalid(
                "numbers of templates of more than 16 bits",
            ));
        }
        Ok(Group {
            count,
            templates,
            numbers,
            columns,
        })
    }

    fn heads(&mut self, count: u32) -> Result<Vec<Head<'a>>, CodecError> {
        let templates = self.reader.items("templates", MAX_TEMPLATES)?;
        let mut left = u64::from(count);
        let heads = self.reader.list(templates, |reader| {
            let count = reader.varint()?;
            left = left
                .checked_sub(count >> 1)
                .ok_or(CodecError::Invalid("more texts than there are"))?;
            Ok(((count >> 1) as u32, count & 1 == 1, reader.bytes()?))
        })?;
        if left > 0 {
            return Err(CodecError::Invalid("texts without a template"));
        }
        Ok(heads)
    }

    fn template(&mut self, (count, is_json, text): Head<'_>) -> Result<Template, CodecError> {
        placeholders(text, &mut self.places);
        let slots = CodecError::cap("slots", self.places.len() as u64, MAX_SLOTS)?;
        let mut next = 0i64;
        let slots = self.reader.list(slots, |reader| {
            let slot = next.wrapping_add(reader.zigzag()?);
            next = slot.wrapping_add(1);
            usize::try_from(slot)
                .ok()
                .filter(|slot| *slot < MAX_COLUMNS)
                .map(|slot| slot as u32)
                .ok_or(CodecError::Invalid("column that is not there"))
        })?;
        let text = self.bytes.slice_ref(text);
        Template::with_places(count, is_json, text, &self.places, slots.into())
            .ok_or(CodecError::Invalid("placeholders next to each other"))
    }

    /// Values of each column, which are bounded by the bytes between them.
    fn counts(
        &self,
        templates: &[Template],
        columns: usize,
        count: u32,
    ) -> Result<Vec<u32>, CodecError> {
        let mut counts = vec![0u64; columns];
        let mut text = 0u64;
        for template in templates {
            text += u64::from(template.count) * template.text_len() as u64;
            for slot in &template.slots {
                *counts
                    .get_mut(*slot as usize)
                    .ok_or(CodecError::Invalid("column that is not there"))? +=
                    u64::from(template.count);
            }
        }
        let values: u64 = counts.iter().sum();
        if text > self.raw_bytes || values > self.raw_bytes + u64::from(count) {
            return Err(CodecError::Invalid("more text than there is"));
        }
        Ok(counts.into_iter().map(|count| count as u32).collect())
    }

    fn column(&mut self, count: u32, depth: usize) -> Result<Column, CodecError> {
        let kind = self.reader.u8()?;
        let classes = self.reader.u16()?;
        let min_len = self
            .reader
            .count("length of a value", MAX_BLOCK_RAW_BYTES)? as u32;
        let more = self
            .reader
            .count("length of a value", MAX_BLOCK_RAW_BYTES)? as u32;
        let stamp = Stamp {
            classes,
            min_len,
            max_len: min_len + more,
        };
        let grams = (kind & HAS_GRAMS != 0)
            .then(|| grams(&mut self.reader))
            .transpose()?;
        Ok(Column {
            count,
            stamp,
            grams: grams.map(Box::new),
            kind: self.kind(kind & !HAS_GRAMS, count, depth)?,
        })
    }

    fn kind(&mut self, kind: u8, count: u32, depth: usize) -> Result<Kind, CodecError> {
        Ok(match kind {
            0 => Kind::Constant(SmallVec::from_slice(self.reader.bytes()?)),
            1 | 2 => {
                let format = Box::new(NumberFormat::read(&mut self.reader)?);
                if format.has_scales() != (kind == 2) {
                    return Err(CodecError::Invalid("digits after the point are missing"));
                }
                Kind::Number {
                    format,
                    numbers: self.integers(count)?,
                    scales: (kind == 2).then(|| self.planes(count)).transpose()?,
                }
            }
            3 => {
                let table = self.reader.varint()?;
                if table >= self.id_tables as u64 {
                    return Err(CodecError::Invalid("identifier table that is not there"));
                }
                Kind::Id {
                    table: table as u32,
                    places: self.integers(count)?,
                }
            }
            4 => Kind::Ip4(self.planes(count)?),
            5 => Kind::Dictionary {
                values: self.reader.count("values", MAX_BLOCK_ROWS)? as u32,
                lengths: self.payload()?,
                text: self.payload()?,
                ids: self.planes(count)?,
            },
            6 => Kind::Text(Box::new(self.group(count, depth + 1)?)),
            7 => Kind::Plain {
                lengths: self.payload()?,
                text: self.payload()?,
            },
            8 => Kind::Short(self.payload()?),
            _ => return Err(CodecError::Invalid("unknown kind of column")),
        })
    }

    fn payload(&mut self) -> Result<Payload, CodecError> {
        payload(&mut self.reader, self.payloads)
    }

    fn planes(&mut self, count: u32) -> Result<Planes, CodecError> {
        let width = self.reader.u8()?;
        if width == 0 {
            return Ok(Planes::default());
        }
        let planes = Planes {
            width,
            first: self.payload()?,
        };
        if width > 8 || planes.payloads(count as usize).end as usize > self.payloads {
            return Err(CodecError::Invalid("payload that is not there"));
        }
        Ok(planes)
    }

    fn integers(&mut self, count: u32) -> Result<Integers, CodecError> {
        let order = match self.reader.u8()? {
            0 => Order::Base,
            1 => Order::Delta,
            2 => Order::Newest,
            _ => return Err(CodecError::Invalid("unknown order of integers")),
        };
        Ok(Integers {
            order,
            base: self.reader.varint()?,
            planes: self.planes(count)?,
        })
    }
}
