//! `logfmt`, with its flags and expressions.

#![no_main]

use fuzz::rows::Input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(input) = Input::new(input) else {
        return;
    };
    let quoted = input.quoted();
    let flags = ["", "--strict", "--keep-empty", "--strict --keep-empty"];
    let variants = flags.map(|flags| {
        [
            format!("| logfmt {flags}"),
            format!("| logfmt {flags} | a = \"1\""),
            format!("| logfmt {flags} a={quoted}, b"),
        ]
    });
    input.run(&variants.concat());
});
