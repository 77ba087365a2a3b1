//! The old push in JSON.

#![no_main]

use fuzz::push::push;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    push("/api/prom/push", "application/json", "", body);
});
