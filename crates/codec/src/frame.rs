//! Frames: one piece of bytes, compressed, with a checksum over what is stored.

use std::cell::RefCell;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use zstd::zstd_safe::WriteBuf;

use crate::{CodecError, pieces};

/// The most a frame may hold uncompressed, in bytes.
pub const MAX_RAW_BYTES: usize = 64 << 20;

/// How a frame is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Not at all.
    Stored,
    /// Zstandard, for most columns at level 1: higher levels gain about 1 % on them and cost a multiple.
    #[default]
    Zstd,
    /// LZ4 blocks: larger, faster to read.
    Lz4,
    /// LZ4 in small [pieces](crate::pieces): larger again, faster to write.
    Lz4Pieces,
}

impl Codec {
    /// The byte that stands for it in files.
    #[must_use]
    pub fn to_byte(self) -> u8 {
        match self {
            Self::Stored => 0,
            Self::Zstd => 1,
            Self::Lz4 => 2,
            Self::Lz4Pieces => 3,
        }
    }

    /// The codec of a byte.
    ///
    /// # Errors
    /// If there is none.
    pub fn from_byte(byte: u8) -> Result<Self, CodecError> {
        match byte {
            0 => Ok(Self::Stored),
            1 => Ok(Self::Zstd),
            2 => Ok(Self::Lz4),
            3 => Ok(Self::Lz4Pieces),
            _ => Err(CodecError::Invalid("unknown codec")),
        }
    }
}

/// The checksum of stored bytes.
#[must_use]
pub fn checksum(stored: &[u8]) -> u32 {
    crc32c::crc32c(stored)
}

/// The level of zstd unless another is asked for.
const ZSTD_LEVEL: i32 = 1;

/// The most output that a thread keeps memory for while it compresses nothing.
const SPARE_BYTES_MAX: usize = 8 << 20;

thread_local! {
    /// What the last compressor of this thread worked with: to make it anew costs more than to
    /// compress a small frame.
    static SPARE: RefCell<Option<Workspace>> = const { RefCell::new(None) };
}

/// What compression works with.
#[derive(Default)]
struct Workspace {
    zstd: Option<zstd::bulk::Compressor<'static>>,
    /// Output before its length is known. It only grows: what is in it was set once.
    output: Vec<u8>,
}

/// Compresses frames, keeping the memory that this takes from one to the next, and for the next
/// compressor of the thread.
pub struct Compressor {
    zstd_level: i32,
    workspace: Workspace,
}

impl Default for Compressor {
    fn default() -> Self {
        let spare = SPARE.try_with(RefCell::take).ok().flatten();
        Self {
            zstd_level: ZSTD_LEVEL,
            workspace: spare.unwrap_or_default(),
        }
    }
}

impl Drop for Compressor {
    fn drop(&mut self) {
        if self.zstd_level != ZSTD_LEVEL {
            return;
        }
        let mut workspace = std::mem::take(&mut self.workspace);
        if workspace.output.len() > SPARE_BYTES_MAX {
            workspace.output = Vec::new();
        }
        // Fails only while the thread ends.
        let _ = SPARE.try_with(|spare| spare.replace(Some(workspace)));
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl Compressor {
    /// Compresses with zstd at a level. What it works with, several megabytes at higher levels, is not
    /// kept for others.
    #[must_use]
    pub fn at_level(zstd_level: i32) -> Self {
        Self {
            zstd_level,
            workspace: Workspace::default(),
        }
    }

    /// Appends `raw` to `out`, with `codec` if that makes it at least 6 % smaller. Returns the codec
    /// that was taken; nothing that can go wrong with compression stops it from being stored.
    pub fn append(&mut self, codec: Codec, raw: &[u8], out: &mut Vec<u8>) -> Codec {
        const TINY: usize = 32;
        if raw.len() >= TINY && codec != Codec::Stored {
            let most = raw.len() - raw.len() / 16;
            let compressed = self.workspace.compress(codec, raw, self.zstd_level);
            if let Some(compressed) = compressed.filter(|bytes| bytes.len() < most) {
                out.extend_from_slice(compressed);
                return codec;
            }
        }
        out.extend_from_slice(raw);
        Codec::Stored
    }
}

impl Workspace {
    fn compress(&mut self, codec: Codec, raw: &[u8], zstd_level: i32) -> Option<&[u8]> {
        let bound = match codec {
            Codec::Stored => return None,
            Codec::Zstd => zstd::zstd_safe::compress_bound(raw.len()),
            Codec::Lz4 => lz4_flex::block::get_maximum_output_size(raw.len()),
            Codec::Lz4Pieces => pieces::bound(raw.len()),
        };
        if self.output.len() < bound {
            self.output.resize(bound, 0);
        }
        if self.zstd.is_none() && codec == Codec::Zstd {
            self.zstd = zstd::bulk::Compressor::new(zstd_level).ok();
        }
        let output = &mut self.output;
        let len = match codec {
            Codec::Stored => return None,
            Codec::Zstd => {
                let zstd = self.zstd.as_mut()?;
                zstd.compress_to_buffer(raw, output.as_mut_slice()).ok()?
            }
            Codec::Lz4 => lz4_flex::block::compress_into(raw, output).ok()?,
            Codec::Lz4Pieces => pieces::compress(raw, output)?,
        };
        self.output.get(..len)
    }
}

/// What zstd works with; to make it takes longer than to use it.
type ZstdReader = zstd::bulk::Decompressor<'static>;

/// Those that nobody uses right now, the last one first: threads come and go.
static SPARE_READERS: Mutex<Vec<ZstdReader>> = Mutex::new(Vec::new());

/// More are not kept: each takes 160 KiB.
const SPARE_READERS_MAX: usize = 16;

/// Decompresses frames, keeping what this takes from one to the next, and for the next decompressor
/// of the process.
#[derive(Default)]
pub struct Decompressor {
    zstd: Option<ZstdReader>,
}

impl Drop for Decompressor {
    fn drop(&mut self) {
        if let Some(reader) = self.zstd.take() {
            let mut spare = spare_readers();
            if spare.len() < SPARE_READERS_MAX {
                spare.push(reader);
            }
        }
    }
}

fn spare_readers() -> MutexGuard<'static, Vec<ZstdReader>> {
    SPARE_READERS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

impl Decompressor {
    /// Checks `stored` against `crc` and fills `raw` with exactly what was compressed.
    ///
    /// # Errors
    /// If the checksum differs or the bytes do not decompress to `raw.len()` bytes.
    pub fn read_into(
        &mut self,
        codec: Codec,
        stored: &[u8],
        crc: u32,
        raw: &mut [u8],
    ) -> Result<(), CodecError> {
        if checksum(stored) != crc {
            return Err(CodecError::Checksum);
        }
        let len = match codec {
            Codec::Stored if stored.len() == raw.len() => {
                raw.copy_from_slice(stored);
                stored.len()
            }
            Codec::Stored => return Err(CodecError::Invalid("stored frame of another length")),
            Codec::Zstd => self.read_zstd(stored, raw)?,
            Codec::Lz4 => lz4_flex::block::decompress_into(stored, raw)
                .map_err(|_| CodecError::Invalid("lz4 frame does not decompress"))?,
            Codec::Lz4Pieces => {
                pieces::decompress(stored, raw)?;
                raw.len()
            }
        };
        if len == raw.len() {
            Ok(())
        } else {
            Err(CodecError::Invalid("frame of another length"))
        }
    }

    /// Checks `stored` and returns what was compressed, without a copy if it was not.
    ///
    /// # Errors
    /// As [`Self::read_into`], and if `raw_len` is above [`MAX_RAW_BYTES`].
    pub fn read(
        &mut self,
        codec: Codec,
        stored: &Bytes,
        crc: u32,
        raw_len: usize,
    ) -> Result<Bytes, CodecError> {
        CodecError::cap("uncompressed length", raw_len as u64, MAX_RAW_BYTES)?;
        let raw = match codec {
            Codec::Stored | Codec::Zstd if checksum(stored) != crc => {
                return Err(CodecError::Checksum);
            }
            Codec::Stored => stored.clone(),
            Codec::Zstd => {
                // Nothing is written before it is filled.
                let mut raw = Vec::with_capacity(raw_len);
                self.read_zstd(stored, &mut raw)?;
                raw.into()
            }
            Codec::Lz4 | Codec::Lz4Pieces => {
                let mut raw = vec![0; raw_len];
                self.read_into(codec, stored, crc, &mut raw)?;
                raw.into()
            }
        };
        if raw.len() == raw_len {
            Ok(raw)
        } else {
            Err(CodecError::Invalid("frame of another length"))
        }
    }

    fn read_zstd<W: WriteBuf + ?Sized>(
        &mut self,
        stored: &[u8],
        raw: &mut W,
    ) -> Result<usize, CodecError> {
        self.zstd()?
            .decompress_to_buffer(stored, raw)
            .map_err(|_| CodecError::Invalid("zstd frame does not decompress"))
    }

    fn zstd(&mut self) -> Result<&mut ZstdReader, CodecError> {
        if self.zstd.is_none() {
            let spare = spare_readers().pop();
            self.zstd = spare.or_else(|| ZstdReader::new().ok());
        }
        self.zstd
            .as_mut()
            .ok_or(CodecError::Invalid("no memory for zstd"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_and_changed_ones_do_not() {
        let raw = b"the same words and the same words and the same words again".repeat(20);
        for codec in [Codec::Stored, Codec::Zstd, Codec::Lz4, Codec::Lz4Pieces] {
            let mut stored = Vec::new();
            assert_eq!(
                Compressor::default().append(codec, &raw, &mut stored),
                codec
            );
            let crc = checksum(&stored);
            let mut reader = Decompressor::default();
            let mut bytes = Bytes::from(stored.clone());
            assert_eq!(reader.read(codec, &bytes, crc, raw.len()).unwrap(), raw);
            assert!(reader.read(codec, &bytes, crc, raw.len() + 1).is_err());
            stored[9] ^= 1;
            bytes = stored.into();
            assert_eq!(
                reader.read(codec, &bytes, crc, raw.len()),
                Err(CodecError::Checksum)
            );
        }
    }

    #[test]
    fn what_does_not_shrink_is_stored() {
        let raw: Vec<u8> = (0..=255).collect();
        let mut stored = vec![9];
        assert_eq!(
            Compressor::default().append(Codec::Zstd, &raw, &mut stored),
            Codec::Stored
        );
        assert_eq!(stored[1..], raw);
    }
}
