//! Label index files whose sections lie, or that are none at all.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use fuzz::damage::{File, edited};
use libfuzzer_sys::fuzz_target;
use model::{MatchOp, Matcher};

const GOOD: &[u8] = include_bytes!("../../../crates/index/testdata/index-v1.lgix");

fuzz_target!(|input: (u8, u8, &[u8])| {
    static FILE: LazyLock<(File, Vec<Matcher>)> = LazyLock::new(|| {
        let matchers = [
            ("app", MatchOp::Regex, "app-[12]"),
            ("pod", MatchOp::NotEqual, "pod-3"),
        ];
        let matchers = matchers.map(|(name, op, value)| Matcher::new(name, op, value));
        let matchers = matchers
            .into_iter()
            .map(|matcher| matcher.expect("a matcher"));
        (File::new(GOOD, 0, *b"LGIX"), matchers.collect())
    });
    let (file, matchers) = &*FILE;
    let (which, section, edits) = input;
    let bytes = match which % 3 {
        0 => Bytes::copy_from_slice(edits),
        1 => edited(GOOD, edits).into(),
        _ => file.with_section(section.into(), edits),
    };
    let _ = index::fuzz::file(&bytes, matchers);
});
