//! Loki's push in JSON.

#![no_main]

use fuzz::push::push;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    push("/loki/api/v1/push", "application/json", "", body);
});
