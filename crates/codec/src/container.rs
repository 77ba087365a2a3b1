//! The end of a file: sections in one region, a directory of them, and a trailer.
//!
//! ```text
//! … | section | section | … | directory | trailer(48)
//!     ^ meta_off              ^ dir_off
//! ```
//! Who knows `meta_off` gets everything that describes the file with one ranged read; who does not
//! reads the last 48 bytes first. A section is one [`frame`](crate::frame); the directory has its
//! codec, lengths and checksum, and the trailer has the checksum of the directory.

use bytes::Bytes;

use crate::frame::{self, Compressor, Decompressor, MAX_RAW_BYTES};
use crate::{Codec, CodecError, Reader};

/// Bytes of a trailer.
pub const TRAILER_LEN: usize = 48;
const ENTRY_LEN: usize = 28;
/// Sections are few bytes, and text as a rule: a higher level makes a tenth less of them than the
/// one for columns does.
const ZSTD_LEVEL: i32 = 5;
/// Sections of one file.
pub const MAX_SECTIONS: usize = 1 << 20;

/// Where a section is and how to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// What it is; the file format says.
    pub kind: u8,
    /// How it is compressed.
    pub codec: Codec,
    /// Which of its kind.
    pub ordinal: u32,
    /// Where it starts, from the start of the file.
    pub offset: u64,
    /// Bytes stored.
    pub len: u32,
    /// Bytes uncompressed.
    pub raw_len: u32,
    /// CRC32C of the bytes stored.
    pub crc: u32,
}

/// The last 48 bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Where the region with the sections starts.
    pub meta_off: u64,
    /// Its length up to the end of the file, directory and trailer included.
    pub meta_len: u64,
    /// Where the directory starts.
    pub dir_off: u64,
    /// Bytes of the directory.
    pub dir_len: u32,
    /// CRC32C of the directory.
    pub dir_crc: u32,
    /// Bytes of the whole file.
    pub object_len: u64,
    /// Version of the format.
    pub version: u16,
}

impl Trailer {
    /// Reads the trailer at the end of `tail` and checks that it agrees with itself.
    ///
    /// # Errors
    /// If it is no trailer of a file with this magic and at most this version.
    pub fn parse(tail: &[u8], magic: [u8; 4], version: u16) -> Result<Self, CodecError> {
        let bytes = tail
            .last_chunk::<TRAILER_LEN>()
            .ok_or(CodecError::Truncated)?;
        let mut reader = Reader::new(bytes);
        let trailer = Self {
            meta_off: reader.u64()?,
            meta_len: reader.u64()?,
            dir_off: reader.u64()?,
            dir_len: reader.u32()?,
            dir_crc: reader.u32()?,
            object_len: reader.u64()?,
            version: reader.u16()?,
        };
        let zero = reader.u16()?;
        if reader.array()? != magic {
            return Err(CodecError::Invalid("wrong magic"));
        }
        if trailer.version == 0 || trailer.version > version {
            return Err(CodecError::UnsupportedVersion(trailer.version));
        }
        let dir_end = trailer.dir_off.checked_add(u64::from(trailer.dir_len));
        let agrees = zero == 0
            && trailer.meta_off.checked_add(trailer.meta_len) == Some(trailer.object_len)
            && trailer.dir_off >= trailer.meta_off
            && dir_end.and_then(|end| end.checked_add(TRAILER_LEN as u64))
                == Some(trailer.object_len);
        if agrees {
            Ok(trailer)
        } else {
            Err(CodecError::Invalid("offsets do not agree"))
        }
    }

    fn append(&self, magic: [u8; 4], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.meta_off.to_le_bytes());
        out.extend_from_slice(&self.meta_len.to_le_bytes());
        out.extend_from_slice(&self.dir_off.to_le_bytes());
        out.extend_from_slice(&self.dir_len.to_le_bytes());
        out.extend_from_slice(&self.dir_crc.to_le_bytes());
        out.extend_from_slice(&self.object_len.to_le_bytes());
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&magic);
    }
}

/// Writes the sections of a file whose first bytes are already written elsewhere.
#[derive(Debug)]
pub struct ContainerWriter {
    meta_off: u64,
    bytes: Vec<u8>,
    sections: Vec<Section>,
    compressor: Compressor,
}

impl ContainerWriter {
    /// The region starts at `meta_off` of the file.
    #[must_use]
    pub fn new(meta_off: u64) -> Self {
        Self {
            meta_off,
            bytes: Vec::new(),
            sections: Vec::new(),
            compressor: Compressor::at_level(ZSTD_LEVEL),
        }
    }

    /// Adds a section, compressed with zstd if that pays.
    ///
    /// # Errors
    /// If it is larger than a frame may be, or there are too many.
    pub fn add(&mut self, kind: u8, ordinal: u32, raw: &[u8]) -> Result<(), CodecError> {
        CodecError::cap("section length", raw.len() as u64, MAX_RAW_BYTES)?;
        CodecError::cap(
            "number of sections",
            self.sections.len() as u64,
            MAX_SECTIONS - 1,
        )?;
        let start = self.bytes.len();
        let codec = self.compressor.append(Codec::Zstd, raw, &mut self.bytes);
        let stored = self.bytes.get(start..).unwrap_or_default();
        self.sections.push(Section {
            kind,
            codec,
            ordinal,
            offset: self.meta_off + start as u64,
            len: stored.len() as u32,
            raw_len: raw.len() as u32,
            crc: frame::checksum(stored),
        });
        Ok(())
    }

    /// Adds directory and trailer and returns the whole region.
    #[must_use]
    pub fn finish(mut self, magic: [u8; 4], version: u16) -> Vec<u8> {
        let dir_start = self.bytes.len();
        for section in &self.sections {
            self.bytes
                .extend_from_slice(&[section.kind, section.codec.to_byte(), 0, 0]);
            self.bytes.extend_from_slice(&section.ordinal.to_le_bytes());
            self.bytes.extend_from_slice(&section.offset.to_le_bytes());
            self.bytes.extend_from_slice(&section.len.to_le_bytes());
            self.bytes.extend_from_slice(&section.raw_len.to_le_bytes());
            self.bytes.extend_from_slice(&section.crc.to_le_bytes());
        }
        let meta_len = (self.bytes.len() + TRAILER_LEN) as u64;
        let directory = self.bytes.get(dir_start..).unwrap_or_default();
        let trailer = Trailer {
            meta_off: self.meta_off,
            meta_len,
            dir_off: self.meta_off + dir_start as u64,
            dir_len: directory.len() as u32,
            dir_crc: frame::checksum(directory),
            object_len: self.meta_off + meta_len,
            version,
        };
        trailer.append(magic, &mut self.bytes);
        self.bytes
    }
}

/// The region with the sections, its directory read and checked; sections are read when asked for.
#[derive(Clone, Debug)]
pub struct Container {
    trailer: Trailer,
    bytes: Bytes,
    sections: Vec<Section>,
}

impl Container {
    /// Reads directory and trailer. `bytes` is the file from `meta_off` to its end.
    ///
    /// # Errors
    /// If the bytes are anything else, or damaged.
    pub fn parse(bytes: Bytes, magic: [u8; 4], version: u16) -> Result<Self, CodecError> {
        let trailer = Trailer::parse(&bytes, magic, version)?;
        if trailer.meta_len != bytes.len() as u64 {
            return Err(CodecError::Invalid(
                "not the region that the trailer describes",
            ));
        }
        let dir_start = (trailer.dir_off - trailer.meta_off) as usize;
        let dir_end = bytes.len() - TRAILER_LEN;
        let directory = bytes.get(dir_start..dir_end).ok_or(CodecError::Truncated)?;
        if frame::checksum(directory) != trailer.dir_crc {
            return Err(CodecError::Checksum);
        }
        let (entries, rest) = directory.as_chunks::<ENTRY_LEN>();
        if !rest.is_empty() || entries.len() > MAX_SECTIONS {
            return Err(CodecError::Invalid("directory of an impossible length"));
        }
        let sections = entries
            .iter()
            .map(|entry| section(entry, &trailer))
            .collect::<Result<Vec<_>, _>>()?;
        let key = |section: &Section| (section.kind, section.ordinal);
        if !sections.is_sorted_by(|a, b| key(a) < key(b)) {
            return Err(CodecError::Invalid("sections are not in order"));
        }
        Ok(Self {
            trailer,
            bytes,
            sections,
        })
    }

    /// Whether all sections are as they were written; nothing is decompressed.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.sections
            .iter()
            .all(|section| frame::checksum(&self.stored(section)) == section.crc)
    }

    fn stored(&self, section: &Section) -> Bytes {
        let start = (section.offset - self.trailer.meta_off) as usize;
        self.bytes.slice(start..start + section.len as usize)
    }

    /// The trailer.
    #[must_use]
    pub fn trailer(&self) -> &Trailer {
        &self.trailer
    }

    /// All sections, sorted by kind and ordinal.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// How many sections of a kind there are.
    #[must_use]
    pub fn count(&self, kind: u8) -> usize {
        let from = self.sections.partition_point(|section| section.kind < kind);
        self.sections
            .partition_point(|section| section.kind <= kind)
            - from
    }

    /// Reads and checks a section.
    ///
    /// # Errors
    /// If there is no such section or it is damaged.
    pub fn read(&self, kind: u8, ordinal: u32) -> Result<Bytes, CodecError> {
        let at = self
            .sections
            .binary_search_by_key(&(kind, ordinal), |section| (section.kind, section.ordinal))
            .map_err(|_| CodecError::Missing)?;
        let section = self.sections.get(at).ok_or(CodecError::Missing)?;
        let stored = self.stored(section);
        Decompressor::default().read(
            section.codec,
            &stored,
            section.crc,
            section.raw_len as usize,
        )
    }

    /// Bytes held, for memory accounting.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.bytes.len() + self.sections.capacity() * size_of::<Section>()
    }
}

fn section(entry: &[u8; ENTRY_LEN], trailer: &Trailer) -> Result<Section, CodecError> {
    let mut reader = Reader::new(entry);
    let (kind, codec, zero) = (reader.u8()?, reader.u8()?, reader.u16()?);
    let section = Section {
        kind,
        codec: Codec::from_byte(codec)?,
        ordinal: reader.u32()?,
        offset: reader.u64()?,
        len: reader.u32()?,
        raw_len: reader.u32()?,
        crc: reader.u32()?,
    };
    let end = section.offset.checked_add(u64::from(section.len));
    let inside =
        section.offset >= trailer.meta_off && end.is_some_and(|end| end <= trailer.dir_off);
    if zero != 0 || !inside {
        return Err(CodecError::Invalid("section outside the region"));
    }
    CodecError::cap("section length", u64::from(section.raw_len), MAX_RAW_BYTES)?;
    Ok(section)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: [u8; 4] = *b"TEST";

    fn sample() -> Vec<u8> {
        let mut writer = ContainerWriter::new(10);
        writer.add(1, 0, b"one").unwrap();
        writer.add(2, 0, &b"two ".repeat(50)).unwrap();
        writer.add(2, 1, b"").unwrap();
        writer.finish(MAGIC, 1)
    }

    #[test]
    fn sections_come_back() {
        let container = Container::parse(sample().into(), MAGIC, 1).unwrap();
        assert_eq!(container.read(1, 0).unwrap(), &b"one"[..]);
        assert_eq!(container.read(2, 0).unwrap(), b"two ".repeat(50));
        assert_eq!(container.read(2, 1).unwrap(), &b""[..]);
        assert_eq!(container.read(3, 0), Err(CodecError::Missing));
        assert_eq!(container.count(2), 2);
    }

    #[test]
    fn every_flipped_byte_and_every_truncation_is_noticed() {
        let good = sample();
        let all = |bytes: Vec<u8>| -> Result<Vec<Bytes>, CodecError> {
            let container = Container::parse(bytes.into(), MAGIC, 1)?;
            container
                .sections()
                .iter()
                .map(|s| container.read(s.kind, s.ordinal))
                .collect()
        };
        assert!(all(good.clone()).is_ok());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(all(bad).is_err(), "byte {at}");
            assert!(all(good[..at].to_vec()).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn other_files_are_refused() {
        assert!(Container::parse(sample().into(), *b"LGOB", 1).is_err());
        let newer = ContainerWriter::new(0).finish(MAGIC, 2);
        assert_eq!(
            Container::parse(newer.into(), MAGIC, 1).unwrap_err(),
            CodecError::UnsupportedVersion(2)
        );
    }
}
