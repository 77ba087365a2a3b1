//! Segments: files of records.
//!
//! ```text
//! segment := header(64) record*
//! header  := magic "LGWL" | version u16 | flags u16 | owner u128 | number u64
//!          | previous u64 | previous_len u64 | zeros | crc u32 over what is before it
//! ```
//! Damage costs the records it hits: reading goes on at the next record behind it, which
//! [`resync`] finds. The checksums of records begin with owner and number of the segment, so that
//! neither a record of another segment nor bytes that somebody pushed are taken for one there. In
//! version 1 they did not, and nothing behind damage is read.
//!
//! Numbers rise by time. `previous` and `previous_len` say where the segment before ends, as its
//! writer knows it: what lies behind was never acknowledged and is written again in this segment.
//! 0 means that the writer does not know, because it has just started.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use codec::{CodecError, Reader};

use super::record::{self, FRAME_LEN, LostRows, RECORD_BYTES_MAX, Record};
use super::resync::{self, Search};

const MAGIC: [u8; 4] = *b"LGWL";
/// The version that is written.
pub(crate) const VERSION: u16 = 3;
/// The version in which no record has a body as it was received.
const VERSION_PACKED: u16 = 2;
/// The version in which checksums of records say nothing of their segment.
const VERSION_UNSEEDED: u16 = 1;
/// Bytes of a header.
pub(crate) const HEADER_LEN: usize = 64;
/// Bytes of a damaged record that are read to know what it had.
const LOST_BYTES_MAX: u64 = 1 << 20;
const CRC_AT: usize = HEADER_LEN - 4;

/// The start of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The version of what is behind it.
    pub(crate) version: u16,
    /// Whose log it is.
    pub(crate) owner: u128,
    /// Its number.
    pub(crate) number: u64,
    /// The number of the segment before, or 0.
    pub(crate) previous: u64,
    /// Where that one ends.
    pub(crate) previous_len: u64,
}

impl Header {
    /// As it lies in the file.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&0u16.to_le_bytes());
        bytes.extend_from_slice(&self.owner.to_le_bytes());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.previous.to_le_bytes());
        bytes.extend_from_slice(&self.previous_len.to_le_bytes());
        bytes.resize(CRC_AT, 0);
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads and checks a header.
    pub(crate) fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, CodecError> {
        let (covered, crc) = bytes.split_last_chunk::<4>().ok_or(CodecError::Truncated)?;
        let mut reader = Reader::new(covered);
        if reader.array()? != MAGIC {
            return Err(CodecError::Invalid("not a segment of a write-ahead log"));
        }
        if crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
            return Err(CodecError::Checksum);
        }
        let version = match reader.u16()? {
            version @ (VERSION_UNSEEDED | VERSION_PACKED | VERSION) => version,
            version => return Err(CodecError::UnsupportedVersion(version)),
        };
        reader.u16()?;
        Ok(Self {
            version,
            owner: u128::from_le_bytes(reader.array()?),
            number: reader.u64()?,
            previous: reader.u64()?,
            previous_len: reader.u64()?,
        })
    }

    /// What the checksums of its records begin with.
    pub(crate) fn seed(&self) -> u32 {
        match self.version {
            VERSION_UNSEEDED => 0,
            _ => seed(self.owner, self.number),
        }
    }
}

/// What the checksums of a segment's records begin with.
fn seed(owner: u128, number: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&owner.to_le_bytes()), &number.to_le_bytes())
}

/// The file of a segment.
pub(crate) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:020}.wal"))
}

/// The segments in a directory, lowest number first.
pub(crate) fn list(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".wal"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads the header of a segment.
pub(crate) fn read_header(directory: &Path, number: u64) -> io::Result<Header> {
    let mut bytes = [0; HEADER_LEN];
    File::open(path(directory, number))?.read_exact(&mut bytes)?;
    Header::parse(&bytes).map_err(io::Error::other)
}

/// What comes next in a segment.
#[derive(Debug)]
pub(crate) enum Next {
    /// A record, and its bytes in the file.
    Record(Record, usize),
    /// The end, as it should be.
    End,
    /// A record that was not written to its end when the process died. It was not acknowledged.
    Torn {
        /// Bytes that are left out.
        left_out: u64,
    },
    /// Bytes that are not what was written. Reading goes on behind them.
    Damaged {
        /// Where.
        at: u64,
        /// Bytes that are left out.
        left_out: u64,
        /// What does not hold.
        error: CodecError,
        /// What the record that should be there says of its rows, as far as that can be read.
        lost: Option<LostRows>,
    },
}

/// Why there is no record where one should be.
#[derive(Debug)]
struct Fault {
    error: CodecError,
    /// Whether it looks like the end of what a process that died was writing.
    is_cut_off: bool,
}

impl Fault {
    const CUT_OFF: Self = Self {
        error: CodecError::Truncated,
        is_cut_off: true,
    };
}

/// Reads a segment from its start, one record in memory at a time.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    file: BufReader<File>,
    at: u64,
    end: u64,
    end_is_known: bool,
    /// `None` if what is behind damage cannot be told from what somebody pushed.
    seed: Option<u32>,
    /// The highest number of a record so far.
    seq: u64,
    /// What is wrong with the header, until that is told.
    header_fault: Option<Fault>,
    /// Bytes of which checksums may still be made in search of a record.
    search_bytes_left: u64,
    buffer: Vec<u8>,
}

impl SegmentReader {
    /// Opens a segment. `len` is where it ends, if its successor says so. `owner` is whose log it
    /// is, for a segment whose header does not say it any more.
    pub(crate) fn open(
        directory: &Path,
        number: u64,
        len: Option<u64>,
        owner: u128,
    ) -> io::Result<Self> {
        let file = File::open(path(directory, number))?;
        let file_len = file.metadata()?.len();
        let mut reader = Self {
            file: BufReader::with_capacity(1 << 20, file),
            at: HEADER_LEN as u64,
            end: len.unwrap_or(file_len),
            end_is_known: len.is_some(),
            seed: Some(seed(owner, number)),
            seq: 0,
            header_fault: None,
            search_bytes_left: resync::CHECKED_BYTES_MAX,
            buffer: Vec::new(),
        };
        let mut bytes = [0; HEADER_LEN];
        reader.file.read_exact(&mut bytes)?;
        match Header::parse(&bytes) {
            Ok(header) if header.version == VERSION_UNSEEDED => reader.seed = None,
            Ok(header) => reader.seed = Some(header.seed()),
            Err(error @ CodecError::UnsupportedVersion(_)) => return Err(io::Error::other(error)),
            Err(error) => {
                reader.at = 0;
                let is_cut_off = bytes == [0; HEADER_LEN] && reader.rest_is_zero()?;
                reader.header_fault = Some(Fault { error, is_cut_off });
            }
        }
        Ok(reader)
    }

    /// The next record, or what is in its place.
    pub(crate) fn next(&mut self) -> io::Result<Next> {
        if let Some(fault) = self.header_fault.take() {
            return self.go_behind(fault);
        }
        let left = self.end.saturating_sub(self.at);
        if left == 0 {
            return Ok(Next::End);
        }
        if let Err(fault) = self.fill_buffer(left)? {
            return self.go_behind(fault);
        }
        let (at, len) = (self.at, self.buffer.len() + FRAME_LEN);
        self.at += len as u64;
        Ok(match record::parse(&self.buffer) {
            Ok(record) => {
                if let Record::Rows(rows) = &record {
                    self.seq = self.seq.max(rows.seq);
                }
                Next::Record(record, len)
            }
            Err(error) => Next::Damaged {
                at,
                left_out: len as u64,
                error,
                lost: LostRows::read(&self.buffer),
            },
        })
    }

    /// Reads kind and payload of the record that should be here, and checks them.
    fn fill_buffer(&mut self, left: u64) -> io::Result<Result<(), Fault>> {
        let mut frame = [0; FRAME_LEN];
        if left < FRAME_LEN as u64 || !self.fill(&mut frame)? {
            return Ok(Err(Fault::CUT_OFF));
        }
        let [a, b, c, d, crc @ ..] = frame;
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        if len == 0 || len > RECORD_BYTES_MAX {
            return Ok(Err(Fault {
                error: CodecError::Invalid("record of an impossible length"),
                // Some file systems make a file longer before its bytes are written.
                is_cut_off: len == 0 && self.rest_is_zero()?,
            }));
        }
        if (len + FRAME_LEN) as u64 > left {
            return Ok(Err(Fault::CUT_OFF));
        }
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.resize(len, 0);
        let is_there = self.fill(&mut bytes)?;
        let found = crc32c::crc32c_append(self.seed.unwrap_or(0), &bytes);
        self.buffer = bytes;
        Ok(if !is_there {
            Err(Fault::CUT_OFF)
        } else if found == u32::from_le_bytes(crc) {
            Ok(())
        } else {
            Err(Fault {
                error: CodecError::Checksum,
                is_cut_off: (len + FRAME_LEN) as u64 == left,
            })
        })
    }

    /// Goes to the next record behind what is none, or to the end. What has no record behind it is
    /// torn if it looks like that and nobody knows where the segment should end.
    fn go_behind(&mut self, fault: Fault) -> io::Result<Next> {
        let at = self.at;
        let next = match self.seed {
            Some(seed) => {
                let mut search = Search {
                    file: self.file.get_ref(),
                    end: self.end,
                    seed,
                    after: self.seq,
                    bytes_left: &mut self.search_bytes_left,
                };
                search.record_from(at + 1)?
            }
            None => None,
        };
        self.at = next.unwrap_or(self.end);
        self.file.seek(SeekFrom::Start(self.at))?;
        let left_out = self.at.saturating_sub(at);
        if next.is_none() && fault.is_cut_off && !self.end_is_known {
            return Ok(Next::Torn { left_out });
        }
        Ok(Next::Damaged {
            at,
            left_out,
            error: fault.error,
            lost: self.lost(at, left_out)?,
        })
    }

    /// What the damaged record that begins here says of its rows.
    fn lost(&self, at: u64, left_out: u64) -> io::Result<Option<LostRows>> {
        let len = left_out.saturating_sub(FRAME_LEN as u64);
        let mut bytes = vec![0; len.min(LOST_BYTES_MAX) as usize];
        let file = self.file.get_ref();
        let read = resync::read_at(file, &mut bytes, at + FRAME_LEN as u64)?;
        Ok(bytes.get(..read).and_then(LostRows::read))
    }

    /// Reads exactly so many bytes; `false` if the file ends before.
    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<bool> {
        match self.file.read_exact(bytes) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn rest_is_zero(&mut self) -> io::Result<bool> {
        let mut bytes = vec![0; 64 << 10];
        loop {
            match self.file.read(&mut bytes)? {
                0 => return Ok(true),
                len if bytes.iter().take(len).any(|byte| *byte != 0) => return Ok(false),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
