//! What a fuzzer runs: readers of small files fed with bytes that nobody vouches for. They return or
//! fail; a panic, a hang or a huge allocation is a bug. The checksums of what they read are made
//! right, as they would keep a fuzzer away from the code behind them.

use crate::disk;
use crate::manifest;

/// Reads any bytes as a file of every kind that has an envelope, and as what is in one.
///
/// # Panics
/// If what was read is not the same after it was written and read again.
pub fn enveloped(bytes: &[u8]) {
    manifest::fuzz_envelopes(bytes);
}

/// Reads the records of a cache on disk.
///
/// # Panics
/// If a record that was read is not the same after it was written.
pub fn disk_records(bytes: &[u8]) {
    disk::fuzz_records(bytes);
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn seeds(target: &str) -> Vec<PathBuf> {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/seeds");
        let seeds = std::fs::read_dir(seeds.join(target)).unwrap();
        let seeds: Vec<_> = seeds.map(|seed| seed.unwrap().path()).collect();
        assert!(!seeds.is_empty(), "{target}");
        seeds
    }

    #[test]
    fn seeds_are_read() {
        for seed in seeds("manifest") {
            enveloped(&std::fs::read(seed).unwrap());
        }
        for seed in seeds("disk_cache") {
            disk_records(&std::fs::read(seed).unwrap());
        }
    }
}
