//! OTLP in protobuf.

#![no_main]

use fuzz::push::push;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    push("/otlp/v1/logs", "application/x-protobuf", "", body);
});
