//! Compressed bodies.

#![no_main]

use fuzz::push::push;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    for encoding in ["gzip", "deflate", "snappy", "zstd"] {
        push("/loki/api/v1/push", "application/json", encoding, body);
    }
    for encoding in ["gzip", "zstd", "lz4"] {
        push("/otlp/v1/logs", "application/json", encoding, body);
    }
});
