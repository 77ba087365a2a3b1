//! Writes a golden object of the current version, once, when a version or a layout is new:
//! `cargo run -p chunk --example golden_object -- plain > crates/chunk/testdata/object-v1-metadata-bytes.lgob`,
//! and `structured` for `object-v1-structured.lgob`. `object-v1.lgob` is from before bytes of metadata
//! were counted.

use std::io::Write;

#[path = "../tests/sample/mod.rs"]
mod sample;

fn main() -> std::io::Result<()> {
    let object = match std::env::args().nth(1).as_deref() {
        Some("structured") => sample::golden_structured(),
        _ => sample::golden_object(),
    };
    std::io::stdout().write_all(&object.to_bytes())
}
