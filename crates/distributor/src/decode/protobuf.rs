//! `logproto.PushRequest`, see `proto/logproto/push.proto`.

use crate::decode::Target;
use crate::decode::wire::{Fields, WireError};
use crate::error::Rejection;
use crate::intake::Pair;

/// Reads a push.
pub(crate) fn decode(body: &[u8], target: &mut Target<'_>) -> Result<(), Rejection> {
    let mut fields = Fields(body);
    let mut pairs = Vec::new();
    while let Some(field) = fields.next()? {
        if field.number == 1 {
            stream(field.message()?, target, &mut pairs)?;
        }
    }
    target.expect_streams()
}

fn stream<'a>(
    message: Fields<'a>,
    target: &mut Target<'_>,
    pairs: &mut Vec<Pair<'a>>,
) -> Result<(), Rejection> {
    // Labels come first in what clients send, but a message may have its fields in any order.
    let (mut labels, mut rows, mut bytes) = ("", 0, 0);
    let mut fields = message;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => labels = field.strict_text()?,
            2 => {
                rows += 1;
                bytes += field.message()?.0.len();
            }
            _ => {}
        }
    }
    target.begin_text(labels)?;
    target.intake.reserve(rows, bytes);
    let mut fields = message;
    while let Some(field) = fields.next()? {
        if field.number == 2 {
            entry(field.message()?, target, pairs)?;
        }
    }
    Ok(())
}

fn entry<'a>(
    mut fields: Fields<'a>,
    target: &mut Target<'_>,
    pairs: &mut Vec<Pair<'a>>,
) -> Result<(), Rejection> {
    let (mut timestamp_ns, mut line) = (0, &[][..]);
    pairs.clear();
    while let Some(field) = fields.next()? {
        match field.number {
            1 => timestamp_ns = timestamp(field.message()?)?,
            2 => line = field.bytes()?,
            3 => pairs.push(pair(field.message()?)?),
            _ => {}
        }
    }
    target.intake.row(timestamp_ns, line, pairs, &[]);
    Ok(())
}

fn timestamp(mut fields: Fields<'_>) -> Result<i64, Rejection> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => seconds = field.varint()?.cast_signed(),
            2 => nanos = field.varint()?.cast_signed(),
            _ => {}
        }
    }
    seconds
        .checked_mul(1_000_000_000)
        .and_then(|ns| ns.checked_add(nanos))
        .ok_or_else(|| Rejection::invalid("timestamp: out of range"))
}

fn pair(mut fields: Fields<'_>) -> Result<Pair<'_>, WireError> {
    let mut pair = Pair::default();
    while let Some(field) = fields.next()? {
        match field.number {
            1 => pair.0 = field.text()?,
            2 => pair.1 = field.text()?,
            _ => {}
        }
    }
    Ok(pair)
}
