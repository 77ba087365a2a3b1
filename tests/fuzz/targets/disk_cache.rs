//! Records of the cache on disk.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| storage::fuzz::disk_records(bytes));
