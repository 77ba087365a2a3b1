//! The header in which another registry says how to log in: whatever it is, reading it ends, and it
//! names no more ways than it has words.

#![no_main]

use libfuzzer_sys::fuzz_target;
use registry::fuzz::challenges;

fuzz_target!(|header: &str| {
    let ways = challenges(header);
    assert!(ways.len() <= header.len(), "{ways:?}");
    for names in ways {
        let bytes: usize = names.iter().map(String::len).sum();
        assert!(bytes <= header.len(), "{header}");
    }
});
