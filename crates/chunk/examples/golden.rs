//! Writes the golden object of the current version, once, when a version is new:
//! `cargo run -p chunk --example golden > crates/chunk/testdata/object-v1.lgob`.

use std::io::Write;

#[path = "../tests/sample/mod.rs"]
mod sample;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(&sample::golden_object().to_bytes())
}
