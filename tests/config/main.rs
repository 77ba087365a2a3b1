//! Configuration as a user meets it: the files of `config/`, what is wrong with a file, and the
//! flags that every binary has.

mod examples;
mod faults;
mod flags;

use std::path::PathBuf;

/// Every binary, and the arguments before those of its process.
const BINARIES: [(&str, &[&str]); 7] = [
    ("skald", &["serve"]),
    ("skald-distributor", &[]),
    ("skald-ingester", &[]),
    ("skald-querier", &[]),
    ("skald-compactor", &[]),
    ("skald-agent", &[]),
    ("skald-registry", &[]),
];

/// The example for a binary.
fn example(binary: &str) -> anyhow::Result<PathBuf> {
    tests::cluster::example(binary.strip_prefix("skald-").unwrap_or("serve"))
}
