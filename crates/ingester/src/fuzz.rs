//! What a fuzzer runs: the readers of the write-ahead log fed with bytes that nobody vouches for. They
//! return or fail; a panic, a hang or a huge allocation is a bug.

use codec::CodecError;

use crate::wal::record::{self, LostRows, Record};
use crate::wal::state::State;

/// Reads a record, kind and payload, and its rows.
///
/// # Errors
/// If the record is damaged.
pub fn record(bytes: &[u8]) -> Result<(), CodecError> {
    let _ = LostRows::read(bytes);
    match record::parse(bytes)? {
        Record::Streams(_) => Ok(()),
        Record::Rows(rows) => rows.decode().map(drop),
    }
}

/// Reads the file of what is known beyond records, and any bytes as the fields of it.
///
/// # Panics
/// If what was read is not the same after it was written and read again.
pub fn state(bytes: &[u8]) {
    let _ = State::of_slots(bytes);
    let sealed = State::sealed(bytes);
    if let Some(state) = State::of_slots(&sealed) {
        let again = State::of_slots(&state.to_bytes());
        assert_eq!(again, Some(state), "the state is not what it was");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn seeds_are_read() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/seeds");
        for (target, run) in [
            (
                "wal",
                (|bytes| assert_eq!(record(bytes), Ok(()))) as fn(&[u8]),
            ),
            ("wal_state", state),
        ] {
            let found = std::fs::read_dir(seeds.join(target)).unwrap();
            let found: Vec<_> = found.map(|seed| seed.unwrap().path()).collect();
            assert!(!found.is_empty(), "{target}");
            found
                .iter()
                .for_each(|seed| run(&std::fs::read(seed).unwrap()));
        }
    }
}
