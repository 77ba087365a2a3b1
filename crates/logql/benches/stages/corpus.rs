//! Lines of a corpus: files of push requests as they are sent, each after 16 bytes that begin with
//! its length.

use std::fs::File;
use std::io::{BufReader, Error, ErrorKind, Read, Result};
use std::path::Path;

use crate::Lines;

/// Before each request: its length, its lines and their bytes, as little-endian numbers of 4, 4 and
/// 8 bytes.
const HEAD_BYTES: usize = 16;
/// The longest request that is believed in.
const REQUEST_BYTES_MAX: usize = 256 << 20;

/// The first lines of the corpus in a directory.
pub(crate) fn lines(directory: &Path) -> Result<Lines> {
    let mut lines = Lines::default();
    for number in 0.. {
        let path = directory.join(format!("seg-{number:03}.bin"));
        if number > 0 && !path.exists() {
            break;
        }
        let mut file = BufReader::new(File::open(path)?);
        while let Some(request) = next_request(&mut file)? {
            add_request(&request, &mut lines)?;
            if lines.is_full() {
                return Ok(lines);
            }
        }
    }
    Ok(lines)
}

fn next_request(file: &mut impl Read) -> Result<Option<Vec<u8>>> {
    let mut head = [0; HEAD_BYTES];
    match file.read_exact(&mut head) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let [a, b, c, d, ..] = head;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    if length > REQUEST_BYTES_MAX {
        return Err(damaged("a request is too long"));
    }
    let mut request = vec![0; length];
    file.read_exact(&mut request)?;
    let plain = snap::raw::Decoder::new().decompress_vec(&request);
    plain.map(Some).map_err(Error::other)
}

/// The lines of a `PushRequest`: streams are its field 1, entries field 2 of these, lines field 2 of
/// those.
fn add_request(request: &[u8], lines: &mut Lines) -> Result<()> {
    each_field(request, 1, &mut |stream| {
        each_field(stream, 2, &mut |entry| {
            each_field(entry, 2, &mut |line| {
                lines.add(&String::from_utf8_lossy(line));
                Ok(())
            })
        })
    })
}

/// Calls `each` with every field of that number that has a length.
fn each_field(
    mut message: &[u8],
    number: u64,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let value = varint(&mut message)?;
        match key & 7 {
            0 => {}
            2 => {
                let length = usize::try_from(value).unwrap_or(usize::MAX);
                let (field, rest) = message
                    .split_at_checked(length)
                    .ok_or_else(|| damaged("a field ends early"))?;
                message = rest;
                if key >> 3 == number {
                    each(field)?;
                }
            }
            _ => return Err(damaged("a field of another kind")),
        }
    }
    Ok(())
}

fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes
            .split_first()
            .ok_or_else(|| damaged("a number ends early"))?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(damaged("a number is too long"))
}

fn damaged(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}
