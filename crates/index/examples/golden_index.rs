//! Writes the golden index file of the current version, once, when a version is new:
//! `cargo run -p index --example golden_index > crates/index/testdata/index-v1.lgix`.

use std::io::Write;

#[path = "../tests/sample/mod.rs"]
mod sample;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(&sample::golden_file())
}
