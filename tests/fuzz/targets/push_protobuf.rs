//! Loki's push in protobuf: a message inside of snappy, and any bytes in its place.

#![no_main]

use fuzz::push::push;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(compressed) = snap::raw::Encoder::new().compress_vec(body) else {
        return;
    };
    push(
        "/loki/api/v1/push",
        "application/x-protobuf",
        "",
        &compressed,
    );
    push("/api/prom/push", "application/x-protobuf", "", body);
});
