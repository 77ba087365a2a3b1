//! What a fuzzer runs: messages of another process that nobody vouches for. They are read or
//! refused; a panic, a hang or a huge allocation is a bug.

use model::{Code, CodedError};
use prost::Message;

use crate::convert;

/// How many kinds of messages there are.
pub const KINDS: u8 = 13;

/// Reads a message of the kind with this number.
///
/// # Errors
/// If it is refused.
///
/// # Panics
/// If what was read is not the same after it was written and read again.
pub fn message(kind: u8, bytes: &[u8]) -> Result<(), CodedError> {
    use convert as c;
    match kind % KINDS {
        0 => read(bytes, c::batch_from_wire, c::batch_to_wire),
        1 => read(bytes, |m| c::refusal_from_wire(&m), c::refusal_to_wire),
        2 => read(bytes, c::coverage_from_wire, c::coverage_to_wire),
        3 => read(bytes, c::select_logs_from_wire, c::select_logs_to_wire),
        4 => read(bytes, c::log_rows_from_wire, c::log_rows_to_wire),
        5 => read(bytes, c::tail_request_from_wire, c::tail_request_to_wire),
        6 => read(bytes, c::tail_batch_from_wire, c::tail_batch_to_wire),
        7 => read(
            bytes,
            c::select_samples_from_wire,
            c::select_samples_to_wire,
        ),
        8 => read(bytes, c::sample_rows_from_wire, |rows| {
            c::sample_rows_to_wire(rows.clone())
        }),
        9 => read(
            bytes,
            c::select_patterns_from_wire,
            c::select_patterns_to_wire,
        ),
        10 => read(bytes, c::stream_patterns_from_wire, |stream| {
            c::stream_patterns_to_wire(stream.clone())
        }),
        11 => read(bytes, c::select_series_from_wire, c::select_series_to_wire),
        _ => read(
            bytes,
            |m| Ok(c::series_stats_from_wire(m)),
            c::series_stats_to_wire,
        ),
    }
}

fn read<M: Message + Default, T>(
    bytes: &[u8],
    from_wire: impl Fn(M) -> Result<T, CodedError>,
    to_wire: impl Fn(&T) -> M,
) -> Result<(), CodedError> {
    let once = |bytes: &[u8]| {
        let message = M::decode(bytes)
            .map_err(|error| CodedError::new(Code::InvalidArgument, error.to_string()))?;
        Ok(to_wire(&from_wire(message)?).encode_to_vec())
    };
    let written = once(bytes)?;
    // Bytes, as a sample may be no number, which is not equal to itself.
    assert_eq!(once(&written), Ok(written), "a message is not what it was");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn seeds_are_read() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/seeds/messages");
        let mut kinds = Vec::new();
        for seed in std::fs::read_dir(seeds).unwrap() {
            let path = seed.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            let (kind, bytes) = bytes.split_first().unwrap();
            assert_eq!(message(*kind, bytes), Ok(()), "{}", path.display());
            kinds.push(*kind);
        }
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds, Vec::from_iter(0..KINDS), "a seed of every kind");
    }
}
