//! `keep`, `drop` and `decolorize`.

#![no_main]

use fuzz::rows::Input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(input) = Input::new(input) else {
        return;
    };
    let (text, quoted) = (input.text, input.quoted());
    input.run(&[
        format!("| logfmt | drop {text}"),
        format!("| logfmt | keep {text}"),
        format!("| logfmt --strict | drop a={quoted}, b=~{quoted}, __error__"),
        format!("| json | keep a!={quoted}, b!~{quoted}"),
        format!("| decolorize | logfmt |= {quoted}"),
        format!("|= {quoted} | decolorize | line_format `{{{{.a}}}}{{{{__line__}}}}` | decolorize"),
    ]);
});
