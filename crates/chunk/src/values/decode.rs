//! From payloads to values.

use codec::{CodecError, Reader, ints};

use super::{GroupValues, GroupView, Later, Store, Strings, Values};
use crate::ChunkError;
use crate::format::{Word, join};
use crate::shape::{Column, Integers, Kind, Order, Planes};

/// Which template each text has.
pub(super) fn numbers(view: GroupView<'_>) -> Result<Vec<u16>, ChunkError> {
    let group = view.group;
    if group.templates.len() < 2 {
        return Ok(Vec::new());
    }
    let numbers: Vec<u16> = planes(view.store, group.numbers, group.count as usize)?;
    let mut counts = vec![0u32; group.templates.len()];
    for number in &numbers {
        let count = counts.get_mut(usize::from(*number));
        *count.ok_or_else(|| view.store.damaged("template that is not there"))? += 1;
    }
    let agree = counts
        .iter()
        .zip(&group.templates)
        .all(|(n, template)| *n == template.count);
    if agree {
        Ok(numbers)
    } else {
        Err(view.store.damaged("templates do not agree"))
    }
}

pub(super) fn column(store: Store<'_>, column: &Column) -> Result<Values, ChunkError> {
    let count = column.count as usize;
    Ok(match &column.kind {
        Kind::Constant(_) => Values::Constant,
        Kind::Number {
            numbers, scales, ..
        } => Values::Number {
            numbers: integers(store, *numbers, count)?,
            scales: match scales {
                Some(scales) => planes::<u16>(store, *scales, count)?
                    .into_iter()
                    .map(|scale| scale as u8)
                    .collect(),
                None => Vec::new(),
            },
        },
        Kind::Id { .. } => Values::Id(Later::default()),
        Kind::Ip4(addresses) => Values::Ip4(planes(store, *addresses, count)?),
        Kind::Dictionary {
            values,
            lengths,
            text,
            ..
        } => Values::Dictionary {
            ids: Later::default(),
            values: strings(store, *lengths, *text, *values as usize)?,
        },
        Kind::Text(group) => Values::Text(Box::new(GroupValues::new(group))),
        Kind::Plain { lengths, text } => Values::Plain(strings(store, *lengths, *text, count)?),
        Kind::Short(payload) => {
            let bytes = store.payload(*payload)?;
            let values = short(&bytes, count).map_err(|reason| store.block.at_lines(reason))?;
            Values::Plain(values)
        }
    })
}

/// Which of the distinct values each value of a dictionary or of identifiers is.
pub(super) fn places(store: Store<'_>, column: &Column) -> Result<Vec<u32>, ChunkError> {
    let count = column.count as usize;
    match &column.kind {
        Kind::Id { table, places } => {
            let table = store.shape.ids.get(*table as usize);
            let all = table.map_or(0, |table| table.count);
            let places = integers(store, *places, count)?;
            if places.iter().any(|place| *place >= u64::from(all)) {
                return Err(store.damaged("identifier that is not there"));
            }
            Ok(places.into_iter().map(|place| place as u32).collect())
        }
        Kind::Dictionary { values, ids, .. } => {
            let ids: Vec<u32> = planes(store, *ids, count)?;
            if ids.iter().any(|id| *id >= *values) {
                return Err(store.damaged("value that is not there"));
            }
            Ok(ids)
        }
        _ => Ok(Vec::new()),
    }
}

fn planes<W: Word>(store: Store<'_>, planes: Planes, count: usize) -> Result<Vec<W>, ChunkError> {
    let payloads = planes.payloads(count);
    let each = match payloads.len() {
        1 => count * usize::from(planes.width),
        _ => count,
    };
    let mut bytes = Vec::with_capacity(payloads.len());
    for payload in payloads {
        let payload = store.payload(payload)?;
        if payload.len() != each {
            return Err(store.damaged("integers of another length"));
        }
        bytes.push(payload);
    }
    Ok(join(
        bytes.iter().flat_map(|bytes| bytes.chunks(count.max(1))),
        count,
    ))
}

fn integers(store: Store<'_>, integers: Integers, count: usize) -> Result<Vec<u64>, ChunkError> {
    let mut values: Vec<u64> = planes(store, integers.planes, count)?;
    match integers.order {
        Order::Base => values
            .iter_mut()
            .for_each(|value| *value = value.wrapping_add(integers.base)),
        Order::Delta => {
            let mut last = integers.base;
            for value in &mut values {
                last = last.wrapping_add(unzigzag(*value));
                *value = last;
            }
        }
        Order::Newest => {
            let mut next = integers.base;
            for value in &mut values {
                let place = next.wrapping_add(unzigzag(*value));
                *value = place;
                next = next.max(place.wrapping_add(1));
            }
        }
    }
    Ok(values)
}

fn unzigzag(value: u64) -> u64 {
    (value >> 1) ^ (value & 1).wrapping_neg()
}

fn strings(store: Store<'_>, lengths: u32, text: u32, count: usize) -> Result<Strings, ChunkError> {
    let packed = store.payload(lengths)?;
    let text = store.payload(text)?;
    let ends = ends(&packed, count).map_err(|reason| store.block.at_lines(reason))?;
    if ends.last().map_or(0, |end| *end as usize) != text.len() {
        return Err(store.damaged("lengths do not agree"));
    }
    Ok(Strings { ends, text })
}

pub(crate) fn ends(packed: &[u8], count: usize) -> Result<Vec<u32>, CodecError> {
    let mut reader = Reader::new(packed);
    // A group takes at least two bytes.
    let most = packed.len().saturating_mul(ints::GROUP / 2);
    let mut ends = Vec::with_capacity(count.min(most));
    let mut end = 0u64;
    ints::unpack(&mut reader, count, |lengths| {
        ends.extend(lengths.iter().map(|len| {
            end = end.saturating_add(*len).min(u64::from(u32::MAX));
            end as u32
        }));
    })?;
    reader.finish()?;
    Ok(ends)
}

pub(crate) fn short(bytes: &[u8], count: usize) -> Result<Strings, CodecError> {
    let mut reader = Reader::new(bytes);
    let (mut ends, mut text) = (Vec::new(), Vec::new());
    for _ in 0..count {
        text.extend_from_slice(reader.bytes()?);
        ends.push(text.len() as u32);
    }
    reader.finish()?;
    Ok(Strings {
        ends,
        text: text.into(),
    })
}
