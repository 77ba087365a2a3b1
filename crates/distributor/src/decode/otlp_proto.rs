//! OTLP logs in protobuf: `opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest`
//! (<https://github.com/open-telemetry/opentelemetry-proto>).

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::decode::any::{Any, DEPTH_MAX, PARTS_MAX};
use crate::decode::otlp::{Attributes, Mapper, Record, Scope};
use crate::decode::wire::{Field, Fields};
use crate::error::Rejection;

pub(super) fn decode(body: &[u8], mapper: &mut Mapper<'_, '_>) -> Result<(), Rejection> {
    let mut fields = Fields(body);
    while let Some(field) = fields.next()? {
        if field.number == 1 {
            resource_logs(field.message()?, mapper)?;
        }
    }
    Ok(())
}

/// The message under `number`, wherever it is among the others.
fn find<'a>(mut fields: Fields<'a>, number: u64) -> Result<Fields<'a>, Rejection> {
    let mut found = Fields(&[]);
    while let Some(field) = fields.next()? {
        if field.number == number {
            found = field.message()?;
        }
    }
    Ok(found)
}

fn resource_logs(message: Fields<'_>, mapper: &mut Mapper<'_, '_>) -> Result<(), Rejection> {
    let mut attributes = Attributes::new();
    let mut parts = Parts::default();
    let mut fields = find(message, 1)?;
    while let Some(field) = fields.next()? {
        if field.number == 1 {
            attributes.push(parts.key_value(field, 0)?);
        }
    }
    mapper.begin_resource(&attributes);
    let mut fields = message;
    while let Some(field) = fields.next()? {
        if field.number == 2 {
            scope_logs(field.message()?, mapper)?;
        }
    }
    Ok(())
}

fn scope_logs(message: Fields<'_>, mapper: &mut Mapper<'_, '_>) -> Result<(), Rejection> {
    let mut scope = Scope::default();
    let mut parts = Parts::default();
    let mut fields = find(message, 1)?;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => scope.name = field.text()?,
            2 => scope.version = field.text()?,
            3 => scope.attributes.push(parts.key_value(field, 0)?),
            4 => scope.dropped_attributes = field.varint()?,
            _ => {}
        }
    }
    mapper.begin_scope(&scope);
    let mut fields = message;
    while let Some(field) = fields.next()? {
        if field.number == 2 {
            mapper.record(&record(field.message()?)?)?;
        }
    }
    Ok(())
}

fn record(mut fields: Fields<'_>) -> Result<Record<'_>, Rejection> {
    let mut record = Record::default();
    let mut parts = Parts::default();
    while let Some(field) = fields.next()? {
        match field.number {
            1 => record.time_ns = field.fixed64()?,
            2 => record.severity_number = field.varint()?.cast_signed(),
            3 => record.severity_text = field.text()?,
            5 => record.body = parts.any(field.message()?, 0)?,
            6 => record.attributes.push(parts.key_value(field, 0)?),
            7 => record.dropped_attributes = field.varint()?,
            8 => record.flags = u64::from(field.fixed32()?),
            9 => record.trace_id = id(field.bytes()?, 16)?,
            10 => record.span_id = id(field.bytes()?, 8)?,
            11 => record.observed_ns = field.fixed64()?,
            12 => record.event_name = field.text()?,
            _ => {}
        }
    }
    Ok(record)
}

/// An id in hexadecimal; all zeroes means none.
fn id(bytes: &[u8], len: usize) -> Result<Cow<'static, str>, Rejection> {
    if bytes.iter().all(|b| *b == 0) {
        return Ok(Cow::Borrowed(""));
    }
    if bytes.len() != len {
        let found = bytes.len();
        let message = format!("an id has {found} bytes instead of {len}");
        return Err(Rejection::invalid(message));
    }
    let mut text = String::with_capacity(2 * len);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(Cow::Owned(text))
}

/// Counts the parts of values.
#[derive(Default)]
struct Parts(usize);

impl Parts {
    fn count(&mut self, depth: usize) -> Result<(), Rejection> {
        self.0 += 1;
        if self.0 > PARTS_MAX {
            return Err(Rejection::invalid(format!(
                "a value has more than {PARTS_MAX} parts"
            )));
        }
        if depth > DEPTH_MAX {
            let message = format!("a value is nested deeper than {DEPTH_MAX} levels");
            return Err(Rejection::invalid(message));
        }
        Ok(())
    }

    fn key_value<'a>(
        &mut self,
        field: Field<'a>,
        depth: usize,
    ) -> Result<(Cow<'a, str>, Any<'a>), Rejection> {
        self.count(depth)?;
        let (mut key, mut value) = (Cow::Borrowed(""), Any::Empty);
        let mut fields = field.message()?;
        while let Some(field) = fields.next()? {
            match field.number {
                1 => key = field.text()?,
                2 => value = self.any(field.message()?, depth + 1)?,
                _ => {}
            }
        }
        Ok((key, value))
    }

    fn any<'a>(&mut self, mut fields: Fields<'a>, depth: usize) -> Result<Any<'a>, Rejection> {
        self.count(depth)?;
        let mut value = Any::Empty;
        while let Some(field) = fields.next()? {
            value = match field.number {
                1 => Any::Text(field.text()?),
                2 => Any::Bool(field.varint()? != 0),
                3 => Any::Int(field.varint()?.cast_signed()),
                4 => Any::Double(f64::from_bits(field.fixed64()?)),
                5 => self.list(field.message()?, depth + 1)?,
                6 => self.map(field.message()?, depth + 1)?,
                7 => Any::Bytes(Cow::Borrowed(field.bytes()?)),
                _ => value,
            };
        }
        Ok(value)
    }

    fn list<'a>(&mut self, mut fields: Fields<'a>, depth: usize) -> Result<Any<'a>, Rejection> {
        let mut values = Vec::new();
        while let Some(field) = fields.next()? {
            if field.number == 1 {
                values.push(self.any(field.message()?, depth)?);
            }
        }
        Ok(Any::List(values))
    }

    fn map<'a>(&mut self, mut fields: Fields<'a>, depth: usize) -> Result<Any<'a>, Rejection> {
        let mut pairs = Vec::new();
        while let Some(field) = fields.next()? {
            if field.number == 1 {
                pairs.push(self.key_value(field, depth)?);
            }
        }
        Ok(Any::Map(pairs))
    }
}
