//! The state of the write-ahead log.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| ingester::fuzz::state(bytes));
