//! Records of the write-ahead log whose checksum was right: streams, rows, and rows as received.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = ingester::fuzz::record(bytes);
});
