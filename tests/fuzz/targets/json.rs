//! `json`, with and without expressions.

#![no_main]

use fuzz::rows::Input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(input) = Input::new(input) else {
        return;
    };
    let (text, quoted) = (input.text, input.quoted());
    input.run(&[
        "| json".to_owned(),
        "| json | a = \"1\"".to_owned(),
        format!("| json a={quoted}, b"),
        format!("| json | a > 5 | keep a, {text}"),
    ]);
});
