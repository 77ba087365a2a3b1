//! Bodies of requests: read and decompressed within bounds.
//!
//! Memory is taken from the budget before it is used, and no more than a limit allows is ever
//! produced, whatever a header says: a bomb of a few bytes costs a few pieces of output.

mod scratch;

use std::io::Read;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use model::Reservation;

use crate::config::Config;
use crate::error::Rejection;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Plain,
    Gzip,
    /// Without the header of zlib.
    Deflate,
    Zstd,
    Lz4,
    /// One block, as protobuf pushes are.
    Snappy,
    /// What JSON clients send as `snappy`: a block, or, as Loki takes it, plain text.
    MaybeSnappy,
}

/// Of what a header declares so much is believed, before it comes.
const FIRST_BYTES: usize = 1 << 20;
/// Bytes that a decompressor gives at a time, at first; doubled each time.
const PIECE_BYTES: usize = 64 << 10;
/// The largest window of zstd, as a power of two. Compressors use no more below their "ultra"
/// levels.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// A copy of three bytes gives at most 64: no block of snappy grows more than this.
const SNAPPY_RATIO_MAX: usize = 22;
/// How every frame of zstd begins.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

fn busy(error: &model::BudgetError) -> Rejection {
    Rejection::unavailable(format!("too many pushes at once: {error}"))
}

/// Takes memory from the budget of pushes under way.
pub(crate) fn reserve(reservation: &mut Reservation, bytes: usize) -> Result<(), Rejection> {
    reservation.grow(bytes as u64).map_err(|error| busy(&error))
}

/// Reads a body as it was sent.
pub(crate) async fn read(
    mut body: Body,
    declared_bytes: Option<usize>,
    config: &Config,
    reservation: &mut Reservation,
) -> Result<Bytes, Rejection> {
    let bytes_max = config.max_recv_msg_size.as_usize();
    let too_large =
        || Rejection::too_large("request body", "distributor.max_recv_msg_size", bytes_max);
    if declared_bytes.is_some_and(|declared| declared > bytes_max) {
        return Err(too_large());
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Rejection::invalid(format!("cannot read the body: {error}")))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.len() + all.len() + data.len() > bytes_max {
            return Err(too_large());
        }
        reserve(reservation, data.len())?;
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                all.reserve(declared_bytes.unwrap_or(0).min(FIRST_BYTES));
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// Decompresses a body.
pub(crate) fn decompress(
    body: Bytes,
    encoding: Encoding,
    bytes_max: usize,
    reservation: &mut Reservation,
) -> Result<Bytes, Rejection> {
    let mut expand = |reader: &mut dyn Read, name: &str| {
        expand(reader, name, body.len(), bytes_max, reservation).map(Bytes::from)
    };
    match encoding {
        Encoding::Plain => Ok(body),
        Encoding::Gzip => expand(&mut flate2::read::MultiGzDecoder::new(&*body), "gzip"),
        Encoding::Deflate => expand(&mut flate2::read::DeflateDecoder::new(&*body), "flate"),
        Encoding::Lz4 => expand(&mut lz4_flex::frame::FrameDecoder::new(&*body), "lz4"),
        Encoding::Zstd => {
            if !body.starts_with(&ZSTD_MAGIC) {
                // Loki's answer to every use of this encoding.
                return Err(Rejection::invalid(
                    "Content-Encoding \"zstd\" not supported",
                ));
            }
            let wrong = |error: std::io::Error| Rejection::invalid(format!("zstd: {error}"));
            let mut decoder = zstd::stream::read::Decoder::with_buffer(&*body).map_err(wrong)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(wrong)?;
            expand(&mut decoder, "zstd")
        }
        Encoding::Snappy => snappy(&body, bytes_max, reservation),
        Encoding::MaybeSnappy => match snappy(&body, bytes_max, reservation) {
            Err(rejection) if rejection.status == 400 => Ok(body),
            other => other,
        },
    }
}

fn snappy(
    body: &[u8],
    bytes_max: usize,
    reservation: &mut Reservation,
) -> Result<Bytes, Rejection> {
    let corrupt = || Rejection::invalid("snappy: corrupt input");
    let len = snap::raw::decompress_len(body).map_err(|_| corrupt())?;
    if len > body.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(corrupt());
    }
    if len > bytes_max {
        return Err(too_large(bytes_max));
    }
    reserve(reservation, len)?;
    scratch::filled(len, |expanded| {
        let written = snap::raw::Decoder::new().decompress(body, expanded);
        let is_whole = written.is_ok_and(|written| written == len);
        is_whole.then_some(()).ok_or_else(corrupt)
    })
}

/// A body as text, with replacement characters for what is none.
pub(crate) fn text(body: Bytes, reservation: &mut Reservation) -> Result<Bytes, Rejection> {
    if std::str::from_utf8(&body).is_ok() {
        return Ok(body);
    }
    let replaced = char::REPLACEMENT_CHARACTER.len_utf8();
    let lengths = body.utf8_chunks().map(|chunk| {
        let replaced = if chunk.invalid().is_empty() {
            0
        } else {
            replaced
        };
        chunk.valid().len() + replaced
    });
    reserve(reservation, lengths.sum())?;
    Ok(String::from_utf8_lossy(&body).into_owned().into())
}

fn too_large(bytes_max: usize) -> Rejection {
    Rejection::too_large(
        "decompressed request body",
        "distributor.max_decompressed_size",
        bytes_max,
    )
}

fn expand(
    reader: &mut dyn Read,
    name: &str,
    compressed_bytes: usize,
    bytes_max: usize,
    reservation: &mut Reservation,
) -> Result<Vec<u8>, Rejection> {
    let mut expanded = Vec::new();
    let mut piece = PIECE_BYTES.max(compressed_bytes).min(bytes_max);
    loop {
        reserve(reservation, piece)?;
        let limit = u64::try_from(piece).unwrap_or(u64::MAX);
        let read = (&mut *reader)
            .take(limit)
            .read_to_end(&mut expanded)
            .map_err(|error| Rejection::invalid(format!("{name}: {error}")))?;
        if read < piece {
            reservation.shrink((piece - read) as u64);
            return Ok(expanded);
        }
        if expanded.len() >= bytes_max {
            let mut one_more = [0; 1];
            let more = reader.read(&mut one_more);
            return match more {
                Ok(0) => Ok(expanded),
                Ok(_) => Err(too_large(bytes_max)),
                Err(error) => Err(Rejection::invalid(format!("{name}: {error}"))),
            };
        }
        piece = expanded.len().min(bytes_max - expanded.len());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use model::Budget;
    use proptest::prelude::*;

    use super::*;

    const ENCODINGS: [Encoding; 5] = [
        Encoding::Gzip,
        Encoding::Deflate,
        Encoding::Zstd,
        Encoding::Lz4,
        Encoding::Snappy,
    ];

    fn compress(bytes: &[u8], encoding: Encoding) -> Vec<u8> {
        let level = flate2::Compression::default();
        match encoding {
            Encoding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Encoding::Deflate => {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Encoding::Zstd => zstd::encode_all(bytes, 3).unwrap(),
            Encoding::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Encoding::Snappy | Encoding::MaybeSnappy => {
                snap::raw::Encoder::new().compress_vec(bytes).unwrap()
            }
            Encoding::Plain => bytes.to_vec(),
        }
    }

    fn decompressed(body: &[u8], encoding: Encoding, bytes_max: usize) -> Result<Bytes, Rejection> {
        let budget = Budget::new("max_inflight_size", 64 << 20);
        let mut reservation = budget.reservation();
        let body = Bytes::copy_from_slice(body);
        let result = decompress(body, encoding, bytes_max, &mut reservation);
        if let Ok(expanded) = &result
            && encoding != Encoding::MaybeSnappy
        {
            assert_eq!(reservation.bytes(), expanded.len() as u64);
        }
        result
    }

    #[test]
    fn what_was_compressed_comes_back_up_to_the_limit() {
        for len in [
            0,
            1,
            1000,
            PIECE_BYTES - 1,
            PIECE_BYTES,
            PIECE_BYTES + 1,
            300_000,
        ] {
            let text: Vec<u8> = (0..len).map(|i| (i * i % 251) as u8).collect();
            for encoding in ENCODINGS {
                let body = compress(&text, encoding);
                let expanded = decompressed(&body, encoding, len).unwrap();
                assert_eq!(expanded, text, "{encoding:?} {len}");
                if len > 0 {
                    let error = decompressed(&body, encoding, len - 1).unwrap_err();
                    assert_eq!(error.status, 413, "{encoding:?} {len}");
                    assert!(error.message.contains("distributor.max_decompressed_size"));
                }
            }
        }
    }

    #[test]
    fn bombs_cost_no_more_than_the_limit() {
        // 4 GiB of zeroes in some hundred kilobytes.
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        let zeroes = vec![0; 1 << 20];
        for _ in 0..4096 {
            encoder.write_all(&zeroes).unwrap();
        }
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < 1 << 20, "{}", bomb.len());
        let limit = 8 << 20;
        assert_eq!(
            decompressed(&bomb, Encoding::Zstd, limit)
                .unwrap_err()
                .status,
            413
        );
        // The budget ends before the limit does.
        let busy = decompressed(&bomb, Encoding::Zstd, usize::MAX / 2).unwrap_err();
        assert_eq!(busy.status, 503);
        let bomb = compress(&vec![0; 64 << 20], Encoding::Gzip);
        assert_eq!(
            decompressed(&bomb, Encoding::Gzip, limit)
                .unwrap_err()
                .status,
            413
        );
    }

    #[test]
    fn lying_lengths_are_corrupt_input() {
        // A length of 2 GiB in front of nothing.
        let body = [0x80, 0x80, 0x80, 0x80, 0x08, 0x00];
        let error = decompressed(&body, Encoding::Snappy, usize::MAX).unwrap_err();
        assert_eq!(
            (error.status, &*error.message),
            (400, "snappy: corrupt input")
        );
        // A window of zstd that is larger than the whole limit.
        let mut body = ZSTD_MAGIC.to_vec();
        body.extend_from_slice(&[0x00, 0xf8, 0x01, 0x00, 0x00]);
        assert_eq!(
            decompressed(&body, Encoding::Zstd, 1 << 20)
                .unwrap_err()
                .status,
            400
        );
    }

    #[test]
    fn json_sent_as_snappy_may_be_plain() {
        let plain = br#"{"streams":[]}"#;
        let from = |body: &[u8]| decompressed(body, Encoding::MaybeSnappy, 1 << 20).unwrap();
        assert_eq!(from(plain), &plain[..]);
        assert_eq!(from(&compress(plain, Encoding::Snappy)), &plain[..]);
        let error = decompressed(plain, Encoding::Zstd, 1 << 20).unwrap_err();
        assert_eq!(error.message, "Content-Encoding \"zstd\" not supported");
    }

    proptest! {
        #[test]
        fn any_bytes_are_expanded_or_refused(
            body in proptest::collection::vec(any::<u8>(), 0..300),
            magic in any::<bool>(),
        ) {
            for encoding in ENCODINGS {
                let mut body = body.clone();
                if magic {
                    body.splice(0..0, match encoding {
                        Encoding::Gzip => vec![0x1f, 0x8b, 8, 0],
                        Encoding::Lz4 => vec![0x04, 0x22, 0x4d, 0x18],
                        _ => ZSTD_MAGIC.to_vec(),
                    });
                }
                let _ = decompressed(&body, encoding, 1 << 16);
            }
        }
    }
}
