//! Manifest entries, checkpoints, requests to delete lines and claims: any bytes, and any text in a
//! good envelope. What is read is written and read again as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| storage::fuzz::enveloped(bytes));
