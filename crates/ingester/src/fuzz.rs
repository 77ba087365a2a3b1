//! What a fuzzer runs: the reader of the write-ahead log fed with bytes that nobody vouches for. It
//! returns or fails; a panic, a hang or a huge allocation is a bug.

use codec::CodecError;

use crate::wal::record::{self, Record};

/// Reads a record, kind and payload, and its rows.
///
/// # Errors
/// If the record is damaged.
pub fn record(bytes: &[u8]) -> Result<(), CodecError> {
    match record::parse(bytes)? {
        Record::Streams(_) => Ok(()),
        Record::Rows(rows) => rows.decode().map(drop),
    }
}
