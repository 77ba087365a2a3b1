//! Segments: files of records.
//!
//! ```text
//! segment := header(64) record*
//! header  := magic "LGWL" | version u16 | flags u16 | owner u128 | number u64
//!          | previous u64 | previous_len u64 | zeros | crc u32 over what is before it
//! ```
//! Numbers rise by time. `previous` and `previous_len` say where the segment before ends, as its
//! writer knows it: what lies behind was never acknowledged and is written again in this segment.
//! 0 means that the writer does not know, because it has just started.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use codec::{CodecError, Reader};

use super::record::{self, FRAME_LEN, RECORD_BYTES_MAX, Record};

const MAGIC: [u8; 4] = *b"LGWL";
const VERSION: u16 = 1;
/// Bytes of a header.
pub(crate) const HEADER_LEN: usize = 64;
const CRC_AT: usize = HEADER_LEN - 4;

/// The start of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
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
        bytes.extend_from_slice(&VERSION.to_le_bytes());
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
        match reader.u16()? {
            VERSION => {}
            version => return Err(CodecError::UnsupportedVersion(version)),
        }
        reader.u16()?;
        Ok(Self {
            owner: u128::from_le_bytes(reader.array()?),
            number: reader.u64()?,
            previous: reader.u64()?,
            previous_len: reader.u64()?,
        })
    }
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
    /// Bytes that are not what was written. What comes after cannot be read.
    Damaged {
        /// Where.
        at: u64,
        /// Bytes that are left out.
        left_out: u64,
        /// What does not hold.
        error: CodecError,
    },
}

/// Reads a segment from its start, one record in memory at a time.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    file: BufReader<File>,
    at: u64,
    end: u64,
    end_is_known: bool,
    buffer: Vec<u8>,
}

impl SegmentReader {
    /// Opens a segment. `len` is where it ends, if its successor says so.
    pub(crate) fn open(directory: &Path, number: u64, len: Option<u64>) -> io::Result<Self> {
        let file = File::open(path(directory, number))?;
        let file_len = file.metadata()?.len();
        let mut reader = Self {
            file: BufReader::with_capacity(1 << 20, file),
            at: HEADER_LEN as u64,
            end: len.unwrap_or(file_len),
            end_is_known: len.is_some(),
            buffer: Vec::new(),
        };
        let mut header = [0; HEADER_LEN];
        reader.file.read_exact(&mut header)?;
        Header::parse(&header).map_err(io::Error::other)?;
        Ok(reader)
    }

    /// The next record. After anything else than a record there is nothing more to read.
    pub(crate) fn next(&mut self) -> io::Result<Next> {
        let left = self.end.saturating_sub(self.at);
        if left == 0 {
            return Ok(Next::End);
        }
        let mut frame = [0; FRAME_LEN];
        if left < FRAME_LEN as u64 || !self.fill(&mut frame)? {
            return Ok(self.cut_off(left));
        }
        let [a, b, c, d, crc @ ..] = frame;
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        if len == 0 && !self.end_is_known && self.rest_is_zero()? {
            // Some file systems make a file longer before its bytes are written.
            return Ok(Next::Torn { left_out: left });
        }
        if len == 0 || len > RECORD_BYTES_MAX {
            return Ok(self.damaged(CodecError::Invalid("record of an impossible length")));
        }
        if (len + FRAME_LEN) as u64 > left {
            return Ok(self.cut_off(left));
        }
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.resize(len, 0);
        let is_there = self.fill(&mut bytes)?;
        let next = if !is_there {
            self.cut_off(left)
        } else if crc32c::crc32c(&bytes) == u32::from_le_bytes(crc) {
            match record::parse(&bytes) {
                Ok(record) => Next::Record(record, len + FRAME_LEN),
                Err(error) => self.damaged(error),
            }
        } else if (len + FRAME_LEN) as u64 == left {
            self.cut_off(left)
        } else {
            self.damaged(CodecError::Checksum)
        };
        self.buffer = bytes;
        if let Next::Record(..) = next {
            self.at += (len + FRAME_LEN) as u64;
        }
        Ok(next)
    }

    /// A record that ends early: torn if nobody knows where the segment should end.
    fn cut_off(&self, left_out: u64) -> Next {
        if self.end_is_known {
            self.damaged(CodecError::Truncated)
        } else {
            Next::Torn { left_out }
        }
    }

    fn damaged(&self, error: CodecError) -> Next {
        Next::Damaged {
            at: self.at,
            left_out: self.end.saturating_sub(self.at),
            error,
        }
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
mod tests {
    use model::{Entries, LabelSet, TenantId};
    use proptest::prelude::*;

    use super::super::body::Part;
    use super::super::record::{Body, RowsRecord, append_streams};
    use super::*;

    const HEADER: Header = Header {
        owner: 9,
        number: 1,
        previous: 0,
        previous_len: 0,
    };

    /// A segment of one `streams` and two `rows` records, and where each record ends.
    fn sample() -> (Vec<u8>, Vec<usize>) {
        let mut entries = Entries::default();
        let level = LabelSet::from_pairs([("level", "info")]);
        for i in 0..40 {
            entries.push(1_000 + i, format!("line {i} of some").as_bytes(), &level);
        }
        let labels = LabelSet::from_pairs([("app", "web")]);
        let mut bytes = HEADER.to_bytes();
        let mut ends = Vec::new();
        append_streams([(5, &labels)].into_iter(), &mut bytes);
        ends.push(bytes.len());
        for seq in 1..3 {
            let body = Body::rows(&[Part::all(&entries)]);
            RowsRecord::new(seq, &TenantId::single(), &[(5, 40)], body).append(&mut bytes);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn read(bytes: &[u8], len: Option<u64>) -> (usize, Next) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(path(dir.path(), 1), bytes).unwrap();
        let mut reader = SegmentReader::open(dir.path(), 1, len).unwrap();
        let mut records = 0;
        loop {
            match reader.next().unwrap() {
                Next::Record(..) => records += 1,
                end => return (records, end),
            }
        }
    }

    #[test]
    fn a_segment_cut_at_every_byte_of_its_last_record_gives_all_others() {
        let (bytes, ends) = sample();
        assert!(matches!(read(&bytes, None), (3, Next::End)));
        for cut in ends[1] + 1..bytes.len() {
            let (records, end) = read(&bytes[..cut], None);
            assert_eq!(records, 2, "cut at {cut}");
            let left_out = (cut - ends[1]) as u64;
            assert!(
                matches!(end, Next::Torn { left_out: n } if n == left_out),
                "{end:?}"
            );
        }
    }

    #[test]
    fn zeros_at_the_end_are_torn_and_a_changed_byte_in_the_middle_is_damage() {
        let (bytes, ends) = sample();
        let mut longer = bytes.clone();
        longer.resize(bytes.len() + 5000, 0);
        assert!(matches!(
            read(&longer, None),
            (3, Next::Torn { left_out: 5000 })
        ));
        for at in ends[0] + FRAME_LEN..ends[1] {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            let (records, end) = read(&bad, None);
            assert_eq!(records, 1);
            assert!(matches!(end, Next::Damaged { .. }), "{end:?}");
        }
    }

    #[test]
    fn what_the_successor_does_not_vouch_for_is_left_out() {
        let (bytes, ends) = sample();
        assert!(matches!(read(&bytes, Some(ends[1] as u64)), (2, Next::End)));
        let shorter = &bytes[..ends[2] - 1];
        assert!(matches!(
            read(shorter, Some(ends[2] as u64)),
            (2, Next::Damaged { .. })
        ));
    }

    #[test]
    fn the_golden_segment_of_version_1_stays_readable() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/wal-v1");
        let header = read_header(&golden, 1).unwrap();
        assert_eq!(header, HEADER);
        let mut reader = SegmentReader::open(&golden, 1, None).unwrap();
        let mut read = Vec::new();
        while let Next::Record(record, _) = reader.next().unwrap() {
            read.push(record);
        }
        let labels = LabelSet::from_pairs([("app", "web")]);
        assert_eq!(read[0], Record::Streams(vec![(5, labels)]));
        let Record::Rows(rows) = &read[2] else {
            panic!()
        };
        assert_eq!(
            (rows.seq, rows.tenant.as_str(), &*rows.parts),
            (2, "fake", &[(5, 40)][..])
        );
        let entries = rows.decode().unwrap().remove(0);
        let last = entries.get(39).unwrap();
        assert_eq!(
            (last.timestamp_ns, last.line),
            (1_039, &b"line 39 of some"[..])
        );
        assert_eq!(last.metadata.get("level"), Some("info"));
    }

    proptest! {
        #[test]
        fn any_records_are_read_or_refused(records: Vec<u8>) {
            let mut bytes = HEADER.to_bytes();
            bytes.extend_from_slice(&records);
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(path(dir.path(), 1), bytes).unwrap();
            let mut reader = SegmentReader::open(dir.path(), 1, None).unwrap();
            while let Next::Record(record, _) = reader.next().unwrap() {
                if let Record::Rows(rows) = record {
                    let _ = rows.decode();
                }
            }
        }
    }
}
