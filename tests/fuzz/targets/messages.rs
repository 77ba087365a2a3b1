//! Messages between processes. What is read is written and read again as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Some((kind, bytes)) = input.split_first() {
        let _ = proto::fuzz::message(*kind, bytes);
    }
});
