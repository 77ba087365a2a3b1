//! Writes a golden object of the current version, once, when a version or a layout is new:
//! `cargo run -p chunk --example golden_object -- plain > crates/chunk/testdata/object-v1-metadata-bytes.lgob`,
//! `structured` for `object-v1-structured.lgob`, `grams` for `object-v1-grams.lgob`, and `outlines` for
//! `object-v1-outlines.lgob`.
//! `object-v1.lgob` is from before bytes of metadata were counted, `object-v1-structured.lgob` from
//! before columns say what is in them, and `object-v1-grams.lgob` from before outlines.

use std::io::Write;

#[path = "../tests/sample/mod.rs"]
mod sample;

fn main() -> std::io::Result<()> {
    let object = match std::env::args().nth(1).as_deref() {
        Some("structured") => sample::golden_structured(),
        Some("grams") => sample::golden_grams(),
        Some("outlines") => sample::golden_outlined(),
        _ => sample::golden_object(),
    };
    std::io::stdout().write_all(&object.to_bytes())
}
