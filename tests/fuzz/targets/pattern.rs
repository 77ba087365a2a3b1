//! `pattern`, the parser and the filter.

#![no_main]

use fuzz::rows::Input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(input) = Input::new(input) else {
        return;
    };
    let quoted = input.quoted();
    input.run(&[
        format!("| pattern {quoted}"),
        format!("|> {quoted}"),
        format!("!> {quoted} | pattern {quoted}"),
    ]);
});
