//! Which series have a value: short lists of numbers, or bitmaps.
//!
//! Most values of a label like `pod` have one series each, and a serialised bitmap of one takes 18
//! bytes; a list takes two or three.

use codec::{CodecError, Reader, put_bytes, put_varint};
use roaring::RoaringBitmap;

/// Lists up to this length stay lists.
const LIST: usize = 64;

/// Appends the series of one value, ascending.
pub(crate) fn put(out: &mut Vec<u8>, series: &[u32]) {
    let mut bytes = Vec::new();
    if series.len() > LIST {
        bytes.push(1);
        let mut bitmap: RoaringBitmap = series.iter().copied().collect();
        bitmap.optimize();
        bytes.extend_from_slice(&bitmap_bytes(&bitmap));
    } else {
        bytes.push(0);
        let mut last = 0;
        for number in series {
            put_varint(&mut bytes, u64::from(number - last));
            last = *number;
        }
    }
    put_bytes(out, &bytes);
}

pub(crate) fn bitmap_bytes(bitmap: &RoaringBitmap) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(bitmap.serialized_size());
    // Writing to memory cannot fail.
    let _ = bitmap.serialize_into(&mut bytes);
    bytes
}

/// The bytes of the values of a page, one after the other.
pub(crate) fn values(page: &[u8], count: usize) -> impl Iterator<Item = Result<&[u8], CodecError>> {
    let mut reader = Reader::new(page);
    (0..count).map(move |_| reader.bytes())
}

/// Adds the series of one value to `out`.
pub(crate) fn add(value: &[u8], series: u32, out: &mut Collector) -> Result<(), CodecError> {
    let mut reader = Reader::new(value);
    match reader.u8()? {
        0 => {
            let mut last = 0u32;
            while reader.remaining() > 0 {
                let step = reader.count("series", series as usize)? as u32;
                last = last
                    .checked_add(step)
                    .filter(|number| *number < series)
                    .ok_or(CodecError::Invalid("series that is not there"))?;
                out.list.push(last);
            }
        }
        1 => out.bitmap |= parse_bitmap(reader.take(reader.remaining())?, series)?,
        _ => return Err(CodecError::Invalid("unknown kind of postings")),
    }
    Ok(())
}

/// Whether any of the series of one value is in `wanted`.
pub(crate) fn intersects(
    value: &[u8],
    series: u32,
    wanted: &RoaringBitmap,
) -> Result<bool, CodecError> {
    let mut found = Collector::default();
    add(value, series, &mut found)?;
    Ok(found.list.iter().any(|number| wanted.contains(*number))
        || !found.bitmap.is_disjoint(wanted))
}

pub(crate) fn parse_bitmap(bytes: &[u8], series: u32) -> Result<RoaringBitmap, CodecError> {
    let mut left = bytes;
    let bitmap = RoaringBitmap::deserialize_from(&mut left)
        .map_err(|_| CodecError::Invalid("bitmap does not parse"))?;
    if !left.is_empty() || bitmap.max().is_some_and(|max| max >= series) {
        return Err(CodecError::Invalid("series that is not there"));
    }
    Ok(bitmap)
}

/// Unites postings: many short lists are cheaper sorted once than put into a bitmap one by one.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    bitmap: RoaringBitmap,
    list: Vec<u32>,
}

impl Collector {
    pub(crate) fn finish(mut self) -> RoaringBitmap {
        self.list.sort_unstable();
        self.bitmap.extend(self.list);
        self.bitmap
    }
}
