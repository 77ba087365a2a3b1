//! Manifest entries and checkpoints: any bytes, and any text in a good envelope. What is read is
//! written and read again as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use storage::manifest::{decode_checkpoint, decode_entry, encode_checkpoint, encode_entry};

fuzz_target!(|bytes: &[u8]| {
    let _ = decode_entry(bytes);
    let _ = decode_checkpoint(bytes);
    if let Ok(entry) = decode_entry(&envelope(0, bytes)) {
        let again = encode_entry(&entry).expect("an entry that was read");
        assert_eq!(decode_entry(&again), Ok(entry));
    }
    if let Ok(state) = decode_checkpoint(&envelope(1, bytes)) {
        let again = encode_checkpoint(&state).expect("a checkpoint that was read");
        assert_eq!(decode_checkpoint(&again), Ok(state));
    }
});

fn envelope(kind: u16, json: &[u8]) -> Vec<u8> {
    let mut bytes = b"LGMF".to_vec();
    bytes.extend_from_slice(&1u16.to_le_bytes());
    bytes.extend_from_slice(&kind.to_le_bytes());
    let len = u32::try_from(json.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(json).to_le_bytes());
    bytes.extend_from_slice(json);
    bytes
}
