//! Data objects whose sections lie, or that are no objects at all.

#![no_main]

use std::sync::LazyLock;

use ::fuzz::damage::{File, edited};
use bytes::Bytes;
use chunk::{Trailer, fuzz};
use libfuzzer_sys::fuzz_target;

const GOOD: [&[u8]; 3] = [
    include_bytes!("../../../crates/chunk/testdata/object-v1.lgob"),
    include_bytes!("../../../crates/chunk/testdata/object-v1-structured.lgob"),
    include_bytes!("../../../crates/chunk/testdata/object-v1-metadata-bytes.lgob"),
];

fuzz_target!(|input: (u8, u8, &[u8])| {
    static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
        let file = |good: &&'static [u8]| {
            let meta = Trailer::parse(good).expect("a good object").meta_range();
            File::new(
                good,
                usize::try_from(meta.start).expect("an offset"),
                *b"LGOB",
            )
        };
        GOOD.iter().map(file).collect()
    });
    let (which, section, edits) = input;
    let at = usize::from(which) % (GOOD.len() + 1);
    let Some(file) = FILES.get(at) else {
        let _ = fuzz::object(&Bytes::copy_from_slice(edits));
        return;
    };
    let _ = fuzz::object(&file.with_section(section.into(), edits));
    let _ = fuzz::object(&edited(GOOD[at], edits).into());
});
