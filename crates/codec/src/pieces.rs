//! LZ4 in pieces, for bytes that are written once and hardly ever read.
//!
//! ```text
//! pieces := piece*
//! piece  := len u32 | LZ4 block of the next PIECE_BYTES bytes; the last piece has what is left
//! ```
//! What a compressor looks up stays in the nearest cache then: it is a quarter quicker than one
//! block of a megabyte, and 6 % larger.

use crate::{CodecError, Reader};

/// Uncompressed bytes of a piece.
const PIECE_BYTES: usize = 64 << 10;
const LEN_BYTES: usize = 4;

/// The most that `raw_len` bytes become.
pub(crate) fn bound(raw_len: usize) -> usize {
    let piece = LEN_BYTES + lz4_flex::block::get_maximum_output_size(PIECE_BYTES);
    raw_len.div_ceil(PIECE_BYTES) * piece
}

/// Compresses `raw` into `out`, which has at least [`bound`] bytes. Returns how many there are.
pub(crate) fn compress(raw: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut at = 0;
    for piece in raw.chunks(PIECE_BYTES) {
        let (len, rest) = out.get_mut(at..)?.split_first_chunk_mut::<LEN_BYTES>()?;
        let compressed = lz4_flex::block::compress_into(piece, rest).ok()?;
        *len = u32::try_from(compressed).ok()?.to_le_bytes();
        at += LEN_BYTES + compressed;
    }
    Some(at)
}

/// Fills `raw` with what was compressed.
///
/// # Errors
/// If it was something else or of another length.
pub(crate) fn decompress(stored: &[u8], raw: &mut [u8]) -> Result<(), CodecError> {
    let wrong = |_| CodecError::Invalid("lz4 piece does not decompress");
    let mut reader = Reader::new(stored);
    for piece in raw.chunks_mut(PIECE_BYTES) {
        let len = reader.u32()? as usize;
        let block = reader.take(len)?;
        if lz4_flex::block::decompress_into(block, piece).map_err(wrong)? != piece.len() {
            return Err(CodecError::Invalid("lz4 piece of another length"));
        }
    }
    match reader.remaining() {
        0 => Ok(()),
        _ => Err(CodecError::Invalid("bytes after the last lz4 piece")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pieces_come_back_at_every_length_around_their_own() {
        let text: Vec<u8> = (0..3 * PIECE_BYTES).map(|i| (i / 7 % 251) as u8).collect();
        for len in [
            0,
            1,
            PIECE_BYTES - 1,
            PIECE_BYTES,
            PIECE_BYTES + 1,
            3 * PIECE_BYTES,
        ] {
            let raw = &text[..len];
            let mut out = vec![0; bound(len)];
            let stored = compress(raw, &mut out).unwrap();
            let mut back = vec![1; len];
            decompress(&out[..stored], &mut back).unwrap();
            assert_eq!(back, raw);
            let mut longer = vec![0; len + 1];
            assert!(decompress(&out[..stored], &mut longer).is_err(), "{len}");
            if len > 0 {
                assert!(
                    decompress(&out[..stored], &mut back[..len - 1]).is_err(),
                    "{len}"
                );
                assert!(decompress(&out[..stored - 1], &mut back).is_err(), "{len}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(raw in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut out = vec![0; bound(raw.len())];
            let stored = compress(&raw, &mut out).unwrap();
            let mut back = vec![0; raw.len()];
            prop_assert_eq!(decompress(&out[..stored], &mut back), Ok(()));
            prop_assert_eq!(back, raw);
        }

        #[test]
        fn any_bytes_are_read_or_refused(stored: Vec<u8>, len in 0..200_000_usize) {
            let _ = decompress(&stored, &mut vec![0; len]);
        }
    }
}
